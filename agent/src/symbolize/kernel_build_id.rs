//! The running kernel's notes in; its build id out.

use super::notes;

/// Where the kernel shows the notes of its own image, readable by all.
const NOTES: &str = "/sys/kernel/notes";

/// In lower-case hex; empty where the kernel does not tell.
pub(super) fn read() -> String {
    let notes = std::fs::read(NOTES).unwrap_or_default();
    notes::build_id(&notes, 4).map(|id| notes::hex(&id)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_kernel_has_one_or_none() {
        let id = super::read();
        assert!(
            id.is_empty() || id.len() >= 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{id}"
        );
    }
}
