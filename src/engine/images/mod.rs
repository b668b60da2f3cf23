//! Images: pull, load, import, list, tag, remove, inspect.

mod inspect;
mod list;
mod remove;
mod tag;

pub use remove::ImageRemoval;
