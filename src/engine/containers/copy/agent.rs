//! The container's side of a copy: a process of its own, since it enters namespaces and the other
//! side is the caller's own, with the caller's rights.
//!
//! ```text
//! command                                   agent (forked)
//!                                             the container's root, the place that is meant
//!                     ◀── Found ─────────
//!   where it lands
//!                     ─── Pack, Unpack ──▶
//!                     ◀── a pipe ────────     a tar stream through it, made or read in this process
//!                     ◀── Done, Failed ──
//! ```
//!
//! The agent runs nothing and is in neither the container's pid namespace nor below its root. It ends
//! with the command.

use std::{
    fs::File,
    io::{BufWriter, Write},
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{Mode, Stat},
    pipe::PipeFlags,
};
use serde::{Deserialize, Serialize};

use super::{
    place::{self, Place, Side},
    rules,
    unpack::{Owners, Rules, unpack},
};
use crate::{
    engine::{
        Engine,
        containers::root_view::{RootView, Scope, inside},
    },
    model::{
        Context, Error, ErrorKind, Failure, Result, container::ContainerRecord,
        user_namespace::IdMaps,
    },
    storage::{ContainerDir, pack::Packer},
    sys::{
        fork::{self, Child, Namespaces},
        packet, process,
    },
};

const MAX_MESSAGE: usize = 128 << 10;
const BUFFER: usize = 128 << 10;

#[derive(Debug, Serialize, Deserialize)]
enum Ask {
    /// Make an archive of the place, under this name.
    Pack(Vec<u8>),
    Unpack(Unpack),
}

/// How an archive is unpacked in a container.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Unpack {
    /// Into the place, or beside it.
    pub in_destination: bool,
    /// The archive's owners; else everything is the container's root's.
    pub keep_owners: bool,
    pub overwrite: bool,
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Found { found: rules::Found, path: Vec<u8> },
    Done { notice: Option<String> },
    Failed(Failure),
}

/// Which path of which container, and what for.
pub(super) struct Errand<'a> {
    pub container: &'a str,
    pub path: &'a [u8],
    /// A link at the path's end is followed.
    pub follow: bool,
    pub scope: Scope,
}

/// An agent that has found its place.
pub(super) struct Agent {
    socket: OwnedFd,
    child: Option<Child>,
    pub found: rules::Found,
    pub path: Vec<u8>,
}

impl Agent {
    pub(super) fn begin(engine: &Engine, errand: &Errand<'_>) -> Result<Agent> {
        let what = || "cannot start the copy".to_owned();
        let (directory, record) = engine.store.find_container(errand.container)?;
        let (ours, theirs) = packet::pair().system(what)?;
        let mut ours = Some(ours);
        let child = fork::fork(Namespaces::NONE, || {
            // The command's alone, or its end would not be heard.
            ours = None;
            serve(engine, (&directory, &record), errand, &theirs)
        })
        .system(what)?;
        drop(theirs);
        let mut agent = Agent {
            socket: ours.ok_or(rustix::io::Errno::BADF).system(what)?,
            child: Some(child),
            found: rules::Found::Nothing,
            path: Vec::new(),
        };
        match agent.answer()?.0 {
            Answer::Found { found, path } => {
                (agent.found, agent.path) = (found, path);
                Ok(agent)
            }
            _ => Err(Error::new(ErrorKind::System, what())),
        }
    }

    /// A tar stream of the place, its top called `name`.
    pub(super) fn pack(&mut self, name: &[u8]) -> Result<File> {
        self.ask(&Ask::Pack(name.to_vec()))
    }

    /// Takes a tar stream.
    pub(super) fn unpack(&mut self, how: Unpack) -> Result<File> {
        self.ask(&Ask::Unpack(how))
    }

    fn ask(&mut self, ask: &Ask) -> Result<File> {
        let what = || "cannot copy".to_owned();
        let text = serde_json::to_vec(ask).context(ErrorKind::System, what)?;
        packet::send(&self.socket, &text, &[], None::<&OwnedFd>, true).system(what)?;
        match self.answer()? {
            (_, Some(pipe)) => Ok(File::from(pipe)),
            _ => Err(Error::new(ErrorKind::System, what())),
        }
    }

    fn answer(&mut self) -> Result<(Answer, Option<OwnedFd>)> {
        let what = || "the copy was interrupted".to_owned();
        let mut buffer = vec![0; MAX_MESSAGE];
        let (length, pipe) = packet::receive(&self.socket, &mut buffer, true).system(what)?;
        if length == 0 {
            return Err(Error::new(ErrorKind::System, what()));
        }
        match serde_json::from_slice(&buffer[..length]).context(ErrorKind::System, what)? {
            Answer::Failed(failure) => Err(failure.into_error()),
            answer => Ok((answer, pipe)),
        }
    }

    /// Waits until the agent is done, its pipe being closed; what it left out.
    pub(super) fn finish(mut self) -> Result<Option<String>> {
        match self.answer()?.0 {
            Answer::Done { notice } => Ok(notice),
            _ => Err(Error::new(ErrorKind::System, "the copy was interrupted")),
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            let _ = process::signal(&child.pidfd, libc::SIGKILL);
            let _ = process::reap(&child.pidfd);
        }
    }
}

fn say(socket: &OwnedFd, answer: &Answer, pipe: Option<&OwnedFd>) -> Result<()> {
    let what = || "cannot answer".to_owned();
    let text = serde_json::to_vec(answer).context(ErrorKind::System, what)?;
    packet::send(socket, &text, &[], pipe, true).system(what)
}

/// The agent's life.
fn serve(
    engine: &Engine,
    container: (&ContainerDir, &ContainerRecord),
    errand: &Errand<'_>,
    socket: &OwnedFd,
) -> i32 {
    let outcome = work(engine, container, errand, socket);
    let answer = match outcome {
        Ok(notice) => Answer::Done { notice },
        Err(error) => Answer::Failed((&error).into()),
    };
    i32::from(say(socket, &answer, None).is_err())
}

fn work(
    engine: &Engine,
    (directory, record): (&ContainerDir, &ContainerRecord),
    errand: &Errand<'_>,
    socket: &OwnedFd,
) -> Result<Option<String>> {
    let what = || "cannot prepare the copy".to_owned();
    rustix::process::umask(Mode::empty());
    // For as long as it waits for others.
    process::die_with_parent().system(what)?;
    let view = engine.root_view(directory, record, errand.scope)?;
    // Both are forgotten at a change of credentials, and the last one is behind us.
    process::hide().system(what)?;
    process::die_with_parent().system(what)?;
    let side = Side::Container(view.root());
    let found = place::find(side, errand.path, errand.follow)
        .map_err(|cause| not_found(cause, errand, errand.path))?;
    let answer = Answer::Found {
        found: found.found(),
        path: found.path.clone(),
    };
    say(socket, &answer, None)?;
    let mut buffer = vec![0; MAX_MESSAGE];
    let (length, _) = packet::receive(socket, &mut buffer, true).system(what)?;
    match serde_json::from_slice(&buffer[..length]).context(ErrorKind::System, what)? {
        Ask::Pack(name) => {
            if found.stat().is_none() {
                return Err(not_found(
                    std::io::ErrorKind::NotFound.into(),
                    errand,
                    errand.path,
                ));
            }
            pack_through(&found, &name, &view, socket)?;
            let unseen = view.without_mounts() && !record.spec.mounts.is_empty();
            Ok(unseen.then(|| {
                format!(
                    "nothing of what is mounted in container {} was read: it is stopped, and in use",
                    record.name
                )
            }))
        }
        Ask::Unpack(how) => unpack_through(&found, &how, (engine, record), &view, socket),
    }
}

/// Docker's words.
fn not_found(cause: std::io::Error, errand: &Errand<'_>, path: &[u8]) -> Error {
    let (path, container) = (String::from_utf8_lossy(path), errand.container);
    match cause.kind() {
        std::io::ErrorKind::NotFound => Error::invalid(format!(
            "Could not find the file {path} in container {container}"
        )),
        _ => Error::new(
            ErrorKind::InvalidArgument,
            format!("cannot use {path:?} in container {container}"),
        )
        .with_source(cause),
    }
}

fn pack_through(found: &Place, name: &[u8], view: &RootView, socket: &OwnedFd) -> Result<()> {
    let what = || "cannot read the container's files".to_owned();
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).system(what)?;
    let answer = Answer::Done { notice: None };
    say(socket, &answer, Some(&read))?;
    drop(read);
    let owner = |stat: &Stat| inside(view.owners(), stat);
    pack(found, name, File::from(write), &owner)
}

/// Writes an archive of a place under another name.
pub(super) fn pack(
    found: &Place,
    name: &[u8],
    out: impl Write,
    owner: &dyn Fn(&Stat) -> (u32, u32),
) -> Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER, out);
    let mut packer = Packer::new(&mut out, owner);
    let packed = match found.found() {
        rules::Found::Folder => found
            .open()
            .and_then(|folder| packer.folder_as(folder.as_fd(), name)),
        _ => {
            let (folder, entry) = found.entry();
            packer.entry_as(folder, entry, name)
        }
    };
    packed
        .and_then(|()| packer.finish())
        .and_then(|()| out.flush())
        .system(|| format!("cannot read {}", String::from_utf8_lossy(&found.path)))
}

fn unpack_through(
    found: &Place,
    how: &Unpack,
    (engine, record): (&Engine, &ContainerRecord),
    view: &RootView,
    socket: &OwnedFd,
) -> Result<Option<String>> {
    let what = || "cannot write into the container".to_owned();
    let top = found.hold(how.in_destination).system(what)?;
    let same = |a: &Stat, b: &Stat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
    let is_root = same(
        &rustix::fs::fstat(&top).system(what)?,
        &rustix::fs::fstat(view.root()).system(what)?,
    );
    let root = view.owners().map_or((0, 0), IdMaps::root);
    let rules = Rules {
        owners: match how.keep_owners {
            true => Owners::Archive(view.owners().cloned()),
            false => Owners::One(root.0, root.1),
        },
        overwrite: how.overwrite,
        is_root,
        without_devices: !engine.user.is_real_root(),
    };
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).system(what)?;
    let answer = Answer::Done { notice: None };
    say(socket, &answer, Some(&write))?;
    drop(write);
    unpack(File::from(read), top.as_fd(), &rules).map_err(|error| read_only(error, record))
}

/// Docker's words for a container that may not be written to.
fn read_only(error: Error, record: &ContainerRecord) -> Error {
    let refused = super::errno(&error) == Some(libc::EROFS);
    match refused {
        true if record.spec.read_only => {
            Error::new(ErrorKind::Conflict, "container rootfs is marked read-only")
        }
        true => Error::new(ErrorKind::Conflict, "mounted volume is marked read-only"),
        false => error,
    }
}
