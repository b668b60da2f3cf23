//! The disk is kept busy while layers arrive.
//!
//! What a commit acknowledges must be on the disk (head of [`crate::storage`]), and one syncfs(2) at
//! the very end would find everything still to be written while nobody computes. So each time some
//! tens of MiB have come, a thread asks for what there is so far to be written. That is for speed
//! alone: the commit flushes once more, and failures are left to it.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use crate::storage::Store;

/// Compressed bytes; unpacked there are two to four times as many.
const EVERY: u64 = 32 << 20;

pub(super) struct Flusher {
    /// `None` where the store cannot be flushed by a thread.
    root: Mutex<Option<std::os::fd::OwnedFd>>,
    arrived: AtomicU64,
    thread: Mutex<Option<(SyncSender<()>, JoinHandle<()>)>>,
}

impl Flusher {
    pub fn new(store: &Store) -> Flusher {
        Flusher {
            root: Mutex::new(store.root_for_flushing().ok()),
            arrived: AtomicU64::new(0),
            thread: Mutex::default(),
        }
    }

    /// So many more bytes have come.
    pub fn arrived(&self, bytes: u64) {
        let before = self.arrived.fetch_add(bytes, Ordering::Relaxed);
        if before / EVERY == (before + bytes) / EVERY {
            return;
        }
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            *thread = self.start();
        }
        if let Some((wake, _)) = &*thread {
            // Full: it will flush once more anyway.
            let _ = wake.try_send(());
        }
    }

    fn start(&self) -> Option<(SyncSender<()>, JoinHandle<()>)> {
        let root = self
            .root
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        let (wake, woken) = sync_channel(1);
        let work = move || {
            while woken.recv().is_ok() {
                let _ = rustix::fs::syncfs(&root);
            }
        };
        let thread = thread::Builder::new().name("flush".to_owned()).spawn(work);
        Some((wake, thread.ok()?))
    }

    /// No thread is left when this returns: the command may go on to fork.
    pub fn stop(&self) {
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some((wake, thread)) = thread {
            drop(wake);
            let _ = thread.join();
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.stop();
    }
}
