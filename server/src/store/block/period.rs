//! The stretch of time that a block is of, the windows in it, and which flushes of the log it holds.

use std::fmt;

const HOUR_NS: i64 = 3_600 * 1_000_000_000;
pub const DAY_NS: i64 = 24 * HOUR_NS;

/// A UTC day has a window for each hour, a month one for each day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// Days since the epoch.
    Day(i32),
    /// Months since the year 0.
    Month(i32),
}

impl Period {
    pub fn day_of(time_ns: i64) -> Period {
        Period::Day(time_ns.div_euclid(DAY_NS) as i32)
    }

    /// The month that a day is in.
    pub fn month_of_day(day: i32) -> Period {
        let (year, month, _) = civil(day);
        Period::Month(year * 12 + month - 1)
    }

    pub fn start_ns(self) -> i64 {
        i64::from(self.first_day()).saturating_mul(DAY_NS)
    }

    /// The last nanosecond.
    pub fn end_ns(self) -> i64 {
        let next = match self {
            Period::Day(day) => Period::Day(day + 1),
            Period::Month(month) => Period::Month(month + 1),
        };
        next.start_ns() - 1
    }

    pub fn first_day(self) -> i32 {
        match self {
            Period::Day(day) => day,
            Period::Month(month) => days_from_civil(month.div_euclid(12), month.rem_euclid(12) + 1),
        }
    }

    pub fn window_ns(self) -> i64 {
        match self {
            Period::Day(_) => HOUR_NS,
            Period::Month(_) => DAY_NS,
        }
    }

    pub fn window_of(self, time_ns: i64) -> u32 {
        (time_ns - self.start_ns()).div_euclid(self.window_ns()) as u32
    }

    pub fn window_start_ns(self, window: u32) -> i64 {
        self.start_ns().saturating_add(i64::from(window).saturating_mul(self.window_ns()))
    }
}

/// The folder's name: `2026-11-25`, `2026-11`.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.first_day());
        match self {
            Period::Day(_) => write!(f, "{year:04}-{month:02}-{day:02}"),
            Period::Month(_) => write!(f, "{year:04}-{month:02}"),
        }
    }
}

/// Year, month and day of the Gregorian calendar; months begin with March inside, so that the leap day is a year's last.
fn civil(day: i32) -> (i32, i32, i32) {
    let from_march = i64::from(day) + 719_468;
    let era = from_march.div_euclid(146_097);
    let day_of_era = from_march.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year as i32, month as i32, day_of_month as i32)
}

fn days_from_civil(year: i32, month: i32) -> i32 {
    let year = i64::from(year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let march_month = i64::from((month + 9) % 12);
    let day_of_year = (153 * march_month + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era - 719_468) as i32
}

/// Numbers of log segments, as ranges with both ends included, ascending and apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flushes(Vec<(u64, u64)>);

impl Flushes {
    pub fn one(number: u64) -> Flushes {
        Flushes(vec![(number, number)])
    }

    pub fn from_ranges(mut ranges: Vec<(u64, u64)>) -> Flushes {
        ranges.retain(|(first, last)| first <= last);
        ranges.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::new();
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last);
                }
                _ => merged.push((first, last)),
            }
        }
        Flushes(merged)
    }

    pub fn ranges(&self) -> &[(u64, u64)] {
        &self.0
    }

    pub fn last(&self) -> Option<u64> {
        self.0.last().map(|(_, last)| *last)
    }

    pub fn contains(&self, number: u64) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&number))
    }

    pub fn is_subset(&self, other: &Flushes) -> bool {
        self.0
            .iter()
            .all(|(first, last)| other.0.iter().any(|range| range.0 <= *first && *last <= range.1))
    }

    pub fn overlaps(&self, other: &Flushes) -> bool {
        self.0.iter().any(|mine| other.0.iter().any(|range| range.0 <= mine.1 && mine.0 <= range.1))
    }

    #[must_use]
    pub fn union(&self, other: &Flushes) -> Flushes {
        Flushes::from_ranges([self.0.as_slice(), other.0.as_slice()].concat())
    }

    /// Also counts the numbers between the ranges in, where none of `others` has them: no rows of theirs are anywhere.
    #[must_use]
    pub fn closed(&self, others: &[&Flushes]) -> Flushes {
        let mut closed: Vec<(u64, u64)> = Vec::new();
        for &(first, last) in &self.0 {
            if let Some(before) = closed.last_mut() {
                let gap = Flushes(vec![(before.1.saturating_add(1), first.saturating_sub(1))]);
                if !others.iter().any(|other| other.overlaps(&gap)) {
                    before.1 = last;
                    continue;
                }
            }
            closed.push((first, last));
        }
        Flushes(closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_days_and_months_of_the_calendar() {
        for (day, name, month) in [
            (0, "1970-01-01", "1970-01"),
            (-1, "1969-12-31", "1969-12"),
            (59, "1970-03-01", "1970-03"),
            (11_016, "2000-02-29", "2000-02"),
            (20_782, "2026-11-25", "2026-11"),
        ] {
            assert_eq!(Period::Day(day).to_string(), name);
            let of_day = Period::month_of_day(day);
            assert_eq!(of_day.to_string(), month);
            assert!(of_day.start_ns() <= Period::Day(day).start_ns());
            assert!(of_day.end_ns() >= Period::Day(day).end_ns());
        }
        for month in 23_000..25_000 {
            let (this, next) = (Period::Month(month), Period::Month(month + 1));
            assert_eq!(this.end_ns() + 1, next.start_ns());
            assert_eq!(Period::month_of_day(next.first_day() - 1), this);
        }
    }

    #[test]
    fn flushes_are_sets() {
        let set = |ranges: &[(u64, u64)]| Flushes::from_ranges(ranges.to_vec());
        let all = set(&[(1, 3), (7, 7)]);
        assert_eq!(set(&[(7, 7), (2, 3), (1, 1)]), all);
        assert!(all.contains(2) && !all.contains(4) && all.contains(7));
        assert!(Flushes::one(3).is_subset(&all) && !set(&[(3, 4)]).is_subset(&all));
        assert!(set(&[(4, 7)]).overlaps(&all) && !set(&[(4, 6)]).overlaps(&all));
        assert_eq!(all.closed(&[]), set(&[(1, 7)]));
        assert_eq!(all.closed(&[&Flushes::one(5)]), all);
        assert_eq!(all.union(&Flushes::one(4)), set(&[(1, 4), (7, 7)]));
    }
}
