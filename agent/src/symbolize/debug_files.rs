//! What a file says of its debug information in; the paths where that may be out, the likeliest first.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::notes::hex;
use super::wire::{AltLink, Links};

/// Where distributions put debug files.
const DEBUG_FOLDER: &str = "/usr/lib/debug";

/// Where the debug file of the program at `path` may be.
pub(super) fn debug_paths(path: &str, build_id: &[u8], links: &Links) -> Vec<Vec<u8>> {
    let mut paths: Vec<Vec<u8>> = by_build_id(build_id).into_iter().collect();
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let link = links.debug_link.as_ref().map(|link| link.name.as_slice());
    // A name with a folder in it is none that a linker has written.
    if let Some(name) = link.filter(|name| !name.contains(&b'/')) {
        for start in ["", "/.debug"] {
            paths.push(joined(&[folder.as_bytes(), start.as_bytes(), b"/", name]));
        }
        paths.push(joined(&[DEBUG_FOLDER.as_bytes(), folder.as_bytes(), b"/", name]));
    }
    // A program that links to its own name does not mean itself.
    paths.retain(|found| found != path.as_bytes());
    paths
}

/// Where the file that `alt_link` names may be; the path counts from the folder of the file that has the link.
pub(super) fn supplementary_paths(linking: &[u8], alt_link: &AltLink) -> Vec<Vec<u8>> {
    let mut paths = Vec::new();
    if alt_link.path.first() == Some(&b'/') {
        paths.push(alt_link.path.clone());
    } else if let Some(end) = linking.iter().rposition(|byte| *byte == b'/') {
        let folder = linking.get(..end).unwrap_or_default();
        paths.push(joined(&[folder, b"/", &alt_link.path]));
    }
    paths.extend(by_build_id(&alt_link.id));
    paths
}

/// Where the package of the split units of the program at `path` may be.
pub(super) fn package_paths(path: &str, debug_path: Option<&[u8]>) -> Vec<Vec<u8>> {
    let mut paths = vec![joined(&[path.as_bytes(), b".dwp"])];
    paths.extend(debug_path.map(|path| joined(&[path, b".dwp"])));
    paths
}

/// `/usr/lib/debug/.build-id/12/3456….debug`
fn by_build_id(id: &[u8]) -> Option<Vec<u8>> {
    let id = hex(id);
    let (first, rest) = id.split_at_checked(2).filter(|(_, rest)| rest.len() >= 2)?;
    Some(format!("{DEBUG_FOLDER}/.build-id/{first}/{rest}.debug").into_bytes())
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[cfg(test)]
mod tests {
    use super::{debug_paths, package_paths, supplementary_paths};
    use crate::symbolize::wire::{AltLink, DebugLink, Links};

    fn shown(paths: Vec<Vec<u8>>) -> Vec<String> {
        paths.into_iter().map(|path| String::from_utf8(path).unwrap()).collect()
    }

    fn linking(name: &str) -> Links {
        let debug_link = Some(DebugLink { name: name.as_bytes().to_vec(), checksum: 0 });
        Links { debug_link, ..Links::default() }
    }

    #[test]
    fn places_of_debug_files() {
        assert_eq!(
            shown(debug_paths("/usr/bin/x", &[0xab, 0xcd, 0xef], &linking("x.debug"))),
            [
                "/usr/lib/debug/.build-id/ab/cdef.debug",
                "/usr/bin/x.debug",
                "/usr/bin/.debug/x.debug",
                "/usr/lib/debug/usr/bin/x.debug",
            ]
        );
        assert_eq!(
            shown(debug_paths("/opt/x", &[], &linking("x"))),
            ["/opt/.debug/x", "/usr/lib/debug/opt/x"]
        );
        assert!(debug_paths("/opt/x", &[1], &linking("../etc/shadow")).is_empty());
        assert!(debug_paths("[vdso]", &[], &Links::default()).is_empty());
    }

    #[test]
    fn places_of_other_files() {
        let alt = |path: &str| AltLink { path: path.as_bytes().to_vec(), id: vec![1, 2] };
        let linking = b"/usr/lib/debug/.build-id/ab/cdef.debug";
        let by_id = "/usr/lib/debug/.build-id/01/02.debug".to_owned();
        assert_eq!(
            shown(supplementary_paths(linking, &alt("/usr/lib/debug/.dwz/x.debug"))),
            ["/usr/lib/debug/.dwz/x.debug".to_owned(), by_id.clone()]
        );
        assert_eq!(
            shown(supplementary_paths(linking, &alt("../../.dwz/x"))),
            ["/usr/lib/debug/.build-id/ab/../../.dwz/x".to_owned(), by_id]
        );
        assert_eq!(
            shown(package_paths("/opt/x", Some(linking))),
            ["/opt/x.dwp".to_owned(), "/usr/lib/debug/.build-id/ab/cdef.debug.dwp".to_owned()]
        );
    }
}
