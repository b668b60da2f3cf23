//! Images: pull, load, import, list, tag, remove, inspect.

mod adopt;
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
mod tag;
