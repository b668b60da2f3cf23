//! A stream of a client's own, which it has handed over: output goes there without a detour through
//! the client.
//!
//! The stream is shared with others, so it cannot be made non-blocking, and nobody may wait here for
//! who reads it. A pipe takes pages (tee(2) with `SPLICE_F_NONBLOCK`), or as much as fits when
//! poll(2) calls it writable; a file takes everything. Any other stream (a terminal, a socket) is
//! left to the client.

use std::{
    cell::Cell,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{fs::FileType, io::Errno, pipe::SpliceFlags};

use super::streams::LARGE_PIPE;

/// What a pipe takes without waiting once poll(2) calls it writable: `PIPE_BUF`, pipe(7).
const WITHOUT_WAITING: usize = 4096;

#[derive(Debug)]
pub(super) struct Direct {
    descriptor: OwnedFd,
    kind: Cell<Kind>,
    /// What it has had no room for.
    pending: Vec<u8>,
    written: usize,
    /// It takes no more pages for now.
    full: Cell<bool>,
    /// It was tried to make it larger.
    is_large: Cell<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing was written yet.
    Unknown,
    Pipe,
    File,
    Unsuitable,
}

impl Direct {
    pub(super) fn new(descriptor: OwnedFd) -> Direct {
        Direct {
            descriptor,
            kind: Cell::new(Kind::Unknown),
            pending: Vec::new(),
            written: 0,
            full: Cell::new(false),
            is_large: Cell::new(false),
        }
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Room must be waited for.
    pub(super) fn is_congested(&self) -> bool {
        self.full.get() || self.owes()
    }

    pub(super) fn owes(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Found out when there is something to write, which seldom is.
    fn kind(&self) -> Kind {
        if self.kind.get() == Kind::Unknown {
            self.kind.set(kind_of(&self.descriptor));
        }
        self.kind.get()
    }

    pub(super) fn takes_pages(&self) -> bool {
        self.kind() == Kind::Pipe && !self.owes()
    }

    /// Duplicates at most `most` bytes of a pipe into this one.
    pub(super) fn duplicate(&self, from: &OwnedFd, most: usize) -> Result<usize, Errno> {
        let tee = || rustix::pipe::tee(from, &self.descriptor, most, SpliceFlags::NONBLOCK);
        let mut duplicated = tee();
        if duplicated == Err(Errno::AGAIN) && !self.is_large.replace(true) {
            // Whoever reads it is slower than the program: larger pieces cost all less. Best effort.
            if rustix::pipe::fcntl_setpipe_size(&self.descriptor, LARGE_PIPE).is_ok() {
                duplicated = tee();
            }
        }
        self.full.set(duplicated == Err(Errno::AGAIN));
        duplicated
    }

    /// Writes, or keeps what does not fit; `false` if such a stream is not written to here.
    pub(super) fn give(&mut self, bytes: &[u8]) -> bool {
        match self.kind() {
            Kind::Unsuitable => return false,
            Kind::File => write_all(&self.descriptor, bytes),
            Kind::Pipe | Kind::Unknown => self.pending.extend_from_slice(bytes),
        }
        true
    }

    /// poll(2) says that there is room, or nobody who reads: then what is left of the output.
    pub(super) fn advance(&mut self) -> Option<Vec<u8>> {
        self.full.set(false);
        let rest = &self.pending[self.written..];
        if rest.is_empty() {
            return None;
        }
        match rustix::io::write(&self.descriptor, &rest[..rest.len().min(WITHOUT_WAITING)]) {
            Ok(count) => self.written += count,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return Some(self.pending.split_off(self.written)),
        }
        if self.written == self.pending.len() {
            self.pending = Vec::new();
            self.written = 0;
        }
        None
    }
}

fn kind_of(descriptor: &OwnedFd) -> Kind {
    let Ok(stat) = rustix::fs::fstat(descriptor) else {
        return Kind::Unsuitable;
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => Kind::Pipe,
        FileType::RegularFile => Kind::File,
        // /dev/null
        FileType::CharacterDevice if stat.st_rdev == rustix::fs::makedev(1, 3) => Kind::File,
        _ => Kind::Unsuitable,
    }
}

/// To a file. Whether it is full is the command's affair, which has chosen it; the log has it all.
fn write_all(file: &OwnedFd, bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        match rustix::io::write(file, rest) {
            Ok(count) => rest = &rest[count..],
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}
