//! Images: pull, load, import, list, tag, remove, inspect.

mod adopt;
pub mod archive;
pub mod changes;
pub mod embedded;
mod export_store;
pub mod files;
pub mod freshness;
pub mod history;
pub mod import;
pub mod ingest;
mod inspect;
mod list;
pub mod load;
pub(super) mod prune;
pub mod pull;
pub mod push;
mod push_archive;
mod remove;
pub mod repack;
pub mod save;
pub mod scp;
mod tag;
pub mod trust;
mod written;
