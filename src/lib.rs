//! Coracle: a container engine in one binary, without a daemon.

pub mod cmd;
pub mod engine;
pub mod model;
pub mod registry;
pub mod storage;
pub mod sys;
