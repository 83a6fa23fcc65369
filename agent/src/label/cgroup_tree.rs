//! A cgroup's id in; its path out. The id of a cgroup is the inode number of its directory in the cgroup2 file system.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{MAX_VALUE_BYTES, clean};

/// Where systemd mounts cgroup2: on hosts of version 2, then on hosts with both versions.
const MOUNT_POINTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// `CGROUP2_SUPER_MAGIC` in `include/uapi/linux/magic.h`.
const CGROUP2_MAGIC: u64 = 0x6367_7270;
/// Cgroups that are remembered; a host with more loses names of cgroups, not samples.
const MAX_CGROUPS: usize = 65_536;
/// Deeper nesting than any container runtime makes.
const MAX_DEPTH: usize = 32;

/// Paths of cgroups by id, learned one by one or by a walk.
#[derive(Debug)]
pub(super) struct CgroupTree {
    mount_point: Option<PathBuf>,
    paths: HashMap<u64, Arc<str>>,
    /// Ids that a walk did not find: they are gone and do not come back.
    gone: HashSet<u64>,
    may_walk: bool,
    n_walks: u64,
}

impl CgroupTree {
    /// The tree of this host's cgroup2 file system, if one is mounted.
    pub(super) fn of_host() -> Self {
        Self::at(MOUNT_POINTS.iter().map(PathBuf::from).find(|path| is_cgroup2(path)))
    }

    pub(super) fn at(mount_point: Option<PathBuf>) -> Self {
        Self {
            mount_point,
            paths: HashMap::new(),
            gone: HashSet::new(),
            may_walk: true,
            n_walks: 0,
        }
    }

    /// Allows one walk until the next call.
    pub(super) fn begin_window(&mut self) {
        self.may_walk = true;
    }

    /// Walks so far.
    pub(super) fn n_walks(&self) -> u64 {
        self.n_walks
    }

    /// The path of cgroup `id`; `hint` is where the process was when it was looked at, which is mostly still right and
    /// saves the walk.
    pub(super) fn path(&mut self, id: u64, hint: Option<&str>) -> Option<Arc<str>> {
        if id == 0 {
            return None;
        }
        if let Some(path) = self.paths.get(&id) {
            return Some(path.clone());
        }
        if let Some(hint) = hint
            && self.inode_of(hint) == Some(id)
        {
            return Some(self.remember(id, hint.as_bytes()));
        }
        if self.gone.contains(&id) || !self.may_walk {
            return None;
        }
        self.walk();
        let found = self.paths.get(&id).cloned();
        if found.is_none() && self.gone.len() < MAX_CGROUPS {
            self.gone.insert(id);
        }
        found
    }

    fn inode_of(&self, path: &str) -> Option<u64> {
        // A path outside of the agent's cgroup namespace begins with `/..`: it must not lead out of the mount point.
        if path.split('/').any(|component| component == "..") {
            return None;
        }
        let directory = self.mount_point.as_ref()?.join(path.trim_start_matches('/'));
        fs::symlink_metadata(directory)
            .ok()
            .filter(fs::Metadata::is_dir)
            .map(|metadata| metadata.ino())
    }

    fn remember(&mut self, id: u64, path: &[u8]) -> Arc<str> {
        let path: Arc<str> = clean(path, MAX_VALUE_BYTES).into();
        if self.paths.len() < MAX_CGROUPS {
            self.paths.insert(id, path.clone());
        }
        path
    }

    fn walk(&mut self) {
        self.may_walk = false;
        let Some(mount_point) = self.mount_point.clone() else { return };
        self.n_walks += 1;
        self.paths.clear();
        if let Ok(root) = fs::symlink_metadata(&mount_point) {
            self.remember(root.ino(), b"/");
        }
        let mut unread = vec![(mount_point.clone(), 0)];
        while let Some((directory, depth)) = unread.pop() {
            let Ok(entries) = fs::read_dir(&directory) else { continue };
            for entry in
                entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            {
                if self.paths.len() >= MAX_CGROUPS {
                    return;
                }
                self.remember(entry.ino(), path_within(&entry.path(), &mount_point).as_bytes());
                if depth < MAX_DEPTH {
                    unread.push((entry.path(), depth + 1));
                }
            }
        }
    }
}

fn path_within<'a>(directory: &'a Path, mount_point: &Path) -> &'a OsStr {
    let bytes = directory.as_os_str().as_bytes();
    OsStr::from_bytes(bytes.get(mount_point.as_os_str().len()..).unwrap_or_default())
}

fn is_cgroup2(path: &Path) -> bool {
    rustix::fs::statfs(path)
        .is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|kind| kind == CGROUP2_MAGIC))
}
