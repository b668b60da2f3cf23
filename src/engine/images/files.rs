//! `image diff` and `image ls-files`: an image's files, looked at without a container and without a
//! mount that anybody could see.

use std::{
    ffi::CString,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use crate::{
    engine::{
        Engine,
        containers::{Change, compare},
    },
    model::{Context, Digest, Error, ErrorKind, Result, image::ImageRecord},
    storage::Lease,
    sys::{file_copy, in_root},
};

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);
/// Each level holds a descriptor.
const DEEPEST: usize = 800;

/// A file of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFile {
    /// Absolute, as a container would have it.
    pub path: Vec<u8>,
    /// `st_mode`: the type and the permissions.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// Unix seconds.
    pub modified: i64,
    /// Where a symbolic link leads.
    pub target: Option<Vec<u8>>,
}

impl Engine {
    /// What an image's files have otherwise than those of `other`, or than the layers below its
    /// topmost one.
    pub fn image_diff(&self, typed: &str, other: Option<&str>) -> Result<Vec<Change>> {
        let image = self.image_here(typed, None)?;
        let below = match other {
            Some(other) => self.image_here(other, None)?.layers,
            None => match image.layers.split_last() {
                Some((_, below)) => below.to_vec(),
                None => Vec::new(),
            },
        };
        self.enter_user_namespace()?;
        let lease = self.store.lease()?;
        let new = self.view_of(&lease, &image.layers, "new")?;
        let old = match below.is_empty() {
            true => None,
            false => Some(self.view_of(&lease, &below, "old")?),
        };
        compare(old.as_ref(), &new).system(|| format!("cannot compare image {typed}"))
    }

    /// The files of an image, a folder before what is in it, in the order of their names; of `below`
    /// if that is given.
    pub fn image_files(
        &self,
        typed: &str,
        below: Option<&str>,
        sink: &mut dyn FnMut(&ImageFile) -> Result<()>,
    ) -> Result<()> {
        let image: ImageRecord = self.image_here(typed, None)?;
        self.enter_user_namespace()?;
        let lease = self.store.lease()?;
        let view = self.view_of(&lease, &image.layers, "files")?;
        let what = || format!("cannot list the files of image {typed}");
        let start = format!("/{}", below.unwrap_or_default().trim_matches('/'));
        let name = CString::new(start.as_str())
            .map_err(|_| Error::invalid("a path cannot have a NUL byte"))?;
        let mut listing = Listing {
            path: start.trim_end_matches('/').as_bytes().to_vec(),
            depth: 0,
            sink,
        };
        let top = in_root::open(view.as_fd(), &name, OFlags::RDONLY | OFlags::DIRECTORY);
        match top.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)) {
            Ok(top) => listing.folder(&top),
            // A single file: its folder, and the name in it.
            Err(Errno::NOTDIR) => {
                let (folder, name) = start.rsplit_once('/').unwrap_or(("", &start));
                listing.path = folder.as_bytes().to_vec();
                let folder = CString::new(format!("{folder}/")).unwrap_or_default();
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                let folder = in_root::open(view.as_fd(), &folder, flags).system(what)?;
                listing.entry(folder.as_fd(), &CString::new(name).unwrap_or_default())
            }
            Err(Errno::NOENT) => Err(Error::invalid(format!("image {typed} has no {start:?}"))),
            Err(errno) => Err(errno).system(what),
        }
    }

    /// Claimed, so that no removal takes it meanwhile.
    fn view_of(&self, lease: &Lease<'_>, layers: &[Digest], copy: &str) -> Result<OwnedFd> {
        for layer in layers {
            if !lease.has_layer(layer)? {
                // Says which, and what to do.
                self.store.layer_facts(layer)?;
            }
        }
        if layers.is_empty() {
            let none = "the image has no layers, and so no files";
            return Err(Error::new(ErrorKind::InvalidContent, none));
        }
        self.layers_view(layers, lease, copy)
    }
}

struct Listing<'a> {
    path: Vec<u8>,
    depth: usize,
    sink: &'a mut dyn FnMut(&ImageFile) -> Result<()>,
}

impl Listing<'_> {
    fn shown(&self) -> String {
        format!("cannot read {:?}", String::from_utf8_lossy(&self.path))
    }

    fn folder(&mut self, folder: &OwnedFd) -> Result<()> {
        if self.depth > DEEPEST {
            return Err(Errno::NAMETOOLONG).system(|| self.shown());
        }
        let mut names = file_copy::entries(folder.as_fd()).system(|| self.shown())?;
        names.sort();
        names
            .iter()
            .try_for_each(|name| self.entry(folder.as_fd(), name))
    }

    fn entry(&mut self, folder: BorrowedFd<'_>, name: &CString) -> Result<()> {
        let length = self.path.len();
        self.path.push(b'/');
        self.path.extend_from_slice(name.to_bytes());
        let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = stat.system(|| self.shown())?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let target = match kind {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(folder, name, Vec::new());
                Some(target.system(|| self.shown())?.into_bytes())
            }
            _ => None,
        };
        (self.sink)(&file(&self.path, &stat, target))?;
        if kind == FileType::Directory {
            let below = rustix::fs::openat(folder, name, FOLDER, Mode::empty());
            let below = below.system(|| self.shown())?;
            self.depth += 1;
            self.folder(&below)?;
            self.depth -= 1;
        }
        self.path.truncate(length);
        Ok(())
    }
}

fn file(path: &[u8], stat: &Stat, target: Option<Vec<u8>>) -> ImageFile {
    ImageFile {
        path: path.to_vec(),
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: stat.st_size.cast_unsigned(),
        modified: stat.st_mtime,
        target,
    }
}
