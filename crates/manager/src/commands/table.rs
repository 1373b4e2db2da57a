//! Columns for people: as wide as their widest cell, the last one open.

use crate::{
    error::Error,
    output::{Output, printable},
};

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
        let line = |row: &[String; N]| {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let lines: Vec<_> = self.0.iter().map(line).collect();
        out.bytes(format!("{}\n", lines.join("\n")).as_bytes())
    }
}
