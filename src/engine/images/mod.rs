//! Images: pull, load, import, list, tag, remove, inspect.

pub mod archive;
pub mod changes;
pub mod import;
pub mod ingest;
pub mod load;
