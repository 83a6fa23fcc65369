//! `multipart/form-data` held in memory -> its parts by name.

use std::collections::HashMap;

const MAX_PARTS: usize = 16;

/// None where the body is no form with this content type's boundary.
pub(super) fn parts<'a>(content_type: &str, body: &'a [u8]) -> Option<HashMap<String, &'a [u8]>> {
    // Longer ones are against RFC 2046, and make the search below slow.
    let boundary = parameter(content_type, "boundary").filter(|boundary| boundary.len() <= 70)?;
    let delimiter = [b"--", boundary.as_bytes()].concat();
    let mut rest = body.get(find(body, &delimiter)?..)?;
    let mut parts = HashMap::new();
    while parts.len() < MAX_PARTS {
        rest = rest.strip_prefix(delimiter.as_slice())?;
        if rest.starts_with(b"--") {
            return Some(parts);
        }
        rest = rest.strip_prefix(b"\r\n")?;
        let head_len = find(rest, b"\r\n\r\n")?;
        let head = std::str::from_utf8(rest.get(..head_len)?).ok()?;
        rest = rest.get(head_len.checked_add(4)?..)?;
        let end = find(rest, &[b"\r\n", delimiter.as_slice()].concat())?;
        if let Some(name) = part_name(head) {
            parts.insert(name, rest.get(..end)?);
        }
        rest = rest.get(end.checked_add(2)?..)?;
    }
    None
}

fn part_name(head: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        if key.trim().eq_ignore_ascii_case("content-disposition") {
            parameter(value, "name")
        } else {
            None
        }
    })
}

/// A parameter of a header's value, `form-data; name="profile"`.
fn parameter(value: &str, name: &str) -> Option<String> {
    value.split(';').skip(1).find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len().max(1)).position(|window| window == needle)
}
