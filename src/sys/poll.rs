//! Waiting for several descriptors at once, poll(2), each with what it means to the caller.

use std::{os::fd::BorrowedFd, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

/// What is waited for in one round of a loop.
#[derive(Debug)]
pub struct PollSet<'fd, Source> {
    sources: Vec<Source>,
    polled: Vec<PollFd<'fd>>,
}

impl<'fd, Source: Copy> PollSet<'fd, Source> {
    /// Room for `count` descriptors.
    pub fn with_capacity(count: usize) -> Self {
        PollSet {
            sources: Vec::with_capacity(count),
            polled: Vec::with_capacity(count),
        }
    }

    pub fn add(&mut self, source: Source, descriptor: BorrowedFd<'fd>, flags: PollFlags) {
        self.sources.push(source);
        self.polled
            .push(PollFd::from_borrowed_fd(descriptor, flags));
    }

    /// Waits until one of them is ready; those that are, in the order in which they were added. A
    /// signal that interrupts this brings none.
    pub fn wait(self) -> Result<Vec<(Source, PollFlags)>, Errno> {
        self.poll(None)
    }

    /// The same, but not for ever: none when the time is over.
    pub fn wait_at_most(self, limit: Duration) -> Result<Vec<(Source, PollFlags)>, Errno> {
        let limit = Timespec::try_from(limit).map_err(|_| Errno::INVAL)?;
        self.poll(Some(&limit))
    }

    /// Those that are ready already.
    pub fn ready_now(self) -> Result<Vec<(Source, PollFlags)>, Errno> {
        self.poll(Some(&Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        }))
    }

    fn poll(mut self, limit: Option<&Timespec>) -> Result<Vec<(Source, PollFlags)>, Errno> {
        match poll(&mut self.polled, limit) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let ready = self.polled.iter().map(PollFd::revents);
        Ok(self
            .sources
            .into_iter()
            .zip(ready)
            .filter(|(_, ready)| !ready.is_empty())
            .collect())
    }
}
