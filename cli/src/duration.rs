//! What follows `-d` in; a duration out.

use std::time::Duration;

const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("", 1_000)];

/// Reads `8` (seconds), `8s`, `500ms`, `1m` or `1h`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no duration: write 8 (seconds), 8s, 500ms, 1m or 1h");
    let n_digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(n_digits);
    let number: u64 = number.parse().map_err(|_invalid| bad())?;
    let (_, milliseconds) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
    let total = number.checked_mul(*milliseconds).ok_or_else(bad)?;
    if total == 0 {
        return Err("a recording of no time has no samples".to_owned());
    }
    Ok(Duration::from_millis(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, milliseconds) in [
            ("8", 8_000),
            ("8s", 8_000),
            ("500ms", 500),
            ("1m", 60_000),
            ("2h", 7_200_000),
            ("007", 7_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "s",
            "-1",
            "1.5s",
            "1 s",
            "1d",
            "1S",
            "0",
            "0ms",
            "99999999999999999999",
            "9999999999999999h",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
