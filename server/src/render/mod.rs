//! Trees and time series come in; the encodings that clients draw go out.

pub mod flame_graph;
pub mod diff;
pub mod tree_bytes;
pub mod flamebearer;
pub mod dot;
pub mod folded;
pub mod speedscope;

#[cfg(test)]
mod tests;
