//! A symbol's name as the linker knows it in; as its programmer wrote it out.

use std::borrow::Cow;
use std::fmt::{self, Write};

use cpp_demangle::{DemangleOptions, ParseOptions};

use crate::symbolize::wire::Demangle as Style;

/// Longest name that is given: a short mangled name can stand for an endless one.
const MAX_LEN: usize = 4096;
/// How deep a mangled name may be nested.
const MAX_DEPTH: u32 = 96;
/// Names with angle brackets that are no templates', the longer ones first.
const OPERATORS: &[&str] = &[
    "operator<=>",
    "operator<<=",
    "operator>>=",
    "operator->*",
    "operator<<",
    "operator>>",
    "operator<=",
    "operator>=",
    "operator->",
    "operator<",
    "operator>",
];

/// Makes names readable, in the style that was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demangler {
    style: Style,
}

impl Demangler {
    pub(super) fn new(style: Style) -> Self {
        Self { style }
    }

    /// The readable name of what a file calls a function, in whatever bytes.
    pub(super) fn demangle(self, name: &[u8]) -> Vec<u8> {
        match std::str::from_utf8(name) {
            Ok(name) if self.style != Style::None => self.readable(name).as_bytes().to_vec(),
            _ => name.to_vec(),
        }
    }

    /// Names that are not mangled stay as they are: to a demangler of types, `a` is `signed char`.
    fn readable(self, name: &str) -> Cow<'_, str> {
        let readable = if name.starts_with("_R") || is_rust_legacy(name) {
            demangle_rust(name)
        } else if name.starts_with("_Z") || name.starts_with("___Z") {
            self.demangle_cpp(name)
        } else {
            None
        };
        readable.map_or(Cow::Borrowed(name), Cow::Owned)
    }

    fn demangle_cpp(self, name: &str) -> Option<String> {
        let options = ParseOptions::default().recursion_limit(MAX_DEPTH);
        let symbol = cpp_demangle::Symbol::new_with_options(name, &options).ok()?;
        let mut capped = Capped::default();
        let mut options = DemangleOptions::new().recursion_limit(MAX_DEPTH);
        if self.style != Style::Full {
            options = options.no_params().no_return_type();
        }
        symbol.structured_demangle(&mut capped, &options).ok()?;
        Some(if self.style == Style::Simplified { without_templates(&capped.0) } else { capped.0 })
    }
}

/// `std::vector<int>::at` without what stands in angle brackets; the brackets of operators stay.
fn without_templates(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut depth = 0_u32;
    let mut rest = name;
    while let Some(character) = rest.chars().next() {
        let operator = OPERATORS.iter().find(|operator| {
            rest.starts_with(*operator) && !out.ends_with(|c: char| c.is_alphanumeric() || c == '_')
        });
        let len = operator.map_or(character.len_utf8(), |operator| operator.len());
        let (taken, left) = rest.split_at(len);
        match taken {
            "<" => depth = depth.saturating_add(1),
            ">" => depth = depth.saturating_sub(1),
            _ if depth == 0 => out.push_str(taken),
            _ => {}
        }
        rest = left;
    }
    out
}

/// `_ZN…17h0123456789abcdefE`: Rust's older names are C++ names that end in a hash.
fn is_rust_legacy(name: &str) -> bool {
    let Some((_, hash)) = name.rsplit_once("17h") else { return false };
    name.starts_with("_ZN")
        && hash.len() >= 17
        && hash.bytes().take(16).all(|byte| byte.is_ascii_hexdigit())
        && hash.as_bytes().get(16) == Some(&b'E')
}

fn demangle_rust(name: &str) -> Option<String> {
    let symbol = rustc_demangle::try_demangle(name).ok()?;
    let mut capped = Capped::default();
    // The alternate form leaves the hash out.
    write!(capped, "{symbol:#}").ok()?;
    Some(capped.0)
}

/// Text that ends with an error when it grows too long.
#[derive(Default)]
struct Capped(String);

impl Write for Capped {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > MAX_LEN {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::{Demangler, Style};

    fn demangle(name: &str) -> String {
        in_style(Style::Full, name)
    }

    fn in_style(style: Style, name: &str) -> String {
        String::from_utf8(Demangler::new(style).demangle(name.as_bytes())).unwrap()
    }

    #[test]
    fn styles() {
        let push = "_ZNSt6vectorIiSaIiEE9push_backERKi";
        let work = "_ZN5space4workIlEET_S1_";
        let shift = "_ZlsRSoRKSt6vectorIiSaIiEE";
        for (style, name, expected) in [
            (Style::Full, work, "long space::work<long>(long)"),
            (Style::Templates, work, "space::work<long>"),
            (Style::Simplified, work, "space::work"),
            (Style::None, work, work),
            (Style::Templates, push, "std::vector<int, std::allocator<int> >::push_back"),
            (Style::Simplified, push, "std::vector::push_back"),
            (Style::Simplified, shift, "operator<<"),
            (Style::Simplified, "_ZN4core3fmt5write17h0123456789abcdefE", "core::fmt::write"),
            (Style::Simplified, "main.f[...]", "main.f[...]"),
        ] {
            assert_eq!(in_style(style, name), expected, "{style:?} {name}");
        }
    }

    #[test]
    fn names() {
        for (name, expected) in [
            ("a", "a"),
            ("b", "b"),
            ("main", "main"),
            ("_start", "_start"),
            ("_Z3foov", "foo()"),
            ("_ZN4node5StartEiPPc", "node::Start(int, char**)"),
            (
                "_ZNSt6vectorIiSaIiEE9push_backERKi",
                "std::vector<int, std::allocator<int> >::push_back(int const&)",
            ),
            ("_ZN4core3fmt5write17h0123456789abcdefE", "core::fmt::write"),
            ("_ZN4core3fmt5write17h0123456789abcdefE.llvm.123", "core::fmt::write"),
            ("_RNvCs1234_7mycrate3foo", "mycrate::foo"),
            ("_Znot mangled", "_Znot mangled"),
            ("runtime.mallocgc", "runtime.mallocgc"),
        ] {
            assert_eq!(demangle(name), expected, "{name}");
        }
    }

    #[test]
    fn a_name_that_grows_without_end_stays_mangled() {
        let mut name = String::from("_Z1fI1aEv");
        for _ in 0..12 {
            name = name.replace("1a", "1bI1a1aE");
        }
        assert!(demangle(&name).len() <= name.len().max(4096));
    }

    proptest! {
        #[test]
        fn any_text_is_survived(name in "(_Z|_ZN|_R|)[A-Za-z0-9_$.]{0,80}") {
            assert!(demangle(&name).len() <= 4096);
        }
    }
}
