//! Labeled stacks in; folded lines out: `comm;root frame;…;leaf frame N`, sorted, N samples.

use std::collections::BTreeMap;
use std::fmt::Write;

use agent_common::frame::FrameKind;

use crate::label::{LabeledStack, clean};
use crate::symbolize::SymbolizedFrame;

/// Longest name of a frame that is written: C++ has longer ones, and nobody reads them to the end.
const MAX_NAME_BYTES: usize = 4096;

/// One line with its line end for each distinct stack of a thread name.
pub(super) fn lines(stacks: &[LabeledStack]) -> Vec<String> {
    let mut n_samples_by_line: BTreeMap<String, u64> = BTreeMap::new();
    for stack in stacks {
        *n_samples_by_line.entry(line(stack)).or_default() += stack.n_samples;
    }
    n_samples_by_line.into_iter().map(|(line, n_samples)| format!("{line} {n_samples}\n")).collect()
}

fn line(stack: &LabeledStack) -> String {
    let comm = stack.labels.get("comm").or_else(|| stack.labels.get("service_name"));
    let mut line = without_separators(comm.map_or("[unnamed]", |comm| comm)).replace(' ', "_");
    for frame in stack.stack.frames.iter().rev() {
        push_frame(&mut line, frame);
    }
    line
}

/// The function that really stands there first, then what was inlined into it.
fn push_frame(line: &mut String, frame: &SymbolizedFrame) {
    for (depth, function) in frame.functions.iter().rev().enumerate() {
        let suffix = match frame.kind {
            FrameKind::Kernel => "_[k]",
            FrameKind::Jit => "_[j]",
            _ if depth > 0 => "_[i]",
            _ => "",
        };
        write!(line, ";{}{suffix}", without_separators(&function.name))
            .expect("a String takes all text");
    }
}

fn without_separators(name: &str) -> String {
    clean(name.as_bytes(), MAX_NAME_BYTES).replace(';', ":")
}
