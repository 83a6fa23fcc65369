//! Files that are read again when they change: a certificate, limits of tenants.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How often it is looked for changes.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// What tells a changed file from the one before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen(Vec<Option<(SystemTime, u64)>>);

pub(super) fn look(paths: &[PathBuf]) -> Seen {
    Seen(paths.iter().map(|path| look_at(path)).collect())
}

fn look_at(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Calls `changed` each time when one of the files is not what it was. Never ends.
pub(super) async fn follow(paths: Vec<PathBuf>, mut seen: Seen, changed: impl Fn()) {
    loop {
        tokio::time::sleep(TICK).await;
        let now = look(&paths);
        if now != seen {
            seen = now;
            changed();
        }
    }
}
