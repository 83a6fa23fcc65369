//! Profiles in; acknowledged requests to a server, or a file, out.

pub mod file;
