//! The server: stores profiles and answers questions about them. The modules stand in the order the data travels; `server`
//! wires them.

pub mod ingest;
pub mod store;
pub mod shelf;
pub mod access;
pub mod query;
pub mod render;
pub mod api;
pub mod ui;
pub mod config;
pub mod server;

pub use server::{BindError, Error, bind, run};
