//! Writes what was selected into the tree of a staged layer, on top of what the layers below show.
//!
//! Only this process reaches the staged tree. It has no symbolic link on the way to anything that is
//! written: destinations are resolved before, over the layers below and what the layer has already.
//!
//! A directory is made with mode 0700 and dressed at the end, deepest first: nothing in it changes its
//! time any more then, and its mode locks nobody out.

use std::{
    collections::{BTreeMap, HashMap},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::SystemTime,
};

use rustix::{
    fs::{FileType, Mode, Timestamps},
    io::Errno,
};

use super::{
    CopyRequest,
    chmod::ModeChange,
    chown,
    dress::{Born, Dress, times},
    file::SMALL_BYTES,
    select::{Item, Selection, Source, cannot, shown},
    tree::{FOLDER, Tree, join, names, open, split},
};
use crate::{
    model::{Context, Digest, Error, Result},
    storage::{Below, changes::Changes, unpack::Privilege},
};

/// What has become of a request.
#[derive(Clone, Debug)]
pub struct Written {
    pub changes: Changes,
    /// Of the selection as it was written. Another than before if somebody has changed the source
    /// meanwhile: the layer belongs to this one.
    pub digest: Digest,
}

/// Writes a selection into the tree of a staged layer, over what earlier requests have written there.
/// `below` are the layers that it will lie on; for `--link`, none. A request without any source makes
/// its destination, a directory, if that is not there: WORKDIR.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`](crate::model::ErrorKind::InvalidArgument) where a directory would take a file's place or the other way round,
/// and for an owner that is not known; otherwise the failing system call, with the file's path. The
/// tree is partly filled then.
pub fn write(
    mut selection: Selection<'_>,
    request: &CopyRequest,
    below: &Below,
    target: BorrowedFd<'_>,
) -> Result<Written> {
    let view = below
        .with_top(target)
        .system(|| "cannot look at the layers".to_owned())?;
    let owner = request.chown.as_deref();
    let mut writing = Writing {
        top: target,
        view,
        below,
        owner: owner.map(|owner| chown::owner(owner, below)).transpose()?,
        mode: request
            .chmod
            .as_deref()
            .map(ModeChange::parse)
            .transpose()?,
        made_at: times(request.made_at, SystemTime::now()),
        privilege: Privilege::of_this_process(),
        born: Born::ask(target),
        links: HashMap::new(),
        folders: BTreeMap::new(),
        changes: Changes {
            sockets: selection.excluded.sockets.count,
            reserved_names: selection.excluded.reserved_names.count,
            ..Changes::default()
        },
        buffer: vec![0; SMALL_BYTES as usize + 1],
    };
    writing.dress_root()?;
    let parts = selection.tree.parts();
    let mut sources = std::mem::take(&mut selection.sources);
    for source in &mut sources {
        writing.source(request, &parts, source)?;
    }
    if request.sources.is_empty() && request.inline.is_empty() {
        writing.destination_alone(request)?;
    }
    for file in &request.inline {
        writing.inline(request, file)?;
    }
    let changes = writing.finish()?;
    selection.sources = sources;
    Ok(Written {
        changes,
        digest: selection.digest(request)?,
    })
}

/// A layer that is being filled.
pub(super) struct Writing<'a> {
    pub(super) top: BorrowedFd<'a>,
    /// The layers below with the staged one on top.
    pub(super) view: Below,
    pub(super) below: &'a Below,
    pub(super) owner: Option<(u32, u32)>,
    pub(super) mode: Option<ModeChange>,
    pub(super) made_at: Timestamps,
    pub(super) privilege: Privilege,
    pub(super) born: Option<Born>,
    /// The first copy of every file with several names.
    pub(super) links: HashMap<(u64, u64), Vec<u8>>,
    /// How directories of the staged tree are to look at the end.
    pub(super) folders: BTreeMap<Vec<u8>, Dress>,
    pub(super) changes: Changes,
    pub(super) buffer: Vec<u8>,
}

/// A directory of the staged tree, while it is filled.
pub(super) struct Frame {
    /// Relative to the source.
    pub path: Vec<u8>,
    pub folder: OwnedFd,
    /// What the layers below show there, if they show a directory.
    pub below: HashMap<Vec<u8>, FileType>,
}

impl Writing<'_> {
    fn source(
        &mut self,
        request: &CopyRequest,
        parts: &[BorrowedFd<'_>],
        source: &mut Source,
    ) -> Result<()> {
        // What a later source replaces is not the first name of anything any more.
        self.links.clear();
        if source.is_folder() {
            let dest = self.destination(&request.dest)?;
            return self.tree(&dest, parts, source);
        }
        if request.unpack && self.archive(request, parts, source)? {
            return Ok(());
        }
        let path = self.place_of_file(request, &source.name)?;
        let (folder, name) = split(&path);
        let parent = self.folder(folder)?;
        let is_below = self.below.find(&path);
        let is_below = is_below.system(|| cannot("find", &path))?;
        let mut frame = Frame {
            path: Vec::new(),
            folder: parent,
            below: HashMap::new(),
        };
        if let Some(found) = is_below {
            let kind = FileType::from_raw_mode(found.stat.st_mode);
            frame.below.insert(name.to_vec(), kind);
        }
        if let [item] = &mut source.items[..] {
            self.item(&frame, parts, item, &path)?;
        }
        source
            .items
            .retain(|item| item.content.is_some() || item.kind() != FileType::RegularFile);
        Ok(())
    }

    /// Where a single file goes: into the destination, if that is a directory.
    pub(super) fn place_of_file(&mut self, request: &CopyRequest, name: &[u8]) -> Result<Vec<u8>> {
        let mut path = self.destination(&request.dest)?;
        let view = Tree::Layers(&self.view);
        let there = view.look(&path).system(|| cannot("find", &path))?;
        let is_folder = there.is_some_and(|seen| seen.kind() == FileType::Directory);
        if is_folder || request.dest_is_folder || path.is_empty() {
            join(&mut path, name);
        }
        Ok(path)
    }

    /// The destination without links, as the layers below and this one show it together.
    pub(super) fn destination(&self, path: &str) -> Result<Vec<u8>> {
        match Tree::Layers(&self.view).resolve(path.as_bytes()) {
            Ok((path, _)) => Ok(path),
            Err(Errno::NOTDIR) => Err(not_a_folder(path.trim_start_matches('/').as_bytes())),
            Err(errno) => Err(errno).system(|| cannot("find", path.as_bytes())),
        }
    }

    /// Opens a directory of the staged tree; what is missing is made as it is below, or anew.
    pub(super) fn folder(&mut self, path: &[u8]) -> Result<OwnedFd> {
        let what = || cannot("make", path);
        match open(self.top, path, FOLDER) {
            Ok(folder) => {
                self.keep_dress(path, &folder)?;
                return Ok(folder);
            }
            Err(Errno::NOENT) => {}
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(not_a_folder(path)),
            Err(errno) => return Err(errno).system(what),
        }
        let mut folder = open(self.top, b"", FOLDER).system(what)?;
        let mut so_far = Vec::new();
        for name in names(path) {
            join(&mut so_far, name);
            folder = match rustix::fs::mkdirat(&folder, name, Mode::RWXU) {
                Err(Errno::EXIST) => match open(folder.as_fd(), name, FOLDER) {
                    Err(Errno::NOTDIR | Errno::LOOP) => return Err(not_a_folder(path)),
                    other => {
                        let folder = other.system(what)?;
                        self.keep_dress(&so_far, &folder)?;
                        folder
                    }
                },
                Err(errno) => return Err(errno).system(what),
                Ok(()) => {
                    let below = self.below.find(&so_far).system(what)?;
                    let dress = self.dress_below(&so_far).system(what)?;
                    if dress.is_none() && below.is_some() {
                        return Err(not_a_folder(&so_far));
                    }
                    let dress = dress.unwrap_or_else(|| self.dress_of_made());
                    self.folders.insert(so_far.clone(), dress);
                    self.changes.entries += 1;
                    open(folder.as_fd(), name, FOLDER).system(what)?
                }
            };
        }
        Ok(folder)
    }

    /// The destination alone, if it is not there.
    fn destination_alone(&mut self, request: &CopyRequest) -> Result<()> {
        let dest = self.destination(&request.dest)?;
        let there = Tree::Layers(&self.view).look(&dest);
        match there.system(|| cannot("find", &dest))? {
            Some(there) if there.kind() == FileType::Directory => Ok(()),
            _ => self.folder(&dest).map(drop),
        }
    }

    /// A directory's contents.
    fn tree(&mut self, dest: &[u8], parts: &[BorrowedFd<'_>], source: &mut Source) -> Result<()> {
        let mut frames = vec![Frame {
            path: Vec::new(),
            folder: self.folder(dest)?,
            below: self.listed_below(dest)?,
        }];
        for item in source.items.iter_mut().skip(1) {
            let (parent, _) = split(item.to());
            while frames.len() > 1 && frames.last().is_some_and(|frame| frame.path != parent) {
                frames.pop();
            }
            let Some(frame) = frames.last() else { continue };
            if frame.path != parent {
                // Its directory has vanished.
                item.content = None;
                continue;
            }
            let mut path = dest.to_vec();
            join(&mut path, item.to());
            if item.kind() == FileType::Directory {
                let frame = self.subfolder(frame, item, &path)?;
                frames.push(frame);
            } else {
                self.item(frame, parts, item, &path)?;
            }
        }
        source
            .items
            .retain(|item| item.content.is_some() || item.kind() != FileType::RegularFile);
        Ok(())
    }

    fn listed_below(&self, path: &[u8]) -> Result<HashMap<Vec<u8>, FileType>> {
        let listed = self.below.list(path);
        let listed = listed.system(|| cannot("read", path))?.into_iter();
        let kind = |entry: crate::storage::Listed| {
            let kind = FileType::from_raw_mode(entry.stat.st_mode);
            (entry.name.into_bytes(), kind)
        };
        Ok(listed.map(kind).collect())
    }

    fn subfolder(&mut self, frame: &Frame, item: &Item, path: &[u8]) -> Result<Frame> {
        let what = || cannot("make", path);
        let (_, name) = split(path);
        let below = frame.below.get(name).copied();
        let made = match rustix::fs::mkdirat(&frame.folder, name, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(errno).system(what),
        };
        if made && below.is_some_and(|kind| kind != FileType::Directory) {
            return Err(not_a_folder(path));
        }
        let folder = match open(frame.folder.as_fd(), name, FOLDER) {
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(not_a_folder(path)),
            other => other.system(what)?,
        };
        self.changes.entries += u64::from(made);
        let is_merged = below == Some(FileType::Directory);
        if !item.only_way || (made && !is_merged) {
            let dress = self.dress_of(item);
            self.folders.insert(path.to_vec(), dress);
        } else if !made {
            self.keep_dress(path, &folder)?;
        } else if let Some(dress) = self.dress_below(path).system(what)? {
            self.folders.insert(path.to_vec(), dress);
        }
        Ok(Frame {
            path: item.to().to_vec(),
            folder,
            below: match is_merged {
                true => self.listed_below(path)?,
                false => HashMap::new(),
            },
        })
    }
}

/// In BuildKit's words.
pub(super) fn not_a_folder(path: &[u8]) -> Error {
    Error::invalid(format!("cannot copy to non-directory: {}", shown(path)))
}
