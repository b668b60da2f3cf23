//! Pipes that bytes are spliced through, splice(2). They are the relay's, not a connection's, which
//! has one only while something is in it: an idle connection costs two descriptors, and what a user
//! may have in pipes (fs.pipe-user-pages-soft) suffices for any number of them.

use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// Size wanted: what a place of a pipe takes is one fragment of a segment, up to 32 KiB, and there
/// are as many places as the size has pages.
pub const PIPE: usize = 1 << 20;
/// An unprivileged user may have 64 of that size; what is over is of the smallest size.
const MOST: usize = 48;

#[derive(Debug)]
pub struct Pipe {
    pub read: OwnedFd,
    pub write: OwnedFd,
}

#[derive(Debug, Default)]
pub struct Pipes {
    idle: Vec<Pipe>,
    lent: usize,
}

impl Pipes {
    /// An empty pipe; none if there are too many.
    pub fn take(&mut self) -> Option<Pipe> {
        if self.lent >= MOST {
            return None;
        }
        let pipe = self.idle.pop().or_else(Self::make)?;
        self.lent += 1;
        Some(pipe)
    }

    fn make() -> Option<Pipe> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        let _ = fcntl_setpipe_size(&write, PIPE).or_else(|_| fcntl_setpipe_size(&write, PIPE / 4));
        Some(Pipe { read, write })
    }

    /// Takes an empty pipe back.
    pub fn put(&mut self, pipe: Pipe) {
        self.lent = self.lent.saturating_sub(1);
        self.idle.push(pipe);
    }

    /// Notes that a lent pipe is gone, with what was in it.
    pub fn lost(&mut self) {
        self.lent = self.lent.saturating_sub(1);
    }

    /// Frees what only a rush needed.
    pub fn trim(&mut self) {
        self.idle.truncate(2);
    }
}
