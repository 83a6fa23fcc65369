//! Bytes that a file calls its functions in; text that is safe to show out.

use std::fmt::Write;

/// The bytes as text. Control characters, line separators, marks that turn the writing direction, bytes that are no UTF-8
/// and the backslash itself are written as escapes, so that nothing is lost and no terminal or log line is steered.
pub(super) fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => out.push_str("\\\\"),
                _ if is_harmful(character) => out.extend(character.escape_unicode()),
                _ => out.push(character),
            }
        }
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}").expect("writing to a string cannot fail");
        }
    }
    out
}

/// `module+0x1234`: what a frame without a symbol is called.
pub(super) fn missing(module: &str, address: u64) -> String {
    format!("{module}+{address:#x}")
}

fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::{escape, missing};

    #[test]
    fn harmless_text_stays_and_the_rest_is_escaped() {
        for (bytes, text) in [
            (
                &b"std::vector<int, A<x>>::push_back(int&&)"[..],
                "std::vector<int, A<x>>::push_back(int&&)",
            ),
            ("größe::日本".as_bytes(), "größe::日本"),
            (b"a\x1b[31mb\nc\0", "a\\u{1b}[31mb\\u{a}c\\u{0}"),
            (b"C:\\dir", "C:\\\\dir"),
            (b"f\xff\xfeg\xc3", "f\\xff\\xfeg\\xc3"),
            ("\u{9b}x\u{202e}y\u{2028}".as_bytes(), "\\u{9b}x\\u{202e}y\\u{2028}"),
            (b"", ""),
        ] {
            assert_eq!(escape(bytes), text);
        }
    }

    #[test]
    fn a_miss_says_where() {
        assert_eq!(missing("libc.so.6", 0x1234), "libc.so.6+0x1234");
        assert_eq!(missing("[vdso]", 0), "[vdso]+0x0");
    }
}
