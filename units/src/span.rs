//! `500ms`, `10s`, `31d` <-> a length of time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};

/// In milliseconds, rising.
const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A length of time in whole milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

impl Span {
    /// That many seconds.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// That many days of 24 hours.
    pub const fn from_days(days: u64) -> Self {
        Self(Duration::from_secs(days * 86_400))
    }

    /// The same for the standard library.
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// Nanoseconds, at most as many as there is room for.
    pub fn ns(self) -> i64 {
        i64::try_from(self.0.as_nanos()).unwrap_or(i64::MAX)
    }

    /// Reads also a number without a unit, which is in seconds.
    pub fn parse_seconds(text: &str) -> Option<Self> {
        let is_bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_bare { format!("{text}s").parse().ok() } else { text.parse().ok() }
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let milliseconds =
            crate::split(text).and_then(|(number, unit)| crate::multiply(number, unit, &UNITS));
        milliseconds.map(|number| Self(Duration::from_millis(number))).ok_or_else(|| {
            format!(
                "bad duration {text:?}: write a whole number and a unit, as in 500ms, 10s, 1m, 2h or 31d"
            )
        })
    }
}

impl fmt::Display for Span {
    /// In the largest unit that needs no fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis() as u64 {
            0 => f.write_str("0s"),
            total => f.write_str(&crate::shown(total, &UNITS)),
        }
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration as in 500ms, 10s, 1m, 2h or 31d")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Span, E> {
        text.parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The error has to arise within the deserializer: then it says where.
        deserializer.deserialize_str(TextVisitor)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::Span;

    #[test]
    fn durations_are_read_and_shown() {
        for (text, milliseconds, shown) in [
            ("500ms", 500, "500ms"),
            ("10s", 10_000, "10s"),
            ("1m", 60_000, "1m"),
            ("90s", 90_000, "90s"),
            ("120m", 7_200_000, "2h"),
            ("31d", 2_678_400_000, "31d"),
            ("007s", 7_000, "7s"),
            ("0s", 0, "0s"),
            ("0ms", 0, "0s"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(
                (span.duration().as_millis(), span.to_string().as_str()),
                (milliseconds, shown)
            );
            let json = serde_json::to_string(&span).unwrap();
            assert_eq!(serde_json::from_str::<Span>(&json).unwrap(), span, "{json}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "10",
            "s",
            "-1s",
            "+1s",
            "1.5s",
            "1 s",
            " 1s",
            "1s ",
            "1w",
            "10S",
            "1h30m",
            "١s",
            "99999999999999999999s",
            "9999999999999999h",
        ] {
            let error = text.parse::<Span>().unwrap_err();
            assert!(error.starts_with(&format!("bad duration {text:?}")), "{error}");
            assert!(serde_json::from_value::<Span>(text.into()).is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Span>("10").is_err(), "a number has no unit");
    }

    #[test]
    fn a_number_without_a_unit_is_in_seconds_where_that_is_allowed() {
        let parse = |text| Span::parse_seconds(text).map(|span| span.duration().as_millis());
        assert_eq!(
            ["8", "8s", "500ms", "1m", "", "s", "-1", "1.5", "99999999999999999999"].map(parse),
            [Some(8_000), Some(8_000), Some(500), Some(60_000), None, None, None, None, None]
        );
    }

    #[test]
    fn nanoseconds_end_where_the_number_does() {
        assert_eq!(Span::from_days(1).ns(), 86_400_000_000_000);
        assert_eq!(Span::from_days(1 << 40).ns(), i64::MAX);
    }
}
