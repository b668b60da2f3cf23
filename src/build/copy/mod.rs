//! COPY and ADD: files of a context, a stage or an image → a layer.
//!
//! ```text
//! Tree ── select ──► Selection ── write ──► the staged layer's tree
//!         names,       what is taken, in a     on top of what the
//!         contents     fixed order: digest     layers below show
//! ```
//!
//! Nothing is mounted: what layers show together is looked up in their trees
//! ([`Below`](crate::storage::Below)), for the source as for the destination. Paths are resolved by
//! hand, one name at a time and never out of the tree, symbolic links included; what was resolved is
//! then opened without following any (`RESOLVE_BENEATH`, `RESOLVE_NO_SYMLINKS`).
//!
//! **Semantics** are BuildKit's: a directory's contents are copied and merged, the directory itself is
//! not; what is new wins, but neither does a directory take a file's place nor the other way round.
//! Files of a context belong to root whoever owns them there; those of a stage or an image keep their
//! owners. Directories that are there keep their own metadata if they are the destination, and get the
//! source's if they lie below it. Directories that are made for the destination are 0755.
//!
//! **Somebody may change the source meanwhile.** What is copied is compared with what was selected
//! (size, times, inode; the content again, if it was changed within the clock's last tick);
//! [`Written::digest`] is that of what the layer holds. What has vanished is left out of both.
//!
//! **A layer cannot hold** names that begin with `.wh.` nor whiteout devices, and sockets are nobody's
//! files: all are left out and counted.

mod archive;
mod chmod;
mod chown;
mod digest;
mod dress;
mod file;
mod glob;
mod hashes;
mod select;
#[cfg(test)]
mod tests;
mod tree;
mod write;

use serde::{Deserialize, Serialize};

pub use hashes::HashCache;
pub use select::{Selection, select};
pub use tree::Tree;
pub use write::{Written, write};

/// What is to be copied, and how. Paths and patterns are expanded: no variable is left in them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CopyRequest {
    /// Patterns of paths in the tree: as Go's filepath.Match; with [`Self::parents`], `**` stands for
    /// any number of directories.
    pub sources: Vec<String>,
    /// Here documents. They come after the sources.
    pub inline: Vec<InlineFile>,
    /// Absolute.
    pub dest: String,
    /// It was written with a slash behind it.
    pub dest_is_folder: bool,
    /// `user[:group]`: names are those of the layers below.
    pub chown: Option<String>,
    /// Octal, or symbolic as for chmod(1).
    pub chmod: Option<String>,
    /// Nothing of the layers below matters: [`write`] gets none.
    pub link: bool,
    /// Keep the directories that lead to the sources, from `/./` on if that is in them.
    pub parents: bool,
    /// As in `.dockerignore`, relative to each source.
    pub excludes: Vec<String>,
    /// A source that is an archive (tar, perhaps compressed; by its content) is unpacked: ADD.
    pub unpack: bool,
    /// Unix seconds for what has no time of its own: here documents, directories that are made.
    /// Without it, now.
    pub made_at: Option<i64>,
}

/// A file whose content stands in the Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InlineFile {
    pub name: String,
    pub content: String,
    /// Permissions, 0644 for a here document.
    pub mode: u32,
}
