//! Distinct stacks of a window in; the same stacks with named frames out.

use std::sync::Arc;

use agent_common::frame::FrameKind;

/// A function at a frame's address: the frame's own one, or one that was inlined into it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Function {
    /// Demangled name; `module+0x1234` for a miss. Never empty.
    pub name: Arc<str>,
    /// Source file, where debug information names it.
    pub file: Option<Arc<str>>,
    /// Line in `file`; 0 when unknown.
    pub line: u32,
}

/// What a frame's code belongs to: a pprof mapping.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Module {
    /// Path, `[kernel.kallsyms]`, `[vdso]`, `[jit]` or `[unknown]`.
    pub path: Arc<str>,
    /// GNU build id in lower-case hex (else Go's build id); empty when there is none.
    pub build_id: Arc<str>,
}

/// A named frame.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SymbolizedFrame {
    /// What kind of code.
    pub kind: FrameKind,
    /// Whose code.
    pub module: Arc<Module>,
    /// The address that addr2line takes (virtual address as in the ELF file); absolute for kernel and JIT code.
    pub address: u64,
    /// Innermost first: functions inlined at the address, then the function that really stands there. Never empty.
    pub functions: Arc<[Function]>,
    /// Why there is no real name, when there is none: the metric's `reason`.
    pub miss: Option<&'static str>,
}

/// A stack with named frames, leaf first.
#[derive(Clone, Debug)]
pub struct SymbolizedStack {
    /// The stack's id (`Stack::id`).
    pub id: u64,
    /// Leaf first.
    pub frames: Vec<Arc<SymbolizedFrame>>,
}
