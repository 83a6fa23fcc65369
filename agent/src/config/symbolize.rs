//! Section `symbolize` of the settings in; the settings of the names out.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::symbolize as naming;

use units::{Bytes, Span};

use super::{Error, check_range};

/// `symbolize`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Symbolize {
    /// How long the worker may take for one file before it is replaced.
    pub worker_deadline: Span,
    /// Bound on the frames whose names are kept.
    pub cache_frames: usize,
    /// Bound on the debug information that is expanded of one file, where it is compressed.
    pub debug_bytes: Bytes,
    /// What the worker may use of one CPU, after a burst.
    pub cpu_percent: u32,
    /// How C++ names are written.
    pub demangle: Demangle,
    /// Whether `HotSpot` JVMs are asked to write a perf map.
    pub jvm_perf_map: bool,
    /// Servers that debug files are fetched from.
    pub debuginfod: Debuginfod,
}

/// `symbolize.debuginfod`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Debuginfod {
    /// Asked in turn; none: off.
    pub urls: Vec<Url>,
    /// Where the files are kept.
    pub cache_dir: PathBuf,
    /// Bound on all of them together.
    pub cache_bytes: Bytes,
    /// Bound on one.
    pub file_bytes: Bytes,
    /// Longest wait for one.
    pub timeout: Span,
}

impl Default for Debuginfod {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            cache_dir: PathBuf::from("/var/cache/pilotlight/debuginfod"),
            cache_bytes: Bytes(2 << 30),
            file_bytes: Bytes::from_mib(512),
            timeout: Duration::from_mins(2).into(),
        }
    }
}

/// `symbolize.demangle`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Demangle {
    /// Parameters, templates and all.
    Full,
    /// Without parameters and return types.
    Templates,
    /// Without what stands in angle brackets either.
    Simplified,
    /// As the linker has it.
    None,
}

impl Default for Symbolize {
    fn default() -> Self {
        let naming::Config { deadline, cache_entries, debug_bytes, .. } = naming::Config::default();
        Self {
            worker_deadline: deadline.into(),
            cache_frames: cache_entries,
            debug_bytes: Bytes(debug_bytes),
            cpu_percent: 20,
            demangle: Demangle::Full,
            jvm_perf_map: false,
            debuginfod: Debuginfod::default(),
        }
    }
}

impl Symbolize {
    pub(super) fn stage(&self) -> naming::Config {
        naming::Config {
            deadline: self.worker_deadline.duration(),
            cache_entries: self.cache_frames,
            debug_bytes: self.debug_bytes.0,
            cpu_percent: Some(self.cpu_percent),
            demangle: match self.demangle {
                Demangle::Full => naming::Demangle::Full,
                Demangle::Templates => naming::Demangle::Templates,
                Demangle::Simplified => naming::Demangle::Simplified,
                Demangle::None => naming::Demangle::None,
            },
            jvm_perf_map: self.jvm_perf_map,
            debuginfod: self.debuginfod.stage(),
            ..naming::Config::default()
        }
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
        let deadline = self.worker_deadline;
        if deadline.duration() < Duration::from_millis(100)
            || deadline.duration() > Duration::from_mins(1)
        {
            return Err(Error::new(
                "symbolize.worker_deadline",
                format!("{deadline} is not between 100ms and 1m"),
            ));
        }
        self.debuginfod.validate()?;
        check_range("symbolize.cpu_percent", self.cpu_percent.into(), 1, 100)?;
        check_range("symbolize.cache_frames", self.cache_frames as u64, 1024, 16_777_216)
    }
}

impl Debuginfod {
    fn stage(&self) -> naming::debuginfod::Config {
        naming::debuginfod::Config {
            urls: self.urls.clone(),
            cache_folder: self.cache_dir.clone(),
            cache_bytes: self.cache_bytes.0,
            file_bytes: self.file_bytes.0,
            timeout: self.timeout.duration(),
        }
    }

    fn validate(&self) -> Result<(), Error> {
        let key = "symbolize.debuginfod.urls";
        for url in &self.urls {
            if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
                return Err(Error::new(key, format!("{url} is no http or https address")));
            }
            if !url.username().is_empty() || url.password().is_some() {
                return Err(Error::new(key, "addresses are logged: none may have a password"));
            }
        }
        Ok(())
    }
}
