//! The trees and files of contexts that are not folders of the user's, in a lease's directory.

use std::{
    fs::File,
    io::{Cursor, Read, Seek, SeekFrom, Write},
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};

use super::{credentials::Credentials, folder, git};
use crate::model::manifest::Compression;
use crate::{
    build::{git_address::GitAddress, request::Folder},
    engine::{DownloadRequest, Engine},
    model::{Context, Digest, Error, ErrorKind, RegistryOptions, Result},
    storage::{
        Lease,
        unpack::{UnpackOptions, decompress_any, is_rare, sniff, unpack},
        url_copies::{UrlCopy, UrlFacts},
    },
    sys::in_root,
};

/// Largest context: of files, and of a download.
const MAX_BYTES: u64 = 1 << 40;
/// Within which a time of Last-Modified does not tell one content from another.
const RECENT_SECONDS: i64 = 60;
/// Of a Dockerfile that stands for a context.
const MAX_TEXT: u64 = 4 << 20;
const TAR_BLOCK: usize = 512;

pub struct Staging<'engine> {
    engine: &'engine Engine,
    /// Made for the first that needs it.
    lease: Option<Lease<'engine>>,
    count: usize,
    credentials: Credentials,
}

pub enum Unpacked {
    Tree(Folder),
    Text(Vec<u8>),
}

impl std::fmt::Debug for Staging<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Staging")
            .field("lease", &self.lease)
            .finish()
    }
}

impl<'engine> Staging<'engine> {
    pub fn new(engine: &'engine Engine, credentials: Credentials) -> Self {
        Staging {
            engine,
            lease: None,
            count: 0,
            credentials,
        }
    }

    fn lease(&mut self) -> Result<&Lease<'engine>> {
        if self.lease.is_none() {
            self.lease = Some(self.engine.store.lease()?);
        }
        let missing = || Error::new(ErrorKind::System, "there is no lease");
        self.lease.as_ref().ok_or_else(missing)
    }

    fn name(&mut self) -> String {
        self.count += 1;
        format!("context-{}", self.count)
    }

    fn make_folder(&mut self) -> Result<(OwnedFd, PathBuf)> {
        let name = self.name();
        let what = || "cannot make a folder for the context".to_owned();
        let lease = self.lease()?;
        rustix::fs::mkdirat(lease.dir(), &name, Mode::from(0o755)).system(what)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let opened = rustix::fs::openat(lease.dir(), &name, flags, Mode::empty()).system(what)?;
        Ok((opened, lease.path().join(name)))
    }

    /// The file behind a URL; it has no name any more.
    pub fn download(&mut self, url: &str, options: &RegistryOptions) -> Result<File> {
        let what = || format!("cannot keep what {url} holds");
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        let lease = self.lease()?;
        let file = rustix::fs::openat(lease.dir(), ".", flags, Mode::from(0o600)).system(what)?;
        let mut file = File::from(file);
        self.get(url, None, options, &mut file)?;
        file.seek(SeekFrom::Start(0)).system(what)?;
        Ok(file)
    }

    /// A folder with the file behind a URL: 0600, and as old as the server says. What was fetched once
    /// is not sent again if it has not changed.
    pub fn fetch(
        &mut self,
        url: &str,
        name: &str,
        checksum: Option<&str>,
        options: &RegistryOptions,
    ) -> Result<Folder> {
        let (root, path) = self.make_folder()?;
        let what = || format!("cannot keep what {url} holds");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&root, name, flags, Mode::from(0o600)).system(what)?;
        let mut file = File::from(file);
        let copy = self.engine.store().url_copy(url)?;
        let facts = match self.known(url, copy, checksum, options, &mut file)? {
            Some(facts) => facts,
            None => {
                file.set_len(0).system(what)?;
                file.seek(SeekFrom::Start(0)).system(what)?;
                let (facts, _) = self.get(url, None, options, &mut file)?;
                self.keep(url, &facts, &file);
                facts
            }
        };
        if let Some(wanted) = checksum
            && wanted != facts.digest.as_str()
        {
            return Err(Error::new(
                ErrorKind::DigestMismatch,
                format!(
                    "{url} has not the checksum {wanted}: it is {}",
                    facts.digest
                ),
            ));
        }
        let modified = facts.last_modified.as_deref().and_then(http_date);
        let time = rustix::fs::Timespec {
            tv_sec: modified.map_or(0, jiff::Timestamp::as_second),
            tv_nsec: 0,
        };
        let times = rustix::fs::Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::futimens(&file, &times).system(what)?;
        Ok(folder(root, path))
    }

    /// Writes what an earlier build has fetched, if that is what there is now; or what is there now, if
    /// the server sends that at once. None if there is nothing to go by.
    fn known(
        &mut self,
        url: &str,
        copy: Option<UrlCopy>,
        checksum: Option<&str>,
        options: &RegistryOptions,
        file: &mut File,
    ) -> Result<Option<UrlFacts>> {
        let Some(copy) = copy else {
            return Ok(None);
        };
        let facts = copy.facts.clone();
        // Whatever the server has by now, this is what is wanted.
        if checksum != Some(facts.digest.as_str()) {
            let (got, unchanged) = self.get(url, Some(&facts), options, file)?;
            if !unchanged {
                self.keep(url, &got, file);
                return Ok(Some(got));
            }
        }
        Ok(copy.write_to(file)?.then_some(facts))
    }

    /// Writes what a URL holds, unless it is known; then true.
    fn get(
        &self,
        url: &str,
        known: Option<&UrlFacts>,
        options: &RegistryOptions,
        file: &mut File,
    ) -> Result<(UrlFacts, bool)> {
        let what = || format!("cannot keep what {url} holds");
        let mut hash = Sha256::new();
        let request = DownloadRequest {
            url,
            limit: MAX_BYTES,
            authorization: &|host| self.credentials.for_file(host),
            etag: known.and_then(|facts| facts.etag.as_deref()),
            last_modified: known.and_then(|facts| facts.last_modified.as_deref()),
        };
        let got = self.engine.download(&request, options, &mut |bytes| {
            hash.update(bytes);
            file.write_all(bytes).system(what)
        })?;
        let facts = UrlFacts {
            digest: Digest::sha256(hash.finalize()),
            size: got.size,
            etag: got.etag,
            last_modified: got.last_modified,
        };
        Ok((facts, got.unchanged))
    }

    /// For the next build, if the server will be able to say whether it has changed.
    fn keep(&mut self, url: &str, facts: &UrlFacts, file: &File) {
        // RFC 9110, 8.8.2.2: what was changed a moment ago may change again in the same second.
        let is_old = |time: jiff::Timestamp| {
            jiff::Timestamp::now().as_second() - time.as_second() > RECENT_SECONDS
        };
        let modified = facts.last_modified.as_deref().and_then(http_date);
        if facts.etag.is_none() && !modified.is_some_and(is_old) {
            return;
        }
        // Without it the next build fetches all of it again.
        let _ = self
            .lease()
            .and_then(|lease| lease.keep_url_copy(url, facts, file));
    }

    /// The tree of a repository, or one folder of it.
    pub fn check_out(&mut self, reference: &GitAddress) -> Result<Folder> {
        let (root, path) = self.make_folder()?;
        git::check_out(reference, &path, &self.credentials)?;
        if reference.keep_git_folder != Some(true) {
            git::forget_history(root.as_fd())?;
        }
        let Some(below) = &reference.folder else {
            return Ok(folder(root, path));
        };
        let what = || format!("no folder {below:?} in {}", reference.remote);
        let name = in_root::c_string(below).context(ErrorKind::InvalidArgument, what)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let root = in_root::open(&root, &name, flags).context(ErrorKind::InvalidArgument, what)?;
        Ok(folder(root, path.join(below.trim_start_matches('/'))))
    }

    /// An archive in any compression; what is none is text.
    pub fn unpack(&mut self, stream: Box<dyn Read + Send>) -> Result<Unpacked> {
        let what = || "cannot read the context".to_owned();
        let failed = |error: std::io::Error| match error.downcast::<Error>() {
            Ok(own) => own,
            Err(error) => Error::new(ErrorKind::System, what()).with_source(error),
        };
        let mut start = Vec::with_capacity(TAR_BLOCK);
        let mut stream = stream;
        let mut first = stream.by_ref().take(TAR_BLOCK as u64);
        first.read_to_end(&mut start).map_err(failed)?;
        let compressed = sniff(&start) != Compression::None || is_rare(&start).is_some();
        if !compressed && !is_tar(&start) {
            let mut rest = stream.take(MAX_TEXT);
            rest.read_to_end(&mut start).map_err(failed)?;
            return Ok(Unpacked::Text(start));
        }
        let plain = decompress_any(Cursor::new(start).chain(stream)).map_err(failed)?;
        let (root, path) = self.make_folder()?;
        let options = UnpackOptions {
            whiteouts: false,
            ..UnpackOptions::new(self.engine.privilege(), MAX_BYTES)
        };
        unpack(plain, root.as_fd(), &options)?;
        Ok(Unpacked::Tree(folder(root, path)))
    }
}

/// RFC 9110, 5.6.7: the form of e-mail's dates.
fn http_date(text: &str) -> Option<jiff::Timestamp> {
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(date.timestamp())
}

/// Whether a header of tar(5) stands there: its checksum tells it from text. An archive of no members
/// begins with zeros.
fn is_tar(block: &[u8]) -> bool {
    let Some(block) = block.get(..TAR_BLOCK) else {
        return false;
    };
    if block.iter().all(|&byte| byte == 0) {
        return true;
    }
    let header = tar::Header::from_byte_slice(block);
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, &byte)| {
            if (148..156).contains(&at) {
                u32::from(b' ')
            } else {
                u32::from(byte)
            }
        })
        .sum();
    header.cksum().is_ok_and(|written| written == sum)
}
