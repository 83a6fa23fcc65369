//! The text of `/proc/PID/cgroup` in; the path of the cgroup and its systemd unit out.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

/// Lines looked at: one for each controller of version 1, plus two.
const MAX_LINES: usize = 64;
/// Longest name of a systemd unit (`UNIT_NAME_MAX`).
const MAX_UNIT_BYTES: usize = 255;
/// Kinds of units that have processes. Slices have none of their own.
const UNIT_SUFFIXES: [&str; 5] = [".service", ".scope", ".socket", ".mount", ".swap"];

/// Where a process is in the two hierarchies that matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Membership<'a> {
    /// Path in the hierarchy of version 2 (`0::/path`).
    pub(super) unified: Option<&'a str>,
    /// Path in systemd's own hierarchy of a host with version 1 (`1:name=systemd:/path`).
    pub(super) systemd: Option<&'a str>,
}

impl<'a> Membership<'a> {
    pub(super) fn parse(text: &'a str) -> Self {
        let mut membership = Self::default();
        for line in text.lines().take(MAX_LINES) {
            let mut fields = line.splitn(3, ':');
            let (Some(hierarchy), Some(controllers), Some(path)) =
                (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            if !path.starts_with('/') {
                continue;
            }
            // The kernel marks a cgroup that was removed under a process that is still in it.
            let path = path.strip_suffix(" (deleted)").unwrap_or(path);
            match (hierarchy, controllers) {
                ("0", "") => membership.unified = Some(path),
                (_, "name=systemd") => membership.systemd = Some(path),
                _ => {}
            }
        }
        membership
    }

    /// The path that says most, where `unified` is known better than from the text (by the sample's cgroup id). On hosts
    /// with version 1 every process is in the root of version 2, and systemd's hierarchy tells them apart.
    pub(super) fn path<'b>(&self, unified: Option<&'b str>) -> Option<&'b str>
    where
        'a: 'b,
    {
        let unified = unified.or(self.unified);
        match (unified, self.systemd) {
            (None | Some("/"), Some(systemd)) => Some(systemd),
            (unified, _) => unified,
        }
    }
}

/// The innermost unit with processes on the path, with its suffix.
pub(super) fn systemd_unit(path: &str) -> Option<&str> {
    path.rsplit('/').find(|component| is_unit(component))
}

fn is_unit(name: &str) -> bool {
    let is_unit_character = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    name.len() <= MAX_UNIT_BYTES
        && name.bytes().all(is_unit_character)
        && UNIT_SUFFIXES
            .iter()
            .any(|suffix| name.strip_suffix(suffix).is_some_and(|stem| !stem.is_empty()))
}
