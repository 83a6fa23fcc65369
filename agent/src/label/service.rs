//! A process and the name of one of its threads in; the name of the service out.

use crate::process::Process;

/// Names that stand for "no name" in profile stores and dashboards: a program really called so is told apart.
const RESERVED: [&str; 3] = ["unknown", "unspecified", "unknown_service"];

/// Never empty and none of the reserved names. `comm` is the thread's name at the sample.
pub(super) fn name(process: &Process, comm: &str) -> String {
    if let Some(command) = &process.own_command {
        return if command == "server" { "pilotlight-server" } else { "pilotlight-agent" }
            .to_owned();
    }
    if process.is_kernel_thread {
        let comm = if comm.is_empty() { &process.comm } else { comm };
        let group = comm.split('/').next().filter(|group| !group.is_empty());
        return presentable(group.unwrap_or(comm));
    }
    let basename = process.exe_path.as_deref().map(basename).filter(|name| !name.is_empty());
    presentable(basename.unwrap_or(if comm.is_empty() { &process.comm } else { comm }))
}

/// The last component, or the name that the program gave to its memory file (`/memfd:NAME`, in which slashes may stand).
fn basename(path: &str) -> &str {
    match path.strip_prefix("/memfd:") {
        Some(name) => name.split('/').next().unwrap_or(name).trim_end_matches(':'),
        None => path.rsplit('/').next().unwrap_or(path),
    }
}

fn presentable(name: &str) -> String {
    let name = name.trim();
    if name.is_empty() {
        return "unnamed".to_owned();
    }
    if RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
        return format!("{name}-process");
    }
    name.to_owned()
}
