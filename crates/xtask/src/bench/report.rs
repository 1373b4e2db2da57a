//! Figures to lines.

use std::time::Duration;

use super::load::Measured;

/// Stands over the rows.
pub(crate) const HEADER: &str = "\
conns  pipeline  server   requests/s    p50 µs    p99 µs  CPU µs/req  × rival (min–max)    server  client";

/// One server in one cell: the median of each figure over the rounds.
///
/// `rival` has the rounds of the rival in the same order; a round is compared with the one beside
/// it.
pub(crate) fn row(server: &str, rounds: &[Measured], rival: &[Measured]) -> String {
    let of = |figure: fn(&Measured) -> f64| median(rounds.iter().map(figure).collect());
    format!(
        "{server:<7}  {:>10.0}  {:>8.1}  {:>8.1}  {:>10.2}  {:<18}  {:>6.0}%  {:>5.0}%",
        of(|it| it.requests_per_second),
        of(|it| microseconds(it.p50)),
        of(|it| microseconds(it.p99)),
        of(|it| it.server_cost),
        ratio(rounds, rival),
        of(|it| it.server_share * 100.0),
        of(|it| it.client_share * 100.0),
    )
}

/// The median of the ratios of processor time.
pub(crate) fn cost_ratio(rounds: &[Measured], rival: &[Measured]) -> f64 {
    median(ratios(rounds, rival))
}

fn ratios(rounds: &[Measured], rival: &[Measured]) -> Vec<f64> {
    let beside = rounds.iter().zip(rival);
    beside.map(|(ours, theirs)| ours.server_cost / theirs.server_cost).collect()
}

fn ratio(rounds: &[Measured], rival: &[Measured]) -> String {
    let mut ratios = ratios(rounds, rival);
    ratios.sort_by(f64::total_cmp);
    match ratios[..] {
        [least, .., most] => format!("{:.2} ({least:.2}–{most:.2})", median(ratios.clone())),
        [only] => format!("{only:.2}"),
        [] => String::new(),
    }
}

/// The middle one; of an even number the upper of the two, so that it is one that was seen.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_a_figure_that_was_seen() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 3.0);
        assert!(median(vec![]).is_nan());
    }
}
