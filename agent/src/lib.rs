//! The agent: samples every CPU, names the frames, labels the processes and forwards profiles. The modules stand in the
//! order a sample travels; `agent.rs` wires them.

pub mod kernel;
pub mod event;
pub mod process;
pub mod unwind;
pub mod stack;
pub mod symbolize;
pub mod worker;
pub mod label;
pub mod profile;
pub mod export;
pub mod config;
pub mod admin;
pub mod agent;
