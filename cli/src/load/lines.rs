//! The text of a YAML file in; its values, and the line that a key stands in, out.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_yaml::Value;

use super::check::{self, Problem};
use super::tree::{self, dotted};
use super::{Error, File};

/// What the search stops with. The parser adds the line.
const FOUND: &str = "found";

/// The values in `file`. An empty file has none.
pub(super) fn parse(file: &File) -> Result<Value, Error> {
    if let Some((problem, line)) = check::first_problem(&file.text) {
        let message = match problem {
            Problem::Twice(path) => {
                let first = find(&file.text, &path).map(|line| format!(", first in line {line}"));
                format!("{}: is given twice{}: keep one", dotted(&path), first.unwrap_or_default())
            }
            Problem::NoText(path) => {
                let section = if path.is_empty() { String::new() } else { dotted(&path) + ": " };
                format!("{section}a key is no text: write `key: value`")
            }
        };
        return Err(Error { origin: origin(file, line), message });
    }
    match serde_yaml::from_str(&file.text) {
        Ok(Value::Null) => Ok(tree::empty()),
        Ok(keys @ Value::Mapping(_)) => Ok(keys),
        Ok(_) => Err(Error {
            origin: origin(file, Some(1)),
            message: "not settings: write `key: value`".to_owned(),
        }),
        Err(error) => {
            let text = error.to_string();
            // The place is said in front.
            let message = text.split(" at line ").next().unwrap_or(&text).to_owned();
            Err(Error { origin: origin(file, error.location().map(|place| place.line())), message })
        }
    }
}

/// The error `message` about the setting at `path` of `file`.
pub(super) fn error(file: &File, path: &[String], message: &str) -> Error {
    let line = (1..=path.len()).rev().find_map(|n_keys| find(&file.text, &path[..n_keys]));
    Error { origin: origin(file, line), message: message.to_owned() }
}

/// The scalar at `path` as it is written, where it is one: of `0123` YAML makes a number.
pub(super) fn scalar(file: &File, path: &[String]) -> Option<String> {
    let found = RefCell::new(None);
    let search = Search { path, scalar: Some(&found) };
    search.deserialize(serde_yaml::Deserializer::from_str(&file.text)).ok()?;
    found.into_inner()
}

/// The line, from 1, that the key at `path` stands in.
pub(super) fn find(text: &str, path: &[String]) -> Option<usize> {
    let error = Search { path, scalar: None }
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .err()?;
    error.to_string().contains(FOUND).then(|| error.location())?.map(|place| place.line())
}

fn origin(file: &File, line: Option<usize>) -> String {
    let line = line.map(|line| format!(":{line}")).unwrap_or_default();
    format!("{}{line}", file.path.display())
}

/// Walks down `path`, and fails at its last key, an error being all that the parser gives the line of; or keeps the scalar there.
struct Search<'a> {
    path: &'a [String],
    scalar: Option<&'a RefCell<Option<String>>>,
}

impl<'de> DeserializeSeed<'de> for Search<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.scalar {
            Some(_) if self.path.is_empty() => deserializer.deserialize_str(self),
            _ => deserializer.deserialize_map(self),
        }
    }
}

impl<'de> Visitor<'de> for Search<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        if let Some(found) = self.scalar {
            found.replace(Some(text.to_owned()));
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((first, rest)) = self.path.split_first() else { return Ok(()) };
        let is_last = rest.is_empty() && self.scalar.is_none();
        while let Some(is_it) = map.next_key_seed(Key { wanted: first, is_last })? {
            if is_it {
                map.next_value_seed(Search { path: rest, scalar: self.scalar })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct Key<'a> {
    wanted: &'a str,
    is_last: bool,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<bool, E> {
        if key == self.wanted && self.is_last {
            return Err(E::custom(FOUND));
        }
        Ok(key == self.wanted)
    }
}
