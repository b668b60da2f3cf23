//! A layer that is made here: its tree is staged before anybody knows its digest, and its archive is
//! written in one pass. This process's thread reads the tree and hashes the plain archive (the diff
//! id), another compresses, hashes and writes the blob; a few buffers go round between them.
//!
//! The archive is compressed with gzip, which every registry and every engine takes; of zstd some
//! still know nothing. A low level: the time is spent once more at every `commit`.

use std::{
    io::{self, Write},
    os::fd::BorrowedFd,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use flate2::{Compression, write::GzEncoder};
use sha2::{Digest as _, Sha256};

use super::{BlobWriter, Lease, StagedBlob, pack};
use crate::model::{Context, Digest, Error, ErrorKind, Result};

const BUFFERS: usize = 4;
const BUFFER_BYTES: usize = 256 << 10;
const LEVEL: u32 = 3;
/// What is compressed by itself, at a cost of five bytes each: long runs of zeros (a file of holes)
/// would else shrink to less than the thousandth part, which whoever unpacks takes for a bomb.
const PIECE_BYTES: usize = 64 << 10;

/// The archive of a layer.
#[derive(Debug)]
pub struct LayerArchive {
    /// Compressed with gzip.
    pub blob: StagedBlob,
    /// Of the plain archive.
    pub diff_id: Digest,
}

impl Lease<'_> {
    /// Writes the archive of a layer's tree, see [`pack::pack_layer`].
    pub fn archive_layer(&self, tree: BorrowedFd<'_>, with_root: bool) -> Result<LayerArchive> {
        let what = || "cannot write the archive of the layer".to_owned();
        let blob = self.write_new_blob()?;
        let (filled_in, filled_out) = sync_channel(BUFFERS);
        let (empty_in, empty_out) = sync_channel(BUFFERS);
        for _ in 0..BUFFERS {
            // The channel has room for all of them.
            let _ = empty_in.send(Vec::new());
        }
        thread::scope(|scope| {
            let worker = thread::Builder::new()
                .name("compress".to_owned())
                .spawn_scoped(scope, move || compress(blob, &filled_out, &empty_in))
                .system(what)?;
            let mut archive = Hashing {
                hash: Sha256::new(),
                current: Vec::with_capacity(BUFFER_BYTES),
                filled: filled_in,
                empty: empty_out,
            };
            let packed =
                pack::pack_layer(tree, with_root, &mut archive).and_then(|()| archive.flush());
            let Hashing { hash, filled, .. } = archive;
            drop(filled);
            let blob = worker.join().map_err(|_| {
                Error::new(ErrorKind::System, "the thread that compresses a layer died")
            })?;
            // Why the writing thread has ended comes first.
            let blob = blob?;
            packed.system(what)?;
            Ok(LayerArchive {
                blob: blob.finish()?,
                diff_id: Digest::sha256(hash.finalize()),
            })
        })
    }
}

impl Lease<'_> {
    /// Compresses what a reader delivers, as [`Self::archive_layer`] does.
    pub fn compress_blob(&self, plain: &mut dyn io::Read) -> Result<StagedBlob> {
        let blob = Blob {
            writer: self.write_new_blob()?,
            waiting: Vec::new(),
        };
        let mut encoder = GzEncoder::new(blob, Compression::new(LEVEL));
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            match plain.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => encoder.write_all(&buffer[..length]).map_err(own)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(own(error)),
            }
            encoder.flush().map_err(own)?;
        }
        let mut blob = encoder.finish().map_err(own)?;
        blob.writer.write(&blob.waiting)?;
        blob.writer.finish()
    }
}

/// Takes the bytes of the archive.
struct Hashing {
    hash: Sha256,
    current: Vec<u8>,
    filled: SyncSender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = BUFFER_BYTES - self.current.len();
        let taken = &bytes[..bytes.len().min(room)];
        self.current.extend_from_slice(taken);
        if self.current.len() == BUFFER_BYTES {
            self.flush()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        let mut next = self.empty.recv().map_err(|_| gone(()))?;
        next.clear();
        next.reserve(BUFFER_BYTES);
        let full = std::mem::replace(&mut self.current, next);
        self.hash.update(&full);
        self.filled.send(full).map_err(|_| gone(()))
    }
}

fn compress(
    blob: BlobWriter,
    filled: &Receiver<Vec<u8>>,
    empty: &SyncSender<Vec<u8>>,
) -> Result<BlobWriter> {
    let blob = Blob {
        writer: blob,
        waiting: Vec::new(),
    };
    let mut encoder = GzEncoder::new(blob, Compression::new(LEVEL));
    while let Ok(buffer) = filled.recv() {
        for piece in buffer.chunks(PIECE_BYTES) {
            encoder.write_all(piece).map_err(own)?;
            encoder.flush().map_err(own)?;
        }
        // The other side may have finished.
        let _ = empty.send(buffer);
    }
    let mut blob = encoder.finish().map_err(own)?;
    blob.writer.write(&blob.waiting)?;
    Ok(blob.writer)
}

/// [`Blob`] has only the writer's errors.
fn own(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(own) => own,
        Err(error) => Error::new(ErrorKind::System, "cannot compress a layer").with_source(error),
    }
}

struct Blob {
    writer: BlobWriter,
    waiting: Vec<u8>,
}

impl Write for Blob {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= BUFFER_BYTES {
            let written = self.writer.write(&self.waiting);
            written.map_err(io::Error::other)?;
            self.waiting.clear();
        }
        Ok(bytes.len())
    }

    /// The encoder's pieces are not the file's.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
