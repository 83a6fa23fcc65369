//! What the kernel says of code that it makes and gives up in; the name of what stands at an address out. Such code comes and goes
//! while the kernel runs: BPF programs and their trampolines, the copies of instructions that probes run.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Pieces that are kept: more than a machine with very many BPF programs has.
const MAX_PIECES: usize = 64 * 1024;

/// Code that came or went since the agent was started. What was there before is in `/proc/kallsyms`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelCode {
    /// By their start.
    loaded: BTreeMap<u64, Piece>,
    /// What went since the window began: samples of it may be in the window.
    gone: BTreeMap<u64, Piece>,
    n_lost: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    end: u64,
    name: Arc<str>,
}

impl KernelCode {
    /// Code has come. What was said to be there before is gone, though nobody said so.
    pub fn load(&mut self, start: u64, end: u64, name: &str) {
        while let Some((&known, _)) =
            self.loaded.range(..end).next_back().filter(|(_, piece)| piece.end > start)
        {
            self.retire(known);
        }
        if self.loaded.len() < MAX_PIECES && start < end && !name.is_empty() {
            self.loaded.insert(start, Piece { end, name: name.into() });
        }
    }

    /// Code has gone; perhaps such as was there before the agent.
    pub fn unload(&mut self, start: u64, end: u64, name: &str) {
        if !self.retire(start) && self.gone.len() < MAX_PIECES && !name.is_empty() {
            self.gone.insert(start, Piece { end, name: name.into() });
        }
    }

    /// The kernel had no room for what it had to say: nothing of this is certain any more.
    pub fn lose(&mut self) {
        self.loaded.clear();
        self.gone.clear();
        self.n_lost += 1;
    }

    /// How often something was lost.
    pub(super) fn n_lost(&self) -> u64 {
        self.n_lost
    }

    /// Whether something is remembered that is gone.
    pub fn has_gone(&self) -> bool {
        !self.gone.is_empty()
    }

    /// A window has ended: no later sample is of what is gone.
    pub fn forget_gone(&mut self) {
        self.gone.clear();
    }

    /// The name of what stands, or stood until a moment ago, at an address.
    pub(super) fn name<'a>(&'a self, address: u64) -> Option<&'a str> {
        let find = |pieces: &'a BTreeMap<u64, Piece>| {
            let (_, piece) = pieces.range(..=address).next_back()?;
            (address < piece.end).then_some(piece)
        };
        Some(&find(&self.loaded).or_else(|| find(&self.gone))?.name)
    }

    fn retire(&mut self, start: u64) -> bool {
        let Some(piece) = self.loaded.remove(&start) else { return false };
        if self.gone.len() < MAX_PIECES {
            self.gone.insert(start, piece);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::KernelCode;

    #[test]
    fn code_comes_and_goes() {
        let mut code = KernelCode::default();
        code.load(0x1000, 0x1100, "bpf_prog_1_a");
        code.load(0x2000, 0x2100, "bpf_prog_2_b");
        assert_eq!(code.name(0x10ff), Some("bpf_prog_1_a"));
        assert_eq!((code.name(0xfff), code.name(0x1100), code.name(u64::MAX)), (None, None, None));
        code.unload(0x1000, 0x1100, "bpf_prog_1_a");
        assert_eq!(code.name(0x1000), Some("bpf_prog_1_a"), "the window may have samples of it");
        // Its memory is used again at once.
        code.load(0x1040, 0x1080, "bpf_prog_3_c");
        assert_eq!(code.name(0x1050), Some("bpf_prog_3_c"));
        assert_eq!(code.name(0x1000), Some("bpf_prog_1_a"));
        code.forget_gone();
        assert_eq!((code.name(0x1000), code.name(0x1050)), (None, Some("bpf_prog_3_c")));
        assert!(!code.has_gone());
    }

    #[test]
    fn what_was_there_before_has_its_name_when_it_goes() {
        let mut code = KernelCode::default();
        code.unload(0x1000, 0x1100, "bpf_prog_1_a");
        assert_eq!(code.name(0x1000), Some("bpf_prog_1_a"));
        code.forget_gone();
        assert_eq!(code.name(0x1000), None);
    }

    #[test]
    fn what_overlaps_is_replaced_and_what_was_lost_is_not_trusted() {
        let mut code = KernelCode::default();
        code.load(0x1000, 0x1100, "a");
        code.load(0x1100, 0x1200, "b");
        code.load(0x1080, 0x1180, "c");
        assert_eq!((code.name(0x1090), code.name(0x1170)), (Some("c"), Some("c")));
        code.forget_gone();
        assert_eq!((code.name(0x1000), code.name(0x11ff)), (None, None));
        code.lose();
        assert_eq!((code.name(0x1090), code.n_lost()), (None, 1));
        code.load(5, 5, "empty");
        code.load(6, 9, "");
        assert_eq!((code.name(5), code.name(6)), (None, None));
    }
}
