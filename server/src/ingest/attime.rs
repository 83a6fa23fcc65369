//! The times of `/ingest` and `/pyroscope/render`: `now-1h`, seconds, milliseconds, microseconds, nanoseconds, YYYYMMDD.

const SECOND_NS: i64 = 1_000_000_000;
const DAY_S: i64 = 86_400;

/// Nanoseconds since the epoch; None where the text is no time.
pub fn parse(text: &str, now_ns: i64) -> Option<i64> {
    if let Some(offset) = text.strip_prefix("now") {
        return relative(offset, now_ns);
    }
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: i64 = text.parse().ok()?;
    match text.len() {
        8 => date(number),
        13 => number.checked_mul(1_000_000),
        16 => number.checked_mul(1_000),
        17.. => Some(number),
        _ => number.checked_mul(SECOND_NS),
    }
}

fn relative(offset: &str, now_ns: i64) -> Option<i64> {
    let (sign, rest) = match offset.split_at_checked(1) {
        None => return offset.is_empty().then_some(now_ns),
        Some(("-", rest)) => (-1, rest),
        Some(("+", rest)) => (1, rest),
        Some(_) => return None,
    };
    let digits = rest.find(|char: char| !char.is_ascii_digit())?;
    let (count, unit) = rest.split_at_checked(digits)?;
    let unit_s = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => DAY_S,
        "w" => 7 * DAY_S,
        "M" | "mon" => 30 * DAY_S,
        "y" => 365 * DAY_S,
        _ => return None,
    };
    let count: i64 = count.parse().ok()?;
    let offset_ns = count.checked_mul(unit_s)?.checked_mul(SECOND_NS)?.checked_mul(sign)?;
    now_ns.checked_add(offset_ns)
}

/// Days since the epoch of a date in the civil calendar, counted in eras of 400 years that begin in March.
fn date(yyyymmdd: i64) -> Option<i64> {
    let (year, month, day) = (
        yyyymmdd.checked_div(10_000)?,
        yyyymmdd.checked_div(100)?.checked_rem(100)?,
        yyyymmdd.checked_rem(100)?,
    );
    if !(1970..=2200).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let era = year.checked_div(400)?;
    let year_of_era = year.checked_rem(400)?;
    let month_from_march = month.checked_add(9)?.checked_rem(12)?;
    let day_of_year = month_from_march
        .checked_mul(153)?
        .checked_add(2)?
        .checked_div(5)?
        .checked_add(day)?
        .checked_sub(1)?;
    let leap_days = year_of_era.checked_div(4)?.checked_sub(year_of_era.checked_div(100)?)?;
    let day_of_era =
        year_of_era.checked_mul(365)?.checked_add(leap_days)?.checked_add(day_of_year)?;
    let days = era.checked_mul(146_097)?.checked_add(day_of_era)?.checked_sub(719_468)?;
    days.checked_mul(DAY_S)?.checked_mul(SECOND_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let now_ns = 1_795_312_420 * SECOND_NS;
        let check = |text: &str, seconds: Option<i64>| {
            assert_eq!(parse(text, now_ns), seconds.map(|s| s * SECOND_NS), "{text}");
        };
        check("now", Some(1_795_312_420));
        check("now-1h", Some(1_795_308_820));
        check("now-5min", Some(1_795_312_120));
        check("now+1d", Some(1_795_398_820));
        check("1795312420", Some(1_795_312_420));
        check("1795312420000", Some(1_795_312_420));
        check("1795312420000000", Some(1_795_312_420));
        check("1795312420000000000", Some(1_795_312_420));
        check("20261123", Some(1_795_392_000));
        check("19700101", Some(0));
        check("20240229", Some(1_709_164_800));
        check("0", Some(0));
        for wrong in [
            "",
            "now-",
            "now-1",
            "now-x",
            "now-1q",
            "-5",
            "1e9",
            "99999999999999999999999",
            "20261301",
        ] {
            check(wrong, None);
        }
    }
}
