//! Images: pull, load, import, list, tag, remove, inspect.

pub mod ingest;
pub mod pull;
