//! This machine → a compiler that can build for the kernel: Debian's rustc with its prebuilt `core`, or nightly with `rust-src`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::command::{cargo, command, find, output};
use crate::install;
use crate::progress::step;
use crate::versions;

/// What the kernel programs are built for. Little endian, which x86-64 and arm64 are.
pub(crate) const TARGET: &str = "bpfel-unknown-none";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// Both halves of a BPF tool chain.
pub(crate) struct Toolchain {
    core: Core,
    pub(crate) linker: PathBuf,
}

/// Where `core` for BPF comes from.
enum Core {
    /// Debian's `libstd-rust-web-dev-bpf`, prebuilt.
    Prebuilt,
    /// Built along with the programs, from the sources that rustup has.
    Source { toolchain: String },
}

impl Toolchain {
    /// Finds one; where there is none and `may_install`, installs one.
    pub(crate) fn find(may_install: bool) -> Result<Option<Self>> {
        let Some(core) = find_core(may_install)? else { return Ok(None) };
        Ok(install::bpf_linker(may_install)?.map(|linker| Self { core, linker }))
    }

    /// Finds or installs one, or says how to get it.
    pub(crate) fn required() -> Result<Self> {
        match Self::find(true)? {
            Some(found) => Ok(found),
            None => bail!(
                "missing: a Rust compiler for BPF; run: apt-get install {}, or: rustup toolchain install {} --component rust-src",
                versions::APT_BPF.join(" "),
                versions::NIGHTLY
            ),
        }
    }

    /// The compiler's own words for its version, which say whether two objects can be compared.
    pub(crate) fn rustc_version(&self) -> Result<String> {
        let line = match &self.core {
            Core::Prebuilt => output(command(DEBIAN_RUSTC).arg("--version"))?,
            Core::Source { toolchain } => {
                output(command("rustc").arg(format!("+{toolchain}")).arg("--version"))?
            }
        };
        Ok(line.trim().to_owned())
    }

    /// A cargo that compiles for BPF with this compiler.
    pub(crate) fn cargo(&self) -> Command {
        match &self.core {
            Core::Prebuilt => {
                let mut cargo = cargo();
                // A stable compiler; the target's features and `asm!` are unstable.
                cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1").arg("build");
                cargo
            }
            Core::Source { toolchain } => {
                let mut cargo = command("cargo");
                cargo
                    .current_dir(crate::command::workspace())
                    .env_remove("RUSTC")
                    .env_remove("RUSTUP_TOOLCHAIN");
                cargo.arg(format!("+{toolchain}")).args(["build", "-Zbuild-std=core"]);
                cargo
            }
        }
    }
}

fn find_core(may_install: bool) -> Result<Option<Core>> {
    if prebuilt_core().is_some() {
        return Ok(Some(Core::Prebuilt));
    }
    // The committed object is built with Debian's compiler, so that one is preferred where it can be had.
    if may_install && find("apt-get").is_some() && install::apt_has(versions::APT_BPF) {
        install::apt(versions::APT_BPF)?;
        return Ok(prebuilt_core().map(|_| Core::Prebuilt));
    }
    for toolchain in [versions::NIGHTLY, "nightly"] {
        if has_rust_src(toolchain) {
            return Ok(Some(Core::Source { toolchain: toolchain.to_owned() }));
        }
    }
    if may_install && find("rustup").is_some() {
        let toolchain = versions::NIGHTLY.to_owned();
        step(&format!("install {toolchain} with rust-src"), || {
            let arguments = [
                "toolchain",
                "install",
                &toolchain,
                "--profile",
                "minimal",
                "--component",
                "rust-src",
            ];
            output(command("rustup").args(arguments))
        })?;
        return Ok(Some(Core::Source { toolchain }));
    }
    Ok(None)
}

fn prebuilt_core() -> Option<PathBuf> {
    let printed =
        output(command(DEBIAN_RUSTC).args(["--print", "target-libdir", "--target", TARGET]))
            .ok()?;
    let folder = PathBuf::from(printed.trim());
    let has_core = |folder: &Path| {
        std::fs::read_dir(folder).is_ok_and(|mut files| {
            files.any(|file| {
                file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libcore"))
            })
        })
    };
    has_core(&folder).then_some(folder)
}

fn has_rust_src(toolchain: &str) -> bool {
    output(command("rustup").args(["component", "list", "--installed", "--toolchain", toolchain]))
        .is_ok_and(|components| {
            components.lines().any(|component| component.starts_with("rust-src"))
        })
}
