//! A layer is unpacked behind its download: one thread appends to the blob's file, another reads it.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use super::{
    died,
    unpack::{Hashed, Unpacked, unpack_unknown},
};
use crate::{
    model::{Context, Error, ErrorKind, Result},
    storage::{StagedLayer, unpack::Privilege},
};

/// The thread that unpacks what [`super::sink`] writes.
pub(super) struct Unpacker {
    feed: Arc<Feed>,
    /// `None` once it was joined.
    thread: Option<JoinHandle<Result<Unpacked>>>,
    /// What the thread said, if it ended before its time.
    ended: Option<Result<Unpacked>>,
}

impl Unpacker {
    pub fn spawn(
        file: File,
        available: u64,
        work: impl FnOnce(FeedReader) -> Result<Unpacked> + Send + 'static,
    ) -> Result<Self> {
        let feed = Arc::new(Feed {
            state: Mutex::new(FeedState {
                available,
                end: End::NotYet,
            }),
            changed: Condvar::new(),
        });
        let reader = FeedReader {
            feed: feed.clone(),
            file,
            position: 0,
        };
        let thread = thread::Builder::new()
            .name("unpack".to_owned())
            .spawn(move || work(reader))
            .system(|| "cannot start a thread".to_owned())?;
        Ok(Unpacker {
            feed,
            thread: Some(thread),
            ended: None,
        })
    }

    /// More bytes are in the file. Fails early on what further bytes cannot mend (a full disk);
    /// invalid content waits for the digest, which may show that the transport was at fault.
    pub fn advance(&mut self, available: u64) -> Result<()> {
        self.feed.update(|state| state.available = available);
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            let result = self.join();
            let hopeless = result.as_ref().err().is_some_and(|error| {
                !matches!(
                    error.kind(),
                    ErrorKind::InvalidContent | ErrorKind::DigestMismatch
                )
            });
            if hopeless {
                return result.map(drop);
            }
            self.ended = Some(result);
        }
        Ok(())
    }

    pub fn finish(mut self) -> Result<Unpacked> {
        self.feed.update(|state| state.end = End::Complete);
        self.join()
    }

    fn join(&mut self) -> Result<Unpacked> {
        if let Some(result) = self.ended.take() {
            return result;
        }
        let thread = self.thread.take().ok_or_else(died)?;
        thread.join().unwrap_or_else(|_| Err(died()))
    }
}

impl Drop for Unpacker {
    /// Nobody writes into the lease any more when this returns.
    fn drop(&mut self) {
        self.feed.update(|state| state.end = End::Abandoned);
        if self.thread.is_some() {
            let _ = self.join();
        }
    }
}

/// A blob that is unpacked as it arrives, before anybody knows which layer it is.
pub struct Ahead(Unpacker);

impl Ahead {
    pub fn start(file: File, tree: StagedLayer, privilege: Privilege) -> Result<Ahead> {
        let work = move |blob| unpack_unknown(blob, tree, privilege, Hashed::Before);
        Unpacker::spawn(file, 0, work).map(Ahead)
    }

    /// So many bytes are in the file.
    pub fn advance(&self, available: u64) {
        self.0.feed.update(|state| state.available = available);
    }

    /// All bytes are there. `None` if it could not be unpacked: why is found out by whoever wants
    /// it as a layer, and nobody may.
    pub fn finish(self) -> Option<Unpacked> {
        self.0.finish().ok()
    }
}

/// How far a file is written that another thread reads.
struct Feed {
    state: Mutex<FeedState>,
    changed: Condvar,
}

struct FeedState {
    available: u64,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    NotYet,
    Complete,
    Abandoned,
}

impl Feed {
    fn update(&self, change: impl FnOnce(&mut FeedState)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.end == End::NotYet {
            change(&mut state);
        }
        self.changed.notify_one();
    }

    /// How many bytes may be read behind `position`; 0 at the end. Waits for some.
    fn wait(&self, position: u64) -> io::Result<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match state.end {
                End::Abandoned => {
                    let why = "the layer's transfer was given up";
                    return Err(io::Error::other(Error::new(ErrorKind::System, why)));
                }
                _ if state.available > position => return Ok(state.available - position),
                End::Complete => return Ok(0),
                End::NotYet => {
                    state = self
                        .changed
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

pub(super) struct FeedReader {
    feed: Arc<Feed>,
    file: File,
    position: u64,
}

impl Read for FeedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.feed.wait(self.position)?;
        let length = usize::try_from(available).map_or(buffer.len(), |n| n.min(buffer.len()));
        if length == 0 {
            return Ok(0);
        }
        let read = self.file.read_at(&mut buffer[..length], self.position)?;
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        self.position += read as u64;
        Ok(read)
    }
}
