//! What executable memory a process has mapped.

use agent_common::mapping::Mapping;

use super::ExecutableId;

/// Mappings that are kept of one process: a JVM or a browser has hundreds. What a process maps beyond is placed nowhere,
/// as memory without a file, so that no process can make following it slow.
const MAX_MAPPINGS: usize = 4096;

/// The executable mappings of a process, in rising order without overlap; those without a file have executable 0, so that
/// what a list does not hold is known to be mapped later. Every change makes a new version, and a version's number is never
/// used again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mappings {
    /// Which version.
    pub version: u64,
    list: Vec<Mapping>,
}

impl Mappings {
    /// No mappings.
    pub(super) fn new(version: u64) -> Self {
        Self { version, list: Vec::new() }
    }

    /// The mappings in rising order.
    pub fn list(&self) -> &[Mapping] {
        &self.list
    }

    /// The mapping that holds the address.
    pub fn find(&self, address: u64) -> Option<&Mapping> {
        let after = self.list.partition_point(|mapping| mapping.start <= address);
        self.list.get(after.checked_sub(1)?).filter(|mapping| mapping.contains(address))
    }

    /// The address of an offset in a file, by the first mapping that holds it: what undoes a look-up in this version.
    pub fn address_of(&self, executable: u32, offset: u64) -> Option<u64> {
        self.list
            .iter()
            .filter(|mapping| mapping.executable == executable)
            .find_map(|mapping| mapping.address_of(offset))
    }

    /// Something was mapped from `start` to `end`: what was there is gone. `file` is none for memory without a file.
    pub(super) fn map(
        &mut self,
        version: u64,
        start: u64,
        end: u64,
        file: Option<(ExecutableId, u64)>,
    ) {
        self.version = version;
        let mut list = Vec::with_capacity(self.list.len() + 2);
        for &old in &self.list {
            if old.start < start {
                list.push(Mapping { end: old.end.min(start), ..old });
            }
            if old.end > end {
                let cut = end.max(old.start);
                list.push(Mapping { start: cut, file_offset: old.offset_of(cut), ..old });
            }
        }
        if start < end && list.len() < MAX_MAPPINGS {
            let (executable, file_offset) = file.map_or((0, 0), |(id, offset)| (id.0, offset));
            list.push(Mapping { start, end, file_offset, executable, table: 0 });
        }
        list.sort_unstable_by_key(|mapping| mapping.start);
        list.dedup_by(|next, last| {
            let is_one = last.executable == 0 && next.executable == 0 && last.end == next.start;
            if is_one {
                last.end = next.end;
            }
            is_one
        });
        self.list = list;
    }
}

#[cfg(test)]
mod tests {
    use super::{ExecutableId, Mappings};

    fn check(maps: &[(u64, u64, Option<u32>)], expected: &[(u64, u64, u64, u32)]) {
        let mut mappings = Mappings::new(0);
        for (version, &(start, end, file)) in maps.iter().enumerate() {
            mappings.map(version as u64, start, end, file.map(|id| (ExecutableId(id), 0x100)));
        }
        let list: Vec<_> =
            mappings.list().iter().map(|m| (m.start, m.end, m.file_offset, m.executable)).collect();
        assert_eq!(list, expected, "{maps:?}");
    }

    #[test]
    fn later_mappings_replace_earlier_ones() {
        check(&[(10, 20, Some(1))], &[(10, 20, 0x100, 1)]);
        check(&[(30, 40, Some(2)), (10, 20, Some(1))], &[(10, 20, 0x100, 1), (30, 40, 0x100, 2)]);
        check(&[(10, 20, Some(1)), (10, 20, Some(2))], &[(10, 20, 0x100, 2)]);
        check(&[(10, 20, Some(1)), (5, 25, None)], &[(5, 25, 0, 0)]);
        check(&[(10, 20, None), (20, 30, None), (40, 50, None)], &[(10, 30, 0, 0), (40, 50, 0, 0)]);
        check(
            &[(10, 20, Some(1)), (12, 14, Some(2))],
            &[(10, 12, 0x100, 1), (12, 14, 0x100, 2), (14, 20, 0x104, 1)],
        );
        check(&[(10, 20, Some(1)), (15, 30, Some(2))], &[(10, 15, 0x100, 1), (15, 30, 0x100, 2)]);
        check(&[(10, 20, Some(1)), (5, 15, Some(2))], &[(5, 15, 0x100, 2), (15, 20, 0x105, 1)]);
    }

    #[test]
    fn look_ups_can_be_undone() {
        let mut mappings = Mappings::new(1);
        mappings.map(2, 0x1000, 0x2000, Some((ExecutableId(1), 0x500)));
        mappings.map(3, 0x8000, 0x9000, Some((ExecutableId(2), 0)));
        for address in [0x1000, 0x1fff, 0x8000, 0x8abc] {
            let mapping = mappings.find(address).unwrap();
            assert_eq!(
                mappings.address_of(mapping.executable, mapping.offset_of(address)),
                Some(address)
            );
        }
        for address in [0, 0xfff, 0x2000, 0x9000, u64::MAX] {
            assert_eq!(mappings.find(address), None, "{address:#x}");
        }
    }
}
