//! Where the bytes of a blob go while they arrive.
//!
//! The registry room produces bytes and the storage room consumes them, and neither may know the
//! other: this trait is the door between them. One sink stands for one blob whose digest and
//! size the sink already knows; it is used by one thread at a time.
//!
//! Order: `open` when its turn has come, `write` any number of times, `verify`, then `finish` once.
//! After a broken connection the producer asks `received` and continues there (HTTP `Range`); a
//! server that cannot do so is answered with `restart`. Dropping a sink without `finish` discards
//! everything it was given, or leaves it for a later attempt.

use super::Result;

/// Where the bytes of a blob come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// From the producer, from [`BlobSink::received`] on.
    Producer,
    /// Somebody else is fetching them: [`BlobSink::follow`] takes them from there.
    Elsewhere,
}

pub trait BlobSink: Send {
    /// The download is about to begin. Reads what an earlier attempt has left.
    fn open(&mut self) -> Result<Opening> {
        Ok(Opening::Producer)
    }

    /// After [`Opening::Elsewhere`]: takes the bytes that somebody else fetches. Returns when all
    /// are there, or when the producer is needed after all, or soon after `wanted` says no.
    fn follow(&mut self, _wanted: &dyn Fn() -> bool) -> Result<()> {
        Ok(())
    }

    /// Bytes accepted since the beginning (or the last `restart`): where to continue.
    fn received(&self) -> u64;

    /// Accepts the next bytes. Fails early when more arrive than the blob has, or when the
    /// consumer has found the content invalid; the download is pointless then.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Forgets everything received: the next `write` is the blob's first byte.
    fn restart(&mut self) -> Result<()>;

    /// All bytes were delivered: whether they are the right ones. If not, that is because of bytes
    /// from an earlier attempt, or because this producer has other ones: the sink has forgotten
    /// everything, and wants it once more, from [`Self::open`] on.
    fn verify(&mut self) -> Result<bool> {
        Ok(true)
    }

    /// All bytes were delivered: checks size and digest and completes the blob. For a layer this
    /// returns when it is unpacked, too.
    ///
    /// Errors: [`super::ErrorKind::DigestMismatch`] when the bytes are not the promised ones,
    /// [`super::ErrorKind::InvalidContent`] when they cannot be unpacked.
    fn finish(self: Box<Self>) -> Result<()>;
}
