//! Text that must not be seen in logs, dumps and errors.

use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A password or token. Prints and serializes as `<secret>` (as nothing when it is empty).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the request that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn masked(&self) -> &'static str {
        if self.0.is_empty() { "" } else { "<secret>" }
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.masked())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.masked())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not `deserialize_str`: a deserializer that is asked for text may itself say what it found instead.
        deserializer.deserialize_any(TextVisitor)
    }
}

/// serde's own messages repeat what stands there instead of text.
struct TextVisitor;

impl TextVisitor {
    fn refuse<E: Error>(&self, what: &str) -> Result<Secret, E> {
        Err(E::invalid_type(Unexpected::Other(what), self))
    }
}

impl Visitor<'_> for TextVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text: put it in quotes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret(text.to_owned()))
    }

    fn visit_bool<E: Error>(self, _value: bool) -> Result<Secret, E> {
        self.refuse("true or false")
    }

    fn visit_i64<E: Error>(self, _value: i64) -> Result<Secret, E> {
        self.refuse("a number")
    }

    fn visit_i128<E: Error>(self, _value: i128) -> Result<Secret, E> {
        self.refuse("a number")
    }

    fn visit_u64<E: Error>(self, _value: u64) -> Result<Secret, E> {
        self.refuse("a number")
    }

    fn visit_u128<E: Error>(self, _value: u128) -> Result<Secret, E> {
        self.refuse("a number")
    }

    fn visit_f64<E: Error>(self, _value: f64) -> Result<Secret, E> {
        self.refuse("a number")
    }

    fn visit_bytes<E: Error>(self, _bytes: &[u8]) -> Result<Secret, E> {
        self.refuse("bytes")
    }
}
