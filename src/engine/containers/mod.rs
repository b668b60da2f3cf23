//! Containers: one file a verb, and the session between a command and a supervisor.

mod create;
mod ending;
pub mod exec;
mod inspect;
mod kill;
mod list;
mod logs;
mod neighbours;
mod own_root;
mod remove;
mod run;
mod runtime_spec;
mod session;
mod size;
mod stop;
mod streams;
mod top;
mod wait;
