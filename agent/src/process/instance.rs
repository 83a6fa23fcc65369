//! A process between two execs, as the table follows it.

use std::sync::{Arc, OnceLock};

use agent_common::mapping::Mapping;

use super::executable::{Executables, MappedAt};
use super::{Executable, ExecutableId, Identity, Mappings, Process, Root, scan};

/// Basename of this program: its processes are told apart by their command.
const OWN_NAME: &str = "pilotlight";

/// A process between two execs, while it is followed.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "six facts that are independent of each other")]
pub struct Instance {
    /// Distinct within this run of the agent.
    pub key: u64,
    /// Who it is.
    pub identity: Identity,
    /// Its parent when it was forked or scanned.
    pub parent_pid: u32,
    /// What it has mapped now.
    pub mappings: Arc<Mappings>,
    pub(super) comm: String,
    pub(super) is_kernel_thread: bool,
    pub(super) exe: Option<ExecutableId>,
    pub(super) exe_path: Option<String>,
    pub(super) own_command: Arc<OnceLock<String>>,
    pub(super) cgroup_file: Option<String>,
    pub(super) root: Option<Arc<Root>>,
    pub(super) jit_dump: Option<ExecutableId>,
    /// Lists that the kernel was given, newest last, with their generations.
    pub(super) published: Vec<(u32, Arc<Mappings>)>,
    /// Samples that came without a list though one was given.
    pub(super) n_unlisted: u32,
    pub(super) is_sampled: bool,
    /// It was sampled since the table was tidied.
    pub(super) is_sampled_lately: bool,
    pub(super) is_looked_at: bool,
    /// It was sampled, or the program before it: the files that it maps are opened at once.
    pub(super) opens_files: bool,
    pub(super) ended: bool,
    /// Events before this time are in the scan already.
    pub(super) scanned_ns: u64,
}

impl Instance {
    /// A process of which nothing is known but this.
    pub(super) fn new(key: u64, identity: Identity, mappings: Arc<Mappings>) -> Self {
        Self {
            key,
            identity,
            parent_pid: 0,
            mappings,
            comm: String::new(),
            is_kernel_thread: false,
            exe: None,
            exe_path: None,
            own_command: Arc::default(),
            cgroup_file: None,
            root: None,
            jit_dump: None,
            published: Vec::new(),
            n_unlisted: 0,
            is_sampled: false,
            is_sampled_lately: false,
            is_looked_at: false,
            opens_files: false,
            ended: false,
            scanned_ns: 0,
        }
    }

    /// The list of that generation, if the kernel was given it for this process not long ago.
    pub fn published(&self, generation: u32) -> Option<&Arc<Mappings>> {
        self.published.iter().find(|(known, _)| *known == generation).map(|(_, mappings)| mappings)
    }

    /// A process that was gone before anything could be learned of it.
    pub(super) fn unknown(pid: u32, comm: &[u8], key: u64, now_ns: u64) -> Self {
        let comm = comm.split(|&byte| byte == 0).next().unwrap_or_default();
        let identity = Identity { pid, start_time_ns: now_ns, exec_generation: 0 };
        let comm = String::from_utf8_lossy(comm).into_owned();
        Self { comm, ended: true, ..Self::new(key, identity, Arc::new(Mappings::new(key))) }
    }

    /// Whether the process has called exec and nothing of the new program is mapped yet.
    pub fn is_between_programs(&self) -> bool {
        self.identity.exec_generation > 0 && self.mappings.list().is_empty()
    }

    /// Reads once what labels need and only a live process can tell.
    pub(super) fn look_at(&mut self, executables: &Executables) {
        if self.is_looked_at {
            return;
        }
        self.is_looked_at = true;
        self.opens_files = true;
        let pid = self.identity.pid;
        self.cgroup_file = scan::cgroup_file(pid);
        self.root = Root::of(pid).ok().map(Arc::new);
        if self.exe_path.is_none() {
            self.exe_path = scan::exe_path(pid);
        }
        let exe_path = self.exe_path.as_deref().unwrap_or_default();
        if exe_path.rsplit('/').next() == Some(OWN_NAME) {
            // A process can have its command line in memory that never comes.
            let own_command = Arc::clone(&self.own_command);
            executables.look(move || {
                if let Some(command) = scan::command(pid) {
                    own_command.get_or_init(|| command);
                }
            });
        }
        if let Some(exe) = self.exe
            && let Some(mapping) =
                self.mappings.list().iter().find(|mapping| mapping.executable == exe.0)
        {
            self.open(executables, mapping);
        }
    }

    /// A mapping is there: notes it if it is the mark that jitdumps are found by, and opens the dump.
    pub(super) fn note_jit_dump(&mut self, mapping: &Mapping, executables: &Executables) {
        let id = ExecutableId(mapping.executable);
        let is_dump = |executable: &Arc<Executable>| {
            executable
                .basename()
                .strip_prefix("jit-")
                .is_some_and(|rest| rest.strip_suffix(".dump").is_some())
        };
        if executables.get(id).is_some_and(is_dump) {
            self.jit_dump = Some(id);
            self.open(executables, mapping);
        }
    }

    /// Has the file of one of its mappings opened.
    pub(super) fn open(&self, executables: &Executables, mapping: &Mapping) {
        let (pid, parent_pid) = (self.identity.pid, self.parent_pid);
        let &Mapping { start, end, executable, .. } = mapping;
        executables.open(ExecutableId(executable), MappedAt { pid, parent_pid, start, end });
    }

    /// The process as it is known now.
    pub(super) fn snapshot(&self, executables: &Executables) -> Process {
        let cgroup_file = OnceLock::new();
        if let Some(text) = &self.cgroup_file {
            cgroup_file.get_or_init(|| text.clone());
        }
        Process {
            identity: self.identity,
            comm: self.comm.clone(),
            executable: self.exe.and_then(|id| executables.get(id)).cloned(),
            exe_path: self.exe_path.clone(),
            is_kernel_thread: self.is_kernel_thread,
            own_command: self.own_command.get().cloned(),
            cgroup_file,
            root: self.root.clone(),
            jit_dump: self.jit_dump.and_then(|id| executables.get(id)).cloned(),
        }
    }
}
