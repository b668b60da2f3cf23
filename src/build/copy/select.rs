//! What COPY takes from a tree: names first, in a fixed order, then the contents' hashes.

use rustix::{
    fs::{FileType, Stat},
    io::Errno,
};

use super::{
    CopyRequest, HashCache,
    chmod::ModeChange,
    glob::{self, NamePattern},
    hashes,
    tree::{Entry, Seen, Tree, join, names, open, split},
};
use crate::{
    build::{dockerfile::Complaint, ignore::Ignore},
    model::{Context, Error, ErrorKind, Result},
    storage::{pack::StandIn, unpack::STAT_XATTR},
    sys::file_copy,
};

/// Longer paths cannot be opened in one step.
const LONGEST_PATH: usize = 4095;
/// Names that say something else in a layer.
const RESERVED: &[u8] = b".wh.";

/// What is taken, before anything is written.
pub struct Selection<'a> {
    pub(super) tree: &'a Tree<'a>,
    pub(super) sources: Vec<Source>,
    pub(super) excluded: Excluded,
}

/// What was left out because a layer cannot have it.
#[derive(Clone, Debug, Default)]
pub(super) struct Excluded {
    pub sockets: LeftOut,
    pub reserved_names: LeftOut,
}

#[derive(Clone, Debug, Default)]
pub(super) struct LeftOut {
    pub count: u64,
    first: Vec<u8>,
}

impl LeftOut {
    fn add(&mut self, path: &[u8]) {
        if self.count == 0 {
            self.first = path.to_owned();
        }
        self.count += 1;
    }

    /// Nothing if there was nothing.
    fn told(&self, what: &str) -> Option<String> {
        let first = String::from_utf8_lossy(&self.first);
        let first = first.trim_start_matches('/');
        match self.count {
            0 => None,
            1 => Some(format!("warning: {first} is left out: {what}")),
            count => Some(format!(
                "warning: {first} and {} more are left out: {what}",
                count - 1
            )),
        }
    }
}

impl Selection<'_> {
    /// What is not copied though it is there, a line for each reason.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        let Excluded {
            sockets,
            reserved_names,
        } = &self.excluded;
        let sockets = sockets.told("a layer has no sockets");
        let reserved = reserved_names.told("in a layer, names with .wh. say that a file is gone");
        sockets.into_iter().chain(reserved)
    }
}

/// One path that a source stands for.
pub(super) struct Source {
    /// What it is called in a directory: the last name of the path as it was written.
    pub name: Vec<u8>,
    /// The thing itself first, then all that is below it, a directory before what is in it.
    pub items: Vec<Item>,
}

/// A file, directory, link …
pub(super) struct Item {
    pub part: usize,
    /// In the tree, without links.
    pub from: Vec<u8>,
    /// Where in `from` the path relative to the source begins.
    pub below: usize,
    pub stat: Stat,
    /// User and group in the layer, if nothing else is asked for.
    pub owner: (u32, u32),
    /// The file stands for a device.
    pub stand_in: Option<StandIn>,
    /// Target of a symbolic link.
    pub target: Vec<u8>,
    /// Extended attributes that a layer may have.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// SHA-256 of a regular file.
    pub content: Option<[u8; 32]>,
    /// It may have been changed after it was looked at, without a trace in its times.
    pub racy: bool,
    /// A directory that is here only for what is below it: one that is there already stays as it is.
    pub only_way: bool,
}

impl Item {
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Relative to the source; empty for the source itself.
    pub fn to(&self) -> &[u8] {
        &self.from[self.below..]
    }

    pub fn inode(&self) -> (u64, u64) {
        (self.stat.st_dev, self.stat.st_ino)
    }
}

impl Source {
    pub fn is_folder(&self) -> bool {
        self.items
            .first()
            .is_some_and(|top| top.kind() == FileType::Directory)
    }
}

/// Finds what a request takes, and hashes those files whose hashes are not known.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] for a source that is not there, and for patterns that are none;
/// otherwise the failing system call, with the file's path.
pub fn select<'a>(
    tree: &'a Tree<'a>,
    request: &CopyRequest,
    hashes: &mut HashCache,
) -> Result<Selection<'a>> {
    if let Some(mode) = &request.chmod {
        ModeChange::parse(mode)?;
    }
    let mut selecting = Selecting {
        tree,
        excludes: Ignore::default(),
        sources: Vec::new(),
        excluded: Excluded::default(),
    };
    for pattern in &request.excludes {
        selecting.excludes.add(pattern).map_err(bad_pattern)?;
    }
    for source in &request.sources {
        match request.parents {
            true => selecting.with_parents(source)?,
            false => selecting.source(source)?,
        }
    }
    let mut selection = Selection {
        tree,
        sources: selecting.sources,
        excluded: selecting.excluded,
    };
    hashes::fill(&mut selection, hashes)?;
    Ok(selection)
}

struct Selecting<'a> {
    tree: &'a Tree<'a>,
    excludes: Ignore,
    sources: Vec<Source>,
    excluded: Excluded,
}

/// A path as it is written, the same without links, and what is there.
type Named = (Vec<u8>, Vec<u8>, Seen);

/// Where a walk is, and what it is to find.
struct Walk<'w> {
    /// Length of the path of the source, with the slash behind it.
    below: usize,
    /// Leaves out all but what is wanted.
    unwanted: Option<&'w Ignore>,
    items: Vec<Item>,
}

impl Selecting<'_> {
    fn source(&mut self, source: &str) -> Result<()> {
        for (named, real, seen) in self.expand(source)? {
            let (_, name) = split(&named);
            let name = name.to_vec();
            if seen.kind() == FileType::Directory {
                let items = self.folder(&real, seen, None)?;
                self.sources.push(Source { name, items });
                continue;
            }
            // What matched by a pattern, and by another one does not.
            if self.excludes(&name) {
                continue;
            }
            let below = real.len();
            if let Some(item) = self.item(real, below, seen)? {
                let items = vec![item];
                self.sources.push(Source { name, items });
            }
        }
        Ok(())
    }

    /// `a/b/./c/d`: from a/b, everything that c/d stands for and the directories between.
    fn with_parents(&mut self, source: &str) -> Result<()> {
        let (pivot, wanted) = source.split_once("/./").unwrap_or(("", source));
        let wanted: Vec<&str> = wanted
            .split('/')
            .filter(|name| !matches!(*name, "" | "." | ".."))
            .collect();
        let wanted = wanted.join("/");
        let mut unwanted = Ignore::default();
        if !wanted.is_empty() {
            let exception = format!("!{wanted}");
            unwanted
                .add("**")
                .and_then(|()| unwanted.add(&exception))
                .map_err(bad_pattern)?;
        }
        let mut is_missing = !wanted.is_empty() && !wanted.contains(['*', '?', '[']);
        for (_, real, seen) in self.expand(pivot)? {
            if seen.kind() != FileType::Directory {
                return Err(not_found(source));
            }
            let items = self.folder(&real, seen, Some(&unwanted))?;
            is_missing &= items.len() == 1;
            let name = Vec::new();
            self.sources.push(Source { name, items });
        }
        match is_missing {
            true => Err(not_found(source)),
            false => Ok(()),
        }
    }

    fn folder(&mut self, real: &[u8], seen: Seen, unwanted: Option<&Ignore>) -> Result<Vec<Item>> {
        let below = match real {
            [] => 0,
            path => path.len() + 1,
        };
        let mut walk = Walk {
            below,
            unwanted,
            items: Vec::new(),
        };
        if let Some(mut top) = self.item(real.to_vec(), real.len(), seen)? {
            top.only_way = true;
            walk.items.push(top);
        }
        self.walk(&mut walk, &mut real.to_vec())?;
        Ok(walk.items)
    }

    /// What is in a directory.
    fn walk(&mut self, walk: &mut Walk<'_>, path: &mut Vec<u8>) -> Result<()> {
        let listed = match self.tree.list(path) {
            // Removed, or replaced by something else, since it was seen.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            other => other.system(|| cannot("read", path)).map_err(unreadable)?,
        };
        for Entry { name, seen } in listed {
            let length = path.len();
            join(path, &name);
            let outcome = self.entry(walk, path, seen);
            path.truncate(length);
            outcome?;
        }
        Ok(())
    }

    fn entry(&mut self, walk: &mut Walk<'_>, path: &mut Vec<u8>, seen: Seen) -> Result<()> {
        if path.len() > LONGEST_PATH {
            return Err(Errno::NAMETOOLONG).system(|| cannot("read", path));
        }
        let relative = String::from_utf8_lossy(&path[walk.below..]).into_owned();
        let filters = walk.unwanted.into_iter().chain([&self.excludes]);
        let filters = filters.filter(|filter| !filter.is_empty());
        let leaving_out: Vec<&Ignore> = filters
            .filter(|filter| filter.excludes(&relative))
            .collect();
        if seen.kind() != FileType::Directory {
            if leaving_out.is_empty()
                && let Some(item) = self.item(path.clone(), walk.below, seen)?
            {
                walk.items.push(item);
            }
            return Ok(());
        }
        let mut filters = leaving_out.iter();
        if filters.any(|filter| filter.excludes_all_below(&relative)) {
            return Ok(());
        }
        let only_way = !leaving_out.is_empty() || self.tree.is_only_way(path);
        let before = walk.items.len();
        if let Some(mut item) = self.item(path.clone(), walk.below, seen)? {
            item.only_way = only_way;
            walk.items.push(item);
            self.walk(walk, path)?;
        }
        if only_way && walk.items.len() == before + 1 {
            walk.items.truncate(before);
        }
        Ok(())
    }

    fn excludes(&self, name: &[u8]) -> bool {
        self.excludes.excludes(&String::from_utf8_lossy(name))
    }

    /// `None` for what a layer cannot have, and for what has just vanished.
    fn item(&mut self, from: Vec<u8>, below: usize, seen: Seen) -> Result<Option<Item>> {
        let kind = seen.kind();
        let (_, name) = split(&from);
        if kind == FileType::Socket {
            self.excluded.sockets.add(&from);
            return Ok(None);
        }
        let is_whiteout = kind == FileType::CharacterDevice && seen.stat.st_rdev == 0;
        if is_whiteout || name.starts_with(RESERVED) {
            self.excluded.reserved_names.add(&from);
            return Ok(None);
        }
        let mut item = Item {
            part: seen.part,
            below: below.min(from.len()),
            from,
            owner: match self.tree {
                Tree::Folder { .. } => (0, 0),
                Tree::Layers(_) => (seen.stat.st_uid, seen.stat.st_gid),
            },
            stat: seen.stat,
            stand_in: None,
            target: Vec::new(),
            attributes: Vec::new(),
            content: None,
            racy: false,
            only_way: false,
        };
        match kind {
            FileType::Symlink => match self.tree.read_link(&item.from, item.part) {
                Err(errno) if has_vanished(errno) => return Ok(None),
                target => item.target = target.system(|| cannot("read", &item.from))?,
            },
            FileType::Directory => {
                let flags = super::tree::FOLDER;
                let part = self.tree.parts()[item.part];
                let folder = match open(part, &item.from, flags) {
                    Err(errno) if has_vanished(errno) => return Ok(None),
                    other => other
                        .system(|| cannot("read", &item.from))
                        .map_err(unreadable)?,
                };
                let found = file_copy::attributes_of(std::os::fd::AsFd::as_fd(&folder));
                let found = found.system(|| cannot("read", &item.from))?;
                item.take_attributes(found, matches!(self.tree, Tree::Layers(_)));
            }
            _ => {}
        }
        Ok(Some(item))
    }

    /// The paths that a source stands for. A symbolic link is followed if it is named, but not by what
    /// a pattern matches on the way.
    fn expand(&self, source: &str) -> Result<Vec<Named>> {
        let parts = glob::parse(source)?;
        let plain = parts.iter().take_while(|part| part.only().is_some());
        let fixed: Vec<String> = plain.filter_map(NamePattern::only).collect();
        let rest = &parts[fixed.len()..];
        let named = fixed.join("/").into_bytes();
        if rest.is_empty() {
            return Ok(vec![self.followed(named, source)?]);
        }
        let (_, real, seen) = self.followed(named, source)?;
        let mut found = vec![(real, seen)];
        for (index, part) in rest.iter().enumerate() {
            let mut next = Vec::new();
            for (path, seen) in found {
                if seen.kind() != FileType::Directory {
                    continue;
                }
                let listed = self.tree.list(&path).system(|| cannot("read", &path))?;
                for Entry { name, seen } in listed {
                    let is_last = index + 1 == rest.len();
                    if part.matches(&String::from_utf8_lossy(&name))
                        && (is_last || seen.kind() == FileType::Directory)
                    {
                        let mut path = path.clone();
                        join(&mut path, &name);
                        next.push((path, seen));
                    }
                }
            }
            found = next;
        }
        let followed = found.into_iter().map(|(path, seen)| match seen.kind() {
            FileType::Symlink => {
                let shown = String::from_utf8_lossy(&path).into_owned();
                self.followed(path, &shown)
            }
            _ => Ok((path.clone(), path, seen)),
        });
        followed.collect()
    }

    fn followed(&self, named: Vec<u8>, source: &str) -> Result<Named> {
        let resolved = match self.tree.resolve(&named) {
            Err(Errno::NOTDIR) => return Err(not_found(source)),
            other => other.system(|| cannot("find", &named))?,
        };
        match resolved {
            (real, Some(seen)) => Ok((named, real, seen)),
            (_, None) => Err(not_found(source)),
        }
    }
}

impl Item {
    /// Keeps those that a layer may have; what was noted for an owner or device that the file could
    /// not get is believed of layers alone.
    pub fn take_attributes(&mut self, found: Vec<(Vec<u8>, Vec<u8>)>, of_layer: bool) {
        for (name, value) in found {
            if name == STAT_XATTR.as_bytes() {
                let noted = StandIn::parse(&value).filter(|_| of_layer);
                if let Some(noted) = noted {
                    if self.owner == (0, 0) {
                        self.owner = (noted.uid, noted.gid);
                    }
                    let is_device = noted.device.is_some() && self.stat.st_size == 0;
                    self.stand_in = is_device.then_some(noted);
                }
                continue;
            }
            let is_file = self.kind() == FileType::RegularFile;
            let is_kept = (name.starts_with(b"user.") && !name.starts_with(b"user.coracle."))
                || (name == b"security.capability" && is_file);
            if is_kept {
                self.attributes.push((name, value));
            }
        }
        self.attributes.sort();
    }
}

/// Whether something is simply not there any more, or is something else.
pub(super) fn has_vanished(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

pub(super) fn cannot(what: &str, path: &[u8]) -> String {
    format!("cannot {what} {}", shown(path))
}

/// With the way out.
pub(super) fn unreadable(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Permission => error.with_hint("make it readable, or name it in .dockerignore"),
        _ => error,
    }
}

/// A path of the tree, for messages.
pub(super) fn shown(path: &[u8]) -> String {
    format!("{:?}", format!("/{}", String::from_utf8_lossy(path)))
}

/// In BuildKit's words.
fn not_found(source: &str) -> Error {
    let path: Vec<&str> = names(source.as_bytes())
        .filter_map(|name| std::str::from_utf8(name).ok())
        .filter(|name| *name != "..")
        .collect();
    Error::new(
        ErrorKind::InvalidArgument,
        format!("{:?}: not found", format!("/{}", path.join("/"))),
    )
    .with_hint("is it left out by .dockerignore, or outside of the build context?")
}

fn bad_pattern(complaint: Complaint) -> Error {
    Error::invalid(complaint.message)
}
