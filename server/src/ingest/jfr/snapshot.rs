//! The labels that a Java agent sends beside its recording: contexts of events -> names and values.

use prost::Message;
use std::collections::HashMap;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Snapshot {
    #[prost(map = "int64, message", tag = "1")]
    pub(super) contexts: HashMap<i64, Context>,
    #[prost(map = "int64, string", tag = "2")]
    pub(super) strings: HashMap<i64, String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Context {
    #[prost(map = "int64, int64", tag = "1")]
    pub(super) labels: HashMap<i64, i64>,
}

impl Snapshot {
    /// The keys of names and values, sorted by name.
    pub(super) fn labels(&self, context: i64) -> Vec<(i64, i64)> {
        let context = self.contexts.get(&context);
        let mut labels: Vec<(i64, i64)> = context
            .into_iter()
            .flat_map(|context| &context.labels)
            .filter(|(name, value)| !self.text(**name).is_empty() && !self.text(**value).is_empty())
            .map(|(name, value)| (*name, *value))
            .collect();
        labels.sort_unstable_by_key(|(name, _)| self.text(*name));
        labels
    }

    pub(super) fn text(&self, key: i64) -> &str {
        self.strings.get(&key).map_or("", String::as_str)
    }
}
