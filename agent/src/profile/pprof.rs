//! Builds one pprof message: strings, functions, mappings, locations and samples, each once.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use agent_common::frame::FrameKind;
use protocol::profile::{Function, Label, Line, Location, Mapping, Profile, Sample, ValueType};

use crate::label::LabeledStack;
use crate::symbolize::{Function as Symbol, Module, SymbolizedFrame, SymbolizedStack};

use super::{Quality, Window};

/// Stands where a stack has no frame at all.
static NO_STACK: LazyLock<Arc<SymbolizedFrame>> = LazyLock::new(|| {
    let function = Symbol { name: "[no stack]".into(), file: None, line: 0 };
    Arc::new(SymbolizedFrame {
        kind: FrameKind::Native,
        module: Arc::new(Module { path: "[unknown]".into(), build_id: "".into() }),
        address: 0,
        functions: Arc::new([function]),
        miss: Some("no_stack"),
    })
});

/// Tables of a profile under construction. Ids are positions plus one, as pprof has it: id 0 means "none".
pub(super) struct ProfileBuilder<'a> {
    strings: HashMap<&'a str, i64>,
    string_table: Vec<String>,
    functions: HashMap<(i64, i64), u64>,
    function_table: Vec<Function>,
    mappings: HashMap<&'a Module, u64>,
    mapping_table: Vec<Mapping>,
    /// By the frame's address in memory first: stacks share their frames, and comparing names costs more.
    locations_by_pointer: HashMap<*const SymbolizedFrame, u64>,
    locations: HashMap<&'a SymbolizedFrame, u64>,
    location_table: Vec<Location>,
    samples: HashMap<(Vec<u64>, Option<&'a str>), Vec<i64>>,
}

impl<'a> ProfileBuilder<'a> {
    pub(super) fn new() -> Self {
        let mut builder = Self {
            strings: HashMap::new(),
            string_table: Vec::new(),
            functions: HashMap::new(),
            function_table: Vec::new(),
            mappings: HashMap::new(),
            mapping_table: Vec::new(),
            locations_by_pointer: HashMap::new(),
            locations: HashMap::new(),
            location_table: Vec::new(),
            samples: HashMap::new(),
        };
        builder.string("");
        builder
    }

    /// Tools take the first mapping for the main program: makes it the one of `path`, if a frame is in it.
    pub(super) fn put_mapping_first(&mut self, path: Option<&str>, stacks: &[&'a LabeledStack]) {
        let Some(path) = path else { return };
        let mut frames = stacks.iter().flat_map(|stack| &stack.stack.frames);
        if let Some(frame) = frames.find(|frame| &*frame.module.path == path) {
            self.mapping(&frame.module);
        }
    }

    /// Adds values, one for each sample type, to the sample of that stack and thread name.
    pub(super) fn add_sample(
        &mut self,
        stack: &'a SymbolizedStack,
        comm: Option<&'a str>,
        values: &[u64],
    ) {
        let mut location_ids: Vec<u64> =
            stack.frames.iter().map(|frame| self.location(frame)).collect();
        if location_ids.is_empty() {
            // Servers drop samples without a location, and with them their time.
            location_ids.push(self.location(&NO_STACK));
        }
        let sums =
            self.samples.entry((location_ids, comm)).or_insert_with(|| vec![0; values.len()]);
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum = sum.saturating_add(i64::try_from(*value).unwrap_or(i64::MAX));
        }
    }

    /// The message, its samples in the order of their stacks.
    pub(super) fn finish(
        mut self,
        window: Window,
        sample_types: &[(&'static str, &'static str)],
        quality: &Quality,
    ) -> Profile {
        let mut samples: Vec<_> = std::mem::take(&mut self.samples).into_iter().collect();
        samples.sort_unstable();
        let sample = samples
            .into_iter()
            .map(|((location_id, comm), value)| {
                let label = comm.map(|comm| Label {
                    key: self.string("comm"),
                    str: self.string(comm),
                    num: 0,
                    num_unit: 0,
                });
                Sample { location_id, value, label: label.into_iter().collect() }
            })
            .collect();
        let mut value_type =
            |(kind, unit)| ValueType { r#type: self.string(kind), unit: self.string(unit) };
        let sample_type = sample_types.iter().copied().map(&mut value_type).collect();
        let period_type = Some(value_type(("cpu", "nanoseconds")));
        let first_comment = self.string_table.len() as i64;
        self.string_table.extend(quality.comments());
        let comment = (first_comment..self.string_table.len() as i64).collect();
        Profile {
            sample_type,
            sample,
            mapping: self.mapping_table,
            location: self.location_table,
            function: self.function_table,
            string_table: self.string_table,
            drop_frames: 0,
            keep_frames: 0,
            time_nanos: window.start_unix_ns.cast_signed(),
            duration_nanos: window.duration_ns.cast_signed(),
            period_type,
            period: window.period_ns.cast_signed(),
            comment,
            default_sample_type: 0,
        }
    }

    fn location(&mut self, frame: &'a Arc<SymbolizedFrame>) -> u64 {
        let pointer = Arc::as_ptr(frame);
        if let Some(id) = self.locations_by_pointer.get(&pointer) {
            return *id;
        }
        let id = match self.locations.get(&**frame) {
            Some(id) => *id,
            None => self.new_location(frame),
        };
        self.locations_by_pointer.insert(pointer, id);
        id
    }

    fn new_location(&mut self, frame: &'a SymbolizedFrame) -> u64 {
        let mapping_id = self.mapping(&frame.module);
        self.note_what_is_known(mapping_id, frame);
        let line = frame.functions.iter().map(|function| self.line(function)).collect();
        let id = next_id(self.location_table.len());
        self.location_table.push(Location {
            id,
            mapping_id,
            address: frame.address,
            line,
            is_folded: false,
        });
        self.locations.insert(frame, id);
        id
    }

    /// A mapping without functions is one that tools may still name, by its build id and the addresses.
    fn note_what_is_known(&mut self, mapping_id: u64, frame: &SymbolizedFrame) {
        let Some(mapping) = self.mapping_table.get_mut(mapping_id as usize - 1) else { return };
        if frame.miss.is_none() {
            mapping.has_functions = true;
            mapping.has_filenames |= frame.functions.iter().any(|function| function.file.is_some());
            mapping.has_line_numbers |= frame.functions.iter().any(|function| function.line != 0);
            mapping.has_inline_frames |= frame.functions.len() > 1;
        }
    }

    fn line(&mut self, function: &'a Symbol) -> Line {
        let name = self.string(&function.name);
        let filename = function.file.as_ref().map_or(0, |file| self.string(file));
        let next = next_id(self.function_table.len());
        let function_id = *self.functions.entry((name, filename)).or_insert(next);
        if function_id == next {
            // No mangled name: one that equals `name` would have pprof take `name` for mangled, and cut its `<…>` off.
            let function = Function { id: next, name, filename, ..Function::default() };
            self.function_table.push(function);
        }
        Line { function_id, line: i64::from(function.line), ..Line::default() }
    }

    fn mapping(&mut self, module: &'a Module) -> u64 {
        if let Some(id) = self.mappings.get(module) {
            return *id;
        }
        let id = next_id(self.mapping_table.len());
        let mapping = Mapping {
            id,
            // Addresses are those of the ELF file already, and a mapping of the whole address space from offset 0 is how
            // pprof's tools are told so.
            memory_start: 0,
            memory_limit: u64::MAX,
            file_offset: 0,
            filename: self.string(&module.path),
            build_id: self.string(&module.build_id),
            ..Mapping::default()
        };
        self.mapping_table.push(mapping);
        self.mappings.insert(module, id);
        id
    }

    fn string(&mut self, text: &'a str) -> i64 {
        let next = self.string_table.len() as i64;
        let id = *self.strings.entry(text).or_insert(next);
        if id == next {
            self.string_table.push(text.to_owned());
        }
        id
    }
}

fn next_id(n_entries: usize) -> u64 {
    n_entries as u64 + 1
}
