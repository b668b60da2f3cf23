//! Containers: one file a verb, and the session between a command and a supervisor.

mod create;
mod ending;
pub mod exec;
mod inspect;
mod kill;
mod list;
mod logs;
mod own_ids;
mod remove;
mod run;
mod session;
mod size;
mod stop;
mod streams;
mod wait;
