//! The memory of the user stack, read through a window: one read of many words costs little more than a read of one.

use crate::helpers;
use crate::maps::WINDOW_WORDS;

const PAGE_LEN: u64 = 4096;
/// Bytes before the address asked for that are read with it.
const BEFORE: u64 = 64;

/// What was read last.
pub(crate) struct Window<'a> {
    pub(crate) words: &'a mut [u64; WINDOW_WORDS],
    /// Address of the first word.
    pub(crate) start: &'a mut u64,
    /// Bytes that count.
    pub(crate) len: &'a mut u64,
}

impl Window<'_> {
    /// Eight bytes of the user's memory; `None` where they are not resident.
    #[inline(always)]
    pub(crate) fn read(&mut self, address: u64) -> Option<u64> {
        if address & 7 != 0 {
            return helpers::read_user_word(address);
        }
        let offset = address.wrapping_sub(*self.start);
        if offset < *self.len {
            return Some(self.words[(offset >> 3) as usize & (WINDOW_WORDS - 1)]);
        }
        // A caller's rbp is saved a little below its return address. Up to the end of the page: the next one may not be
        // there, which would cost as much as many reads.
        let in_page = address & (PAGE_LEN - 1);
        let before = in_page.min(BEFORE);
        let start = address.wrapping_sub(before);
        let len = (PAGE_LEN - (in_page - before)).min(WINDOW_WORDS as u64 * 8);
        *self.len = 0;
        if !helpers::read_user_window(self.words, len, start) {
            return None;
        }
        *self.start = start;
        *self.len = len;
        Some(self.words[(before >> 3) as usize & (WINDOW_WORDS - 1)])
    }
}
