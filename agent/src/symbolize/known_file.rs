//! What is remembered of the files that frames stand in: one entry for all executables of the same contents.

use std::collections::HashMap;
use std::fs::File;
use std::hash::RandomState;
use std::sync::Arc;
use std::time::Instant;

use crate::process::{Executable, ExecutableId};

use super::Module;
use super::backoff::Backoff;
use super::content::ContentKey;
use super::frames::module;
use super::notes;
use super::opener::Opener;
use super::wire::{Description, Role};

/// Files that something is remembered of; more than a machine runs at a time.
const MAX_FILES: usize = 8192;

/// Our number of a file's contents: the first part of what names are kept under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileId(pub(super) u32);

/// What is remembered of a file.
#[derive(Debug)]
pub(super) struct KnownFile {
    pub module: Arc<Module>,
    pub description: Option<Description>,
    pub backoff: Backoff,
    pub companions: Companions,
    last_call: u64,
}

/// Files that belong to a file: held open, because the process whose root they were found in may end.
#[derive(Debug, Default)]
pub(super) struct Companions {
    /// When they were looked for.
    pub looked: Option<Instant>,
    pub found: Vec<Companion>,
    /// There is debug information neither in the file nor beside it.
    pub lacks_debug: bool,
    /// Split units whose files were looked for.
    pub asked_split: Vec<u64>,
}

/// A file that belongs to another.
#[derive(Clone, Debug)]
pub(super) struct Companion {
    pub role: Role,
    pub file: Arc<File>,
    pub path: Vec<u8>,
}

impl KnownFile {
    pub(super) fn describe(&mut self, path: &str, description: Description) {
        if self.description.is_none() {
            self.module = module(path, notes::hex(&description.build_id));
        }
        self.description = Some(description);
    }
}

/// All files.
#[derive(Debug, Default)]
pub(super) struct KnownFiles {
    files: HashMap<FileId, KnownFile>,
    by_content: HashMap<ContentKey, FileId>,
    /// Whether it was open when it got its number: one that was not may be later.
    by_executable: HashMap<ExecutableId, (FileId, bool)>,
    hasher: RandomState,
    n_given: u32,
    n_calls: u64,
}

impl KnownFiles {
    /// A window begins.
    pub(super) fn begin_call(&mut self) {
        self.n_calls += 1;
        // Numbers are looked for anew now and then, so that those of executables that are gone go.
        if self.by_executable.len() > MAX_FILES {
            self.by_executable.clear();
        }
    }

    /// The number of an executable's contents.
    pub(super) fn id_of(&mut self, executable: &Executable, opener: &mut Opener) -> FileId {
        let file = executable.file.get();
        if let Some((id, was_open)) = self.by_executable.get(&executable.id)
            && (*was_open || file.is_none())
        {
            return *id;
        }
        let hasher = self.hasher.clone();
        let key = file
            .cloned()
            .and_then(|file| opener.run(move || ContentKey::of(&file, &hasher).ok()).flatten());
        self.n_given += 1;
        let new = FileId(self.n_given);
        let id = key.map_or(new, |key| *self.by_content.entry(key).or_insert(new));
        self.by_executable.insert(executable.id, (id, file.is_some()));
        id
    }

    /// What is known of a file.
    pub(super) fn get(&self, id: FileId) -> Option<&KnownFile> {
        self.files.get(&id)
    }

    /// The files of that build id, in hex, whose debug information was not found.
    pub(super) fn lacking_debug(&self, build_id: &str) -> Vec<FileId> {
        let lacks =
            |known: &KnownFile| known.companions.lacks_debug && *known.module.build_id == *build_id;
        self.files.iter().filter(|(_, known)| lacks(known)).map(|(id, _)| *id).collect()
    }

    /// What is known of a file, to be added to. `path` is what a new one is called.
    pub(super) fn entry(&mut self, id: FileId, path: &str) -> &mut KnownFile {
        if !self.files.contains_key(&id) {
            self.forget();
        }
        let known = self.files.entry(id).or_insert_with(|| KnownFile {
            module: module(path, String::new()),
            description: None,
            backoff: Backoff::default(),
            companions: Companions::default(),
            last_call: 0,
        });
        known.last_call = self.n_calls;
        known
    }

    /// Keeps the memory bounded: files of past calls go, but for those that are in the worker's way.
    fn forget(&mut self) {
        if self.files.len() >= MAX_FILES {
            let (now, this_call) = (Instant::now(), self.n_calls);
            self.files
                .retain(|_, known| known.last_call == this_call || known.backoff.is_blocked(now));
        }
        if self.files.len() >= MAX_FILES {
            self.files.clear();
        }
        if self.by_content.len() > 4 * MAX_FILES {
            self.by_content.retain(|_, id| self.files.contains_key(id));
        }
    }
}
