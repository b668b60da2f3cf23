//! Mounts as a runtime configuration lists them: a file system, its attributes one by one, its
//! propagation.

use std::{
    ffi::CString,
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::fs::{FileType, Mode};

use super::{c_string, mounts};
use crate::{
    engine::plan::FileSystem,
    model::{
        Context, Result,
        mount::{Attribute, AttributeChange, Propagation},
    },
    sys::{
        in_root,
        mount::{self, Attributes, Parameter},
    },
};

/// Attaches one of them; `copy` is the bind source if it was taken before.
pub(super) fn attach(
    root: BorrowedFd<'_>,
    file_system: &FileSystem,
    copy: Option<OwnedFd>,
    target: &str,
    change: &AttributeChange,
    propagation: Propagation,
) -> Result<()> {
    let what = || format!("cannot mount {} on {target}", name(file_system));
    let mounted = match (copy, file_system) {
        (Some(copy), _) => copy,
        (None, FileSystem::Bind { source, recursive }) => {
            mount::clone_mount(rustix::fs::CWD, &mounts::path(source)?, *recursive).system(what)?
        }
        (
            None,
            FileSystem::New {
                kind,
                source,
                parameters,
            },
        ) => new_file_system(kind, source.as_deref(), parameters)?,
    };
    for &(attribute, on, recursive) in &change.changes {
        let bits = bits(attribute);
        let (add, remove) = match attribute {
            Attribute::NoAccessTime
            | Attribute::RelativeAccessTime
            | Attribute::StrictAccessTime => (bits, Attributes::ALL_ACCESS_TIMES),
            _ if on => (bits, Attributes::NONE),
            _ => (Attributes::NONE, bits),
        };
        mount::change_attributes(&mounted, add, remove, recursive).system(what)?;
    }
    let (kind, deep) = mounts::propagation_of(propagation);
    mount::set_attributes(&mounted, Attributes::NONE, Some(kind), deep).system(what)?;
    let place = place(root, &mounted, target).system(what)?;
    in_root::refuse_kernel_file_systems(&place).system(what)?;
    mount::attach(&mounted, &place).system(what)
}

fn place(root: BorrowedFd<'_>, mounted: &OwnedFd, target: &str) -> std::io::Result<OwnedFd> {
    let stat = rustix::fs::fstat(mounted)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        in_root::open_or_make_directory(root, target.as_ref(), Mode::from_raw_mode(0o755))
    } else {
        in_root::open_or_make_file(root, target.as_ref())
    }
}

fn new_file_system(
    kind: &str,
    source: Option<&str>,
    parameters: &[(String, Option<String>)],
) -> Result<OwnedFd> {
    let what = || format!("cannot mount a {kind}");
    let mut texts: Vec<(CString, Option<CString>)> = parameters
        .iter()
        .map(|(key, value)| Ok((c_string(key)?, value.as_deref().map(c_string).transpose()?)))
        .collect::<Result<_>>()?;
    // Those get theirs anyway.
    if let Some(source) = source.filter(|_| !["overlay", "proc", "tmpfs"].contains(&kind)) {
        texts.push((c"source".to_owned(), Some(c_string(source)?)));
    }
    let parameters: Vec<Parameter<'_>> = texts
        .iter()
        .map(|(key, value)| match value {
            Some(value) => Parameter::String(key, value),
            None => Parameter::Flag(key),
        })
        .collect();
    mount::new_mount(&c_string(kind)?, &parameters, Attributes::NONE).system(what)
}

fn name(file_system: &FileSystem) -> String {
    match file_system {
        FileSystem::Bind { source, .. } => source.display().to_string(),
        FileSystem::New { kind, .. } => format!("a {kind}"),
    }
}

fn bits(attribute: Attribute) -> Attributes {
    match attribute {
        Attribute::ReadOnly => Attributes::READ_ONLY,
        Attribute::NoSuid => Attributes::NO_SUID,
        Attribute::NoDev => Attributes::NO_DEV,
        Attribute::NoExec => Attributes::NO_EXEC,
        Attribute::NoSymlinkFollow => Attributes::NO_SYMLINK_FOLLOW,
        Attribute::NoDirAccessTime => Attributes::NO_DIR_ACCESS_TIME,
        Attribute::NoAccessTime => Attributes::NO_ACCESS_TIME,
        Attribute::RelativeAccessTime => Attributes::RELATIVE_ACCESS_TIME,
        Attribute::StrictAccessTime => Attributes::STRICT_ACCESS_TIME,
    }
}
