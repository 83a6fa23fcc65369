//! A path and the server's account in; that directory, which belongs to the account, out.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags, fstat, open, openat};
use rustix::io::Errno;

use super::account::Account;

/// What a data directory may hold: the store's own, and what a file system has at its root.
const OURS: [&str; 3] = ["lock", "wal", "lost+found"];
/// Directories that are everybody's, also when they are empty.
const SHARED: [&str; 18] = [
    "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/media", "/mnt", "/opt", "/proc",
    "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/var",
];
/// The store's folders do not nest deeper.
const MAX_DEPTH: usize = 8;

/// Why a directory cannot be given to the server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The system says no.
    #[error("cannot {action} the data directory {path}: {source}; choose another with --data")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Whoever made the link decides where it leads.
    #[error(
        "the data directory {path} is a symbolic link: give the directory that it leads to with --data"
    )]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// It is somebody else's.
    #[error(
        "the data directory {path} belongs to user {owner}, and the server runs as user {account}: choose another with --data"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who should have it.
        account: String,
    },
    /// It is used for something else.
    #[error(
        "the data directory {path} is used for other things, such as {found}: choose an empty or a new one with --data"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// One of the things.
        found: String,
    },
    /// The server cannot get there.
    #[error(
        "the server, which runs as user {account}, cannot reach the data directory {path}, because {parent} has mode {mode:03o}: \
         choose another with --data"
    )]
    Unreachable {
        /// The directory.
        path: PathBuf,
        /// The one on the way that is closed.
        parent: PathBuf,
        /// Its permissions.
        mode: u32,
        /// Who cannot pass.
        account: String,
    },
}

/// Makes `path` if it is missing and gives it to `account`. A directory that was made for something else is refused.
pub(crate) fn prepare(path: &Path, account: &Account) -> Result<(), Error> {
    let fail =
        |action| move |source: io::Error| Error::Io { action, path: path.to_owned(), source };
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) {
        return Err(Error::Link { path: path.to_owned() });
    }
    // Before anything is made: what cannot be used should not be left behind.
    check_reachable(path, account)?;
    create(path).map_err(fail("create"))?;
    let full = path.canonicalize().map_err(fail("open"))?;
    if full.parent().is_none() || SHARED.iter().any(|shared| full == Path::new(shared)) {
        return Err(Error::InUse { path: full, found: "those of the whole system".to_owned() });
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = open(path, flags, Mode::empty()).map_err(|errno| fail("open")(errno.into()))?;
    let owner = fstat(&directory).map_err(|errno| fail("read")(errno.into()))?.st_uid;
    if owner != 0 && owner != account.uid {
        return Err(Error::Foreign { path: full, owner, account: account.name.clone() });
    }
    let names = entries(directory.as_fd()).map_err(|errno| fail("read")(errno.into()))?;
    if let Some(found) = names.into_iter().find(|name| !OURS.contains(&name.as_str())) {
        return Err(Error::InUse { path: full, found });
    }
    give(&directory, account, MAX_DEPTH).map_err(fail("hand over"))?;
    check_reachable(&full, account)
}

fn create(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    // Profiles tell what a machine runs: they are their owner's to read.
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => Err(error),
        _ => Ok(()),
    }
}

fn entries(directory: BorrowedFd<'_>) -> Result<Vec<String>, Errno> {
    let names = Dir::read_from(directory)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.filter(|name| !matches!(name.as_deref(), Ok("." | ".."))).collect()
}

/// Gives away what is root's. Whoever could write to the directory before may have put links into it, to have root give away
/// their targets: nothing is followed, and no file that has a second name changes hands.
fn give(directory: &OwnedFd, account: &Account, depth: usize) -> io::Result<()> {
    for name in entries(directory.as_fd())? {
        if name == "lost+found" {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let entry = match openat(directory, name.as_str(), flags, Mode::empty()) {
            // A link, a socket, or gone.
            Err(Errno::LOOP | Errno::NXIO | Errno::NOENT) => continue,
            entry => entry?,
        };
        let stat = fstat(&entry)?;
        match FileType::from_raw_mode(stat.st_mode) {
            _ if stat.st_uid != 0 => {}
            FileType::Directory if depth > 0 => give(&entry, account, depth - 1)?,
            FileType::RegularFile if stat.st_nlink == 1 => {
                fchown(&entry, Some(account.uid), Some(account.gid))?;
            }
            _ => {}
        }
    }
    fchown(directory, Some(account.uid), Some(account.gid))
}

/// The server opens the directory by its path, so it must be able to pass all directories above.
fn check_reachable(full: &Path, account: &Account) -> Result<(), Error> {
    for parent in full.ancestors().skip(1) {
        let metadata = match fs::metadata(parent) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            result => result.map_err(|source| Error::Io {
                action: "reach",
                path: full.to_owned(),
                source,
            })?,
        };
        let search = match (metadata.uid() == account.uid, metadata.gid() == account.gid) {
            (true, _) => 0o100,
            (false, true) => 0o010,
            (false, false) => 0o001,
        };
        if metadata.mode() & search == 0 {
            let (path, parent, mode) =
                (full.to_owned(), parent.to_owned(), metadata.mode() & 0o777);
            return Err(Error::Unreachable { path, parent, mode, account: account.name.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    const OURS_ID: u32 = 74_040;

    fn account() -> Account {
        Account { name: "tester".to_owned(), uid: OURS_ID, gid: OURS_ID }
    }

    /// A directory that everybody can pass. `None`, said aloud, for those who cannot give files away.
    fn playground() -> Option<tempfile::TempDir> {
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("PILOTLIGHT_REQUIRE_ALL").is_none(), "these tests need root");
            println!("SKIPPED: needs root");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Some(directory)
    }

    fn owner(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().uid()
    }

    #[track_caller]
    fn check_refused(path: &Path, expected: &str) {
        let message = prepare(path, &account()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn a_new_directory_is_made_and_given() {
        let Some(root) = playground() else { return };
        let path = root.path().join("a/b");
        prepare(&path, &account()).unwrap();
        assert_eq!((owner(&path), owner(&root.path().join("a"))), (OURS_ID, 0));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        prepare(&path, &account()).unwrap();
    }

    #[test]
    fn what_root_has_left_is_given_along() {
        let Some(root) = playground() else { return };
        let path = root.path().join("data");
        fs::create_dir_all(path.join("wal")).unwrap();
        fs::write(path.join("wal/0000000001.wal"), "").unwrap();
        fs::write(path.join("lock"), "").unwrap();
        prepare(&path, &account()).unwrap();
        for name in ["", "wal", "wal/0000000001.wal", "lock"] {
            assert_eq!(owner(&path.join(name)), OURS_ID, "{name}");
        }
    }

    #[test]
    fn links_are_not_followed() {
        let Some(root) = playground() else { return };
        let path = root.path().join("data");
        let secrets = ["secret", "secret2"].map(|name| root.path().join(name));
        fs::create_dir_all(path.join("wal")).unwrap();
        for secret in &secrets {
            fs::write(secret, "").unwrap();
        }
        symlink(&secrets[0], path.join("wal/1")).unwrap();
        fs::hard_link(&secrets[1], path.join("wal/2")).unwrap();
        prepare(&path, &account()).unwrap();
        assert_eq!(secrets.map(|secret| owner(&secret)), [0, 0]);
        symlink(&path, root.path().join("link")).unwrap();
        check_refused(&root.path().join("link"), "is a symbolic link");
    }

    #[test]
    fn what_is_used_for_something_else_is_refused() {
        let Some(root) = playground() else { return };
        let path = root.path().join("home");
        fs::create_dir_all(path.join("alice")).unwrap();
        check_refused(&path, "is used for other things, such as alice");
        for shared in ["/", "/home", "/tmp", "/usr/../var"] {
            check_refused(Path::new(shared), "such as those of the whole system");
        }
        check_refused(Path::new("/etc/passwd"), "cannot create the data directory /etc/passwd");
        check_refused(Path::new("/proc/data"), "cannot create the data directory /proc/data");
        let path = root.path().join("alices");
        fs::create_dir(&path).unwrap();
        chown(&path, Some(1234), Some(1234)).unwrap();
        check_refused(&path, "belongs to user 1234");
        assert_eq!(owner(&path), 1234);
    }

    #[test]
    fn what_the_server_cannot_reach_is_refused() {
        let Some(root) = playground() else { return };
        let closed = root.path().join("closed");
        DirBuilder::new().mode(0o700).create(&closed).unwrap();
        check_refused(&closed.join("data"), "has mode 700");
        assert!(!closed.join("data").exists());
    }
}
