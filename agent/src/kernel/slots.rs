//! Which executable has which slot of the map `TABLES`. Mapping lists name slots, so a slot stays an executable's as long as the
//! executable is known; a table can come and go in it.

use std::collections::HashMap;

use agent_common::table_slot::NO_SLOT;

/// The slots.
#[derive(Debug)]
pub(super) struct Slots {
    by_executable: HashMap<u32, u32>,
    free: Vec<u32>,
    /// The first slot that nobody has had.
    next: u32,
    end: u32,
    n_full: u64,
}

impl Slots {
    /// So many slots, of which the first stands for none.
    pub(super) fn new(n_slots: u32) -> Self {
        Self {
            by_executable: HashMap::new(),
            free: Vec::new(),
            next: NO_SLOT + 1,
            end: n_slots,
            n_full: 0,
        }
    }

    /// The executable's slot, a free one at first; [`NO_SLOT`] for memory without a file and when none is free.
    pub(super) fn of(&mut self, executable: u32) -> u32 {
        if executable == 0 {
            return NO_SLOT;
        }
        if let Some(&slot) = self.by_executable.get(&executable) {
            return slot;
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.next < self.end => {
                self.next += 1;
                self.next - 1
            }
            None => {
                self.n_full += 1;
                return NO_SLOT;
            }
        };
        self.by_executable.insert(executable, slot);
        slot
    }

    /// Takes slots away from executables that are not known any more.
    pub(super) fn forget(&mut self, is_known: impl Fn(u32) -> bool) -> Vec<u32> {
        let forgotten = self.by_executable.extract_if(|executable, _| !is_known(*executable));
        forgotten.map(|(_, slot)| slot).collect()
    }

    /// A slot that was taken away can be given again.
    pub(super) fn free(&mut self, slot: u32) {
        self.free.push(slot);
    }

    /// How often there was none.
    pub(super) fn n_full(&self) -> u64 {
        self.n_full
    }
}

#[cfg(test)]
mod tests {
    use agent_common::table_slot::NO_SLOT;

    use super::Slots;

    #[test]
    fn slots_are_kept_and_given_again() {
        let mut slots = Slots::new(3);
        assert_eq!((slots.of(0), slots.of(7), slots.of(8), slots.of(7)), (NO_SLOT, 1, 2, 1));
        assert_eq!((slots.of(9), slots.n_full()), (NO_SLOT, 1));
        assert_eq!(slots.forget(|executable| executable == 8), [1]);
        assert_eq!(slots.of(9), NO_SLOT, "its table may still be there");
        slots.free(1);
        assert_eq!((slots.of(9), slots.of(8)), (1, 2));
    }
}
