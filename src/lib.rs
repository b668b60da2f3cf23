//! Coracle: a container engine in one binary, without a daemon.

#![deny(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "there is one writer to the terminal: cmd::ui"
)]

pub mod cmd;
pub mod engine;
pub mod model;
pub mod registry;
pub mod storage;
pub mod sys;
