//! What a command needs → the same, present; or one line that says what is missing and how to get it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{cargo, command, find, output, path_with, sha256, workspace};
use crate::progress::step;
use crate::versions;

/// Installs those Debian packages that are not there yet.
pub(crate) fn apt(packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> =
        packages.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let wanted = missing.join(" ");
    if find("apt-get").is_none() {
        bail!("missing: {wanted} (Debian's names); there is no apt-get here, install them by hand");
    }
    step(&format!("install {wanted}"), || {
        let mut install = apt_get();
        install.args(["install", "--yes", "--no-install-recommends"]).args(&missing);
        // The lists may be absent or old; they are refreshed only when that turns out to matter.
        if output(&mut install).is_ok() {
            return Ok(());
        }
        output(apt_get().arg("update"))
            .and_then(|_| output(&mut install))
            .map(drop)
            .with_context(|| format!("missing: {wanted}; run as root: apt-get install {wanted}"))
    })
}

/// Whether Debian's archive has all of these, installed or not.
pub(crate) fn apt_has(packages: &[&str]) -> bool {
    packages.iter().all(|package| {
        is_installed(package)
            || output(command("apt-cache").args(["policy", package])).is_ok_and(|text| {
                text.contains("Candidate:") && !text.contains("Candidate: (none)")
            })
    })
}

/// `bpf-linker` of the pinned version: on `PATH`, built by an earlier set-up, or built now.
pub(crate) fn bpf_linker(may_install: bool) -> Result<Option<PathBuf>> {
    let tools = workspace().join("target/tools");
    let known = [
        find("bpf-linker"),
        Some(tools.join("bin/bpf-linker")),
        Some("/opt/bpf-linker/bin/bpf-linker".into()),
    ];
    for candidate in known.into_iter().flatten() {
        let wanted = format!("bpf-linker {}", versions::BPF_LINKER);
        if output(command(&candidate).arg("--version"))
            .is_ok_and(|version| version.trim() == wanted)
        {
            return Ok(Some(candidate));
        }
    }
    if !may_install {
        return Ok(None);
    }
    let package = format!("bpf-linker@{}", versions::BPF_LINKER);
    step(&format!("install {package} (about two minutes, once)"), || {
        output(cargo().args(["install", &package, "--locked", "--root"]).arg(&tools))
            .with_context(|| format!("missing: bpf-linker; run: cargo install {package} --locked"))
    })?;
    Ok(Some(tools.join("bin/bpf-linker")))
}

/// `go` of at least the pinned version; where there is none, the pinned toolchain from the Go module proxy.
pub(crate) fn go() -> Result<PathBuf> {
    let ours = workspace().join(format!("target/tools/go{}", versions::GO));
    let binary = ours.join("bin/go");
    if let Some(system) = find("go").filter(is_new_enough) {
        return Ok(system);
    }
    if binary.exists() {
        return Ok(binary);
    }
    apt(&["curl", "unzip"])?;
    step(&format!("install go {} (72 MB, once)", versions::GO), || {
        let module = format!("v0.0.1-go{}.linux-amd64", versions::GO);
        let archive = workspace().join("target/tools/go.zip");
        std::fs::create_dir_all(&ours)?;
        let url = format!("https://proxy.golang.org/golang.org/toolchain/@v/{module}.zip");
        output(
            command("curl")
                .args(["--fail", "--silent", "--show-error", "--location", "--output"])
                .arg(&archive)
                .arg(url),
        )
        .context("missing: go; install go 1.26 or newer")?;
        let sum = sha256(&archive)?;
        if sum != versions::GO_SHA256 {
            bail!("go {}: sha256 is {sum}, expected {}", versions::GO, versions::GO_SHA256);
        }
        let parts = workspace().join("target/tools/go-unpacked");
        output(command("unzip").args(["-q", "-o"]).arg(&archive).arg("-d").arg(&parts))?;
        std::fs::remove_dir_all(&ours)?;
        std::fs::rename(parts.join(format!("golang.org/toolchain@{module}")), &ours)?;
        output(
            command("chmod").args(["-R", "u+x"]).arg(ours.join("bin")).arg(ours.join("pkg/tool")),
        )?;
        std::fs::remove_file(&archive).context("cannot remove the archive of go")
    })?;
    Ok(binary)
}

/// A Python with the pinned `pyroscope-io` and `duckdb`, in `target/`.
pub(crate) fn python() -> Result<PathBuf> {
    let folder = workspace().join(format!(
        "target/tools/python-pyroscope-io-{}-duckdb-{}",
        versions::PYROSCOPE_IO,
        versions::DUCKDB
    ));
    let python = folder.join("bin/python3");
    if folder.join("complete").exists() {
        return Ok(python);
    }
    apt(&["python3-venv"])?;
    step(&format!("install pyroscope-io {} into target/tools", versions::PYROSCOPE_IO), || {
        output(command("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        let packages = [
            format!("pyroscope-io=={}", versions::PYROSCOPE_IO),
            format!("duckdb=={}", versions::DUCKDB),
        ];
        output(command(&python).args(["-m", "pip", "install", "--quiet"]).args(&packages))
            .with_context(|| format!("missing: {}; pip cannot fetch them", packages.join(" ")))?;
        std::fs::write(folder.join("complete"), "").context("cannot write to target/tools")
    })?;
    Ok(python)
}

/// The packages of the page, exactly as `ui/package-lock.json` says.
pub(crate) fn npm() -> Result<()> {
    node()?;
    let ui = workspace().join("ui");
    let lock =
        std::fs::read(ui.join("package-lock.json")).context("cannot read ui/package-lock.json")?;
    let stamp = ui.join("node_modules/.installed-lock");
    if std::fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    step("npm ci in ui", || {
        output(command("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&ui))?;
        std::fs::write(&stamp, &lock).context("cannot write to ui/node_modules")
    })
}

fn node() -> Result<()> {
    let major = |text: String| {
        text.trim().trim_start_matches('v').split('.').next().and_then(|n| n.parse::<u32>().ok())
    };
    let version = output(command("node").arg("--version")).ok().and_then(major);
    let wanted = versions::NODE_MAJOR;
    match version {
        Some(found) if found >= wanted && find("npm").is_some() => Ok(()),
        Some(found) if found < wanted => bail!(
            "missing: node {wanted} or newer; node {found} is installed, take nodejs.org's or Debian's nodejs"
        ),
        _ => apt(&["nodejs", "npm"]),
    }
}

fn is_new_enough(go: &PathBuf) -> bool {
    let minor =
        |version: &str| version.split('.').nth(1).and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
    output(command(go).args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local"))
        .is_ok_and(|version| minor(version.trim()) >= minor(versions::GO))
}

fn is_installed(package: &str) -> bool {
    output(command("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}

fn apt_get() -> Command {
    let mut apt = if rustix::process::geteuid().is_root() {
        command("apt-get")
    } else {
        let mut sudo = command("sudo");
        sudo.args(["--non-interactive", "apt-get"]);
        sudo
    };
    apt.env("DEBIAN_FRONTEND", "noninteractive").env("PATH", path_with("/usr/sbin".as_ref()));
    apt
}
