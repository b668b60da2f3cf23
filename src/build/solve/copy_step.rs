//! COPY, ADD and WORKDIR: files of trees → a layer, without a program and without a mount.

use std::os::fd::{AsFd, BorrowedFd};

use super::{
    key::{Key, Keys},
    snapshot::Snapshot,
    step::{Made, Making},
};
use crate::{
    build::{
        context::{credentials::Credentials, staging::Staging},
        copy::{self, CopyRequest, HashCache, InlineFile, Tree},
        git_address::GitAddress,
        graph::{Chmod, CopySource, CopyStep, Source},
        request::Folder,
    },
    model::{Digest, Result},
    storage::{Below, builds::StepRecord, changes::Changes},
};

/// Where a file of a context is in a layer of its own.
const CONTEXT: &str = "context";
/// Modes of here-documents.
const DOCUMENT_MODE: u32 = 0o644;
const HASHES: &str = "hashes";

/// A part of a COPY: what comes from one tree.
struct Part {
    source: PartSource,
    request: CopyRequest,
}

#[derive(Clone, PartialEq)]
enum PartSource {
    Here(Source),
    Http {
        url: String,
        name: String,
        checksum: Option<String>,
    },
    Git(GitAddress),
}

pub(super) fn make(making: &Making<'_>, step: &CopyStep) -> Result<Made> {
    let store = making.solver.engine.store();
    let parts = parts(step);
    let folder = store.build_folder()?;
    let mut hashes = HashCache::load(&folder, HASHES);
    let mut staging = Staging::new(
        making.solver.engine,
        Credentials::of(&making.solver.request.secrets),
    );
    let opened = sources(making, &parts, &mut staging)?;
    let trees: Vec<Tree<'_>> = opened.iter().map(Opened::tree).collect();
    let mut selections = Vec::new();
    let mut files = Vec::new();
    for (part, tree) in parts.iter().zip(&trees) {
        let selection = copy::select(tree, &part.request, &mut hashes)?;
        let digest = selection.digest(&part.request)?;
        files.push(Files::new(making, part, digest)?);
        selections.push(selection);
    }
    // What is not known next time is read again.
    let _ = hashes.save(&folder, HASHES);
    if let Some(record) = making.cached(&key(making, step, &files)?)? {
        return Ok(Made::Cached(record));
    }
    // A linked layer is one for itself, in the store too: it serves on whatever base.
    let parent = match step.link {
        true => &Snapshot::empty(),
        false => &making.parent,
    };
    let below = store.below(&parent.chain_ids())?;
    let layer = making.lease.stage_new_layer()?;
    let mut all = Changes::default();
    files.clear();
    for warning in selections.iter().flat_map(copy::Selection::warnings) {
        making.say(&warning);
    }
    for (part, selection) in parts.iter().zip(selections) {
        let written = copy::write(selection, &part.request, &below, layer.tree())?;
        add(&mut all, &written.changes);
        files.push(Files::new(making, part, written.digest)?);
    }
    // The key of what was written: somebody may have changed a file since it was selected.
    let keys = key(making, step, &files)?;
    let kept = making.keep_on(parent, (keys, making.in_result), layer, &all);
    kept.map(Made::New)
}

/// What a part has selected.
struct Files {
    digest: Digest,
    /// How that comes about, if it is of a stage or an image; else the digest.
    definition: Digest,
}

impl Files {
    fn new(making: &Making<'_>, part: &Part, digest: Digest) -> Result<Files> {
        let definition = match &part.source {
            PartSource::Here(source) => by_definition(making, source, &part.request)?,
            PartSource::Http { .. } | PartSource::Git(_) => None,
        };
        Ok(Files {
            definition: definition.unwrap_or_else(|| digest.clone()),
            digest,
        })
    }
}

/// `None` for files that are not made by a build.
fn by_definition(
    making: &Making<'_>,
    source: &Source,
    request: &CopyRequest,
) -> Result<Option<Digest>> {
    let Some(snapshot) = making.solver.snapshot(source) else {
        return Ok(None);
    };
    let mut key = Key::new("selection");
    key.step("of", &snapshot.keys);
    key.value("sources", &request.sources)?;
    key.value("excludes", &request.excludes)?;
    Ok(Some(key.finish().definition))
}

/// `files`: what each part has selected.
fn key(making: &Making<'_>, step: &CopyStep, files: &[Files]) -> Result<Keys> {
    let mut key = Key::new("copy");
    match step.link {
        true => key.add("link", b"yes"),
        false => key.step("parent", &making.parent.keys),
    };
    key.value("step", &plain(step))?;
    for files in files {
        key.made("files", &files.digest, &files.definition);
    }
    Ok(key.finish())
}

fn add(all: &mut Changes, more: &Changes) {
    all.entries += more.entries;
    all.bytes += more.bytes;
    all.root_changed |= more.root_changed;
    all.sockets += more.sockets;
    all.reserved_names += more.reserved_names;
}

/// The step without what its files' digests say already.
fn plain(step: &CopyStep) -> CopyStep {
    let mut plain = step.clone();
    for source in &mut plain.sources {
        match source {
            CopySource::Path { source, .. } | CopySource::Parents { source, .. } => {
                *source = Source::Scratch;
            }
            CopySource::Document(_) | CopySource::Http { .. } | CopySource::Git(_) => {}
        }
    }
    plain
}

/// Neighbours in the list that come from the same tree in the same way are one part.
fn parts(step: &CopyStep) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for source in &step.sources {
        let wanted = Wanted::of(source);
        let fits = |part: &Part| {
            part.source == wanted.source
                && part.request.parents == wanted.parents
                && part.request.unpack == wanted.unpack
        };
        if !parts.last().is_some_and(fits) {
            parts.push(Part {
                request: request(step, &wanted),
                source: wanted.source.clone(),
            });
        }
        let Some(part) = parts.last_mut() else {
            continue;
        };
        match wanted.what {
            What::Path(path) => part.request.sources.push(path),
            What::Document(file) => part.request.inline.push(file),
        }
    }
    parts
}

fn request(step: &CopyStep, wanted: &Wanted) -> CopyRequest {
    CopyRequest {
        dest: step.destination.clone(),
        dest_is_folder: step.into_directory,
        chown: step.chown.clone(),
        chmod: step.chmod.as_ref().map(|mode| match mode {
            Chmod::Octal(mode) => format!("{mode:o}"),
            Chmod::Symbolic(text) => text.clone(),
        }),
        link: step.link,
        parents: wanted.parents,
        excludes: step.excludes.clone(),
        unpack: wanted.unpack,
        ..CopyRequest::default()
    }
}

/// One source of a COPY: where it is, what it is there, and how it is taken.
struct Wanted {
    source: PartSource,
    what: What,
    parents: bool,
    unpack: bool,
}

enum What {
    Path(String),
    Document(InlineFile),
}

impl Wanted {
    fn of(source: &CopySource) -> Wanted {
        let plain = |source, path| Wanted {
            source,
            what: What::Path(path),
            parents: false,
            unpack: false,
        };
        match source {
            CopySource::Path {
                source,
                path,
                unpack,
            } => Wanted {
                unpack: *unpack,
                ..plain(here(source), path.clone())
            },
            CopySource::Parents {
                source,
                root,
                pattern,
            } => {
                let path = match root.trim_matches('/') {
                    "" => pattern.clone(),
                    root => format!("{root}/./{pattern}"),
                };
                Wanted {
                    parents: true,
                    ..plain(here(source), path)
                }
            }
            CopySource::Document(document) => Wanted {
                what: What::Document(InlineFile {
                    name: document.name.clone(),
                    content: document.content.clone(),
                    mode: DOCUMENT_MODE,
                }),
                ..plain(here(&Source::Scratch), String::new())
            },
            CopySource::Http {
                url,
                name,
                checksum,
                unpack,
            } => {
                let source = PartSource::Http {
                    url: url.clone(),
                    name: name.clone(),
                    checksum: checksum.clone(),
                };
                Wanted {
                    unpack: *unpack,
                    ..plain(source, format!("/{name}"))
                }
            }
            CopySource::Git(git) => plain(PartSource::Git(git.clone()), "/".to_owned()),
        }
    }
}

fn here(source: &Source) -> PartSource {
    PartSource::Here(source.clone())
}

/// A tree that is open.
enum Opened<'a> {
    Folder(&'a Folder),
    Fetched(Folder),
    Layers(Below),
}

impl Opened<'_> {
    fn tree(&self) -> Tree<'_> {
        match self {
            Opened::Folder(folder) => Tree::Folder {
                root: folder.root.as_fd(),
                ignore: folder.ignore.as_ref().map(|ignore| &*ignore.patterns),
            },
            Opened::Fetched(folder) => Tree::Folder {
                root: folder.root.as_fd(),
                ignore: None,
            },
            Opened::Layers(below) => Tree::Layers(below),
        }
    }
}

fn sources<'a>(
    making: &Making<'a>,
    parts: &[Part],
    staging: &mut Staging<'a>,
) -> Result<Vec<Opened<'a>>> {
    let solver = making.solver;
    let open = |part: &Part| match &part.source {
        PartSource::Here(source) => match solver.folder(source) {
            Some(folder) => Ok(Opened::Folder(folder)),
            None => {
                let snapshot = solver.snapshot(source);
                let chain_ids = snapshot.map(Snapshot::chain_ids).unwrap_or_default();
                let below = solver.engine.store().below(&chain_ids)?;
                Ok(Opened::Layers(below))
            }
        },
        PartSource::Http {
            url,
            name,
            checksum,
        } => {
            making.say(&format!("fetching {url}"));
            let checksum = checksum.as_deref();
            let folder = staging.fetch(url, name, checksum, &solver.request.registry)?;
            Ok(Opened::Fetched(folder))
        }
        PartSource::Git(git) => {
            making.say(&format!("fetching {}", git.remote));
            Ok(Opened::Fetched(staging.check_out(git)?))
        }
    };
    parts.iter().map(open).collect()
}

/// The keys of a COPY, if they can be known before the stages that it copies from are done.
pub(super) fn foreseen(making: &Making<'_>, step: &CopyStep) -> Result<Option<Keys>> {
    let place = making.solver.engine.store().build_folder()?;
    let mut hashes = HashCache::load(&place, HASHES);
    let mut files = Vec::new();
    for part in &parts(step) {
        let PartSource::Here(source) = &part.source else {
            return Ok(None);
        };
        let digest = match by_definition(making, source, &part.request)? {
            Some(definition) => definition,
            None => {
                let nothing = Opened::Layers(making.solver.engine.store().below(&[])?);
                let folder = making.solver.folder(source).map(Opened::Folder);
                let opened = folder.unwrap_or(nothing);
                let tree = opened.tree();
                let selection = copy::select(&tree, &part.request, &mut hashes)?;
                selection.digest(&part.request)?
            }
        };
        files.push(Files {
            definition: digest.clone(),
            digest,
        });
    }
    let _ = hashes.save(&place, HASHES);
    key(making, step, &files).map(Some)
}

/// A file or directory of a context, by what is in it.
pub(super) fn context_key(making: &Making<'_>, folder: &Folder, path: &str) -> Result<Digest> {
    let place = making.solver.engine.store().build_folder()?;
    let mut hashes = HashCache::load(&place, HASHES);
    let request = context_request(path);
    let opened = Opened::Folder(folder);
    let tree = opened.tree();
    let selection = copy::select(&tree, &request, &mut hashes)?;
    let _ = hashes.save(&place, HASHES);
    Ok(key_of_context(&selection.digest(&request)?).own)
}

fn context_request(path: &str) -> CopyRequest {
    CopyRequest {
        sources: vec![path.to_owned()],
        dest: format!("/{CONTEXT}"),
        ..CopyRequest::default()
    }
}

fn key_of_context(files: &Digest) -> Keys {
    let mut key = Key::new("context");
    key.digest("files", files);
    key.finish()
}

/// A file or directory of a context as a layer on nothing, to be mounted: and where it is in there.
pub(super) fn context_layer(
    making: &Making<'_>,
    folder: &Folder,
    path: &str,
) -> Result<(StepRecord, String)> {
    let request = context_request(path);
    let opened = Opened::Folder(folder);
    let store = making.solver.engine.store();
    let place = store.build_folder()?;
    let mut hashes = HashCache::load(&place, HASHES);
    let tree = opened.tree();
    let selection = copy::select(&tree, &request, &mut hashes)?;
    let keys = key_of_context(&selection.digest(&request)?);
    let _ = hashes.save(&place, HASHES);
    if let Some(record) = making.lease.find_step(&keys.own)? {
        return Ok((record, CONTEXT.to_owned()));
    }
    let layer = making.lease.stage_new_layer()?;
    let below = store.below(&[])?;
    let written = copy::write(selection, &request, &below, layer.tree())?;
    let record = making.keep_on(&Snapshot::empty(), (keys, false), layer, &written.changes)?;
    Ok((record, CONTEXT.to_owned()))
}

/// Copies what layers have at a path into an empty directory.
pub(super) fn fill(
    making: &Making<'_>,
    layers: &[Digest],
    path: &str,
    folder: BorrowedFd<'_>,
) -> Result<()> {
    let store = making.solver.engine.store();
    let (source, nothing) = (store.below(layers)?, store.below(&[])?);
    let request = CopyRequest {
        sources: vec![path.to_owned()],
        dest: "/".to_owned(),
        dest_is_folder: true,
        ..CopyRequest::default()
    };
    let tree = Tree::Layers(&source);
    let selection = copy::select(&tree, &request, &mut HashCache::default())?;
    copy::write(selection, &request, &nothing, folder).map(drop)
}

pub(super) fn workdir_keys(making: &Making<'_>, path: &str, user: Option<&str>) -> Keys {
    let mut key = Key::new("workdir");
    key.step("parent", &making.parent.keys);
    key.add("path", path.as_bytes());
    key.add("user", user.unwrap_or_default().as_bytes());
    key.finish()
}

/// WORKDIR: the directory, if it is not there.
pub(super) fn workdir(making: &Making<'_>, path: &str, user: Option<&str>) -> Result<Made> {
    let keys = workdir_keys(making, path, user);
    if let Some(record) = making.cached(&keys)? {
        return Ok(Made::Cached(record));
    }
    let store = making.solver.engine.store();
    let chain_ids: Vec<Digest> = making.parent.chain_ids();
    let below = store.below(&chain_ids)?;
    let request = CopyRequest {
        dest: path.to_owned(),
        dest_is_folder: true,
        chown: user.map(str::to_owned),
        ..CopyRequest::default()
    };
    let nothing = store.below(&[])?;
    let tree = Tree::Layers(&nothing);
    let layer = making.lease.stage_new_layer()?;
    let selection = copy::select(&tree, &request, &mut HashCache::default())?;
    let written = copy::write(selection, &request, &below, layer.tree())?;
    making.keep(keys, layer, &written.changes).map(Made::New)
}
