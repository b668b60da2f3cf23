//! `cp`: files into a container, out of one, or from one to another.
//!
//! ```text
//! rules    where a copy lands: a pure function            place    a path, found once and then held
//! agent    the container's side, in a process of its own  unpack   a tar stream → files
//! ```
//!
//! What is copied is always a tar stream: made by whoever has the source, its names already those of
//! the destination, read by whoever has the destination. The caller's own side is this process, with
//! the caller's rights and no others; what comes out of a container is not trusted there.
//!
//! Interrupted, a copy leaves the files that were done and perhaps the beginning of one more, nothing
//! else: no lock, no mount, nothing staged.

mod agent;
mod place;
mod rules;
mod unpack;

use std::{
    io::{self, Read, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use rustix::fs::Stat;

use self::{
    agent::{Agent, Errand, Unpack},
    place::{Place, Side},
    rules::{Found, Landing},
    unpack::{Owners, Rules, unpack},
};
use crate::{
    engine::{Engine, containers::root_view::Scope},
    model::{ContainerId, Context, Error, ErrorKind, Result},
};

/// One end of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyEnd {
    Container {
        name: String,
        path: String,
    },
    Local(PathBuf),
    /// Standard input or output: a tar stream.
    Stream,
}

#[derive(Clone, Debug)]
pub struct CopyRequest {
    pub from: CopyEnd,
    pub to: CopyEnd,
    /// Owners are kept (`-a`). Otherwise files in a container are its root's, and the caller's
    /// elsewhere; a stream's own owners are always kept in a container.
    pub archive: bool,
    /// A link that the source is, is followed.
    pub follow_link: bool,
    /// Folders and files may take each other's place (Podman).
    pub overwrite: bool,
}

/// What a copy did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Of the tar stream.
    pub bytes: u64,
    /// Where it went.
    pub to: String,
    /// What was done otherwise than asked.
    pub notices: Vec<String>,
}

/// Who makes the stream.
enum Source<'a> {
    Agent(Agent),
    Local(Place),
    Stream(&'a mut dyn Read),
}

impl Engine {
    /// Copies, with the caller's streams for an end that is one.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchContainer`]; [`ErrorKind::InvalidArgument`] where the two ends do not fit
    /// or something is missing; whatever forbids to read or write.
    pub fn copy(
        &self,
        request: &CopyRequest,
        input: &mut dyn Read,
        output: &mut dyn Write,
    ) -> Result<Copied> {
        let early = self.destination_first(request)?;
        let source = self.source_of_copy(request, input)?;
        let copied = match &request.to {
            CopyEnd::Container { name, path } => {
                let agent = match early {
                    Some(agent) => agent,
                    None => self.destination(name, path)?,
                };
                self.copy_into(request, source, agent, &format!("{name}:{path}"))
            }
            CopyEnd::Local(path) => into_folder(request, source, path),
            CopyEnd::Stream => into_stream(request, source, output),
        }?;
        // Docker's names for the two halves.
        for (end, action) in [
            (&request.from, "archive-path"),
            (&request.to, "extract-to-dir"),
        ] {
            if let CopyEnd::Container { name, .. } = end
                && let Ok((_, record)) = self.store.find_container(name)
            {
                self.note_container(&record, action, &[]);
            }
        }
        Ok(copied)
    }

    fn source_of_copy<'a>(
        &self,
        request: &CopyRequest,
        input: &'a mut dyn Read,
    ) -> Result<Source<'a>> {
        Ok(match &request.from {
            CopyEnd::Container { name, path } => {
                let path = rooted(path);
                let agent = Agent::begin(
                    self,
                    &Errand {
                        container: name,
                        path: &path,
                        follow: request.follow_link,
                        scope: self.scope_of_source(request)?,
                    },
                )?;
                if agent.found == Found::Nothing {
                    return Err(Error::invalid(format!(
                        "Could not find the file {} in container {name}",
                        String::from_utf8_lossy(&path)
                    )));
                }
                Source::Agent(agent)
            }
            CopyEnd::Local(path) => {
                let missing = || format!("lstat {}", path.display());
                let bytes = bytes_of(path);
                let found = place::find(Side::Local, bytes, request.follow_link);
                let found = found.context(ErrorKind::InvalidArgument, missing)?;
                if found.stat().is_none() {
                    let cause = io::Error::from_raw_os_error(libc::ENOENT);
                    return Err(
                        Error::new(ErrorKind::InvalidArgument, missing()).with_source(cause)
                    );
                }
                Source::Local(found)
            }
            CopyEnd::Stream => Source::Stream(input),
        })
    }

    /// The ids of both ends, if both are containers: from, to.
    fn between(&self, request: &CopyRequest) -> Result<Option<(ContainerId, ContainerId)>> {
        let (CopyEnd::Container { name: from, .. }, CopyEnd::Container { name: to, .. }) =
            (&request.from, &request.to)
        else {
            return Ok(None);
        };
        let id = |name| Ok(self.store.find_container(name)?.1.id);
        Ok(Some((id(from)?, id(to)?)))
    }

    fn scope_of_source(&self, request: &CopyRequest) -> Result<Scope> {
        Ok(match self.between(request)? {
            Some((from, to)) if from == to => Scope::BesideCopy,
            _ => Scope::WithMounts { to_change: false },
        })
    }

    /// Two copies between the same stopped containers, one each way, wait for each other unless
    /// both lock them in the same order.
    fn destination_first(&self, request: &CopyRequest) -> Result<Option<Agent>> {
        match (self.between(request)?, &request.to) {
            (Some((from, to)), CopyEnd::Container { name, path }) if to < from => {
                self.destination(name, path).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn destination(&self, name: &str, path: &str) -> Result<Agent> {
        Agent::begin(
            self,
            &Errand {
                container: name,
                path: &rooted(path),
                follow: true,
                scope: Scope::WithMounts { to_change: true },
            },
        )
    }

    fn copy_into(
        &self,
        request: &CopyRequest,
        source: Source<'_>,
        mut agent: Agent,
        to: &str,
    ) -> Result<Copied> {
        let landing = landing(request, &source, &agent.path, agent.found, to)?;
        let mut out = Counted::new(agent.unpack(Unpack {
            in_destination: landing.in_destination,
            keep_owners: request.archive || matches!(source, Source::Stream(_)),
            overwrite: request.overwrite,
        })?);
        let sent = send(source, &landing.name, &mut out);
        let bytes = out.bytes;
        drop(out);
        // If sending failed because the agent had ended, that says why.
        let notices = match (agent.finish(), sent) {
            (Ok(notice), Ok(unread)) => [unread, notice],
            (Err(error), Ok(_)) => return Err(error),
            (Err(error), Err(cause)) if errno(&cause) == Some(libc::EPIPE) => return Err(error),
            (_, Err(error)) => return Err(error),
        };
        Ok(Copied {
            bytes,
            to: to.to_owned(),
            notices: notices.into_iter().flatten().collect(),
        })
    }
}

/// The path as the container's root has it.
fn rooted(path: &str) -> Vec<u8> {
    match path.starts_with('/') {
        true => path.as_bytes().to_vec(),
        false => format!("/{path}").into_bytes(),
    }
}

fn bytes_of(path: &Path) -> &[u8] {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str())
}

/// What the kernel said, if it did.
fn errno(error: &Error) -> Option<i32> {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(errno) = cause.downcast_ref::<rustix::io::Errno>() {
            return Some(errno.raw_os_error());
        }
        if let Some(cause) = cause.downcast_ref::<io::Error>() {
            return cause.raw_os_error();
        }
        source = cause.source();
    }
    None
}

fn landing(
    request: &CopyRequest,
    source: &Source<'_>,
    path: &[u8],
    found: Found,
    shown: &str,
) -> Result<Landing> {
    let (name, is_folder): (&[u8], bool) = match (source, &request.from) {
        (Source::Stream(_), _) => {
            return match found {
                Found::Folder => Ok(Landing {
                    in_destination: true,
                    name: Vec::new(),
                }),
                _ => Err(Error::invalid(format!(
                    "destination \"{shown}\" must be a directory"
                ))),
            };
        }
        (Source::Agent(agent), CopyEnd::Container { path, .. }) => {
            (path.as_bytes(), agent.found == Found::Folder)
        }
        (Source::Local(place), CopyEnd::Local(path)) => {
            (bytes_of(path), place.found() == Found::Folder)
        }
        _ => return Err(Error::new(ErrorKind::System, "a copy from nowhere")),
    };
    if found == Found::Other {
        return Err(Error::invalid(format!(
            "destination \"{shown}\" must be a directory or a regular file: got a device"
        )));
    }
    let kept = match found {
        // Podman's word for it: what is there gives way.
        Found::File if request.overwrite => Found::Nothing,
        other => other,
    };
    rules::land(name, is_folder, path, kept).map_err(|refusal| Error::invalid(refusal.words()))
}

/// Sends the source's stream to its end; what is missing in it.
fn send(source: Source<'_>, name: &[u8], out: &mut dyn Write) -> Result<Option<String>> {
    let what = || "cannot copy".to_owned();
    match source {
        Source::Agent(mut agent) => {
            let mut stream = agent.pack(name)?;
            let copied = io::copy(&mut stream, out);
            drop(stream);
            match copied {
                Ok(_) => agent.finish(),
                Err(error) => Err(error).system(what),
            }
        }
        Source::Local(place) => {
            let owner = |stat: &Stat| (stat.st_uid, stat.st_gid);
            agent::pack(&place, name, out, &owner).map(|()| None)
        }
        Source::Stream(input) => {
            let plain = crate::storage::unpack::Decompressor::detect(input);
            let mut plain = plain.system(|| "cannot read the archive".to_owned())?;
            io::copy(&mut plain, out).map(|_| None).system(what)
        }
    }
}

fn into_stream(
    request: &CopyRequest,
    source: Source<'_>,
    output: &mut dyn Write,
) -> Result<Copied> {
    let name = match &request.from {
        CopyEnd::Container { path, .. } => rules::name_of(path.as_bytes()).to_vec(),
        _ => Vec::new(),
    };
    let mut out = Counted::new(output);
    let unread = send(source, &name, &mut out)?;
    out.flush().system(|| "cannot write".to_owned())?;
    Ok(Copied {
        bytes: out.bytes,
        notices: unread.into_iter().collect(),
        ..Copied::default()
    })
}

/// Out of a container, into a folder of the caller's.
fn into_folder(request: &CopyRequest, source: Source<'_>, path: &Path) -> Result<Copied> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let Source::Agent(mut agent) = source else {
        return Err(Error::new(ErrorKind::System, "a copy from nowhere"));
    };
    let place = local_destination(path, &absolute)?;
    let shown = path.display().to_string();
    let from = Source::Agent(agent);
    let landing = landing(request, &from, &place.path, place.found(), &shown)?;
    let Source::Agent(taken) = from else {
        return Err(Error::new(ErrorKind::System, "a copy from nowhere"));
    };
    agent = taken;
    let top = place
        .hold(landing.in_destination)
        .system(|| format!("cannot open {shown}"))?;
    let is_root = rustix::process::geteuid().is_root();
    let rules = Rules {
        owners: match request.archive && is_root {
            true => Owners::Archive(None),
            false => Owners::Caller,
        },
        overwrite: request.overwrite,
        is_root: false,
        without_devices: !(request.archive && is_root),
    };
    let mut notices = Vec::new();
    if request.archive && !is_root {
        notices.push("-a: the files are yours; only root can give them to others".to_owned());
    }
    let mut stream = Counted::new(agent.pack(&landing.name)?);
    let before = rustix::process::umask(rustix::fs::Mode::empty());
    let unpacked = unpack(&mut stream, top.as_fd(), &rules);
    rustix::process::umask(before);
    let bytes = stream.bytes;
    drop(stream);
    match unpacked {
        Ok(notice) => {
            notices.extend(agent.finish()?);
            notices.extend(notice);
        }
        // A stream that ends too early is the agent's failure, which it tells.
        Err(error) if error.kind() == ErrorKind::InvalidContent => {
            agent.finish()?;
            return Err(error);
        }
        Err(error) => return Err(error),
    }
    Ok(Copied {
        bytes,
        to: absolute.display().to_string(),
        notices,
    })
}

/// Docker's checks of a path that is written to.
fn local_destination(path: &Path, absolute: &Path) -> Result<Place> {
    let invalid = |why: String| Error::invalid(format!("invalid output path: {why}"));
    match place::find(Side::Local, bytes_of(path), true) {
        Ok(place) if place.found() == Found::Other => Err(invalid(format!(
            "{:?} must be a directory or a regular file: got a device",
            path.display().to_string()
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let above = absolute.parent().unwrap_or(Path::new("/"));
            Err(invalid(format!(
                "directory {:?} does not exist",
                above.display().to_string()
            )))
        }
        other => other.context(ErrorKind::InvalidArgument, || {
            format!("cannot copy to {}", path.display())
        }),
    }
}

/// Counts what passes.
struct Counted<T> {
    inner: T,
    bytes: u64,
}

impl<T> Counted<T> {
    fn new(inner: T) -> Self {
        Counted { inner, bytes: 0 }
    }
}

impl<T: Read> Read for Counted<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes += count as u64;
        Ok(count)
    }
}

impl<T: Write> Write for Counted<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
