//! `512MiB` or `4096` <-> a number of bytes.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::{Serialize, Serializer};

/// In bytes, rising.
const UNITS: [(&str, u64); 6] =
    [("", 1), ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl Bytes {
    /// That many times 1,048,576.
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    /// As a length in memory.
    pub fn len(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Whether it is none at all.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes =
            crate::split(text).and_then(|(number, unit)| crate::multiply(number, unit, &UNITS));
        bytes.map(Self).ok_or_else(|| {
            format!("bad size {text:?}: write a whole number and B, KiB, MiB, GiB or TiB")
        })
    }
}

impl fmt::Display for Bytes {
    /// In the largest unit that needs no fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0"),
            bytes => f.write_str(&crate::shown(bytes, &UNITS)),
        }
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of bytes, as in 512MiB or 4096 (units: B, KiB, MiB, GiB, TiB)")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Bytes, E> {
        Ok(Bytes(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Bytes, E> {
        text.parse().map_err(|_invalid| E::invalid_value(Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::Bytes;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes, shown) in [
            ("0", 0, "0"),
            ("1", 1, "1B"),
            ("4096", 4096, "4KiB"),
            ("100B", 100, "100B"),
            ("64KiB", 65_536, "64KiB"),
            ("512MiB", 512 << 20, "512MiB"),
            ("1024MiB", 1 << 30, "1GiB"),
            ("2TiB", 2 << 40, "2TiB"),
            ("18446744073709551615", u64::MAX, "18446744073709551615B"),
        ] {
            let size: Bytes = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, shown));
            let json = serde_json::to_string(&size).unwrap();
            assert_eq!(serde_json::from_str::<Bytes>(&json).unwrap(), size, "{json}");
        }
        assert_eq!(serde_json::from_str::<Bytes>("4096").unwrap(), Bytes(4096));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "MiB", "-1", "1.5GiB", "1MB", "1mib", "1 MiB", "1K", "16777216TiB"] {
            let error = text.parse::<Bytes>().unwrap_err();
            assert!(error.starts_with(&format!("bad size {text:?}")), "{error}");
            assert!(serde_json::from_value::<Bytes>(text.into()).is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Bytes>("-1").is_err());
        assert!(serde_json::from_str::<Bytes>("1.5").is_err());
    }
}
