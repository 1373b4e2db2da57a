//! How much rotated files may take, all of a home together.

use std::fs;
use std::io;
use std::path::Path;

use super::rotated;
use crate::logs::rotation::INDEX;

/// Removes the oldest until the rest fits.
pub(super) fn keep_to(logs: &Path, cap_bytes: u64) -> io::Result<()> {
    let mut files = Vec::new();
    for (key, path) in rotated(logs)? {
        let index = path.with_file_name(INDEX.file(key));
        // In both forms for a moment: the index is counted with either, which does no harm.
        files.push(([bytes(&path), bytes(&index)].iter().sum::<u64>(), path, index));
    }
    let mut total: u64 = files.iter().map(|it| it.0).sum();
    for (bytes, data, index) in files {
        if total <= cap_bytes {
            break;
        }
        total -= bytes;
        for path in [data, index] {
            // The keeper may have pruned it, which is as good.
            drop(fs::remove_file(path));
        }
    }
    Ok(())
}

fn bytes(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |it| it.len())
}
