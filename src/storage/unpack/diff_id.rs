//! The digest of an uncompressed layer, computed while it is unpacked.
//!
//! A thread reads (that is: inflates) and hashes, the caller's thread makes the files, and a few
//! buffers go round between them. Inflating and hashing take about as long as making the files,
//! so one layer keeps two cores busy.

use std::{
    io::{self, BufRead, Read},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use sha2::{Digest as _, Sha256};

use crate::model::{Digest, Error, ErrorKind, Result};

const BUFFERS: usize = 4;
const BUFFER_BYTES: usize = 256 << 10;

/// Digest and length of a whole uncompressed stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiffId {
    pub digest: Digest,
    pub bytes: u64,
}

/// Runs `consume` on the bytes of `source` while another thread reads and hashes them. `consume`
/// must read to the end; bytes it leaves are not part of the digest, so leaving any is an error.
///
/// Errors: those of `consume`. Failures of `source` reach it through its reader.
pub fn hash_while<S, T>(
    source: S,
    consume: impl FnOnce(&mut Buffers) -> Result<T>,
) -> Result<(T, DiffId)>
where
    S: Read + Send,
{
    let (filled_in, filled_out) = sync_channel(BUFFERS);
    let (empty_in, empty_out) = sync_channel(BUFFERS);
    for _ in 0..BUFFERS {
        // The channel has room for all of them.
        let _ = empty_in.send(Vec::new());
    }
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name("inflate".to_owned())
            .spawn_scoped(scope, move || pump(source, &empty_out, &filled_in))
            .map_err(|cause| {
                Error::new(ErrorKind::System, "cannot start a thread").with_source(cause)
            })?;
        let mut reader = Buffers {
            filled: filled_out,
            empty: empty_in,
            current: Vec::new(),
            position: 0,
            ended: false,
        };
        let result = consume(&mut reader);
        let ended = reader.ended;
        // Without a receiver the worker stops at its next buffer.
        drop(reader);
        let diff_id = worker
            .join()
            .map_err(|_| Error::new(ErrorKind::System, "the thread that inflates a layer died"))?;
        let result = result?;
        if !ended {
            let unread = "a layer was not read to its end";
            return Err(Error::new(ErrorKind::System, unread));
        }
        Ok((result, diff_id))
    })
}

/// Reads, hashes and passes on until the source ends or fails or nobody listens any more.
fn pump(
    mut source: impl Read,
    empty: &Receiver<Vec<u8>>,
    filled: &SyncSender<io::Result<Vec<u8>>>,
) -> DiffId {
    let mut hash = Sha256::new();
    let mut bytes = 0;
    while let Ok(mut buffer) = empty.recv() {
        let message = match fill(&mut source, &mut buffer) {
            Ok(()) => {
                hash.update(&buffer);
                bytes += buffer.len() as u64;
                Ok(buffer)
            }
            Err(error) => Err(error),
        };
        let last = message.as_ref().map_or(true, Vec::is_empty);
        if filled.send(message).is_err() || last {
            break;
        }
    }
    DiffId {
        digest: Digest::sha256(hash.finalize()),
        bytes,
    }
}

/// Fills the buffer; it is empty only at the end of the source.
fn fill(source: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.resize(BUFFER_BYTES, 0);
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(())
}

/// The bytes as they come out of the other thread, read where they lie.
pub struct Buffers {
    filled: Receiver<io::Result<Vec<u8>>>,
    empty: SyncSender<Vec<u8>>,
    current: Vec<u8>,
    position: usize,
    ended: bool,
}

impl Read for Buffers {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let length = into.len().min(there.len());
        into[..length].copy_from_slice(&there[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Buffers {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.current.len() && !self.ended {
            let next = match self.filled.recv() {
                Ok(message) => message?,
                // The worker has sent its failure before.
                Err(_) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            };
            self.ended = next.is_empty();
            self.position = 0;
            let used = std::mem::replace(&mut self.current, next);
            // It may have gone already, having sent its last buffer.
            let _ = self.empty.send(used);
        }
        Ok(&self.current[self.position..])
    }

    fn consume(&mut self, length: usize) {
        self.position += length;
    }
}
