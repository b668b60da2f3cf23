//! Images: pull, load, import, list, tag, remove, inspect.

pub mod archive;
pub mod changes;
pub mod embedded;
pub mod import;
pub mod ingest;
mod inspect;
mod list;
pub mod load;
mod prune;
pub mod pull;
mod remove;
pub mod save;
mod tag;
pub mod trust;
mod written;
