//! ADD of an archive: its files, not itself.
//!
//! What is an archive is told by its content, compressed or not: if it begins with a member, it is
//! one. Its files are put over those of the destination, and win. Directories on the way without a
//! member of their own look as they do below, and if one of them is a symbolic link there
//! (`bin -> usr/bin`), the files go where it leads.
//!
//! Members `.wh.NAME` hide what is below, as they would if the archive were a layer: there is no other
//! way to have them in one.

use std::{
    fs::File,
    io::{BufReader, Seek},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
};

use rustix::{
    fs::{AtFlags, FileType, OFlags},
    io::Errno,
};

use super::{
    CopyRequest,
    hashes::{hash, is_same},
    select::{Item, Source, cannot, has_vanished},
    tree::{FOLDER, Tree, join, open, split},
    write::{Writing, not_a_folder},
};
use crate::{
    model::{Context, Error, ErrorKind, Result},
    storage::{
        merge,
        unpack::{TarStream, UnpackOptions, decompress_any, unpack},
    },
};

/// Most bytes of all files of an archive, 1 TiB.
const MOST_BYTES: u64 = 1 << 40;

impl Writing<'_> {
    /// Unpacks a source into the destination; `false` if it is no archive.
    pub(super) fn archive(
        &mut self,
        request: &CopyRequest,
        parts: &[BorrowedFd<'_>],
        source: &mut Source,
    ) -> Result<bool> {
        let [item] = &mut source.items[..] else {
            return Ok(false);
        };
        if item.kind() != FileType::RegularFile || item.stat.st_size == 0 {
            return Ok(false);
        }
        let what = cannot("unpack", &item.from);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match open(parts[item.part], &item.from, flags) {
            Err(errno) if has_vanished(errno) => return Ok(false),
            other => other.system(|| what.clone())?,
        };
        if !is_archive(&file).system(|| what.clone())? {
            return Ok(false);
        }
        let dest = self.destination(&request.dest)?;
        let folder = self.folder(&dest)?;
        self.dress_now(&dest)?;
        let options = UnpackOptions {
            owner: self.owner,
            ..UnpackOptions::new(self.privilege, MOST_BYTES)
        };
        let mut reader = File::from(file.try_clone().system(|| what.clone())?);
        reader.rewind().system(|| what.clone())?;
        let bytes = decompress_any(reader).system(|| what.clone())?;
        let unpacked = unpack(bytes, folder.as_fd(), &options);
        let summary =
            unpacked.map_err(|error| Error::new(error.kind(), what.clone()).with_source(error))?;
        self.changes.entries += summary.entries;
        self.changes.bytes = self.changes.bytes.saturating_add(summary.bytes);
        check_unchanged(&file, item)?;
        self.settle_parents(&dest, &summary.implied_parents)?;
        Ok(true)
    }

    /// What earlier sources have made below the destination, so that the archive has the last word.
    fn dress_now(&mut self, dest: &[u8]) -> Result<()> {
        let is_below = |path: &[u8]| match dest {
            [] => !path.is_empty(),
            dest => path
                .strip_prefix(dest)
                .is_some_and(|rest| rest.starts_with(b"/")),
        };
        let below: Vec<Vec<u8>> = self
            .folders
            .keys()
            .filter(|path| is_below(path))
            .cloned()
            .collect();
        for path in below.iter().rev() {
            if let Some(dress) = self.folders.remove(path) {
                let folder = open(self.top, path, FOLDER).system(|| cannot("open", path))?;
                self.dress_file(&folder, path, &dress, 'd')?;
            }
        }
        Ok(())
    }

    /// Directories that the archive does not describe, parents first.
    fn settle_parents(&mut self, dest: &[u8], implied: &[std::path::PathBuf]) -> Result<()> {
        let mut moved: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for parent in implied {
            let parent = parent.as_os_str().as_bytes();
            if parent.is_empty() {
                continue;
            }
            let mut path = dest.to_vec();
            join(&mut path, parent);
            for (from, to) in &moved {
                let rest = path
                    .strip_prefix(&from[..])
                    .filter(|rest| rest.starts_with(b"/"));
                if let Some(rest) = rest {
                    path = [&to[..], rest].concat();
                }
            }
            let below = Tree::Layers(self.below);
            let seen = below.look(&path).system(|| cannot("find", &path))?;
            match seen.map(|seen| seen.kind()) {
                None | Some(FileType::Directory) => self.dress_implied(path)?,
                Some(FileType::Symlink) => {
                    let to = self.move_to_target(&path)?;
                    moved.push((path, to));
                }
                Some(_) => return Err(not_a_folder(&path)),
            }
        }
        Ok(())
    }

    fn dress_implied(&mut self, path: Vec<u8>) -> Result<()> {
        let below = self.dress_below(&path);
        let below = below.system(|| cannot("find", &path))?;
        let dress = below.unwrap_or_else(|| self.dress_of_made());
        // Replaced under another path of the archive, perhaps.
        if open(self.top, &path, FOLDER).is_ok() {
            self.folders.insert(path, dress);
        }
        Ok(())
    }

    /// Moves what lies in a directory that hides a link of the layers below to where that leads.
    fn move_to_target(&mut self, path: &[u8]) -> Result<Vec<u8>> {
        let what = || cannot("unpack to", path);
        let (to, seen) = Tree::Layers(self.below).resolve(path).system(what)?;
        if seen.is_none_or(|seen| seen.kind() != FileType::Directory) {
            return Err(not_a_folder(path));
        }
        let from = match open(self.top, path, FOLDER) {
            Err(errno) if has_vanished(errno) => return Ok(to),
            other => other.system(what)?,
        };
        let target = self.folder(&to)?;
        // Merging gives the target the metadata of what is moved; its own come back at the end.
        let dress = self.dress_below(&to).system(what)?;
        let dress = dress.unwrap_or_else(|| self.dress_of_made());
        self.folders.entry(to.clone()).or_insert(dress);
        merge::merge(&from, &target).system(what)?;
        let (parent, name) = split(path);
        let parent = open(self.top, parent, FOLDER).system(what)?;
        match rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOENT) => {}
            other => other.system(what)?,
        }
        Ok(to)
    }
}

/// Whether it begins with a member of a tar archive, perhaps compressed.
fn is_archive(file: &OwnedFd) -> std::io::Result<bool> {
    let mut reader = File::from(file.try_clone()?);
    reader.rewind()?;
    let Ok(bytes) = decompress_any(reader) else {
        return Ok(false);
    };
    let first = TarStream::new(BufReader::new(bytes)).next_entry();
    Ok(matches!(first, Ok(Some(_))))
}

/// What was unpacked must be what was selected: nothing else tells what it was.
fn check_unchanged(file: &OwnedFd, item: &Item) -> Result<()> {
    let what = || cannot("read", &item.from);
    let stat = rustix::fs::fstat(file).system(what)?;
    if is_same(&stat, &item.stat) && !item.racy {
        return Ok(());
    }
    let mut buffer = vec![0; 128 << 10];
    let content = hash(file.as_fd(), stat.st_size.cast_unsigned(), &mut buffer).system(what)?;
    match item.content == Some(content) {
        true => Ok(()),
        false => Err(
            Error::new(ErrorKind::Conflict, cannot("unpack", &item.from))
                .with_source("somebody has changed it meanwhile")
                .with_hint("build again"),
        ),
    }
}
