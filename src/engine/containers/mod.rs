//! Containers: one file a verb, and the session between a command and a supervisor.

mod create;
pub mod exec;
mod run;
mod session;
mod streams;
