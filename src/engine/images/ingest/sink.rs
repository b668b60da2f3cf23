//! The sink of one layer's blob: it writes the blob, or follows another process that does, and lets a
//! thread unpack behind it.
//!
//! The blob's file is opened, and locked, when its turn has come ([`BlobSink::open`]), not before:
//! two commands that pull the same image each take what the other has not begun.

use std::time::{Duration, Instant};

use super::{
    Ingest, died,
    feed::Unpacker,
    plan::Layer,
    unpack::{Hashed, unpack_blob},
};
use crate::{
    engine::LayerState,
    model::{BlobSink, Digest, Error, ErrorKind, Opening, Result},
    storage::{
        BlobWriter, StagedBlob,
        blobs::{Advance, Download, Follower},
    },
};

/// How long another process's download may stand still before we fetch the rest ourselves. It may
/// be stopped, or its registry may have asked it to wait.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a follower looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(500);

pub(super) struct LayerSink<'i> {
    ingest: &'i Ingest<'i>,
    index: usize,
    blob: Blob,
    unpacker: Option<Unpacker>,
}

/// The blob's way, as far as it has come.
enum Blob {
    /// Its turn has not come; or it is being finished.
    Closed,
    Ours(BlobWriter),
    Elsewhere(Follower),
    /// Another process has fetched it, and its digest is right.
    Shared(StagedBlob),
}

impl<'i> LayerSink<'i> {
    pub fn new(ingest: &'i Ingest<'i>, index: usize) -> Self {
        LayerSink {
            ingest,
            index,
            blob: Blob::Closed,
            unpacker: None,
        }
    }

    fn layer(&self) -> &'i Layer {
        &self.ingest.layers[self.index]
    }

    fn name(&self) -> &'i Digest {
        &self.layer().blob
    }

    fn writer(&mut self) -> Result<&mut BlobWriter> {
        match &mut self.blob {
            Blob::Ours(writer) => Ok(writer),
            _ => Err(died()),
        }
    }

    fn begin(&mut self) -> Result<Opening> {
        let layer = self.layer();
        self.unpacker = None;
        let download = self.ingest.lease.download(&layer.blob, layer.size)?;
        let progress = self.ingest.progress;
        progress.layer_started(&layer.blob, layer.size);
        let opening = match download {
            Download::Ours(writer) => {
                self.blob = Blob::Ours(writer);
                Opening::Producer
            }
            Download::Elsewhere(follower) => {
                progress.layer_state(&layer.blob, LayerState::Elsewhere);
                self.blob = Blob::Elsewhere(follower);
                Opening::Elsewhere
            }
        };
        progress.layer_advanced(&layer.blob, self.received());
        Ok(opening)
    }

    /// A thread unpacks what is there already and what will come. Started late: what a waiting
    /// layer needs not, costs nothing.
    fn start(&mut self) -> Result<()> {
        let layer = self.layer();
        if self.unpacker.is_some() || layer.has_layer {
            return Ok(());
        }
        let file = match &self.blob {
            Blob::Ours(writer) => writer.reader()?,
            Blob::Elsewhere(follower) => follower.reader()?,
            Blob::Shared(_) | Blob::Closed => return Ok(()),
        };
        let layer = layer.clone();
        let tree = self.ingest.lease.stage_layer(&layer.chain_id)?;
        let privilege = self.ingest.privilege;
        let work = move |blob| unpack_blob(blob, &layer, tree, privilege, Hashed::Before);
        self.unpacker = Some(Unpacker::spawn(file, self.received(), work)?);
        Ok(())
    }

    fn advanced(&mut self, bytes: u64) -> Result<()> {
        let there = self.received();
        self.ingest.progress.layer_advanced(self.name(), bytes);
        self.ingest.flusher.arrived(bytes);
        match &mut self.unpacker {
            Some(unpacker) => unpacker.advance(there),
            None => Ok(()),
        }
    }

    /// What the follower has met is dealt with. Whether that is all there is to follow.
    fn met(&mut self, advance: Advance, silent_since: &mut Instant) -> Result<bool> {
        let Blob::Elsewhere(follower) = std::mem::replace(&mut self.blob, Blob::Closed) else {
            return Err(died());
        };
        let lease = self.ingest.lease;
        let layer = self.layer();
        match advance {
            Advance::More | Advance::Silent => {
                if advance == Advance::More {
                    *silent_since = Instant::now();
                }
                if silent_since.elapsed() < PATIENCE {
                    self.blob = Blob::Elsewhere(follower);
                    return Ok(false);
                }
                // The bytes go to another file from here on, so the unpacking begins with that.
                self.unpacker = None;
                self.blob = Blob::Ours(follower.leave(lease)?);
            }
            Advance::Free => self.blob = Blob::Ours(follower.into_writer(lease)?),
            Advance::Gone => {
                drop(follower);
                *silent_since = Instant::now();
                return Ok(self.begin()? == Opening::Producer);
            }
            Advance::Complete => match follower.share(lease)? {
                Some(blob) => self.blob = Blob::Shared(blob),
                // Its writer will see, too; what it does then is its own affair.
                None => {
                    self.unpacker = None;
                    let writer = lease.write_blob_alone(&layer.blob, layer.size)?;
                    self.blob = Blob::Ours(writer);
                }
            },
        }
        Ok(true)
    }
}

impl BlobSink for LayerSink<'_> {
    fn open(&mut self) -> Result<Opening> {
        match &self.blob {
            // A second time, after `verify`: what was there is forgotten.
            Blob::Ours(_) => Ok(Opening::Producer),
            _ => self.begin(),
        }
    }

    fn follow(&mut self, wanted: &dyn Fn() -> bool) -> Result<()> {
        let mut silent_since = Instant::now();
        while wanted() {
            self.start()?;
            let lease = self.ingest.lease;
            let Blob::Elsewhere(follower) = &mut self.blob else {
                return Ok(());
            };
            let before = follower.offset();
            let advance = follower.advance(lease, LOOK)?;
            let more = follower.offset() - before;
            if more > 0 {
                self.advanced(more)?;
                silent_since = Instant::now();
            }
            if self.met(advance, &mut silent_since)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn received(&self) -> u64 {
        match &self.blob {
            Blob::Closed => 0,
            Blob::Ours(writer) => writer.offset(),
            Blob::Elsewhere(follower) => follower.offset(),
            Blob::Shared(blob) => blob.size(),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.start()?;
        self.writer()?.write(bytes)?;
        self.advanced(bytes.len() as u64)
    }

    fn restart(&mut self) -> Result<()> {
        // Its thread must be gone before another file takes the place of this one.
        self.unpacker = None;
        self.writer()?.restart()?;
        let layer = self.layer();
        let progress = self.ingest.progress;
        progress.layer_state(&layer.blob, LayerState::Anew);
        Ok(())
    }

    fn verify(&mut self) -> Result<bool> {
        let right = match &mut self.blob {
            Blob::Ours(writer) => writer.verify()?,
            _ => true,
        };
        if !right {
            self.unpacker = None;
            self.ingest
                .progress
                .layer_state(self.name(), LayerState::Anew);
        }
        Ok(right)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.start()?;
        // First the digest: if the bytes are wrong, why they cannot be unpacked is no news.
        let blob = match std::mem::replace(&mut self.blob, Blob::Closed) {
            Blob::Ours(writer) => writer.finish()?,
            Blob::Shared(blob) => blob,
            Blob::Elsewhere(_) | Blob::Closed => {
                return Err(Error::new(
                    ErrorKind::System,
                    format!("layer {} was not fetched", self.name()),
                ));
            }
        };
        let progress = self.ingest.progress;
        progress.layer_state(self.name(), LayerState::Downloaded);
        let unpacked = self.unpacker.take().map(Unpacker::finish).transpose()?;
        let layer = self.layer();
        let mut staged = self.ingest.staged();
        staged.blobs.insert(layer.blob.clone(), blob);
        if let Some(unpacked) = unpacked {
            staged.trees.insert(self.index, unpacked);
        }
        drop(staged);
        progress.layer_done(&layer.blob);
        Ok(())
    }
}
