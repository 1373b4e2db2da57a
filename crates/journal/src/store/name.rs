//! What files are called: by a revision, in 20 digits.

use crate::Revision;

/// The name of a file that begins with, or stands for, a revision.
pub(crate) fn name(revision: Revision, extension: &str) -> String {
    format!("{revision:020}{extension}")
}

/// What [`name`] was made from, for all files in `names` with that extension, in order.
pub(crate) fn revisions(names: &[String], extension: &str) -> Vec<Revision> {
    let mut all: Vec<Revision> = names
        .iter()
        .filter_map(|it| {
            it.strip_suffix(extension)?.parse().ok().filter(|at| name(*at, extension) == **it)
        })
        .collect();
    all.sort_unstable();
    all
}
