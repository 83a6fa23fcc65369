//! The checkout in; the text of `--version` out. git itself is not needed.

#[path = "src/commit.rs"]
mod commit;

use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/commit.rs");
    println!("cargo::rerun-if-env-changed=PILOTLIGHT_COMMIT");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let found = commit::find(&root);
    for path in &found.watch {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    // Packagers build outside of a checkout and say what they build.
    let commit =
        env::var("PILOTLIGHT_COMMIT").ok().filter(|commit| !commit.is_empty()).or(found.commit);
    let commit = commit.as_deref().map_or("unknown", |commit| commit.get(..12).unwrap_or(commit));
    let target = env::var("TARGET").unwrap_or_default();
    println!(
        "cargo::rustc-env=PILOTLIGHT_VERSION={} (commit {commit}, {target})",
        env!("CARGO_PKG_VERSION")
    );
}
