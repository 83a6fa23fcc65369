//! Dotted keys and values in; a tree of settings, and typed settings with the path of what is wrong in them, out.

use std::fmt::{self, Display};

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use serde_yaml::{Mapping, Value};

/// What serde's message about an unknown key begins with.
const UNKNOWN: &str = "unknown field";

/// A value that its setting cannot have, or a key that no setting has.
#[derive(Debug)]
pub(super) struct Wrong {
    /// Where.
    pub(super) path: Vec<String>,
    message: String,
}

impl Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "{}: {}", self.path.join("."), self.message)
    }
}

/// A tree in which nothing is set.
pub(super) fn empty() -> Value {
    Value::Mapping(Mapping::new())
}

/// The tree in which only `path` is set.
pub(super) fn single(path: &[String], value: Value) -> Value {
    let mut tree = empty();
    set(&mut tree, path, value);
    tree
}

/// Sets `path` to `value`.
pub(super) fn set(tree: &mut Value, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        *tree = value;
        return;
    };
    if !tree.is_mapping() {
        *tree = empty();
    }
    if let Value::Mapping(keys) = tree {
        set(keys.entry(Value::from(first.as_str())).or_insert(Value::Null), rest, value);
    }
}

/// Removes a key at the top.
pub(super) fn remove(tree: &mut Value, key: &str) {
    if let Value::Mapping(keys) = tree {
        keys.remove(key);
    }
}

/// The keys at the top.
pub(super) fn keys(tree: &Value) -> Vec<String> {
    let Value::Mapping(keys) = tree else { return Vec::new() };
    keys.keys().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A section whose keys are all commented out has no value; it means that nothing in it is set.
pub(super) fn sections(keys: Mapping) -> Value {
    let filled = |(key, value)| (key, if value == Value::Null { empty() } else { value });
    Value::Mapping(keys.into_iter().map(filled).collect())
}

/// The settings in `tree`, defaults where it has none.
pub(super) fn parse<C: DeserializeOwned>(tree: &Value) -> Result<C, Wrong> {
    serde_path_to_error::deserialize(tree).map_err(|error| {
        let name = |segment: &Segment| match segment {
            Segment::Map { key } => Some(key.clone()),
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Enum { .. } | Segment::Unknown => None,
        };
        Wrong {
            path: error.path().iter().filter_map(name).collect(),
            message: plain(&error.inner().to_string()),
        }
    })
}

/// serde says `u32` and `struct Sampling` to people who know neither.
fn plain(message: &str) -> String {
    let Some((start, expected)) = message.rsplit_once("expected ") else {
        return message.to_owned();
    };
    let expected = match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number",
        _ if expected.starts_with("struct ") => {
            "a section, as in `server:` with indented keys below"
        }
        _ => expected,
    };
    format!("{}expected {expected}", start.replace("unit value", "no value"))
}

/// Whether `C` has a setting or a section at `path`, whatever its type.
pub(crate) fn knows<C: DeserializeOwned>(path: &[String]) -> bool {
    match parse::<C>(&single(path, Value::Null)) {
        Ok(_) => true,
        Err(wrong) => !wrong.message.starts_with(UNKNOWN),
    }
}
