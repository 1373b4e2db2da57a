//! Times as people and programs write them.

use jiff::{
    Span, Timestamp, ToSpan, Zoned,
    civil::{DateTime, Time},
};

/// Why a text is no time in the past.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SinceError {
    /// None of the forms.
    #[error(
        "`{text}` is no time: expected one like `10m`, `1h30m`, `14:30`, `2026-11-21`, `2026-11-21T14:30` or `2026-11-21T14:30:00Z`"
    )]
    Form {
        /// What was given.
        text: String,
    },

    /// A form, but before 1970 or beyond the calendar.
    #[error("`{text}` is out of range: expected a time since 1970, like `10m` or `2026-11-21`")]
    Range {
        /// What was given.
        text: String,
    },
}

/// Writes Unix milliseconds as RFC 3339 in UTC, always with three digits behind the second.
///
/// A time that the calendar does not have, after the year 9999, is written as its last one.
pub fn rfc3339(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|it| Timestamp::from_millisecond(it).ok());
    format!("{:.3}", time.unwrap_or(Timestamp::MAX))
}

/// Reads an RFC 3339 time with any offset as Unix milliseconds. `None` if it is none, or before
/// 1970.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    u64::try_from(text.parse::<Timestamp>().ok()?.as_millisecond()).ok()
}

/// The current time in Unix milliseconds; 0 before 1970.
pub fn now_ms() -> u64 {
    Timestamp::now().as_millisecond().try_into().unwrap_or_default()
}

/// Reads what people give to `--since`, in Unix milliseconds.
///
/// - `2026-11-21T14:30:00Z`: RFC 3339 with any offset
/// - `2026-11-21`, `2026-11-21T14:30`, `2026-11-21 14:30:05`: in the time zone of `now`
/// - `14:30`, `14:30:05`: the last time the clock showed it, today or yesterday
/// - `10m`, `90s`, `1h30m`, `2d`, `10m ago`: so long before `now`
///
/// # Errors
/// [`SinceError`], whose message shows the forms.
pub fn since(text: &str, now: &Zoned) -> Result<u64, SinceError> {
    let range = || SinceError::Range { text: text.to_owned() };
    let time =
        moment(text.trim(), now).ok_or_else(|| SinceError::Form { text: text.to_owned() })?;
    let ms = time.map_err(|_| range())?.as_millisecond();
    u64::try_from(ms).map_err(|_| range())
}

/// `None`: no form of time; an error: none that the calendar has.
fn moment(text: &str, now: &Zoned) -> Option<Result<Timestamp, jiff::Error>> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(Ok(time));
    }
    if let Ok(local) = text.parse::<DateTime>() {
        return Some(local.to_zoned(now.time_zone().clone()).map(|it| it.timestamp()));
    }
    if text.contains(':') {
        return text.parse::<Time>().ok().map(|it| last(it, now));
    }
    let span: Span = text.parse().ok()?;
    Some(now.checked_sub(span.abs()).map(|it| it.timestamp()))
}

fn last(time: Time, now: &Zoned) -> Result<Timestamp, jiff::Error> {
    let today = now.with().time(time).build()?;
    let past = if today > *now { today.checked_sub(1.day())? } else { today };
    Ok(past.timestamp())
}

#[cfg(test)]
mod tests {
    use jiff::tz::{Offset, TimeZone};

    use super::*;

    /// 2026-11-21 12:00 in a zone two hours ahead of UTC.
    fn noon() -> Zoned {
        let zone = TimeZone::fixed(Offset::constant(2));
        "2026-11-21T10:00:00Z".parse::<Timestamp>().unwrap().to_zoned(zone)
    }

    #[test]
    fn times_have_milliseconds_and_survive() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_795_257_000_007), "2026-11-21T10:30:00.007Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-30T22:00:00.999Z");
        assert_eq!(parse_rfc3339(&rfc3339(1_795_257_000_007)), Some(1_795_257_000_007));
        assert_eq!(parse_rfc3339("1969-01-01T00:00:00Z"), None);
    }

    #[test]
    fn every_form_of_since_is_understood() {
        for (text, expected) in [
            ("2026-11-20T14:30:00Z", "2026-11-20T14:30:00.000Z"),
            ("2026-11-20T14:30:00.25+01:00", "2026-11-20T13:30:00.250Z"),
            ("2026-11-20", "2026-11-19T22:00:00.000Z"),
            ("2026-11-20T14:30", "2026-11-20T12:30:00.000Z"),
            ("2026-11-20 14:30:05", "2026-11-20T12:30:05.000Z"),
            ("11:30", "2026-11-21T09:30:00.000Z"),
            ("12:00:00", "2026-11-21T10:00:00.000Z"),
            ("14:30", "2026-11-20T12:30:00.000Z"),
            ("10m", "2026-11-21T09:50:00.000Z"),
            ("10m ago", "2026-11-21T09:50:00.000Z"),
            ("1h30m", "2026-11-21T08:30:00.000Z"),
            ("500ms", "2026-11-21T09:59:59.500Z"),
            ("2d", "2026-11-19T10:00:00.000Z"),
        ] {
            assert_eq!(since(text, &noon()).map(rfc3339).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_an_error_with_examples() {
        for text in ["", "yesterdayish", "10", "25:00", "2026-13-01", "10 parsecs"] {
            let error = since(text, &noon()).unwrap_err();
            assert_eq!(error, SinceError::Form { text: text.to_owned() });
            assert!(error.to_string().contains("`10m`"));
        }
        for text in ["1969-01-01", "9000y", "100y"] {
            let error = since(text, &noon()).unwrap_err();
            assert_eq!(error, SinceError::Range { text: text.to_owned() });
        }
    }
}
