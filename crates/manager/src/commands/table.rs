//! Columns for people: as wide as their widest cell, the last one open.

use std::iter;

use crate::{
    error::Error,
    output::{Output, printable},
};

/// Spaces between two columns.
const GAP: usize = 2;

/// Rows under a headline.
#[derive(Debug)]
pub(super) struct Table<const N: usize>(Vec<[String; N]>);

impl<const N: usize> Table<N> {
    /// A table with its headline.
    pub(super) fn new(headline: [&str; N]) -> Self {
        Self(vec![headline.map(str::to_owned)])
    }

    /// Adds a row. What is not known is shown as `-`.
    pub(super) fn row(&mut self, cells: [Option<String>; N]) {
        self.0.push(cells.map(|it| it.map_or_else(|| "-".to_owned(), |it| printable(&it))));
    }

    /// Prints it.
    pub(super) fn print(&self, out: &mut Output) -> Result<(), Error> {
        let widths: [usize; N] = std::array::from_fn(|column| {
            self.0.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
        });
        let mut lines = String::new();
        for row in &self.0 {
            for (cell, width) in row.iter().zip(widths) {
                lines.push_str(cell);
                lines.extend(iter::repeat_n(' ', width - cell.chars().count() + GAP));
            }
            lines.truncate(lines.trim_end_matches(' ').len());
            lines.push('\n');
        }
        out.bytes(lines.as_bytes())
    }
}
