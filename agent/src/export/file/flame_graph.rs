//! Folded lines in; an interactive flame graph in SVG out.

use std::io;

use inferno::flamegraph::color::{MultiPalette, Palette};
use inferno::flamegraph::{Options, from_lines};

/// The flame graph of sorted folded lines; of none, an image that says so.
pub(super) fn svg(lines: &[String]) -> io::Result<Vec<u8>> {
    let mut options = Options::default();
    "CPU time".clone_into(&mut options.title);
    "samples".clone_into(&mut options.count_name);
    // This palette knows the suffixes for kernel, inlined and JIT frames.
    options.colors = Palette::Multi(MultiPalette::Java);
    // The same recording gives the same bytes.
    options.hash = true;
    options.deterministic = true;
    let mut image = Vec::new();
    match from_lines(&mut options, lines.iter().map(String::as_str), &mut image) {
        Err(err) if !lines.is_empty() => Err(err),
        _ => Ok(image),
    }
}
