//! The journal: what has happened, one line an event, in Docker's JSON shape.
//!
//! ```text
//! ROOT/events/      locked (flock) by who rotates, tried only; made with the first event
//!   journal           appended to
//!   journal.1         what was `journal` before; with it at most twice 4 MiB are kept
//! ```
//!
//! **Writing.** Whoever does a thing opens `journal` to append, writes all its lines by one
//! write(2), which the kernel never mixes with another's, and closes it. Nothing is locked or
//! flushed, and nothing fails: an event that cannot be written (a full disk) is lost, the thing was
//! done. One writer in sixteen looks at the size, so that this costs no call each time.
//!
//! **Reading** takes no lock. A reader keeps both files open and waits by inotify(7) on the folder:
//! an event that was written to a file right after that was rotated is seen too.
//!
//! **What a crash leaves.** Killed between the thing and its event, the event is missing. A full disk
//! or a power cut leaves a torn line, without its newline; the next event stands behind it on the same
//! line and is found by how events begin. What is no event (a newer program's, perhaps) is skipped.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
    sync::atomic::Ordering,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, inotify},
    io::Errno,
};

use super::{Store, make_folder};
use crate::model::{Context, Result, event::Event};

const FOLDER: &str = "events";
const JOURNAL: &str = "journal";
const OLDER: &str = "journal.1";
/// Bytes after which the journal is rotated: some fifteen thousand events.
const MAX_BYTES: u64 = 4 << 20;
/// Longest line that is understood; ours have at most 32 KiB of attributes, escaped.
const LONGEST_LINE: usize = 1 << 20;
/// One read.
const BLOCK: usize = 64 << 10;
/// How every event begins. Within its texts the quotes are escaped.
const BEGINNING: &[u8] = b"{\"Type\":\"";

impl Store {
    /// Writes down what has happened, all at one moment: now. Best effort; see the head.
    pub fn note_events(&self, events: impl IntoIterator<Item = Event>) {
        if self.events_muted.load(Ordering::Relaxed) {
            return;
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_nanos());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let mut lines = Vec::with_capacity(512);
        for event in events {
            if serde_json::to_writer(&mut lines, &event.at(now)).is_ok() {
                lines.push(b'\n');
            }
        }
        let look_at_size = now / 1000 % 16 == 0;
        if let Err(error) = self.append(&lines, look_at_size) {
            log::debug!("an event is lost: {error}");
        }
    }

    /// From here on nothing is written down: a step of a build is no container to anybody.
    pub fn mute_events(&self) {
        self.events_muted.store(true, Ordering::Relaxed);
    }

    /// [`Self::note_events`] of one.
    pub fn note_event(&self, event: Event) {
        self.note_events([event]);
    }

    fn append(&self, lines: &[u8], look_at_size: bool) -> io::Result<()> {
        let journal = match self.open_journal(OFlags::WRONLY | OFlags::APPEND) {
            Err(Errno::NOENT) => {
                make_folder(&self.root, FOLDER)?;
                self.open_journal(OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE)?
            }
            other => other?,
        };
        rustix::io::write(&journal, lines)?;
        if look_at_size && is_full(&journal) {
            self.rotate()?;
        }
        Ok(())
    }

    fn open_journal(&self, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let path = format!("{FOLDER}/{JOURNAL}");
        rustix::fs::openat(&self.root, path, flags, Mode::from(0o600))
    }

    /// One of those who have seen that it is time does it.
    fn rotate(&self) -> io::Result<()> {
        let folder = rustix::fs::openat(&self.root, FOLDER, super::FOLDER, Mode::empty())?;
        if rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(());
        }
        let journal = self.open_journal(OFlags::RDONLY)?;
        if is_full(&journal) {
            rustix::fs::renameat(&folder, JOURNAL, &folder, OLDER)?;
        }
        Ok(())
    }

    /// A reader of the journal: of all that is kept, or, without `past`, of what is yet to come.
    pub fn events(&self, past: bool) -> Result<EventReader> {
        let what = || "cannot open the journal of events".to_owned();
        let open = || rustix::fs::openat(&self.root, FOLDER, super::FOLDER, Mode::empty());
        let folder = match open() {
            Err(Errno::NOENT) => make_folder(&self.root, FOLDER).and_then(|()| open()),
            other => other,
        };
        let folder = folder.system(what)?;
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let changes = inotify::init(flags).system(what)?;
        let watched = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO;
        let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
        inotify::add_watch(&changes, path, watched).system(what)?;
        let mut reader = EventReader {
            folder,
            changes,
            older: None,
            current: None,
        };
        reader.open_newer().system(what)?;
        if !past {
            let cursors = [&mut reader.older, &mut reader.current];
            for cursor in cursors.into_iter().flatten() {
                cursor.offset = cursor.file.metadata().system(what)?.len();
            }
        }
        Ok(reader)
    }
}

fn is_full(journal: &OwnedFd) -> bool {
    rustix::fs::fstat(journal).is_ok_and(|stat| stat.st_size.cast_unsigned() >= MAX_BYTES)
}

/// Reads the journal from some place on, across rotations.
#[derive(Debug)]
pub struct EventReader {
    folder: OwnedFd,
    changes: OwnedFd,
    older: Option<Cursor>,
    current: Option<Cursor>,
}

impl EventReader {
    /// Readable as soon as there may be more to read.
    pub fn changes(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }

    /// Hands all events that are there now to `sink`, in the order of the journal.
    ///
    /// # Errors
    /// Those of the system and of `sink`.
    pub fn read_on(&mut self, sink: &mut dyn FnMut(Event) -> Result<()>) -> Result<()> {
        let what = || "cannot read the journal of events".to_owned();
        // What the notices say is known. They go first: what is written from here on brings others.
        match rustix::io::read(&self.changes, &mut [0_u8; 4096]) {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(errno).system(what),
        }
        loop {
            for cursor in [&mut self.older, &mut self.current].into_iter().flatten() {
                cursor.read_on(sink)?;
            }
            if !self.open_newer().system(what)? {
                return Ok(());
            }
        }
    }

    /// Opens what has become the journal since it was looked for last. Whether there is more to read.
    fn open_newer(&mut self) -> io::Result<bool> {
        loop {
            let Some(newest) = Cursor::open(&self.folder, JOURNAL)? else {
                // Rotated, and nothing has happened since.
                let found = self.current.is_none() && self.older.is_none();
                self.older = match found {
                    true => Cursor::open(&self.folder, OLDER)?,
                    false => self.older.take(),
                };
                return Ok(found && self.older.is_some());
            };
            if self.current.as_ref().is_some_and(|known| known.is(&newest)) {
                return Ok(false);
            }
            let before = Cursor::open(&self.folder, OLDER)?;
            if before.as_ref().is_some_and(|before| before.is(&newest)) {
                // Rotated between the two.
                continue;
            }
            // The one that was read last is where reading goes on.
            let known = [self.current.take(), self.older.take()];
            self.older = before.map(|before| {
                let same = known.into_iter().flatten().find(|known| known.is(&before));
                same.unwrap_or(before)
            });
            self.current = Some(newest);
            return Ok(true);
        }
    }
}

/// One file of the journal, and how far it was read.
#[derive(Debug)]
struct Cursor {
    file: File,
    inode: u64,
    offset: u64,
    /// The beginning of a line whose newline has not been read yet.
    begun: Vec<u8>,
}

impl Cursor {
    fn open(folder: &OwnedFd, name: &str) -> io::Result<Option<Cursor>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other?,
        };
        Ok(Some(Cursor {
            inode: rustix::fs::fstat(&file)?.st_ino,
            file: file.into(),
            offset: 0,
            begun: Vec::new(),
        }))
    }

    /// An inode's number stays taken as long as it is open, so two open ones with one number are one.
    fn is(&self, other: &Cursor) -> bool {
        self.inode == other.inode
    }

    fn read_on(&mut self, sink: &mut dyn FnMut(Event) -> Result<()>) -> Result<()> {
        let mut block = vec![0; BLOCK];
        loop {
            let count = match self.file.read_at(&mut block, self.offset) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(error).system(|| "cannot read the journal of events".to_owned());
                }
            };
            self.offset += count as u64;
            for part in block[..count].split_inclusive(|&byte| byte == b'\n') {
                if self.begun.len() + part.len() > LONGEST_LINE {
                    // Only its end may be an event.
                    self.begun.clear();
                }
                self.begun.extend_from_slice(part);
                if part.ends_with(b"\n") {
                    let event = parse(&self.begun);
                    self.begun.clear();
                    event.map_or(Ok(()), &mut *sink)?;
                }
            }
        }
    }
}

/// `None` for what is no event.
fn parse(line: &[u8]) -> Option<Event> {
    serde_json::from_slice(line).ok().or_else(|| {
        let behind_torn = line
            .windows(BEGINNING.len())
            .rposition(|window| window == BEGINNING)?;
        serde_json::from_slice(&line[behind_torn..]).ok()
    })
}
