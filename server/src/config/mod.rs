//! What config/server.yaml, the environment and flags say -> checked settings for each stage.

mod sections;

use crate::api;
use crate::ingest;
use crate::store;
use serde::{Deserialize, Serialize};
use serde_yaml::Value;
use std::path::PathBuf;
use units::{Bytes, Span};

/// Every key has a default, and an unknown key is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub listen: String,
    /// Empty: the caller chooses.
    pub data: PathBuf,
    pub retention: Span,
    pub retention_hours: Span,
    pub retention_days: Span,
    pub storage_max: Bytes,
    pub memory_max: Bytes,
    pub blocks: Blocks,
    pub multitenancy_enabled: bool,
    /// Empty: none.
    pub overrides_file: PathBuf,
    pub limits: Limits,
    pub query: Query,
    pub http: Http,
    pub auth: Auth,
    pub tls: Tls,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Blocks {
    pub flush_after: Span,
    pub merge_after: Span,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub body: Bytes,
    pub bodies: Bytes,
    pub profile: Bytes,
    pub profile_samples: usize,
    pub stack_depth: usize,
    pub symbol: Bytes,
    pub sample_labels: usize,
    pub label_names: usize,
    pub label_name: Bytes,
    pub label_value: Bytes,
    pub series: usize,
    pub ahead: Span,
    /// Bytes a second; 0: as many as come.
    pub rate: Bytes,
    pub burst: Bytes,
    /// 0: any.
    pub query_range: Span,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    pub nodes: i64,
    pub max_nodes: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    pub connections: usize,
    pub connections_per_address: usize,
    pub header_timeout: Span,
    pub body_timeout: Span,
    pub idle_timeout: Span,
    pub write_timeout: Span,
}

pub use crate::config::sections::{Auth, Tls};

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {what}")]
pub struct Error {
    pub key: &'static str,
    pub what: String,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: "127.0.0.1:4040".to_owned(),
            data: PathBuf::new(),
            retention: Span::from_days(31),
            retention_hours: Span::from_days(400),
            retention_days: Span::from_days(36_500),
            storage_max: Bytes::from_mib(20 << 10),
            memory_max: Bytes::from_mib(512),
            blocks: Blocks::default(),
            multitenancy_enabled: false,
            overrides_file: PathBuf::new(),
            limits: Limits::default(),
            query: Query::default(),
            http: Http::default(),
            auth: Auth::default(),
            tls: Tls::default(),
        }
    }
}

impl Default for Blocks {
    fn default() -> Blocks {
        Blocks { flush_after: Span::from_seconds(300), merge_after: Span::from_seconds(600) }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body: Bytes::from_mib(64),
            bodies: Bytes::from_mib(256),
            profile: Bytes::from_mib(16),
            profile_samples: 200_000,
            stack_depth: 1_000,
            symbol: Bytes(65_535),
            sample_labels: 100,
            label_names: 30,
            label_name: Bytes(1_024),
            label_value: Bytes(2_048),
            series: 100_000,
            ahead: Span::from_seconds(600),
            rate: Bytes(0),
            burst: Bytes::from_mib(256),
            query_range: Span::default(),
        }
    }
}

impl Default for Query {
    fn default() -> Query {
        Query { nodes: 8_192, max_nodes: 1_048_576 }
    }
}

impl Default for Http {
    fn default() -> Http {
        Http {
            connections: 1_024,
            connections_per_address: 512,
            header_timeout: Span::from_seconds(10),
            body_timeout: Span::from_seconds(60),
            idle_timeout: Span::from_seconds(120),
            write_timeout: Span::from_seconds(30),
        }
    }
}

impl Http {
    fn validate(&self) -> Result<(), Error> {
        let more_than_zero = [
            (self.connections > 0, "http.connections", "must be 1 or more"),
            (self.connections_per_address > 0, "http.connections_per_address", "must be 1 or more"),
            (self.header_timeout > Span::default(), "http.header_timeout", "must be more than 0s"),
            (self.body_timeout > Span::default(), "http.body_timeout", "must be more than 0s"),
            (self.idle_timeout > Span::default(), "http.idle_timeout", "must be more than 0s"),
            (self.write_timeout > Span::default(), "http.write_timeout", "must be more than 0s"),
        ];
        match more_than_zero.into_iter().find(|(is_right, ..)| !is_right) {
            Some((_, key, what)) => Err(Error { key, what: what.to_owned() }),
            None => Ok(()),
        }
    }
}

/// The keys of one that are not in the other, or have another value there.
fn changed(own: &Value, default: &Value) -> Value {
    let (Some(own), Some(default)) = (own.as_mapping(), default.as_mapping()) else {
        return own.clone();
    };
    let entries = own.iter().filter(|(key, value)| default.get(key) != Some(*value));
    let entries = entries.map(|(key, value)| {
        let default = default.get(key).cloned().unwrap_or_default();
        (key.clone(), changed(value, &default))
    });
    Value::Mapping(entries.collect())
}

fn check(is_right: bool, key: &'static str, what: &str) -> Result<(), Error> {
    if is_right { Ok(()) } else { Err(Error { key, what: what.to_owned() }) }
}

/// Whether `listen` can be an address at all: that its host has one shows when it is opened.
fn has_port(listen: &str) -> bool {
    listen
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

impl Query {
    fn validate(&self) -> Result<(), Error> {
        check(self.nodes > 0, "query.nodes", "must be 1 or more")?;
        let fits = self.max_nodes >= self.nodes;
        if self.max_nodes == Query::default().max_nodes {
            let what = "must not be more than query.max_nodes, which is 1048576 if it is not set";
            return check(fits, "query.nodes", what);
        }
        check(
            fits,
            "query.max_nodes",
            "must not be less than query.nodes, which is 8192 if it is not set",
        )
    }
}

impl Config {
    /// Names the first key whose value cannot work.
    pub fn validate(&self) -> Result<(), Error> {
        let limits = &self.limits;
        check(
            !self.listen.is_empty(),
            "listen",
            "is empty; write ADDRESS:PORT, as in 127.0.0.1:4040",
        )?;
        check(
            has_port(&self.listen),
            "listen",
            "is not ADDRESS:PORT with a port up to 65535, as in 127.0.0.1:4040",
        )?;
        check(self.retention >= Span::from_seconds(60), "retention", "must be 1m or more")?;
        check(self.retention <= Span::from_days(36_500), "retention", "must be 36500d or less")?;
        check(
            self.retention_hours >= self.retention,
            "retention_hours",
            "must not be less than retention",
        )?;
        check(
            self.retention_days >= self.retention_hours,
            "retention_days",
            "must not be less than retention_hours",
        )?;
        check(
            self.retention_days <= Span::from_days(36_500),
            "retention_days",
            "must be 36500d or less",
        )?;
        check(self.storage_max >= Bytes::from_mib(1), "storage_max", "must be 1MiB or more")?;
        check(self.memory_max >= Bytes::from_mib(1), "memory_max", "must be 1MiB or more")?;
        check(
            self.blocks.flush_after >= Span::from_seconds(1),
            "blocks.flush_after",
            "must be 1s or more",
        )?;
        check((1..=1 << 30).contains(&limits.body.0), "limits.body", "must be 1 to 1GiB")?;
        // Of two keys that do not fit, the one that was set is named.
        if limits.body > Limits::default().body && limits.bodies == Limits::default().bodies {
            let what = "must not be more than limits.bodies, which is 256MiB if it is not set";
            check(limits.bodies >= limits.body, "limits.body", what)?;
        }
        check(limits.bodies >= limits.body, "limits.bodies", "must not be less than limits.body")?;
        check((1..=1 << 30).contains(&limits.profile.0), "limits.profile", "must be 1 to 1GiB")?;
        check(limits.profile_samples > 0, "limits.profile_samples", "must be 1 or more")?;
        check(limits.stack_depth > 0, "limits.stack_depth", "must be 1 or more")?;
        check(limits.symbol.0 > 0, "limits.symbol", "must be 1 or more")?;
        check(limits.series > 0, "limits.series", "must be 1 or more")?;
        check(limits.ahead <= Span::from_days(365), "limits.ahead", "must be 365d or less")?;
        check(
            limits.rate.is_empty() || limits.burst >= limits.body,
            "limits.burst",
            "must not be less than limits.body, or some requests never fit",
        )?;
        self.query.validate()?;
        self.http.validate()?;
        self.auth.validate()?;
        self.tls.validate()
    }

    pub(crate) fn store(&self) -> store::Config {
        store::Config {
            memory_max_bytes: self.memory_max.0,
            storage_max_bytes: self.storage_max.0,
            retention_ns: self.retention.ns(),
            retention_hours_ns: self.retention_hours.ns(),
            retention_days_ns: self.retention_days.ns(),
            flush_after: self.blocks.flush_after.duration(),
            merge_after: self.blocks.merge_after.duration(),
            max_series: self.limits.series,
            directory: self.data.clone(),
        }
    }

    pub(crate) fn ingest(&self) -> ingest::Config {
        ingest::Config {
            max_profile_bytes: self.limits.profile.len(),
            max_samples: self.limits.profile_samples,
            max_stack_depth: self.limits.stack_depth,
            max_symbol_bytes: self.limits.symbol.len(),
            max_sample_labels: self.limits.sample_labels,
            max_label_names: self.limits.label_names,
            max_label_name_bytes: self.limits.label_name.len(),
            max_label_value_bytes: self.limits.label_value.len(),
            retention_ns: self.retention.ns(),
            max_ahead_ns: self.limits.ahead.ns(),
        }
    }

    /// As it is shown to whoever asks.
    pub(crate) fn shown(&self) -> api::Shown {
        let yaml = |config: &Config| serde_yaml::to_value(config).unwrap_or_default();
        let (own, default) = (yaml(self), yaml(&Config::default()));
        let text = |value: &Value| serde_yaml::to_string(value).unwrap_or_default();
        api::Shown {
            config: text(&own),
            defaults: text(&default),
            changed: text(&changed(&own, &default)),
        }
    }

    pub(crate) fn api(&self) -> api::Config {
        api::Config {
            max_body_bytes: self.limits.body.len(),
            max_bodies_bytes: self.limits.bodies.len(),
            body_timeout: self.http.body_timeout.duration(),
            default_max_nodes: self.query.nodes,
            max_max_nodes: self.query.max_nodes,
        }
    }
}

#[cfg(test)]
mod tests;
