//! Images: pull, load, import, list, tag, remove, inspect.

pub mod embedded;
