//! What URLs held that builds have asked for (ADD): fetched again only if it has changed there.
//!
//! ```text
//! builds/urls/HEX      HEX: SHA-256 of the URL. A line of JSON (UrlFacts), then the bytes
//! ```
//!
//! A copy appears by one rename, over an older one, and is never changed. Nothing is flushed: whoever
//! uses a copy finds out whether it is still what was fetched ([`UrlCopy::write_to`]), and one that is not
//! counts as absent. There are at most [`MOST_COPIES`] with [`MOST_BYTES`] in all; those that were used
//! longest ago go, without a lock: who has one open reads on. What a killed process leaves half made
//! lies in its lease.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_NOW},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Lease, Store, files, lease::exists, make_folder};
use crate::model::{Context, Digest, Result};

const COPIES: &str = "builds/urls";
const MOST_COPIES: usize = 64;
const MOST_BYTES: u64 = 1 << 30;
/// Of one that is kept.
pub const LARGEST_COPY: u64 = 256 << 20;
/// Of the line before the bytes.
const MAX_FACTS: usize = 16 << 10;
const BUFFER: usize = 128 << 10;

/// What is known of a copy. Neither the URL nor who was allowed to fetch it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UrlFacts {
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// As the server has said it (RFC 9110, section 8.8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
}

#[derive(Debug)]
pub struct UrlCopy {
    pub facts: UrlFacts,
    /// At the first byte.
    file: File,
}

impl UrlCopy {
    /// Appends the bytes; false if they are not what was fetched once.
    pub fn write_to(mut self, target: &mut File) -> Result<bool> {
        let what = || "cannot copy what a URL has held".to_owned();
        let mut hash = Sha256::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = self.file.read(&mut buffer).system(what)?;
            if length == 0 {
                return Ok(Digest::sha256(hash.finalize()) == self.facts.digest);
            }
            hash.update(&buffer[..length]);
            target.write_all(&buffer[..length]).system(what)?;
        }
    }
}

impl Store {
    /// What is kept of a URL; it counts as used now.
    pub fn url_copy(&self, url: &str) -> Result<Option<UrlCopy>> {
        let what = || format!("cannot read {COPIES}/{}", name(url));
        if !exists(&self.root, COPIES)? {
            return Ok(None);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(self.folder(COPIES)?, name(url), flags, Mode::empty());
        let file = match opened {
            Err(Errno::NOENT) => return Ok(None),
            other => File::from(other.system(what)?),
        };
        // A store that cannot be written can be read.
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        let times = Timestamps {
            last_access: now,
            last_modification: now,
        };
        let _ = rustix::fs::futimens(&file, &times);
        opened_copy(file).system(what)
    }

    /// Removes all of them.
    pub fn forget_url_copies(&self) -> Result<()> {
        if !exists(&self.root, COPIES)? {
            return Ok(());
        }
        let folder = self.folder(COPIES)?;
        remove_beyond(&folder, 0, 0)
    }
}

fn opened_copy(mut file: File) -> std::io::Result<Option<UrlCopy>> {
    let mut start = Vec::new();
    (&file).take(MAX_FACTS as u64).read_to_end(&mut start)?;
    let Some(end) = start.iter().position(|&byte| byte == b'\n') else {
        return Ok(None);
    };
    let Ok(facts) = serde_json::from_slice::<UrlFacts>(&start[..end]) else {
        return Ok(None);
    };
    file.seek(SeekFrom::Start(end as u64 + 1))?;
    Ok(Some(UrlCopy { facts, file }))
}

impl Lease<'_> {
    /// Keeps what was fetched from a URL, if it is not too large; `body` is read from its beginning.
    pub fn keep_url_copy(&self, url: &str, facts: &UrlFacts, body: &File) -> Result<()> {
        if facts.size > LARGEST_COPY {
            return Ok(());
        }
        let what = || format!("cannot keep {COPIES}/{}", name(url));
        make_folder(&self.store().root, "builds").system(what)?;
        make_folder(&self.store().root, COPIES).system(what)?;
        let folder = self.store().folder(COPIES)?;
        let staged = self.fresh_name("url");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.dir(), &staged, flags, Mode::from(0o600));
        let mut file = File::from(file.system(what)?);
        let mut line = serde_json::to_vec(facts)
            .map_err(std::io::Error::from)
            .system(what)?;
        line.push(b'\n');
        file.write_all(&line).system(what)?;
        let mut body = body.try_clone().system(what)?;
        body.seek(SeekFrom::Start(0)).system(what)?;
        std::io::copy(&mut body, &mut file).system(what)?;
        rustix::fs::renameat(self.dir(), &staged, &folder, name(url)).system(what)?;
        remove_beyond(&folder, MOST_COPIES, MOST_BYTES)
    }
}

fn name(url: &str) -> String {
    Digest::sha256(Sha256::digest(url)).hex().to_owned()
}

/// Those that were used longest ago, until there are few enough.
fn remove_beyond(folder: &OwnedFd, count: usize, bytes: u64) -> Result<()> {
    let what = || format!("cannot clear {COPIES}/");
    let again = rustix::fs::openat(folder, ".", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let mut copies = Vec::new();
    for name in files::names(again.system(what)?.as_fd()).system(what)? {
        match rustix::fs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let used = (stat.st_mtime, stat.st_mtime_nsec);
                copies.push((used, name, stat.st_size.cast_unsigned()));
            }
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno).system(what),
        }
    }
    copies.sort();
    let (mut left, mut size) = (copies.len(), copies.iter().map(|copy| copy.2).sum::<u64>());
    for (_, name, its_size) in copies {
        if left <= count && size <= bytes {
            break;
        }
        match rustix::fs::unlinkat(folder, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno).system(what),
        }
        (left, size) = (left - 1, size.saturating_sub(its_size));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(body: &[u8]) -> UrlFacts {
        UrlFacts {
            digest: Digest::sha256(Sha256::digest(body)),
            size: body.len() as u64,
            etag: Some("\"1\"".to_owned()),
            last_modified: None,
        }
    }

    fn keep(store: &Store, url: &str, body: &[u8]) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(body).unwrap();
        let lease = store.lease().unwrap();
        lease.keep_url_copy(url, &facts(body), &file).unwrap();
    }

    fn read(store: &Store, url: &str) -> Option<(Vec<u8>, bool)> {
        let copy = store.url_copy(url).unwrap()?;
        let mut file = tempfile::tempfile().unwrap();
        let is_right = copy.write_to(&mut file).unwrap();
        let mut body = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut body).unwrap();
        Some((body, is_right))
    }

    #[test]
    fn a_copy_is_found_again_and_known_if_it_is_torn() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), folder.path()).unwrap();
        assert_eq!(read(&store, "http://a/"), None);
        keep(&store, "http://a/", b"one\ntwo");
        keep(&store, "http://b/", b"");
        assert_eq!(
            read(&store, "http://a/"),
            Some((b"one\ntwo".to_vec(), true))
        );
        assert_eq!(read(&store, "http://b/"), Some((Vec::new(), true)));
        keep(&store, "http://a/", b"other");
        assert_eq!(read(&store, "http://a/"), Some((b"other".to_vec(), true)));
        // What a power cut may leave.
        let file = folder.path().join(COPIES).join(name("http://a/"));
        let length = std::fs::metadata(&file).unwrap().len();
        let file = File::options().write(true).open(&file).unwrap();
        file.set_len(length - 1).unwrap();
        assert_eq!(read(&store, "http://a/"), Some((b"othe".to_vec(), false)));
        file.set_len(5).unwrap();
        assert_eq!(read(&store, "http://a/"), None);
        store.forget_url_copies().unwrap();
        assert_eq!(read(&store, "http://b/"), None);
    }

    #[test]
    fn there_are_not_too_many() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), folder.path()).unwrap();
        for number in 0..MOST_COPIES + 10 {
            keep(&store, &format!("http://a/{number}"), b"x");
        }
        let left = std::fs::read_dir(folder.path().join(COPIES)).unwrap();
        assert_eq!(left.count(), MOST_COPIES);
        let last = format!("http://a/{}", MOST_COPIES + 9);
        assert!(read(&store, &last).is_some());
    }
}
