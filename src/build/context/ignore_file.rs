//! Which file says what is left out of a context.

use std::{fs::File, path::Path, rc::Rc};

use super::dockerfile::{Beside, Found, open_regular, read as read_text};
use crate::{
    build::{
        ignore::Ignore,
        request::{BuildContext, IgnoreFile, Text},
    },
    model::{Context, ErrorKind, Result},
};

/// In the context's root, in this order.
const NAMES: [&str; 2] = [".containerignore", ".dockerignore"];

/// Gives the context its patterns, if there are any: of the file that was typed, else of
/// `NAME.dockerignore` beside the Dockerfile, else of the context's root.
pub fn read(
    context: &mut BuildContext,
    dockerfile: Option<&Found>,
    typed: Option<&Path>,
) -> Result<()> {
    let BuildContext::Folder(folder) = context else {
        return Ok(());
    };
    let beside = dockerfile.and_then(|found| found.beside.as_ref());
    let written = match (typed, beside) {
        (Some(path), _) => {
            let what = || format!("cannot open {}", path.display());
            let file = File::open(path).context(ErrorKind::InvalidArgument, what)?;
            Some(text(file, &path.to_string_lossy())?)
        }
        (None, Some(beside)) => of_dockerfile(beside)?,
        (None, None) => None,
    };
    let written = match written {
        Some(written) => Some(written),
        None => of_root(folder)?,
    };
    folder.ignore = match written {
        Some(written) => Some(parsed(written)?),
        None => None,
    };
    Ok(())
}

fn parsed(written: Text) -> Result<IgnoreFile> {
    let patterns = Ignore::parse(&written.text)
        .map_err(|complaint| complaint.into_error(&written.name, &written.text))?;
    Ok(IgnoreFile {
        written,
        patterns: Rc::new(patterns),
    })
}

fn of_dockerfile(beside: &Beside) -> Result<Option<Text>> {
    let mut name = beside.path.clone().into_os_string();
    name.push(".dockerignore");
    let shown = name.to_string_lossy().into_owned();
    if beside.confined {
        let file = open_regular(&beside.folder, Path::new(&name))?;
        return file.map(|file| text(File::from(file), &shown)).transpose();
    }
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    match rustix::fs::openat(&*beside.folder, &name, flags, rustix::fs::Mode::empty()) {
        Ok(file) => text(File::from(file), &shown).map(Some),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno).context(ErrorKind::InvalidArgument, || {
            format!("cannot open {shown}")
        }),
    }
}

fn of_root(folder: &crate::build::request::Folder) -> Result<Option<Text>> {
    for name in NAMES {
        if let Some(file) = open_regular(&folder.root, Path::new(name))? {
            return text(File::from(file), name).map(Some);
        }
    }
    Ok(None)
}

fn text(file: File, name: &str) -> Result<Text> {
    Ok(Text {
        name: name.to_owned(),
        text: read_text(file, name)?,
    })
}
