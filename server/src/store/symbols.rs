//! Strings, functions, mappings, locations and stacks, each kept once and known by its index.

use crate::ingest;
use crate::ingest::symbols::{Function, Line, LocationHead, Mapping};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::mem::size_of;

/// Values of one fixed size.
#[derive(Debug, Default)]
pub struct Table<T> {
    items: Vec<T>,
    index: HashTable<u32>,
    hasher: RandomState,
}

impl<T: Copy + Eq + Hash> Table<T> {
    pub fn intern(&mut self, item: T) -> u32 {
        let hash = self.hasher.hash_one(item);
        if let Some(&index) = self.index.find(hash, |index| self.items[*index as usize] == item) {
            return index;
        }
        self.append_hashed(item, hash)
    }

    /// Adds what is known to be new.
    pub(super) fn append(&mut self, item: T) -> u32 {
        let hash = self.hasher.hash_one(item);
        self.append_hashed(item, hash)
    }

    fn append_hashed(&mut self, item: T, hash: u64) -> u32 {
        let index = self.push(item);
        let (items, hasher) = (&self.items, &self.hasher);
        self.index.insert_unique(hash, index, |index| hasher.hash_one(items[*index as usize]));
        index
    }

    /// Adds without looking for an equal one: a stand-in for what was lost.
    pub(super) fn push(&mut self, item: T) -> u32 {
        self.items.push(item);
        (self.items.len() - 1) as u32
    }

    pub fn get(&self, index: u32) -> Option<&T> {
        self.items.get(index as usize)
    }

    pub fn items(&self) -> &[T] {
        &self.items
    }

    fn bytes(&self) -> usize {
        self.items.capacity() * size_of::<T>() + self.index.capacity() * 5
    }
}

/// Runs of values in one arena: the bytes of strings, the locations of stacks, the lines of locations.
#[derive(Debug, Default)]
pub struct Runs<T> {
    items: Vec<T>,
    ends: Vec<u32>,
    index: HashTable<u32>,
    hasher: RandomState,
}

impl<T: Copy + Eq + Hash> Runs<T> {
    pub fn intern(&mut self, run: &[T]) -> u32 {
        let hash = self.hasher.hash_one(run);
        if let Some(&index) = self.index.find(hash, |index| self.at(*index) == run) {
            return index;
        }
        self.append_hashed(run, hash)
    }

    /// Adds what is known to be new.
    pub(super) fn append(&mut self, run: &[T]) -> u32 {
        let hash = self.hasher.hash_one(run);
        self.append_hashed(run, hash)
    }

    fn append_hashed(&mut self, run: &[T], hash: u64) -> u32 {
        let index = self.push(run);
        let (items, ends, hasher) = (&self.items, &self.ends, &self.hasher);
        self.index.insert_unique(hash, index, |index| hasher.hash_one(run_at(items, ends, *index)));
        index
    }

    pub(super) fn find(&self, run: &[T]) -> Option<u32> {
        self.index.find(self.hasher.hash_one(run), |index| self.at(*index) == run).copied()
    }

    pub(super) fn push(&mut self, run: &[T]) -> u32 {
        self.items.extend_from_slice(run);
        self.ends.push(
            u32::try_from(self.items.len()).expect("a segment is rotated long before 2^32 entries"),
        );
        (self.ends.len() - 1) as u32
    }

    /// The run with this index; an empty one where there is none.
    pub fn at(&self, index: u32) -> &[T] {
        run_at(&self.items, &self.ends, index)
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn bytes(&self) -> usize {
        self.items.capacity() * size_of::<T>()
            + self.ends.capacity() * 4
            + self.index.capacity() * 5
    }
}

fn run_at<'a, T>(items: &'a [T], ends: &[u32], index: u32) -> &'a [T] {
    let start = match index.checked_sub(1) {
        Some(before) => ends.get(before as usize).copied(),
        None => Some(0),
    };
    let end = ends.get(index as usize).copied();
    start
        .zip(end)
        .and_then(|(start, end)| items.get(start as usize..end as usize))
        .unwrap_or_default()
}

#[derive(Debug, Default)]
pub struct Symbols {
    pub(super) strings: Runs<u8>,
    pub functions: Table<Function>,
    pub mappings: Table<Mapping>,
    pub locations: Table<(LocationHead, u32)>,
    pub(super) lines: Runs<Line>,
    pub stacks: Runs<u32>,
}

impl Symbols {
    pub fn string(&self, index: u32) -> &str {
        std::str::from_utf8(self.strings.at(index)).unwrap_or_default()
    }

    pub fn n_strings(&self) -> usize {
        self.strings.len()
    }

    pub fn lines(&self, location: u32) -> &[Line] {
        self.locations.get(location).map_or(&[], |(_, lines)| self.lines.at(*lines))
    }

    /// The locations of a stack, leaf first.
    pub fn frames(&self, stack: u32) -> &[u32] {
        self.split(stack).0
    }

    /// The span that a stack was sampled in.
    pub fn span(&self, stack: u32) -> Option<u64> {
        match self.split(stack).1 {
            [span] | [span, _, _] => self.mark(*span),
            _ => None,
        }
    }

    /// The trace that a stack was sampled in.
    pub fn trace(&self, stack: u32) -> Option<u128> {
        match self.split(stack).1 {
            [.., high, low] => {
                Some(u128::from(self.mark(*high)?) << 64 | u128::from(self.mark(*low)?))
            }
            _ => None,
        }
    }

    /// Frames, and the marks beyond the root: a span, the two halves of a trace, or all three.
    fn split(&self, stack: u32) -> (&[u32], &[u32]) {
        let stack = self.stacks.at(stack);
        let n_marks =
            stack.iter().rev().take_while(|location| self.mark(**location).is_some()).count();
        stack.split_at(stack.len() - n_marks)
    }

    fn mark(&self, location: u32) -> Option<u64> {
        let (head, lines) = self.locations.get(location)?;
        (head.is_mark() && self.lines.at(*lines).is_empty()).then_some(head.address)
    }

    pub fn find_string(&self, text: &str) -> Option<u32> {
        self.strings.find(text.as_bytes())
    }

    pub fn intern_string(&mut self, text: &str) -> u32 {
        self.strings.intern(text.as_bytes())
    }

    pub fn intern_location(&mut self, head: LocationHead, lines: &[Line]) -> u32 {
        let lines = self.lines.intern(lines);
        self.locations.intern((head, lines))
    }

    pub fn intern_function(&mut self, function: Function) -> u32 {
        self.functions.intern(function)
    }

    pub fn intern_mapping(&mut self, mapping: Mapping) -> u32 {
        self.mappings.intern(mapping)
    }

    pub fn intern_stack(&mut self, locations: &[u32]) -> u32 {
        self.stacks.intern(locations)
    }

    /// Takes over a profile's symbols; gives the index here of each of its stacks.
    pub fn intern(&mut self, new: &ingest::symbols::Symbols) -> Vec<u32> {
        let strings: Vec<u32> = new.strings.iter().map(|text| self.intern_string(text)).collect();
        let string = |index: u32| strings[index as usize];
        let mut functions = Vec::with_capacity(new.functions.len());
        for function in &new.functions {
            functions.push(self.functions.intern(Function {
                name: string(function.name),
                system_name: string(function.system_name),
                filename: string(function.filename),
                start_line: function.start_line,
            }));
        }
        let mut mappings = Vec::with_capacity(new.mappings.len());
        for mapping in &new.mappings {
            let (filename, build_id) = (string(mapping.filename), string(mapping.build_id));
            mappings.push(self.mappings.intern(Mapping { filename, build_id, ..*mapping }));
        }
        let mut locations = Vec::with_capacity(new.locations.len());
        let mut lines = Vec::new();
        for location in &new.locations {
            lines.clear();
            lines.extend(
                location
                    .lines
                    .iter()
                    .map(|line| Line { function: functions[line.function as usize], ..*line }),
            );
            let mapping = location
                .head
                .mapping
                .checked_sub(1)
                .map_or(0, |index| mappings[index as usize] + 1);
            locations.push(self.intern_location(LocationHead { mapping, ..location.head }, &lines));
        }
        let mut stack = Vec::new();
        let mut stacks = Vec::with_capacity(new.stacks.len());
        for new_stack in &new.stacks {
            stack.clear();
            stack.extend(new_stack.iter().map(|location| locations[*location as usize]));
            stacks.push(self.stacks.intern(&stack));
        }
        stacks
    }

    pub(super) fn bytes(&self) -> usize {
        self.strings.bytes()
            + self.functions.bytes()
            + self.mappings.bytes()
            + self.locations.bytes()
            + self.lines.bytes()
            + self.stacks.bytes()
    }
}

/// Takes over from other symbols what stacks refer to.
pub struct Merger<'a> {
    pub from: &'a Symbols,
    pub to: &'a mut Symbols,
    locations: HashMap<u32, u32, RandomState>,
}

impl<'a> Merger<'a> {
    pub fn new(from: &'a Symbols, to: &'a mut Symbols) -> Merger<'a> {
        Merger { from, to, locations: HashMap::default() }
    }

    /// The stack's index in the other symbols -> the one here.
    pub fn stack(&mut self, stack: u32) -> u32 {
        let from = self.from;
        let locations: Vec<u32> =
            from.stacks.at(stack).iter().map(|location| self.location(*location)).collect();
        self.to.intern_stack(&locations)
    }

    /// The same for a location.
    pub fn location(&mut self, location: u32) -> u32 {
        if let Some(&known) = self.locations.get(&location) {
            return known;
        }
        let (head, _) = self.from.locations.get(location).copied().unwrap_or_default();
        let lines: Vec<Line> = self
            .from
            .lines(location)
            .iter()
            .map(|line| Line { function: self.function(line.function), ..*line })
            .collect();
        let mapping = self.mapping(head.mapping);
        let new = self.to.intern_location(LocationHead { mapping, ..head }, &lines);
        self.locations.insert(location, new);
        new
    }

    fn function(&mut self, function: u32) -> u32 {
        let old = self.from.functions.get(function).copied().unwrap_or_default();
        let name = self.string(old.name);
        let system_name = self.string(old.system_name);
        let filename = self.string(old.filename);
        self.to.intern_function(Function {
            name,
            system_name,
            filename,
            start_line: old.start_line,
        })
    }

    fn mapping(&mut self, index_plus_one: u32) -> u32 {
        let old =
            index_plus_one.checked_sub(1).and_then(|index| self.from.mappings.get(index)).copied();
        let Some(old) = old else { return 0 };
        let filename = self.string(old.filename);
        let build_id = self.string(old.build_id);
        self.to.intern_mapping(Mapping { filename, build_id, ..old }) + 1
    }

    fn string(&mut self, string: u32) -> u32 {
        self.to.intern_string(self.from.string(string))
    }
}
