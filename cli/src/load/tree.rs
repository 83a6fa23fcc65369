//! Dotted keys and values in; a tree of settings, and typed settings with the path of what is wrong in them, out.

use std::fmt::{self, Display};

use serde_path_to_error::Segment;
use serde_yaml::{Mapping, Value};

use super::Settings;

/// What serde's message about an unknown key begins with.
const UNKNOWN: &str = "unknown field";
/// What it says of a key without a value.
const NO_VALUE: &str = "invalid type: unit value";

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
        write!(f, "{}: {}", dotted(&self.path), self.message)
    }
}

impl Wrong {
    /// Whether no setting has the key.
    pub(super) fn is_unknown(&self) -> bool {
        self.message.starts_with(UNKNOWN)
    }

    /// Without what stands at or around a setting that may be secret: users mistake passwords for sections, keys and numbers.
    fn masked(mut self, secrets: &[&[&str]]) -> Self {
        let is_near = |secret: &&[&str]| self.path.iter().zip(*secret).all(|(a, b)| a == b);
        if !secrets.iter().any(is_near) {
            return self;
        }
        let is_value = ["invalid type: ", "invalid value: ", "unknown variant "]
            .iter()
            .any(|start| self.message.starts_with(start));
        if let Some((_, expected)) = self.message.rsplit_once("expected ")
            && is_value
        {
            self.message =
                format!("expected {expected} (what is there is not shown: it may be secret)");
        }
        self
    }
}

/// `path` as it is written in messages. Of a key that no key looks like only the beginning is shown: `{admin:hunter2}` is one.
pub(super) fn dotted(path: &[String]) -> String {
    path.iter().map(|key| shown(key)).collect::<Vec<_>>().join(".")
}

fn shown(key: &str) -> String {
    let is_usual = |char: char| char.is_ascii_alphanumeric() || "_-".contains(char);
    match key.find(|char| !is_usual(char)) {
        Some(end) => format!("{}…", &key[..end]),
        None => key.to_owned(),
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
pub(super) fn fill_sections<C: Settings>(tree: &mut Value) {
    fill::<C>(tree, &mut Vec::new());
}

fn fill<C: Settings>(tree: &mut Value, path: &mut Vec<String>) {
    let Value::Mapping(keys) = tree else { return };
    for (key, value) in keys {
        let Some(key) = key.as_str() else { continue };
        path.push(key.to_owned());
        if !value.is_null() {
            fill::<C>(value, path);
        } else if parse::<C>(&single(path, empty())).is_ok() {
            *value = empty();
        }
        path.pop();
    }
}

/// The value at `path`.
pub(super) fn get<'a>(tree: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(tree, |tree, key| tree.get(key.as_str()))
}

/// The settings in `tree`, defaults where it has none.
pub(super) fn parse<C: Settings>(tree: &Value) -> Result<C, Wrong> {
    serde_path_to_error::deserialize(tree).map_err(|error| {
        let name = |segment: &Segment| match segment {
            Segment::Map { key } => Some(key.clone()),
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Enum { .. } | Segment::Unknown => None,
        };
        let path = error.path().iter().filter_map(name).collect();
        Wrong { path, message: plain(&error.inner().to_string()) }.masked(C::SECRETS)
    })
}

/// serde says `u32` and `struct Sampling` to people who know neither.
fn plain(message: &str) -> String {
    let message = match message.strip_prefix(UNKNOWN) {
        Some(rest) => unknown(rest),
        None => message.replacen(NO_VALUE, "has no value", 1),
    };
    let Some((start, expected)) = message.rsplit_once("expected ") else {
        return message;
    };
    let expected = match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" | "i64" => "a whole number",
        _ if expected.starts_with("struct ") => {
            "a section, as in `server:` with indented keys below"
        }
        _ => expected,
    };
    format!("{start}expected {expected}")
}

/// " `key`, expected …" with as much of the key as is shown.
fn unknown(rest: &str) -> String {
    let key_and_rest = rest.strip_prefix(" `").and_then(|rest| rest.split_once("`, "));
    match key_and_rest {
        Some((key, rest)) => format!("{UNKNOWN} `{}`, {rest}", shown(key)),
        None => UNKNOWN.to_owned(),
    }
}

/// Whether `C` has a setting or a section at `path`, whatever its type.
pub(super) fn knows<C: Settings>(path: &[String]) -> bool {
    match parse::<C>(&single(path, Value::Null)) {
        Ok(_) => true,
        Err(wrong) => !wrong.is_unknown(),
    }
}
