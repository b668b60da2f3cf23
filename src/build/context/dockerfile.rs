//! The Dockerfile: where it is looked for, and its text.

use std::{
    ffi::OsStr,
    io::Read,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{FileType, Mode, OFlags};

use crate::{
    build::request::{BuildContext, Text},
    model::{Context, Error, ErrorKind, Result},
    sys::in_root,
};

/// In this order.
const NAMES: [&str; 3] = ["Dockerfile", "dockerfile", "Containerfile"];
const MAX_BYTES: u64 = 4 << 20;

/// A Dockerfile, and where the patterns that belong to it would be.
pub struct Found {
    pub text: Text,
    /// `NAME.dockerignore` is there.
    pub beside: Option<Beside>,
}

pub struct Beside {
    pub folder: Arc<OwnedFd>,
    /// Below it.
    pub path: PathBuf,
    /// Symbolic links stay in it.
    pub confined: bool,
}

impl Found {
    /// One that has no place.
    pub fn anywhere(text: Text) -> Self {
        Found { text, beside: None }
    }
}

pub fn of_stream(stream: impl Read, name: &str) -> Result<Found> {
    let text = read(stream, name)?;
    Ok(Found::anywhere(Text {
        name: name.to_owned(),
        text,
    }))
}

/// `-f` with a folder of the host: relative to where the user is or, as podman has it, to the context.
pub fn of_host(typed: &str, context: &Path) -> Result<Found> {
    let path = Path::new(typed);
    let path = match !path.exists() && path.is_relative() && context.join(path).exists() {
        true => context.join(path),
        false => path.to_owned(),
    };
    let what = || format!("failed to read dockerfile: open {}", path.display());
    // A pipe, such as a shell's <(…), is waited for.
    let file = std::fs::File::open(&path).context(ErrorKind::InvalidArgument, what)?;
    let text = read(file, typed)?;
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty()).system(what)?;
    let name = path.file_name().unwrap_or(OsStr::new("Dockerfile"));
    Ok(Found {
        text: Text {
            name: name.to_string_lossy().into_owned(),
            text,
        },
        beside: Some(Beside {
            folder: Arc::new(folder),
            path: PathBuf::from(name),
            confined: false,
        }),
    })
}

/// The usual names, or the one that was typed, in the context.
pub fn of_context(context: &BuildContext, typed: Option<&str>) -> Result<Found> {
    let BuildContext::Folder(folder) = context else {
        return Err(Error::invalid(
            "failed to read dockerfile: the context has no files",
        ));
    };
    let names = typed.map_or(NAMES.to_vec(), |typed| vec![typed]);
    for name in &names {
        let Some(file) = open_regular(&folder.root, Path::new(name))? else {
            continue;
        };
        return Ok(Found {
            text: Text {
                name: (*name).to_owned(),
                text: read(std::fs::File::from(file), name)?,
            },
            beside: Some(Beside {
                folder: Arc::clone(&folder.root),
                path: PathBuf::from(name),
                confined: true,
            }),
        });
    }
    let error = format!(
        "failed to read dockerfile: open {}: no such file or directory",
        names[0]
    );
    Err(Error::invalid(error).with_hint("name it with -f"))
}

/// A file of a context: links stay inside, and nothing but a regular file is ever opened.
pub fn open_regular(root: &OwnedFd, path: &Path) -> Result<Option<OwnedFd>> {
    let what = || format!("cannot open {} in the context", path.display());
    let name = in_root::c_string(path).context(ErrorKind::InvalidArgument, what)?;
    let place = match in_root::open(root.as_fd(), &name, OFlags::PATH) {
        Ok(place) => place,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(cause).context(ErrorKind::InvalidArgument, what),
    };
    let stat = rustix::fs::fstat(&place).system(what)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Error::invalid(format!(
            "{}: it is not a regular file",
            what()
        )));
    }
    in_root::reopen(&place, OFlags::RDONLY)
        .system(what)
        .map(Some)
}

/// Text of at most so many bytes; what is not UTF-8 becomes U+FFFD.
pub fn read(stream: impl Read, name: &str) -> Result<String> {
    let mut bytes = Vec::new();
    let mut limited = stream.take(MAX_BYTES + 1);
    let what = || format!("failed to read {name}");
    limited
        .read_to_end(&mut bytes)
        .context(ErrorKind::InvalidArgument, what)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::invalid(format!("{name} is larger than 4 MiB")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
