//! The texts in which durations, sizes, signals and the like are written, read and printed again.
//!
//! One form everywhere: flags, TOML and the wire. What is printed can be read back and gives the
//! same value.

use std::{fmt, str::FromStr, time::Duration};

use nix::sys::signal::Signal;

/// Why a text is not what it should be: what was wanted, and what came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {wanted}, got `{}`", printable(found))]
pub struct ValueError {
    /// What a good value looks like, with an example.
    pub wanted: &'static str,
    /// What was given.
    pub found: String,
}

impl ValueError {
    pub(super) fn new(wanted: &'static str, found: &str) -> Self {
        Self { wanted, found: found.to_owned() }
    }
}

/// `text` without what a terminal would obey.
pub(crate) fn printable(text: &str) -> String {
    let escaped =
        |it: char| if it.is_control() { it.escape_default().to_string() } else { it.into() };
    text.chars().map(escaped).collect()
}

pub(super) const DURATION: &str = "a duration such as `500ms`, `10s`, `5m` or `1h`";
pub(super) const SIZE: &str = "a size such as `64K`, `64M` or `1G`";

const DURATIONS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZES: [(&str, u64); 4] = [("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];

/// Reads a duration: a whole number and `ms`, `s`, `m`, `h` or `d`.
///
/// # Errors
/// Anything else, a bare number too: nobody knows its unit.
pub fn parse_duration(text: &str) -> Result<Duration, ValueError> {
    units(text, &DURATIONS)
        .map(Duration::from_millis)
        .ok_or_else(|| ValueError::new(DURATION, text))
}

/// Prints a duration in the largest unit that needs no fraction. What is below a millisecond is
/// lost.
pub fn print_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 { "0s".to_owned() } else { in_units(ms, &DURATIONS) }
}

/// Prints about how long something takes, for people: the largest unit, rounded down. `9m`, not
/// `9m12s`.
pub fn about(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (unit, size) = DURATIONS.into_iter().find(|it| ms >= it.1).unwrap_or(("ms", 1));
    format!("{}{unit}", ms / size)
}

/// A number of bytes. Written with `K`, `M`, `G` or `T` (powers of 1024), or bare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(
    /// Bytes.
    pub u64,
);

impl FromStr for Size {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let bare = || text.parse().ok().filter(|_| text.bytes().all(|it| it.is_ascii_digit()));
        units(text, &SIZES).or_else(bare).map(Self).ok_or_else(|| ValueError::new(SIZE, text))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { f.pad("0") } else { f.pad(&in_units(self.0, &SIZES)) }
    }
}

fn units(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|it: char| !it.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    let (_, size) = units.iter().find(|it| it.0 == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*size)
}

fn in_units(value: u64, units: &[(&str, u64)]) -> String {
    match units.iter().find(|it| value.is_multiple_of(it.1)) {
        Some((unit, size)) => format!("{}{unit}", value / size),
        None => value.to_string(),
    }
}

/// A type whose values have a name each: `FromStr` and `Display` from one list.
macro_rules! words {
    ($(#[$doc:meta])* $type:ident, $wanted:literal { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type { $($(#[$variant_doc])* $variant),+ }

        impl $type {
            pub(super) const WANTED: &str = $wanted;
        }

        impl FromStr for $type {
            type Err = ValueError;

            fn from_str(text: &str) -> Result<Self, ValueError> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(ValueError::new(Self::WANTED, text)),
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $word),+ })
            }
        }
    };
}

words! {
    /// Whether a daemon that ended by itself is started again.
    Restart, "`always`, `on-failure` or `never`" {
        /// However it ended.
        Always = "always",
        /// Unless it ended with a success code.
        OnFailure = "on-failure",
        /// Not at all.
        Never = "never"
    }
}

words! {
    /// What becomes of the processes that a daemon leaves behind when it ends by itself.
    Leftovers, "`kill` or `keep`" {
        /// They are stopped before anything else happens.
        Kill = "kill",
        /// They live on, and a restart does not wait for them.
        Keep = "keep"
    }
}

/// How a daemon shows that it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// It answers `dae` with this spawn's secret, or sends `ready`.
    Dae,
    /// It listens on a port.
    Port,
    /// It sends `READY=1` to its NOTIFY_SOCKET.
    Notify,
    /// It has lived that long.
    Delay(Duration),
    /// It has been spawned.
    None,
}

impl Ready {
    pub(super) const WANTED: &str = "`dae`, `port`, `notify`, `none` or `delay=5s`";
}

impl FromStr for Ready {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let delay = || text.strip_prefix("delay=").and_then(|it| parse_duration(it).ok());
        Ok(match text {
            "dae" => Self::Dae,
            "port" => Self::Port,
            "notify" => Self::Notify,
            "none" => Self::None,
            _ => Self::Delay(delay().ok_or_else(|| ValueError::new(Self::WANTED, text))?),
        })
    }
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dae => f.pad("dae"),
            Self::Port => f.pad("port"),
            Self::Notify => f.pad("notify"),
            Self::Delay(delay) => write!(f, "delay={}", print_duration(*delay)),
            Self::None => f.pad("none"),
        }
    }
}

/// What becomes of output while the disk is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFull {
    /// It waits, and with it the daemon, for so long; then it is dropped. Written `block=10s`.
    Block(Duration),
    /// It is dropped at once.
    Drop,
}

impl LogFull {
    pub(super) const WANTED: &str = "`block`, `block=10s` or `drop`";

    /// Long enough for a log to be moved away, short enough that a daemon is not thought to hang.
    pub(super) const BLOCK: Self = Self::Block(Duration::from_secs(10));

    /// How long output waits.
    pub fn patience(self) -> Duration {
        if let Self::Block(patience) = self { patience } else { Duration::ZERO }
    }
}

impl FromStr for LogFull {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let patience = || text.strip_prefix("block=").and_then(|it| parse_duration(it).ok());
        Ok(match text {
            "block" => Self::BLOCK,
            "drop" => Self::Drop,
            _ => Self::Block(patience().ok_or_else(|| ValueError::new(Self::WANTED, text))?),
        })
    }
}

impl fmt::Display for LogFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block(patience) => write!(f, "block={}", print_duration(*patience)),
            Self::Drop => f.pad("drop"),
        }
    }
}

/// How long to wait before the next attempt: from `base`, doubled each time, up to `cap`. Written
/// `100ms..30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure; at least a millisecond.
    pub base: Duration,
    /// The longest wait; not below `base`.
    pub cap: Duration,
}

impl Backoff {
    pub(super) const WANTED: &str = "two durations, the shorter first, such as `100ms..30s`";
}

impl FromStr for Backoff {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let parse = || {
            let (base, cap) = text.split_once("..")?;
            Some(Self { base: parse_duration(base).ok()?, cap: parse_duration(cap).ok()? })
        };
        parse()
            .filter(|it| !it.base.is_zero() && it.base <= it.cap)
            .ok_or_else(|| ValueError::new(Self::WANTED, text))
    }
}

impl fmt::Display for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", print_duration(self.base), print_duration(self.cap))
    }
}

/// When to stop trying: more than `count` ends within `period`. Written `10/60s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GiveUp {
    /// How many ends are still borne; at least one.
    pub count: u32,
    /// The period they are counted in; above zero.
    pub period: Duration,
}

impl GiveUp {
    pub(super) const WANTED: &str = "a number in a period, such as `10/60s`";
}

impl FromStr for GiveUp {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let parse = || {
            let (count, period) = text.split_once('/')?;
            Some(Self { count: count.parse().ok()?, period: parse_duration(period).ok()? })
        };
        parse()
            .filter(|it| it.count > 0 && !it.period.is_zero())
            .ok_or_else(|| ValueError::new(Self::WANTED, text))
    }
}

impl fmt::Display for GiveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, print_duration(self.period))
    }
}

/// The signal that asks a daemon to end. Written `TERM`, `SIGTERM` or `15`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopSignal(Signal);

impl StopSignal {
    pub(super) const WANTED: &str = "a signal such as `TERM`, `SIGINT` or `15`";

    /// What most programs understand.
    pub const TERM: Self = Self(Signal::SIGTERM);

    /// The number the kernel knows it by on this machine.
    pub fn number(self) -> i32 {
        self.0 as i32
    }
}

impl FromStr for StopSignal {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let name = text.to_ascii_uppercase();
        let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
        let number = || text.parse::<i32>().ok().and_then(|it| Signal::try_from(it).ok());
        name.parse()
            .ok()
            .or_else(number)
            .map(Self)
            .ok_or_else(|| ValueError::new(Self::WANTED, text))
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.as_str().trim_start_matches("SIG"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip<T: FromStr<Err = ValueError> + fmt::Display>(texts: &[&str]) {
        for text in texts {
            assert_eq!(text.parse::<T>().unwrap().to_string(), *text);
        }
    }

    #[test]
    fn what_is_printed_is_what_was_written() {
        round_trip::<Restart>(&["always", "on-failure", "never"]);
        round_trip::<Leftovers>(&["kill", "keep"]);
        round_trip::<Ready>(&["dae", "port", "notify", "none", "delay=1500ms"]);
        round_trip::<LogFull>(&["drop", "block=10s", "block=0s"]);
        assert_eq!("block".parse(), Ok(LogFull::BLOCK));
        assert!("block=".parse::<LogFull>().is_err() && "".parse::<LogFull>().is_err());
        round_trip::<Backoff>(&["100ms..30s", "1s..1s"]);
        round_trip::<GiveUp>(&["10/1m", "1/500ms"]);
        round_trip::<StopSignal>(&["TERM", "INT", "KILL", "USR1"]);
        for text in ["500ms", "10s", "5m", "1h", "2d", "0s", "90s"] {
            assert_eq!(print_duration(parse_duration(text).unwrap()), text);
        }
        round_trip::<Size>(&["0", "1023", "64K", "10M", "1G", "1025K", "3T"]);
    }

    #[test]
    fn a_signal_has_three_spellings() {
        for text in ["TERM", "SIGTERM", "sigterm", "15"] {
            assert_eq!(text.parse::<StopSignal>().unwrap(), StopSignal::TERM);
        }
        assert_eq!(StopSignal::TERM.number(), 15);
    }

    #[test]
    fn a_wrong_value_is_answered_by_what_was_wanted() {
        let wrong = parse_duration("10").unwrap_err().to_string();
        assert_eq!(wrong, "expected a duration such as `500ms`, `10s`, `5m` or `1h`, got `10`");
        for text in ["", "s", "-1s", "1.5s", "1 s", "10S", "99999999999999999999s", "1s "] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        for text in ["", "K", "1k", "+5", "64MB", "99999999999T"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        for text in ["30s..100ms", "0s..1s", "1s", "..", "1s..2"] {
            assert!(text.parse::<Backoff>().is_err(), "{text}");
        }
        for text in ["0/60s", "10/0s", "10", "x/1s", "10/60"] {
            assert!(text.parse::<GiveUp>().is_err(), "{text}");
        }
        for text in ["", "SIG", "TERMINATE", "0", "-9", "99"] {
            assert!(text.parse::<StopSignal>().is_err(), "{text}");
        }
        assert!("delay".parse::<Ready>().is_err() && "delay=".parse::<Ready>().is_err());
        assert!("Always".parse::<Restart>().is_err());
    }

    #[test]
    fn about_is_the_largest_unit_only() {
        let about_ms = |ms| about(Duration::from_millis(ms));
        assert_eq!(about_ms(0), "0ms");
        assert_eq!(about_ms(999), "999ms");
        assert_eq!(about_ms(9 * 60_000 + 12_000), "9m");
        assert_eq!(about_ms(90_000_000), "1d");
    }

    proptest! {
        #[test]
        fn any_duration_and_size_survive(ms in 0..u64::MAX, text in ".{0,12}") {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse_duration(&print_duration(duration)).unwrap(), duration);
            prop_assert_eq!(Size(ms).to_string().parse::<Size>().unwrap(), Size(ms));
            // Nothing that people type makes them panic.
            for is_ok in [parse_duration(&text).is_ok(), text.parse::<Size>().is_ok()] {
                prop_assert!(!is_ok || text.starts_with(|it: char| it.is_ascii_digit()));
            }
        }
    }
}
