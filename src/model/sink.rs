//! Where the bytes of a blob go while they arrive.
//!
//! The registry room produces bytes and the storage room consumes them, and neither may know the
//! other: this trait is the door between them. One sink stands for one blob whose digest and
//! size the sink already knows; it is used by one thread at a time.
//!
//! Order: `write` any number of times, then `finish` once. After a broken connection the producer
//! asks `received` and continues there (HTTP `Range`); a server that cannot do so is answered
//! with `restart`. Dropping a sink without `finish` discards everything it was given.

use super::Result;

pub trait BlobSink: Send {
    /// Bytes accepted since the beginning (or the last `restart`): where to continue.
    fn received(&self) -> u64;

    /// Accepts the next bytes. Fails early when more arrive than the blob has, or when the
    /// consumer has found the content invalid; the download is pointless then.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Forgets everything received: the next `write` is the blob's first byte.
    fn restart(&mut self) -> Result<()>;

    /// All bytes were delivered: checks size and digest and completes the blob. For a layer this
    /// returns when it is unpacked, too.
    ///
    /// Errors: [`super::ErrorKind::DigestMismatch`] when the bytes are not the promised ones,
    /// [`super::ErrorKind::InvalidContent`] when they cannot be unpacked.
    fn finish(self: Box<Self>) -> Result<()>;
}
