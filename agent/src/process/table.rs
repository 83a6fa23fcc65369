//! The table of processes: follows their events in the order of time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use agent_common::mapping::Mapping;

use super::executable::{Executables, MAX_EXECUTABLES};
use super::{Executable, ExecutableId, Identity, Instance, Mappings, OpenerTally, Process, scan};
use crate::event::{MappedFile, ProcessEvent, ProcessEventKind};

/// Lists of a process that may still be named by samples on their way.
const MAX_PUBLISHED: usize = 4;
/// Samples without a list after which a process that was given one is given one again: the kernel has pushed it out.
const MAX_UNLISTED: u32 = 8;

/// Sampled processes that have ended within a window and of which more is remembered than the name of the thread.
const MAX_REPLACED: usize = 1 << 16;

/// All processes.
#[derive(Debug, Default)]
pub struct Processes {
    by_pid: HashMap<u32, Instance>,
    /// Sampled instances that another has taken the pid of, until the window closes.
    replaced: HashMap<u64, Arc<Process>>,
    executables: Executables,
    /// Pids that were sampled, or whose mappings changed, since they were last published.
    touched: HashSet<u32>,
    n_given: u64,
}

impl Processes {
    /// Scans `/proc` for all processes; those that are not there any more have ended. Events that are older than `now_ns` are
    /// ignored for those that are found.
    pub fn scan(&mut self, now_ns: u64) {
        let mut gone: HashSet<u32> = self.by_pid.keys().copied().collect();
        for pid in scan::all_pids() {
            gone.remove(&pid);
            self.scan_pid(pid, now_ns);
        }
        for pid in gone {
            self.end(pid);
        }
    }

    /// How many processes with memory of their own are alive.
    pub fn n_alive(&self) -> usize {
        self.by_pid
            .values()
            .filter(|instance| !instance.ended && !instance.is_kernel_thread)
            .count()
    }

    /// How many executables are known.
    pub fn n_executables(&self) -> usize {
        self.executables.len()
    }

    /// Takes one event. Events must come in the order of time.
    pub fn apply(&mut self, event: ProcessEvent) {
        let time_ns = event.time_ns;
        match event.kind {
            ProcessEventKind::Fork { pid, parent_pid } => self.fork(pid, parent_pid, time_ns),
            ProcessEventKind::Exec { pid, comm } => self.exec(pid, comm, time_ns),
            ProcessEventKind::Comm { pid, comm } => self.rename(pid, comm, time_ns),
            ProcessEventKind::Mapped { pid, start, end, file_offset, file } => {
                self.mapped(pid, start, end, file_offset, &file, time_ns);
            }
            ProcessEventKind::Exit { pid } => self.exit(pid, time_ns),
            // The caller scans again; the kernel's code is no process's.
            ProcessEventKind::Lost { .. } | ProcessEventKind::KernelCode { .. } => {}
        }
    }

    /// The process that has the pid now; looks into `/proc` for one that no event has told of.
    /// `generation` is the list that the kernel has used, 0 for none.
    pub fn sampled(
        &mut self,
        pid: u32,
        comm: &[u8],
        generation: u32,
        now_ns: u64,
    ) -> &mut Instance {
        if !self.by_pid.contains_key(&pid) {
            self.scan_pid(pid, now_ns);
        }
        if !self.by_pid.contains_key(&pid) {
            let unknown = Instance::unknown(pid, comm, self.next(), now_ns);
            self.by_pid.insert(pid, unknown);
        }
        let instance = self.by_pid.get_mut(&pid).expect("it is there by now");
        instance.is_sampled = true;
        instance.is_sampled_lately = true;
        if generation == 0 && !instance.published.is_empty() {
            instance.n_unlisted += 1;
            if instance.n_unlisted > MAX_UNLISTED {
                instance.n_unlisted = 0;
                instance.published.clear();
            }
        }
        if !instance.is_looked_at || instance.published.is_empty() {
            self.touched.insert(pid);
        }
        instance
    }

    /// Whether a process of that pid is known.
    pub fn get(&self, pid: u32) -> Option<&Instance> {
        self.by_pid.get(&pid)
    }

    /// Adds to `pids` all processes that descend from one of them.
    pub fn add_descendants(&self, pids: &mut HashSet<u32>) {
        loop {
            let is_child = |(pid, instance): &(&u32, &Instance)| {
                !pids.contains(pid) && pids.contains(&instance.parent_pid)
            };
            let children: Vec<u32> =
                self.by_pid.iter().filter(is_child).map(|(pid, _)| *pid).collect();
            if children.is_empty() {
                return;
            }
            pids.extend(children);
        }
    }

    /// The executable of that number.
    pub fn executable(&self, id: ExecutableId) -> Option<&Arc<Executable>> {
        self.executables.get(id)
    }

    /// Has the file of a mapping opened, so that it can be read after the process's end. Never waits: the result is in the
    /// executable's `file` some time later.
    pub fn open_executable(&self, instance: &Instance, mapping: &Mapping) {
        instance.open(&self.executables, mapping);
    }

    /// What has become of the files that were to be opened.
    pub fn opener_tally(&self) -> OpenerTally {
        self.executables.opener_tally()
    }

    /// After a batch of events and samples: looks at processes that were sampled for the first time, and hands over those
    /// whose mappings the kernel should be given, or (`None`) should forget. `publish` gives the list's generation.
    pub fn settle(&mut self, mut publish: impl FnMut(u32, Option<&[Mapping]>) -> Option<u32>) {
        self.executables.watch();
        for pid in std::mem::take(&mut self.touched) {
            let Some(instance) = self.by_pid.get_mut(&pid) else {
                publish(pid, None);
                continue;
            };
            if instance.ended || !instance.is_sampled || instance.is_kernel_thread {
                publish(pid, None);
                continue;
            }
            instance.look_at(&self.executables);
            let is_current = instance
                .published
                .last()
                .is_some_and(|(_, list)| list.version == instance.mappings.version);
            if is_current {
                continue;
            }
            if let Some(generation) = publish(pid, Some(instance.mappings.list())) {
                instance.published.push((generation, Arc::clone(&instance.mappings)));
                if instance.published.len() > MAX_PUBLISHED {
                    instance.published.remove(0);
                }
            }
        }
    }

    /// The process of a sample, by the key of its instance. `comm` names it should the table not know it any more.
    pub fn process(&self, pid: u32, key: u64, comm: &[u8]) -> Arc<Process> {
        if let Some(process) = self.replaced.get(&key) {
            return Arc::clone(process);
        }
        let instance = self.by_pid.get(&pid).filter(|instance| instance.key == key);
        Arc::new(match instance {
            Some(instance) => instance.snapshot(&self.executables),
            None => Instance::unknown(pid, comm, key, 0).snapshot(&self.executables),
        })
    }

    /// Forgets, within a window, processes that have ended; of those that were sampled only what labels need is kept.
    pub fn tidy(&mut self) {
        let Self { by_pid, replaced, executables, .. } = self;
        by_pid.retain(|_, instance| {
            // Threads can outlive their process's main thread.
            let is_kept = !instance.ended || std::mem::take(&mut instance.is_sampled_lately);
            if !is_kept && instance.is_sampled && replaced.len() < MAX_REPLACED {
                replaced.insert(instance.key, Arc::new(instance.snapshot(executables)));
            }
            is_kept
        });
        self.executables.ask_again();
        if self.executables.len() > MAX_EXECUTABLES / 2 {
            self.forget_executables();
        }
    }

    /// After a window: forgets processes that have ended and executables that nobody has mapped any more.
    pub fn close_window(&mut self) {
        self.replaced.clear();
        // Threads can outlive their process's main thread: while they are sampled the process is kept.
        self.by_pid.retain(|_, instance| !instance.ended || instance.is_sampled);
        for instance in self.by_pid.values_mut() {
            instance.is_sampled = false;
        }
        self.forget_executables();
    }

    fn forget_executables(&mut self) {
        let mut used = HashSet::new();
        for instance in self.by_pid.values() {
            used.extend(instance.exe);
            let lists = instance.published.iter().map(|(_, list)| list).chain([&instance.mappings]);
            used.extend(
                lists.flat_map(|list| list.list()).map(|mapping| ExecutableId(mapping.executable)),
            );
        }
        self.executables.retain(&used);
    }

    fn scan_pid(&mut self, pid: u32, now_ns: u64) {
        let Ok(scanned) = scan::scan(pid) else { return };
        let mut mappings = Mappings::new(self.next());
        for mapping in scanned.mappings {
            let file = self.executables.of_file(&mapping.file).map(|id| (id, mapping.file_offset));
            mappings.map(mappings.version, mapping.start, mapping.end, file);
        }
        let exe_path = if scanned.is_kernel_thread { None } else { scan::exe_path(pid) };
        let exe = exe_path.as_deref().and_then(|path| {
            let is_exe = |mapping: &&Mapping| {
                self.executables
                    .get(ExecutableId(mapping.executable))
                    .is_some_and(|known| known.path == path)
            };
            mappings.list().iter().find(is_exe).map(|mapping| ExecutableId(mapping.executable))
        });
        let exec_generation = self.by_pid.get(&pid).map_or(0, |old| old.identity.exec_generation);
        let identity = Identity { pid, start_time_ns: scanned.start_time_ns, exec_generation };
        let mut instance = Instance {
            parent_pid: scanned.parent_pid,
            comm: scanned.comm,
            is_kernel_thread: scanned.is_kernel_thread,
            exe,
            exe_path,
            scanned_ns: now_ns,
            ..Instance::new(self.next(), identity, Arc::new(mappings))
        };
        for mapping in Arc::clone(&instance.mappings).list() {
            instance.note_jit_dump(mapping, &self.executables);
        }
        self.replace(pid, instance);
    }

    fn fork(&mut self, pid: u32, parent_pid: u32, time_ns: u64) {
        if self.is_in_scan(pid, time_ns) {
            return;
        }
        if !self.by_pid.contains_key(&parent_pid) {
            self.scan_pid(parent_pid, time_ns);
        }
        let (key, version) = (self.next(), self.next());
        let identity = Identity { pid, start_time_ns: time_ns, exec_generation: 0 };
        let unmapped = Instance::new(key, identity, Arc::new(Mappings::new(version)));
        let instance = match self.by_pid.get(&parent_pid) {
            None => Instance { parent_pid, ..unmapped },
            Some(parent) => Instance {
                parent_pid,
                mappings: Arc::clone(&parent.mappings),
                comm: parent.comm.clone(),
                is_kernel_thread: parent.is_kernel_thread,
                exe: parent.exe,
                exe_path: parent.exe_path.clone(),
                own_command: parent.own_command.clone(),
                ..unmapped
            },
        };
        self.replace(pid, instance);
    }

    fn exec(&mut self, pid: u32, comm: String, time_ns: u64) {
        if self.is_in_scan(pid, time_ns) {
            return;
        }
        let old = self.by_pid.get(&pid);
        // A program that follows a sampled one is sampled as a rule: its files are opened at once.
        let opens_files = old.is_some_and(|old| old.opens_files);
        let (start_time_ns, generation, parent_pid) = old.map_or((time_ns, 1, 0), |old| {
            (old.identity.start_time_ns, old.identity.exec_generation + 1, old.parent_pid)
        });
        let identity = Identity { pid, start_time_ns, exec_generation: generation };
        let mappings = Arc::new(Mappings::new(self.next()));
        let unmapped = Instance::new(self.next(), identity, mappings);
        self.replace(pid, Instance { parent_pid, comm, opens_files, ..unmapped });
    }

    fn rename(&mut self, pid: u32, comm: String, time_ns: u64) {
        if !self.is_in_scan(pid, time_ns)
            && let Some(instance) = self.by_pid.get_mut(&pid)
        {
            instance.comm = comm;
        }
    }

    fn mapped(
        &mut self,
        pid: u32,
        start: u64,
        end: u64,
        file_offset: u64,
        file: &MappedFile,
        time_ns: u64,
    ) {
        if self.is_in_scan(pid, time_ns) {
            return;
        }
        let version = self.next();
        let id = self.executables.of_file(file);
        let Self { by_pid, executables, touched, .. } = self;
        let Some(instance) = by_pid.get_mut(&pid) else { return };
        // The first file that is mapped after an exec is the program itself; its interpreter follows.
        if instance.exe.is_none() && !instance.is_kernel_thread && file.inode != 0 {
            instance.exe = id;
            instance.exe_path =
                id.and_then(|id| executables.get(id)).map(|executable| executable.path.clone());
        }
        let file = id.map(|id| (id, if file.inode == 0 { 0 } else { file_offset }));
        Arc::make_mut(&mut instance.mappings).map(version, start, end, file);
        if let Some(mapping) = instance.mappings.find(start).copied() {
            instance.note_jit_dump(&mapping, executables);
            if instance.opens_files {
                instance.open(executables, &mapping);
            }
        }
        if !instance.published.is_empty() {
            touched.insert(pid);
        }
    }

    fn exit(&mut self, pid: u32, time_ns: u64) {
        if self.is_in_scan(pid, time_ns) {
            return;
        }
        self.end(pid);
    }

    fn end(&mut self, pid: u32) {
        if let Some(instance) = self.by_pid.get_mut(&pid) {
            instance.ended = true;
            if !instance.published.is_empty() {
                self.touched.insert(pid);
            }
        }
    }

    /// Puts an instance in the place of the one that has had the pid.
    fn replace(&mut self, pid: u32, instance: Instance) {
        let Some(old) = self.by_pid.insert(pid, instance) else { return };
        if !old.published.is_empty() {
            self.touched.insert(pid);
        }
        if old.is_sampled && self.replaced.len() < MAX_REPLACED {
            self.replaced.insert(old.key, Arc::new(old.snapshot(&self.executables)));
        }
    }

    fn is_in_scan(&self, pid: u32, time_ns: u64) -> bool {
        self.by_pid.get(&pid).is_some_and(|instance| time_ns < instance.scanned_ns)
    }

    /// A number for a key or a version.
    fn next(&mut self) -> u64 {
        self.n_given += 1;
        self.n_given
    }
}
