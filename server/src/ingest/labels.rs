//! The labels of a series: sorted by name, each name once.

use crate::ingest::{Config, Reason};
use std::fmt;

pub const NAME: &str = "__name__";
pub const PROFILE_TYPE: &str = "__profile_type__";
pub const TYPE: &str = "__type__";
pub const UNIT: &str = "__unit__";
pub const PERIOD_TYPE: &str = "__period_type__";
pub const PERIOD_UNIT: &str = "__period_unit__";
pub const SERVICE: &str = "service_name";
pub const SERVICE_KEY: &str = "__service_name__";
pub const SESSION: &str = "__session_id__";
pub const DELTA: &str = "__delta__";
/// Whose a series is: set by us, never by clients, and not there for those of `ANONYMOUS`.
pub const TENANT: &str = "__tenant_id__";
/// The tenant where there are none.
pub const ANONYMOUS: &str = "anonymous";

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels(Vec<(String, String)>);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("label '{0}' is given twice")]
    Duplicate(String),
    #[error("a label name is empty or has a control character")]
    InvalidName,
    #[error("'{0}' is no valid profile name; send __name__ as letters, digits, _ and :")]
    InvalidProfileName(String),
    #[error(
        "label name of {len} bytes, the limit is {limit}; shorten it, or raise limits.label_name"
    )]
    NameTooLong { len: usize, limit: usize },
    #[error(
        "value of label '{name}' of {len} bytes, the limit is {limit}; shorten it, or raise limits.label_value"
    )]
    ValueTooLong { name: String, len: usize, limit: usize },
    #[error("{count} label names, the limit is {limit}; send fewer, or raise limits.label_names")]
    TooMany { count: usize, limit: usize },
    #[error("label __name__ is missing; send the kind of profile in it, as in process_cpu")]
    MissingProfileName,
}

impl Error {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Error::Duplicate(_) => Reason::DuplicateLabelNames,
            Error::InvalidName | Error::InvalidProfileName(_) => Reason::InvalidLabels,
            Error::NameTooLong { .. } => Reason::LabelNameTooLong,
            Error::ValueTooLong { .. } => Reason::LabelValueTooLong,
            Error::TooMany { .. } => Reason::MaxLabelNames,
            Error::MissingProfileName => Reason::MissingLabels,
        }
    }
}

impl Labels {
    /// Sorts the pairs; a name that comes twice is kept twice, for `check` to refuse. Labels without a value are no labels.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Labels {
        let mut pairs: Vec<(String, String)> =
            pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        pairs.sort();
        Labels(pairs)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let index = self.0.binary_search_by(|(have, _)| have.as_str().cmp(name)).ok()?;
        self.0.get(index).map(|(_, value)| value.as_str())
    }

    pub fn set(&mut self, name: &str, value: &str) {
        match self.0.binary_search_by(|(have, _)| have.as_str().cmp(name)) {
            Ok(index) => {
                if let Some((_, old)) = self.0.get_mut(index) {
                    value.clone_into(old);
                }
            }
            Err(index) => self.0.insert(index, (name.to_owned(), value.to_owned())),
        }
    }

    pub fn set_if_absent(&mut self, name: &str, value: &str) {
        if self.get(name).is_none() {
            self.set(name, value);
        }
    }

    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(have, _)| have != name);
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The rules for labels that a client sent.
    pub fn check(&self, config: &Config) -> Result<(), Error> {
        let visible = self.iter().filter(|(name, _)| !name.starts_with("__")).count();
        if visible > config.max_label_names {
            return Err(Error::TooMany { count: visible, limit: config.max_label_names });
        }
        for (name, value) in self.iter() {
            check_pair(name, value, config)?;
        }
        for ((name, _), (next, _)) in self.0.iter().zip(self.0.iter().skip(1)) {
            if name == next {
                return Err(Error::Duplicate(name.clone()));
            }
        }
        let name = self.get(NAME).ok_or(Error::MissingProfileName)?;
        if is_profile_name(name) { Ok(()) } else { Err(Error::InvalidProfileName(name.to_owned())) }
    }
}

fn check_pair(name: &str, value: &str, config: &Config) -> Result<(), Error> {
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(Error::InvalidName);
    }
    check_lengths(name, value, config)
}

pub(super) fn check_lengths(name: &str, value: &str, config: &Config) -> Result<(), Error> {
    if name.len() > config.max_label_name_bytes {
        return Err(Error::NameTooLong { len: name.len(), limit: config.max_label_name_bytes });
    }
    if value.len() > config.max_label_value_bytes {
        let name = name.to_owned();
        return Err(Error::ValueTooLong {
            name,
            len: value.len(),
            limit: config.max_label_value_bytes,
        });
    }
    Ok(())
}

fn is_profile_name(name: &str) -> bool {
    name.chars().next().is_some_and(|first| !first.is_ascii_digit())
        && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_' || char == ':')
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (name, value)) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            // Debug quotes and escapes; the text goes into logs and answers.
            write!(f, "{comma}{name}={value:?}")?;
        }
        f.write_str("}")
    }
}
