//! The workspace → one static, stripped binary, linked to `target/release/pilotlight`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::command::{cargo, run, workspace};
use crate::progress::{say, step};

/// Static linking needs a named target: without one the flag would hit procedural macros, which are shared objects.
const TARGET: &str = if cfg!(target_arch = "aarch64") {
    "aarch64-unknown-linux-gnu"
} else {
    "x86_64-unknown-linux-gnu"
};

/// Builds the release binary and gives its path.
pub(crate) fn build() -> Result<PathBuf> {
    let built = workspace().join("target").join(TARGET).join("release/pilotlight");
    step("build pilotlight (release, static)", || {
        let mut cargo = cargo();
        cargo.args([
            "build",
            "--locked",
            "--release",
            "--package",
            "pilotlight",
            "--target",
            TARGET,
        ]);
        run(cargo.env("RUSTFLAGS", "-C target-feature=+crt-static"))
    })?;
    let linked = workspace().join("target/release/pilotlight");
    std::fs::create_dir_all(linked.parent().expect("it is in a folder"))?;
    if linked.symlink_metadata().is_ok() {
        std::fs::remove_file(&linked).context("cannot replace target/release/pilotlight")?;
    }
    std::fs::hard_link(&built, &linked).context("cannot link target/release/pilotlight")?;
    let bytes = linked.metadata()?.len();
    if bytes == 0 {
        bail!("{} is empty", linked.display());
    }
    say(&format!("  target/release/pilotlight: {:.1} MB", bytes as f64 / 1e6));
    Ok(linked)
}
