//! Strings, functions, mappings, locations and stacks that refer to each other by index.

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Symbols {
    pub strings: Vec<String>,
    pub functions: Vec<Function>,
    pub mappings: Vec<Mapping>,
    pub locations: Vec<Location>,
    /// Indices of locations, leaf first.
    pub stacks: Vec<Vec<u32>>,
}

/// Names are indices into the strings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Function {
    pub name: u32,
    pub system_name: u32,
    pub filename: u32,
    pub start_line: i64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Mapping {
    pub memory_start: u64,
    pub memory_limit: u64,
    pub file_offset: u64,
    pub filename: u32,
    pub build_id: u32,
    /// Bit 0 functions, 1 filenames, 2 line numbers, 3 inlined frames: what pprof calls `has_*`.
    pub has: u8,
}

/// `LocationHead` with its lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Location {
    pub head: LocationHead,
    /// The innermost inlined function first.
    pub lines: Vec<Line>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct LocationHead {
    /// Index of the mapping plus one; 0 where there is none.
    pub mapping: u32,
    pub address: u64,
    pub is_folded: bool,
}

impl LocationHead {
    /// What stands beyond a stack's root in place of a frame: a part of the id of the request that was sampled. A stack is
    /// another one for each request, so that nothing between here and a query needs to know of requests. Without lines, and
    /// with a flag that says something of lines alone.
    pub fn mark(bits: u64) -> LocationHead {
        LocationHead { mapping: 0, address: bits, is_folded: true }
    }

    pub fn is_mark(&self) -> bool {
        self.mapping == 0 && self.is_folded
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Line {
    pub function: u32,
    pub line: i64,
    pub column: i64,
}
