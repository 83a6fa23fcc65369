//! Offsets in one file in; their named frames out. Finds the files that hold its debug information, and shows the worker all
//! of them.

use std::fs::File;
use std::os::linux::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_common::frame::FrameKind;

use crate::process::{Executable, Opening, Root};

use super::debug_files::{debug_paths, package_paths, supplementary_paths};
use super::frames::{Names, Place};
use super::known_file::{Companion, FileId};
use super::link::Reply;
use super::metrics::Miss;
use super::notes::hex;
use super::symbolizer::{Key, Named, Symbolizer, keep};
use super::wire::{Detail, Links, Lookup, MAX_ADDRESSES, NoDescription, Request, Role, SplitPath};

/// After this, debug files that were not there are looked for again: somebody may have installed them.
const LOOK_AGAIN: Duration = Duration::from_mins(10);
/// Split units of one file that are looked for.
const MAX_SPLIT: usize = 256;

/// Addresses of one file that have no name yet.
pub(super) struct Wanted {
    pub id: FileId,
    pub executable: Arc<Executable>,
    /// Of a process that has mapped the file.
    pub root: Option<Arc<Root>>,
    pub offsets: Vec<u64>,
}

impl Symbolizer {
    pub(super) fn name_file(&mut self, wanted: &Wanted, until: Instant, named: &mut Named) {
        let mut names = Names::default();
        for offsets in wanted.offsets.chunks(MAX_ADDRESSES) {
            let (lookups, miss) = self.ask_file(wanted, offsets, until);
            let known = self.files.get(wanted.id).expect("it was asked for just now");
            let mut lookups = lookups.into_iter();
            for offset in offsets {
                let description = known.description.as_ref();
                let address =
                    description.and_then(|d| d.virtual_address(*offset)).unwrap_or(*offset);
                let place = Place { kind: FrameKind::Native, module: &known.module, address };
                let entry = names.entry(place, lookups.next().ok_or(miss));
                keep(&mut self.cache, Key::Native(wanted.id, *offset), entry, named);
            }
        }
    }

    /// What the worker finds at the offsets (in their order, perhaps of the first ones only), and why there is no more.
    fn ask_file(
        &mut self,
        wanted: &Wanted,
        offsets: &[u64],
        until: Instant,
    ) -> (Vec<Lookup>, Miss) {
        let known = self.files.entry(wanted.id, &wanted.executable.path);
        let file = match wanted.executable.file.wait(Instant::now()) {
            Opening::Opened(file) => file,
            Opening::Pending => return (Vec::new(), Miss::FilePending),
            Opening::NotAsked | Opening::Failed(_) => return (Vec::new(), Miss::FileUnreadable),
        };
        let file = &*file;
        if known.backoff.is_blocked(Instant::now()) {
            return (Vec::new(), Miss::FileBlocked);
        }
        let asked = self.show_companions(wanted, file, until).and_then(|()| {
            let reply = self.ask_offsets(wanted, file, offsets, until)?;
            let has_more = self.show_split_units(wanted, &reply.wanted_split, until)?;
            if has_more { self.ask_offsets(wanted, file, offsets, until) } else { Ok(reply) }
        });
        match asked {
            Ok(Reply { description: Some(Err(why)), .. }) => (Vec::new(), Miss::of(why)),
            Ok(reply) => (reply.lookups, Miss::UnknownAddress),
            Err(miss) => {
                if matches!(miss, Miss::WorkerDied | Miss::WorkerHung) {
                    let known = self.files.entry(wanted.id, &wanted.executable.path);
                    known.backoff.fail(Instant::now(), self.config.block_time);
                }
                (std::mem::take(&mut self.partial), miss)
            }
        }
    }

    fn ask_offsets(
        &mut self,
        wanted: &Wanted,
        file: &File,
        offsets: &[u64],
        until: Instant,
    ) -> Result<Reply, Miss> {
        let budget = self.quota.available(Instant::now());
        let budget = budget.min(until.saturating_duration_since(Instant::now()) / 2);
        let known = self.files.entry(wanted.id, &wanted.executable.path);
        // A file over which the worker was lost once is looked into less deeply the next time.
        let detail = if known.backoff.has_failed() { Detail::Symbols } else { Detail::Debug };
        let request = Request::File {
            id: wanted.id.0,
            detail,
            budget_ms: budget.as_millis() as u32,
            offsets: offsets.to_vec(),
        };
        let mut reply = Reply::default();
        let (path, started) = (Arc::clone(&known.module.path), Instant::now());
        let asked = self.link.ask(&request, Some(file), until, &path, &mut reply);
        self.quota.spend(started.elapsed());
        if let Some(Ok(description)) = &reply.description {
            let known = self.files.entry(wanted.id, &wanted.executable.path);
            known.describe(&wanted.executable.path, description.clone());
        }
        self.partial.clear();
        if let Err(miss) = asked {
            self.partial = reply.lookups;
            return Err(miss);
        }
        Ok(reply)
    }

    /// Looks for the files that belong to a file, and shows the worker those that it does not have.
    fn show_companions(
        &mut self,
        wanted: &Wanted,
        file: &File,
        until: Instant,
    ) -> Result<(), Miss> {
        self.ask_servers(wanted, file, until)?;
        let companions = &self.files.entry(wanted.id, &wanted.executable.path).companions;
        let is_time =
            |looked: Instant| companions.found.is_empty() && looked.elapsed() > LOOK_AGAIN;
        let must_look = companions.looked.is_none_or(is_time);
        if !must_look && companions.found.is_empty() {
            return Ok(());
        }
        let reply = self.ask_offsets(wanted, file, &[], until)?;
        let Some((links, attached)) = reply.links else { return Ok(()) };
        if must_look {
            return self.find_companions(wanted, &links, until);
        }
        let known = self.files.entry(wanted.id, &wanted.executable.path);
        let found = known.companions.found.clone();
        for companion in found.iter().filter(|companion| companion.role.bit() & attached == 0) {
            self.attach(wanted, companion, until)?;
        }
        Ok(())
    }

    fn find_companions(
        &mut self,
        wanted: &Wanted,
        links: &Links,
        until: Instant,
    ) -> Result<(), Miss> {
        let path = wanted.executable.path.clone();
        let known = self.files.entry(wanted.id, &path);
        let was_looked_for = known.companions.looked.replace(Instant::now()).is_some();
        let build_id = known.description.as_ref().map(|d| d.build_id.clone()).unwrap_or_default();
        let (mut links, mut debug_path) = (links.clone(), None);
        if !links.has_debug {
            let debug =
                self.find(wanted, Role::Debug, debug_paths(&path, &build_id, &links), until)?;
            if let Some((found, its_links)) = debug {
                (links, debug_path) = (its_links, Some(found));
            }
        }
        self.files.entry(wanted.id, &path).companions.lacks_debug = !links.has_debug;
        let linking = debug_path.clone().unwrap_or_else(|| path.clone().into_bytes());
        self.find_supplementary(wanted, &linking, &links, until)?;
        if links.is_split {
            let paths = package_paths(&path, debug_path.as_deref());
            self.find(wanted, Role::Package, paths, until)?;
        }
        let found_any = !self.files.entry(wanted.id, &path).companions.found.is_empty();
        if was_looked_for && found_any {
            // Better names than those that were given so far.
            self.cache.retain(|key| !matches!(key, Key::Native(id, _) if *id == wanted.id));
        }
        Ok(())
    }

    fn find_supplementary(
        &mut self,
        wanted: &Wanted,
        linking: &[u8],
        links: &Links,
        until: Instant,
    ) -> Result<(), Miss> {
        let Some(alt_link) = &links.alt_link else { return Ok(()) };
        let paths = supplementary_paths(linking, alt_link);
        self.find(wanted, Role::Supplementary, paths, until).map(drop)
    }

    /// Shows the worker the debug file that a server had, when it has come; asks for it, where there is no other.
    fn ask_servers(&mut self, wanted: &Wanted, file: &File, until: Instant) -> Result<(), Miss> {
        let known = self.files.entry(wanted.id, &wanted.executable.path);
        let build_id = known.description.as_ref().map(|d| d.build_id.clone()).unwrap_or_default();
        let Some(servers) = self.debuginfod.as_mut().filter(|_| known.companions.lacks_debug)
        else {
            return Ok(());
        };
        let Some(debug) = servers.find(&build_id, Instant::now()) else { return Ok(()) };
        let path = format!("debuginfod {}", hex(&build_id)).into_bytes();
        let companion = Companion { role: Role::Debug, file: Arc::new(debug), path };
        self.ask_offsets(wanted, file, &[], until)?;
        if let Some(links) = self.attach(wanted, &companion, until)? {
            let companions = &mut self.files.entry(wanted.id, &wanted.executable.path).companions;
            companions.lacks_debug = false;
            companions.found.push(companion);
            self.find_supplementary(wanted, b"", &links, until)?;
            self.cache.retain(|key| !matches!(key, Key::Native(id, _) if *id == wanted.id));
        } else if let Some(servers) = &mut self.debuginfod {
            servers.refuse(&build_id, Instant::now());
        }
        Ok(())
    }

    /// Shows the worker the files with split units that it has asked for; whether there was one.
    fn show_split_units(
        &mut self,
        wanted: &Wanted,
        split: &[SplitPath],
        until: Instant,
    ) -> Result<bool, Miss> {
        let mut found_any = false;
        for SplitPath { path, id } in split {
            let companions = &mut self.files.entry(wanted.id, &wanted.executable.path).companions;
            let known =
                companions.found.iter().find(|companion| companion.role == Role::Split(*id));
            if let Some(known) = known.cloned() {
                found_any |= self.attach(wanted, &known, until)?.is_some();
            } else if !companions.asked_split.contains(id)
                && companions.asked_split.len() < MAX_SPLIT
            {
                companions.asked_split.push(*id);
                let paths = vec![path.clone()];
                found_any |= self.find(wanted, Role::Split(*id), paths, until)?.is_some();
            }
        }
        Ok(found_any)
    }

    /// Opens the paths in turn until the worker says that one is the right file.
    fn find(
        &mut self,
        wanted: &Wanted,
        role: Role,
        paths: Vec<Vec<u8>>,
        until: Instant,
    ) -> Result<Option<(Vec<u8>, Links)>, Miss> {
        for path in paths {
            for root in self.roots(wanted) {
                let Some(file) = self.open_beside(wanted, &root, &path) else { continue };
                let companion = Companion { role, file: Arc::new(file), path: path.clone() };
                if let Some(links) = self.attach(wanted, &companion, until)? {
                    tracing::debug!(
                        program = wanted.executable.path,
                        path = %String::from_utf8_lossy(&path),
                        ?role,
                        "debug information found"
                    );
                    let known = self.files.entry(wanted.id, &wanted.executable.path);
                    known.companions.found.push(companion);
                    return Ok(Some((path, links)));
                }
            }
        }
        Ok(None)
    }

    /// The host's files first: nobody but its administrator writes them.
    fn roots(&self, wanted: &Wanted) -> Vec<Arc<Root>> {
        let own = self.own_root.clone();
        let root = wanted.root.clone().filter(|root| !root.is_own);
        own.into_iter().chain(root).collect()
    }

    /// Opens a file in a root. In that of a container it must be on the program's own file system: a program that several
    /// containers share must not get its names from one of them.
    fn open_beside(&mut self, wanted: &Wanted, root: &Arc<Root>, path: &[u8]) -> Option<File> {
        let (root, path) = (Arc::clone(root), path.to_vec());
        let program = wanted.executable.file.get().cloned()?;
        let open = move || {
            let file = root.open(&path).ok()?;
            let (of_file, of_program) = (file.metadata().ok()?, program.metadata().ok()?);
            let is_beside = root.is_own || of_file.st_dev() == of_program.st_dev();
            let is_itself =
                of_file.st_ino() == of_program.st_ino() && of_file.st_dev() == of_program.st_dev();
            (is_beside && !is_itself).then_some(file)
        };
        self.opener.run(open).flatten()
    }

    /// Shows the worker a file that may belong to another; what it links to if it does.
    fn attach(
        &mut self,
        wanted: &Wanted,
        companion: &Companion,
        until: Instant,
    ) -> Result<Option<Links>, Miss> {
        let request = Request::Attach { id: wanted.id.0, role: companion.role };
        let about = String::from_utf8_lossy(&companion.path).into_owned();
        let mut reply = Reply::default();
        self.link.ask(&request, Some(&companion.file), until, &about, &mut reply)?;
        Ok(reply.companion_links)
    }
}

impl Miss {
    fn of(why: NoDescription) -> Self {
        match why {
            NoDescription::Unreadable => Self::FileUnreadable,
            NoDescription::TooLarge => Self::FileTooLarge,
            NoDescription::Malformed => Self::FileMalformed,
        }
    }
}
