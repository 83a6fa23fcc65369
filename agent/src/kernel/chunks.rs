//! Which words of the chunks of `UNWIND_CHUNKS` are free. Pure: who owns the chunks' memory is `tables.rs`.

use agent_common::unwind::table::CHUNK_WORDS;

/// Words of a chunk.
const CHUNK_LEN: u32 = CHUNK_WORDS as u32;

/// Consecutive words of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Extent {
    /// The chunk's number.
    pub(super) chunk: u16,
    /// Its first word.
    pub(super) start: u32,
    /// How many.
    pub(super) len: u32,
}

/// The free words of all chunks.
#[derive(Debug)]
pub(super) struct Chunks {
    max_chunks: u16,
    /// By chunk number; `None` where there is no chunk. Free extents in rising order, none touching another.
    free: Vec<Option<Vec<Extent>>>,
}

impl Chunks {
    /// No chunks; at most so many.
    pub(super) fn new(max_chunks: u16) -> Self {
        Self { max_chunks, free: Vec::new() }
    }

    /// How many chunks there are.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.free.iter().flatten().count()
    }

    /// Finds `len` words that begin at a multiple of `align` (a power of two), in a chunk of its own if there is no other
    /// place; `None` when all chunks are used up. A new chunk has a number that had none before.
    pub(super) fn allocate(&mut self, len: u32, align: u32) -> Option<Extent> {
        if len == 0 || len > CHUNK_LEN {
            return None;
        }
        let fits = |free: &Extent| aligned(free.start, align) + len <= free.start + free.len;
        let smallest = self
            .free
            .iter()
            .flatten()
            .flatten()
            .filter(|free| fits(free))
            .min_by_key(|free| free.len)
            .copied();
        let place = match smallest {
            Some(place) => place,
            None => self.add_chunk()?,
        };
        Some(self.cut(place, len, align))
    }

    /// Gives words back.
    pub(super) fn release(&mut self, extent: Extent) {
        let Some(Some(free)) = self.free.get_mut(usize::from(extent.chunk)) else { return };
        let at = free.partition_point(|other| other.start < extent.start);
        free.insert(at, extent);
        free.dedup_by(|next, last| {
            let touches = last.start + last.len == next.start;
            if touches {
                last.len += next.len;
            }
            touches
        });
    }

    /// Takes out the chunks that hold nothing; their numbers.
    pub(super) fn take_empty(&mut self) -> Vec<u16> {
        let is_empty = |free: &Vec<Extent>| free.first().is_some_and(|only| only.len == CHUNK_LEN);
        let mut empty = Vec::new();
        for (number, free) in self.free.iter_mut().enumerate() {
            if free.as_ref().is_some_and(is_empty) {
                *free = None;
                empty.push(number as u16);
            }
        }
        empty
    }

    fn add_chunk(&mut self) -> Option<Extent> {
        let number = match self.free.iter().position(Option::is_none) {
            Some(number) => number,
            None if self.free.len() < usize::from(self.max_chunks) => {
                self.free.push(None);
                self.free.len() - 1
            }
            None => return None,
        };
        let whole = Extent { chunk: number as u16, start: 0, len: CHUNK_LEN };
        *self.free.get_mut(number)? = Some(vec![whole]);
        Some(whole)
    }

    /// Takes the words out of a free extent that holds them.
    fn cut(&mut self, place: Extent, len: u32, align: u32) -> Extent {
        let start = aligned(place.start, align);
        let taken = Extent { chunk: place.chunk, start, len };
        if let Some(Some(free)) = self.free.get_mut(usize::from(place.chunk)) {
            free.retain(|other| other.start != place.start);
            let before = Extent { len: start - place.start, ..place };
            let end = start + len;
            let after = Extent { start: end, len: place.start + place.len - end, ..place };
            free.extend([before, after].into_iter().filter(|rest| rest.len > 0));
            free.sort_unstable();
        }
        taken
    }
}

fn aligned(start: u32, align: u32) -> u32 {
    start.next_multiple_of(align)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{CHUNK_LEN, Chunks, Extent};

    #[test]
    fn words_are_given_once_and_again_when_released() {
        let mut chunks = Chunks::new(2);
        let a = chunks.allocate(100, 1).unwrap();
        let b = chunks.allocate(100, 4).unwrap();
        assert_eq!((a, b.start % 4, chunks.len()), (Extent { chunk: 0, start: 0, len: 100 }, 0, 1));
        let c = chunks.allocate(CHUNK_LEN, 4).unwrap();
        assert_eq!((c.chunk, chunks.len()), (1, 2));
        assert_eq!(chunks.allocate(CHUNK_LEN, 1), None, "there are two chunks only");
        assert_eq!(chunks.allocate(CHUNK_LEN + 1, 1), None);
        chunks.release(c);
        assert_eq!(chunks.take_empty(), [1]);
        chunks.release(a);
        chunks.release(b);
        assert_eq!((chunks.take_empty(), chunks.len()), (vec![0], 0));
        assert!(chunks.allocate(CHUNK_LEN, 1).is_some());
    }

    proptest! {
        #[test]
        fn extents_never_overlap(ops in proptest::collection::vec((any::<bool>(), 1..9000u32, 0..3u32), 1..200)) {
            let mut chunks = Chunks::new(8);
            let mut taken: Vec<Extent> = Vec::new();
            for (release, len, align) in ops {
                if release && !taken.is_empty() {
                    chunks.release(taken.swap_remove(len as usize % taken.len()));
                } else if let Some(new) = chunks.allocate(len, 1 << align) {
                    assert!(new.start % (1 << align) == 0 && new.start + new.len <= CHUNK_LEN);
                    let meets = |other: &Extent| {
                        other.chunk == new.chunk
                            && other.start < new.start + new.len
                            && new.start < other.start + other.len
                    };
                    assert!(!taken.iter().any(meets));
                    taken.push(new);
                }
            }
            for extent in taken {
                chunks.release(extent);
            }
            chunks.take_empty();
            assert_eq!(chunks.len(), 0);
        }
    }
}
