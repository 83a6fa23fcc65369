//! A symbol's name as the linker knows it in; as its programmer wrote it out.

use std::borrow::Cow;
use std::fmt::{self, Write};

use cpp_demangle::{DemangleOptions, ParseOptions};

/// Longest name that is given: a short mangled name can stand for an endless one.
const MAX_LEN: usize = 4096;
/// How deep a mangled name may be nested.
const MAX_DEPTH: u32 = 96;

/// The readable name. Names that are not mangled stay as they are: to a demangler of types, `a` is `signed char`.
pub(super) fn demangle(name: &str) -> Cow<'_, str> {
    let readable = if name.starts_with("_R") || is_rust_legacy(name) {
        demangle_rust(name)
    } else if name.starts_with("_Z") || name.starts_with("___Z") {
        demangle_cpp(name)
    } else {
        None
    };
    readable.map_or(Cow::Borrowed(name), Cow::Owned)
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

fn demangle_cpp(name: &str) -> Option<String> {
    let options = ParseOptions::default().recursion_limit(MAX_DEPTH);
    let symbol = cpp_demangle::Symbol::new_with_options(name, &options).ok()?;
    let mut capped = Capped::default();
    let options = DemangleOptions::new().recursion_limit(MAX_DEPTH);
    symbol.structured_demangle(&mut capped, &options).ok()?;
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

    use super::demangle;

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
