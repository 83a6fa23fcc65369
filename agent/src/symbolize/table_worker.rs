//! Open files in; their unwind tables, made by a worker of their own, out. Naming a window can take seconds; a table is waited for.

use std::fs::File;
use std::time::{Duration, Instant};

use super::link::{Link, Reply};
use super::metrics::Metrics;
use super::wire::{Hello, Request};
use super::{Config, Error};
use crate::unwind::{NoTable, Table};

/// A table of 100 MB of code takes a quarter of a second on a quiet machine.
const DEADLINE: Duration = Duration::from_secs(10);

/// Makes tables.
#[derive(Debug)]
pub struct TableWorker {
    link: Link,
}

impl TableWorker {
    /// The worker is started when it is first needed.
    pub fn new(config: Config, metrics: Metrics) -> Result<Self, Error> {
        if !config.worker_path.exists() {
            return Err(Error::WorkerMissing { path: config.worker_path });
        }
        let hello = Hello {
            uid: config.worker_uid,
            gid: config.worker_gid,
            resident_bytes: config.worker_resident_bytes,
            heap_bytes: config.worker_heap_bytes,
            debug_bytes: config.debug_bytes,
            demangle: config.demangle,
        };
        Ok(Self { link: Link::new(config.worker_path, hello, DEADLINE, metrics) })
    }

    /// The table of a file. `about` is for the log.
    pub fn build(&mut self, file: &File, about: &str, until: Instant) -> Result<Table, NoTable> {
        let mut reply = Reply::default();
        let asked = self.link.ask(&Request::Table, Some(file), until, about, &mut reply);
        asked.map_err(|_lost| NoTable::WorkerLost)?;
        if let Some(why) = reply.no_table {
            return Err(NoTable::from_u8(why).unwrap_or(NoTable::Malformed));
        }
        Table::decode(&reply.table).map_err(|_damaged| NoTable::Malformed)
    }
}
