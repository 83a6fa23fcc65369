//! A module, an address and what the worker found there in; a named frame out.

use std::collections::HashSet;
use std::sync::Arc;

use agent_common::frame::FrameKind;

use super::metrics::Miss;
use super::names::{escape, missing};
use super::wire::{FunctionBytes, Lookup};
use super::{Function, Module, SymbolizedFrame};

/// A frame and why it has no name, if it has none.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub frame: Arc<SymbolizedFrame>,
    pub miss: Option<Miss>,
    /// A better source may say more the next time.
    pub is_provisional: bool,
}

/// Where code stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub kind: FrameKind,
    pub module: &'a Arc<Module>,
    pub address: u64,
}

/// Makes frames; equal names of one request share their memory.
#[derive(Debug, Default)]
pub(super) struct Names {
    seen: HashSet<Arc<str>>,
}

impl Names {
    /// The frame of a place where the worker found that, or why it found nothing.
    pub(super) fn entry(&mut self, place: Place<'_>, found: Result<Lookup, Miss>) -> Entry {
        let is_provisional = matches!(found, Ok(Lookup::Provisional(_)));
        let miss = match found {
            Ok(Lookup::Functions(functions) | Lookup::Provisional(functions))
                if !functions.is_empty() =>
            {
                let functions = functions.iter().map(|function| self.function(function)).collect();
                return Entry { frame: frame(place, functions, None), miss: None, is_provisional };
            }
            Ok(Lookup::Later) => Miss::OutOfTime,
            Ok(Lookup::NoSymbols) => Miss::NoSymbols,
            Ok(Lookup::Hidden) => Miss::KernelHidden,
            Ok(_) if place.kind == FrameKind::Kernel => Miss::KernelUnknown,
            Ok(_) => Miss::UnknownAddress,
            Err(miss) => miss,
        };
        let basename = place.module.path.rsplit('/').next().unwrap_or_default();
        // The addresses of JIT code mean nothing to anybody, and are others in each process.
        let name =
            if miss == Miss::Jit { "[jit]".into() } else { missing(basename, place.address) };
        let frame = frame(place, [unnamed(name)].into(), Some(miss.name()));
        Entry { frame, miss: Some(miss), is_provisional }
    }

    fn function(&mut self, bytes: &FunctionBytes) -> Function {
        let file = if bytes.file.is_empty() { None } else { Some(self.intern(&bytes.file)) };
        Function { name: self.intern(&bytes.name), file, line: bytes.line }
    }

    fn intern(&mut self, bytes: &[u8]) -> Arc<str> {
        let text = escape(bytes);
        if let Some(seen) = self.seen.get(text.as_str()) {
            return Arc::clone(seen);
        }
        let text: Arc<str> = text.into();
        self.seen.insert(Arc::clone(&text));
        text
    }
}

/// A frame that stands for frames that the walk did not find; whoever walked has counted it.
pub(super) fn gap(module: &Arc<Module>, text: &str, reason: &'static str) -> Entry {
    let place = Place { kind: FrameKind::Address, module, address: 0 };
    let frame = frame(place, [unnamed(format!("[{text}]"))].into(), Some(reason));
    Entry { frame, miss: None, is_provisional: false }
}

/// A frame whose name needs no looking up.
pub(super) fn named(place: Place<'_>, name: &str) -> Entry {
    Entry {
        frame: frame(place, [unnamed(name.to_owned())].into(), None),
        miss: None,
        is_provisional: false,
    }
}

/// A module of that path, made safe to show.
pub(super) fn module(path: &str, build_id: String) -> Arc<Module> {
    let path = if path.is_empty() { "[unknown]".to_owned() } else { escape(path.as_bytes()) };
    Arc::new(Module { path: path.into(), build_id: build_id.into() })
}

fn unnamed(name: String) -> Function {
    Function { name: name.into(), file: None, line: 0 }
}

fn frame(
    place: Place<'_>,
    functions: Arc<[Function]>,
    miss: Option<&'static str>,
) -> Arc<SymbolizedFrame> {
    let Place { kind, module, address } = place;
    Arc::new(SymbolizedFrame { kind, module: Arc::clone(module), address, functions, miss })
}

#[cfg(test)]
mod tests {
    use super::{Names, Place, gap, module};
    use crate::symbolize::metrics::Miss;
    use crate::symbolize::wire::{FunctionBytes, Lookup};
    use agent_common::frame::FrameKind;
    use std::sync::Arc;

    fn name_of(
        kind: FrameKind,
        path: &str,
        found: Result<Lookup, Miss>,
    ) -> (String, Option<&'static str>) {
        let module = module(path, String::new());
        let entry = Names::default().entry(Place { kind, module: &module, address: 0x1234 }, found);
        assert_eq!(entry.miss.map(Miss::name), entry.frame.miss);
        (entry.frame.functions[0].name.to_string(), entry.frame.miss)
    }

    #[test]
    fn a_miss_is_a_visible_frame() {
        for (kind, path, found, name, miss) in [
            (
                FrameKind::Native,
                "/usr/lib/libc.so.6",
                Ok(Lookup::Unknown),
                "libc.so.6+0x1234",
                "unknown_address",
            ),
            (
                FrameKind::Native,
                "/bin/a\nb",
                Ok(Lookup::NoSymbols),
                "a\\u{a}b+0x1234",
                "no_symbols",
            ),
            (
                FrameKind::Native,
                "",
                Err(Miss::FileUnreadable),
                "[unknown]+0x1234",
                "file_unreadable",
            ),
            (
                FrameKind::Kernel,
                "[kernel.kallsyms]",
                Ok(Lookup::Unknown),
                "[kernel.kallsyms]+0x1234",
                "kernel_unknown",
            ),
            (
                FrameKind::Kernel,
                "[kernel.kallsyms]",
                Ok(Lookup::Hidden),
                "[kernel.kallsyms]+0x1234",
                "kernel_hidden",
            ),
            (FrameKind::Jit, "[jit]", Err(Miss::Jit), "[jit]", "jit"),
            (FrameKind::Native, "/bin/x", Ok(Lookup::Later), "x+0x1234", "out_of_time"),
            (
                FrameKind::Native,
                "[vdso]",
                Ok(Lookup::Functions(vec![])),
                "[vdso]+0x1234",
                "unknown_address",
            ),
        ] {
            assert_eq!(name_of(kind, path, found), (name.to_owned(), Some(miss)));
        }
    }

    #[test]
    fn names_and_files_are_shared_and_escaped() {
        let function = |name: &[u8]| FunctionBytes {
            name: name.to_vec(),
            file: b"/src/a.c".to_vec(),
            line: 3,
        };
        let module = module("/bin/x", "ab".to_owned());
        let place = Place { kind: FrameKind::Native, module: &module, address: 1 };
        let mut names = Names::default();
        let lookup = Lookup::Functions(vec![function(b"f\x1b"), function(b"g")]);
        let entry = names.entry(place, Ok(lookup));
        let [inner, outer] = &*entry.frame.functions else { panic!("{entry:?}") };
        assert_eq!((&*inner.name, &*outer.name, inner.line), ("f\\u{1b}", "g", 3));
        assert!(Arc::ptr_eq(inner.file.as_ref().unwrap(), outer.file.as_ref().unwrap()));
    }

    #[test]
    fn a_gap_says_why() {
        let entry = gap(&module("[unknown]", String::new()), "stack_fault", "stack_fault");
        assert_eq!(
            (&*entry.frame.functions[0].name, entry.frame.miss),
            ("[stack_fault]", Some("stack_fault"))
        );
    }
}
