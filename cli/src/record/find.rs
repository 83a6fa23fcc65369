//! A command's name in; the file that is run, or the exit code that says why none can be, out.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// What `execvp(3)` searches without PATH.
const USUAL_PATH: &str = "/bin:/usr/bin";

/// Why a command cannot be run. Its exit codes are those of shells.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// There is none.
    #[error("cannot run {name}: no such command")]
    NotFound {
        /// What was asked for.
        name: String,
    },
    /// It is not made for it.
    #[error("cannot run {path}: it is not executable")]
    NotExecutable {
        /// What was found.
        path: PathBuf,
    },
}

impl Error {
    /// 127 or 126.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. } => 126,
        }
    }
}

/// Looks for `name` as a shell does; `search` is the value of PATH.
pub(crate) fn find(name: &OsStr, search: Option<OsString>) -> Result<PathBuf, Error> {
    let not_found = || Error::NotFound { name: name.to_string_lossy().into_owned() };
    if name.is_empty() {
        return Err(not_found());
    }
    if name.as_bytes().contains(&b'/') {
        return check(Path::new(name)).unwrap_or_else(|| Err(not_found()));
    }
    let search = search.unwrap_or_else(|| USUAL_PATH.into());
    let found: Vec<_> =
        std::env::split_paths(&search).filter_map(|folder| check(&folder.join(name))).collect();
    // A file that cannot be executed does not hide a later one that can.
    found.into_iter().reduce(Result::or).unwrap_or_else(|| Err(not_found()))
}

/// `None` when there is nothing.
fn check(path: &Path) -> Option<Result<PathBuf, Error>> {
    let metadata = path.metadata().ok()?;
    if metadata.is_file() && access(path, Access::EXEC_OK).is_ok() {
        return Some(Ok(path.to_owned()));
    }
    Some(Err(Error::NotExecutable { path: path.to_owned() }))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn commands_are_found_as_shells_find_them() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for (name, mode) in
            [("a/plain", 0o644), ("b/plain", 0o755), ("a/only", 0o644), ("b/tool", 0o755)]
        {
            fs::create_dir_all(path(name).parent().unwrap()).unwrap();
            fs::write(path(name), "").unwrap();
            fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let search = std::env::join_paths([path("none"), path("a"), path("b")]).unwrap();
        let check = |name: &str, expected: Result<&str, u8>| {
            let found =
                find(OsStr::new(name), Some(search.clone())).map_err(|error| error.exit_code());
            assert_eq!(found, expected.map(path), "{name}");
        };
        check("tool", Ok("b/tool"));
        check("plain", Ok("b/plain"));
        check("only", Err(126));
        check("nothing", Err(127));
        check("", Err(127));
        check(path("b/tool").to_str().unwrap(), Ok("b/tool"));
        check(path("a/only").to_str().unwrap(), Err(126));
        check(path("a").to_str().unwrap(), Err(126));
        check(path("a/none").to_str().unwrap(), Err(127));
        assert_eq!(find(OsStr::new("sh"), None), Ok(PathBuf::from("/bin/sh")));
    }
}
