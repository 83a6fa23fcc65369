//! The text of a YAML file in; the first key that stands there twice or is no text, with its line, out.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};

/// A key that cannot be, by its path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// The same stands above it.
    Twice(Vec<String>),
    /// It is a number, a list or the like, in the section of this path.
    NoText(Vec<String>),
}

/// What is wrong first, and in which line. Text that is no YAML at all is not judged here.
pub(super) fn first_problem(text: &str) -> Option<(Problem, Option<usize>)> {
    let walk = Walk::default();
    let error = Node(&walk).deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
    let problem = walk.problem.into_inner()?;
    Some((problem, error.location().map(|place| place.line())))
}

/// Where the walk is, and what it stopped at: the parser's errors carry the line and text alone.
#[derive(Default)]
struct Walk {
    path: RefCell<Vec<String>>,
    problem: RefCell<Option<Problem>>,
}

impl Walk {
    fn stop<E: serde::de::Error>(&self, problem: Problem) -> E {
        self.problem.replace(Some(problem));
        E::custom("stopped")
    }
}

/// Any value.
#[derive(Clone, Copy)]
struct Node<'a>(&'a Walk);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key_seed(Key { walk: self.0, seen: &seen })? {
            seen.insert(key.clone());
            self.0.path.borrow_mut().push(key);
            map.next_value_seed(self)?;
            self.0.path.borrow_mut().pop();
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    /// What has a tag.
    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<(), A::Error> {
        let (_tag, value) = tagged.variant::<String>()?;
        value.newtype_variant_seed(self)
    }

    fn visit_bool<E>(self, _value: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _value: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i128<E>(self, _value: i128) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _value: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u128<E>(self, _value: u128) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _value: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _text: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A key among those that were seen in its section.
struct Key<'a> {
    walk: &'a Walk,
    seen: &'a HashSet<String>,
}

impl Key<'_> {
    fn no_text<T, E: serde::de::Error>(&self) -> Result<T, E> {
        Err(self.walk.stop(Problem::NoText(self.walk.path.borrow().clone())))
    }
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Key<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<String, E> {
        if !self.seen.contains(key) {
            return Ok(key.to_owned());
        }
        let mut path = self.walk.path.borrow().clone();
        path.push(key.to_owned());
        Err(self.walk.stop(Problem::Twice(path)))
    }

    fn visit_bool<E: serde::de::Error>(self, _value: bool) -> Result<String, E> {
        self.no_text()
    }

    fn visit_i64<E: serde::de::Error>(self, _value: i64) -> Result<String, E> {
        self.no_text()
    }

    fn visit_i128<E: serde::de::Error>(self, _value: i128) -> Result<String, E> {
        self.no_text()
    }

    fn visit_u64<E: serde::de::Error>(self, _value: u64) -> Result<String, E> {
        self.no_text()
    }

    fn visit_u128<E: serde::de::Error>(self, _value: u128) -> Result<String, E> {
        self.no_text()
    }

    fn visit_f64<E: serde::de::Error>(self, _value: f64) -> Result<String, E> {
        self.no_text()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<String, E> {
        self.no_text()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _items: A) -> Result<String, A::Error> {
        self.no_text()
    }

    fn visit_map<A: MapAccess<'de>>(self, _map: A) -> Result<String, A::Error> {
        self.no_text()
    }
}
