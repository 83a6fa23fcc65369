//! Bytes that anybody may have chosen (thread names, paths) in; text that is safe in labels, logs and terminals out.

/// Valid UTF-8 of at most `max_bytes` bytes. Control characters, characters that reorder or break lines, and bytes that
/// are not UTF-8 become escapes (`\x1b`, `\u{202e}`). Backslashes stay as they are: systemd's own escapes are legible.
pub fn clean(bytes: &[u8], max_bytes: usize) -> String {
    let mut cleaned = String::with_capacity(bytes.len().min(max_bytes));
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if !push_character(&mut cleaned, character, max_bytes) {
                return cleaned;
            }
        }
        for byte in chunk.invalid() {
            if !push_within(&mut cleaned, &format!("\\x{byte:02x}"), max_bytes) {
                return cleaned;
            }
        }
    }
    cleaned
}

fn push_character(cleaned: &mut String, character: char, max_bytes: usize) -> bool {
    if !is_harmful(character) {
        return push_within(cleaned, character.encode_utf8(&mut [0; 4]), max_bytes);
    }
    let code = u32::from(character);
    let escape =
        if character.is_ascii() { format!("\\x{code:02x}") } else { format!("\\u{{{code:x}}}") };
    push_within(cleaned, &escape, max_bytes)
}

fn push_within(cleaned: &mut String, piece: &str, max_bytes: usize) -> bool {
    let fits = cleaned.len() + piece.len() <= max_bytes;
    if fits {
        cleaned.push_str(piece);
    }
    fits
}

/// Characters that move the cursor, end a line or turn the direction of the text.
fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
