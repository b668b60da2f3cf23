//! An archive that is a file and not compressed: where its members lie, found without reading them.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead, Read, Seek},
    os::unix::fs::FileExt,
    sync::Arc,
};

use super::{Listed, MAX_LINKS, link_target, normal_name, strange};
use crate::{
    model::{Context, Result, manifest::Compression},
    storage::unpack::{Kind, TarStream, is_rare, sniff},
};

/// Headers are read, and what lies between them is not.
const HEADER_BUFFER: usize = 4 << 10;

pub(super) struct Seekable {
    pub file: Arc<File>,
    members: HashMap<String, Place>,
}

enum Place {
    Data(Extent),
    /// Another member's name.
    Link(String),
}

/// Bytes of the archive.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    pub offset: u64,
    pub size: u64,
}

impl Seekable {
    /// `None` for what must be read front to back: a pipe, or a compressed archive.
    pub fn open(file: &File) -> Result<Option<Seekable>> {
        let what = || "cannot read the archive".to_owned();
        let mut file = file.try_clone().system(what)?;
        if !file.metadata().system(what)?.is_file() || file.stream_position().system(what)? != 0 {
            return Ok(None);
        }
        let mut start = [0; 6];
        let length = file.read_at(&mut start, 0).system(what)?;
        if sniff(&start[..length]) != Compression::None || is_rare(&start[..length]).is_some() {
            return Ok(None);
        }
        let end = file.metadata().system(what)?.len();
        let members = list(Skipping::new(file.try_clone().system(what)?), end)?;
        Ok(Some(Seekable {
            file: Arc::new(file),
            members,
        }))
    }

    /// Where the member is, under the name that its links lead to.
    pub fn find(&self, name: &str) -> std::result::Result<(&str, Extent), &'static str> {
        let mut name = normal_name(name.as_bytes()).ok_or("is no name")?;
        for _ in 0..MAX_LINKS {
            match self.members.get_key_value(&name) {
                Some((name, Place::Data(extent))) => return Ok((name, *extent)),
                Some((_, Place::Link(target))) => name.clone_from(target),
                None => return Err("is missing"),
            }
        }
        Err("is a circle of links")
    }
}

fn list(source: Skipping, end: u64) -> Result<HashMap<String, Place>> {
    let mut members = HashMap::new();
    let mut stream = TarStream::new(source);
    let mut listed = Listed::default();
    while let Some(entry) = stream.next_entry()? {
        listed.count(&entry)?;
        let Some(name) = normal_name(&entry.path) else {
            return Err(strange(&entry.path, "is no name for a member"));
        };
        let (rest, source) = stream.leave_out();
        let extent = Extent {
            offset: source.position(),
            size: entry.stored,
        };
        let whole = extent
            .offset
            .checked_add(entry.stored)
            .filter(|&to| to <= end);
        match entry.kind {
            Kind::File if whole.is_none() => {
                return Err(strange(&entry.path, "goes on behind the archive's end"));
            }
            // It has a name that nothing may ask for.
            Kind::File if entry.sparse.is_some() => {}
            Kind::File => drop(members.insert(name, Place::Data(extent))),
            Kind::Symlink | Kind::HardLink => {
                let Some(target) = link_target(&name, &entry) else {
                    return Err(strange(&entry.path, "links to nothing in the archive"));
                };
                members.insert(name, Place::Link(target));
            }
            _ => {}
        }
        let skipped = source.skip(rest);
        skipped.system(|| "cannot read the archive".to_owned())?;
    }
    Ok(members)
}

/// Reads a file through a small buffer, and can leave bytes out.
struct Skipping {
    file: File,
    /// Of the buffer's end.
    behind: u64,
    buffer: Vec<u8>,
    used: usize,
}

impl Skipping {
    fn new(file: File) -> Skipping {
        Skipping {
            file,
            behind: 0,
            buffer: Vec::new(),
            used: 0,
        }
    }

    /// Of the next byte.
    fn position(&self) -> u64 {
        self.behind - (self.buffer.len() - self.used) as u64
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let buffered = (self.buffer.len() - self.used) as u64;
        match bytes.checked_sub(buffered) {
            None => self.used += usize::try_from(bytes).unwrap_or(0),
            Some(beyond) => {
                let error = || io::Error::from(io::ErrorKind::UnexpectedEof);
                self.behind = self.behind.checked_add(beyond).ok_or_else(error)?;
                self.buffer.clear();
                self.used = 0;
            }
        }
        Ok(())
    }
}

impl BufRead for Skipping {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.buffer.len() {
            self.buffer.resize(HEADER_BUFFER, 0);
            self.used = 0;
            let read = self.file.read_at(&mut self.buffer, self.behind);
            self.buffer.truncate(*read.as_ref().unwrap_or(&0));
            self.behind += read? as u64;
        }
        Ok(&self.buffer[self.used..])
    }

    fn consume(&mut self, amount: usize) {
        self.used += amount;
    }
}

impl Read for Skipping {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(into)?;
        self.consume(length);
        Ok(length)
    }
}

/// Reads a file at positions of its own.
pub(super) struct At<'a> {
    pub file: &'a File,
    pub at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
