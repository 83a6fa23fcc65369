//! A program and its arguments → its output, or an error that names the program and shows the end of what it said.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Lines of a failed program's output that are shown.
const LAST_LINES: usize = 30;

/// The one place where xtask starts other programs.
#[expect(clippy::disallowed_methods, reason = "xtask exists to run other programs")]
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

/// The checkout that this xtask was built from, or that cargo runs it for.
pub(crate) fn workspace() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().expect("xtask is a folder of the workspace").to_path_buf()
}

/// `cargo` in the workspace, the one that runs this xtask.
pub(crate) fn cargo() -> Command {
    let mut cargo = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace());
    // Set by `cargo run` for this package; the next cargo must not think they are its own.
    for variable in
        ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION", "CARGO_MANIFEST_PATH"]
    {
        cargo.env_remove(variable);
    }
    cargo
}

/// Runs with this process's output; an exit code other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", shown(command));
    }
    Ok(())
}

/// Runs silently and gives what it printed to standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let done = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    let stdout = String::from_utf8_lossy(&done.stdout).into_owned();
    if !done.status.success() {
        let all = format!("{stdout}{}", String::from_utf8_lossy(&done.stderr));
        let lines: Vec<&str> = all.lines().collect();
        let end = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
        bail!("{} failed ({}):\n{end}", shown(command), done.status);
    }
    Ok(stdout)
}

/// The program's path, if `PATH` (with the administrator's folders) has it.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| is_executable(candidate))
}

/// `folder` before everything else in `PATH`.
pub(crate) fn path_with(folder: &Path) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_path_buf()).chain(std::env::split_paths(&path));
    std::env::join_paths(folders).unwrap_or(path)
}

/// sha256 of a file, by the tool that every Debian has.
pub(crate) fn sha256(file: &Path) -> Result<String> {
    let line = output(command("sha256sum").arg(file))?;
    line.split_whitespace().next().map(str::to_owned).context("sha256sum printed nothing")
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|argument| argument.to_string_lossy().into_owned()));
    let mut line = words.join(" ");
    if let Some((end, _)) = line.char_indices().nth(160) {
        line.truncate(end);
        line.push('…');
    }
    format!("`{line}`")
}
