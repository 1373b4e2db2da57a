//! Figures to a table: what must be, ours, the floor, each rival.

use super::{report::median, supervisor::Kind};
use crate::step::say;

/// What ours must reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Must {
    /// This or less.
    Below(f64),
    /// This or more.
    Above(f64),
    /// This share of the floor's or more.
    OfFloor(f64),
}

/// One figure of all that have it, a number a round.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    what: &'static str,
    must: Option<Must>,
    rounds: Vec<(Kind, Vec<f64>)>,
}

impl Figure {
    pub(crate) fn new(what: &'static str, must: Option<Must>) -> Self {
        Self { what, must, rounds: vec![] }
    }

    pub(crate) fn add(&mut self, kind: Kind, value: f64) {
        match self.rounds.iter_mut().find(|(it, _)| *it == kind) {
            Some((_, rounds)) => rounds.push(value),
            None => self.rounds.push((kind, vec![value])),
        }
    }

    /// The median of its rounds.
    pub(crate) fn of(&self, kind: Kind) -> Option<f64> {
        let rounds = self.rounds_of(kind);
        (!rounds.is_empty()).then(|| median(rounds.to_vec()))
    }

    /// The median over rounds of ours over the floor's beside it: what a machine that gets slower
    /// leaves as it is.
    fn ratio(&self) -> Option<f64> {
        let pairs = self.rounds_of(Kind::Dae).iter().zip(self.rounds_of(Kind::Floor));
        let ratios: Vec<f64> = pairs.map(|(ours, floor)| ours / floor).collect();
        (!ratios.is_empty()).then(|| median(ratios))
    }

    fn rounds_of(&self, kind: Kind) -> &[f64] {
        self.rounds.iter().find(|(it, _)| *it == kind).map_or(&[], |(_, rounds)| rounds)
    }

    fn is_met(&self) -> Option<bool> {
        let ours = self.of(Kind::Dae)?;
        Some(match self.must? {
            Must::Below(most) => ours <= most,
            Must::Above(least) => ours >= least,
            Must::OfFloor(share) => self.ratio()? >= share,
        })
    }

    fn must(&self) -> String {
        match self.must {
            Some(Must::Below(most)) => format!("≤ {most}"),
            Some(Must::Above(least)) => format!("≥ {least}"),
            Some(Must::OfFloor(share)) => format!("≥ {share} × floor"),
            None => String::new(),
        }
    }

    fn row(&self) -> String {
        let verdict = self.is_met().map_or("", |it| if it { "pass" } else { "MISS" });
        let ratio = self.ratio().map_or(String::new(), |it| format!("{it:.2}"));
        let mut row = format!("{:<42}{:>14}{:>6}{ratio:>9}", self.what, self.must(), verdict);
        for kind in Kind::ALL {
            row += &format!("{:>12}", self.of(kind).map_or("–".to_owned(), number));
        }
        row
    }
}

/// Prints them, one a line.
pub(crate) fn print(figures: &[Figure]) {
    let mut header = format!("{:<42}{:>14}{:>6}{:>9}", "", "must", "", "× floor");
    for kind in Kind::ALL {
        header += &format!("{:>12}", kind.name());
    }
    say(&header);
    figures.iter().for_each(|it| say(&it.row()));
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value {
        it if it >= 100.0 => format!("{it:.0}"),
        it if it >= 10.0 => format!("{it:.1}"),
        it if it >= 0.1 => format!("{it:.2}"),
        it => format!("{it:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(must: Must, ours: &[f64], floor: &[f64]) -> Figure {
        let mut figure = Figure::new("x", Some(must));
        ours.iter().for_each(|it| figure.add(Kind::Dae, *it));
        floor.iter().for_each(|it| figure.add(Kind::Floor, *it));
        figure
    }

    #[test]
    fn a_must_is_met_or_missed_by_the_median() {
        for (must, ours, is_met) in [
            (Must::Below(3.0), [9.0, 2.0, 3.0], true),
            (Must::Below(3.0), [9.0, 2.0, 3.1], false),
            (Must::Above(3.0), [9.0, 2.0, 3.0], true),
            (Must::OfFloor(0.9), [9.0, 2.0, 4.0], true),
            (Must::OfFloor(0.9), [1.0, 1.0, 4.0], false),
        ] {
            let figure = figure(must, &ours, &[9.0, 2.0, 4.0]);
            assert_eq!(figure.is_met(), Some(is_met), "{must:?} {ours:?}");
        }
    }

    #[test]
    fn a_ratio_is_one_of_neighbours() {
        let figure = figure(Must::Below(1.0), &[2.0, 20.0, 6.0], &[1.0, 10.0, 1.0]);
        assert_eq!(figure.ratio(), Some(2.0));
    }
}
