//! The mounts that the user asked for: binds and volumes, layers of images, memory file systems,
//! and what a volume's driver names.
//!
//! A source is made ready detached (its subpath, its attributes, its propagation) and then attached
//! to the held descriptor of its place. A subpath comes from the user, but the links on the way are
//! those of whoever wrote into the volume: one that leads out of it is an error (CVE-2017-1002101).

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::{c_string, copy_up, mounts};
use crate::{
    engine::plan::{BindOptions, FileSystem, MountStep, TmpfsAttributes, kernel_place},
    model::{Context, Error, ErrorKind, Result, mount::Propagation as Wanted},
    sys::{
        file_copy, in_root,
        mount::{self, Attributes, Parameter},
        process::Credentials,
    },
};

/// Where something is mounted.
struct Place<'a> {
    root: BorrowedFd<'a>,
    target: &'a str,
    /// A place in a file system of the kernel's on which a mount is allowed, and the path there.
    kernel: Option<(&'a OwnedFd, &'a str)>,
}

impl<'a> Place<'a> {
    fn ordinary(root: BorrowedFd<'a>, target: &'a str) -> Place<'a> {
        Place {
            root,
            target,
            kernel: None,
        }
    }

    /// `proc` and `sys` are our own mounts of them.
    fn of(
        root: BorrowedFd<'a>,
        target: &'a str,
        proc: Option<&'a OwnedFd>,
        sys: Option<&'a OwnedFd>,
    ) -> Place<'a> {
        let kernel = kernel_place(target).and_then(|(name, below)| {
            let file_system = if name == "proc" { proc } else { sys };
            Some((file_system?, below))
        });
        Place {
            root,
            target,
            kernel,
        }
    }

    /// Opens the place, making it as the source is: a directory or a file.
    fn open(&self, is_directory: bool) -> io::Result<OwnedFd> {
        if let Some((file_system, below)) = self.kernel {
            let place = in_root::open_source(file_system, &in_root::c_string(below)?)?;
            let stat = rustix::fs::fstat(&place)?;
            let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            if is_file == is_directory {
                return Err(rustix::io::Errno::INVAL.into());
            }
            return Ok(place);
        }
        let place = if is_directory {
            let mode = Mode::from_raw_mode(0o755);
            in_root::open_or_make_directory(self.root, self.target.as_ref(), mode)?
        } else {
            in_root::open_or_make_file(self.root, self.target.as_ref())?
        };
        in_root::refuse_kernel_file_systems(&place)?;
        Ok(place)
    }
}

/// Carries out one step of the user's; gives the source that is to be given to the program's user,
/// if one is. `kernel` are our own procfs and sysfs, `connected` the step's copy if it was made
/// before.
pub(super) fn carry_out(
    step: &MountStep,
    connected: Option<OwnedFd>,
    root: BorrowedFd<'_>,
    (proc, sys): (Option<&OwnedFd>, Option<&OwnedFd>),
) -> Result<Option<OwnedFd>> {
    match step {
        MountStep::Bind {
            source,
            target,
            options,
        } => {
            let place = Place::of(root, target, proc, sys);
            return bind(&place, source, connected, options);
        }
        MountStep::Overlay {
            lower,
            changes,
            user_xattr,
            target,
            options,
        } => {
            let mounted = layers(lower, changes.as_ref(), *user_xattr)?;
            attach(&Place::ordinary(root, target), mounted, options)?;
        }
        MountStep::FileSystem {
            kind,
            device,
            parameters,
            target,
            options,
        } => {
            let mounted = file_system(kind, device, parameters)?;
            attach(&Place::ordinary(root, target), mounted, options)?;
        }
        MountStep::Tmpfs {
            target,
            options,
            attributes,
            copy_up,
        } => tmpfs(root, target, options, *attributes, *copy_up)?,
        _ => {}
    }
    Ok(None)
}

/// Copies of the bind sources whose mounts stay connected with the host's. They have to be made
/// before the namespace's mounts become private; one place a step, empty for all others.
pub(super) fn clone_connected(steps: &[MountStep]) -> Result<Vec<Option<OwnedFd>>> {
    steps
        .iter()
        .map(|step| match step {
            MountStep::Bind {
                source, options, ..
            } if !matches!(options.propagation, Wanted::Private | Wanted::RPrivate) => {
                clone_source(source, options).map(Some)
            }
            MountStep::Attached {
                file_system: FileSystem::Bind { source, recursive },
                propagation,
                ..
            } if !matches!(propagation, Wanted::Private | Wanted::RPrivate) => {
                let copy = mount::clone_mount(rustix::fs::CWD, &mounts::path(source)?, *recursive);
                copy.map(Some)
                    .system(|| format!("cannot use bind source {}", source.display()))
            }
            _ => Ok(None),
        })
        .collect()
}

/// A detached copy of the source's mount, or of what lies at the subpath in it.
pub(super) fn clone_source(source: &Path, options: &BindOptions) -> Result<OwnedFd> {
    let what = || format!("cannot use bind source {}", source.display());
    let path = mounts::path(source)?;
    let Some(subpath) = &options.subpath else {
        return mount::clone_mount(rustix::fs::CWD, &path, options.recursive).system(what);
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::open(&path, flags, Mode::empty()).system(what)?;
    let below = open_subpath(&top, subpath)?;
    mount::clone_mount(&below, c"", options.recursive).system(what)
}

/// In a file system that is mounted for the container alone, its links lead where they would lead if it
/// was the root: those of images are made for that.
fn open_within(top: &OwnedFd, subpath: &str) -> Result<OwnedFd> {
    found(
        subpath,
        in_root::open(top, &c_string(subpath)?, OFlags::PATH),
    )
}

fn open_subpath(top: &OwnedFd, subpath: &str) -> Result<OwnedFd> {
    found(subpath, in_root::open_source(top, &c_string(subpath)?))
}

fn found(subpath: &str, opened: io::Result<OwnedFd>) -> Result<OwnedFd> {
    let what = || format!("cannot mount subpath {subpath:?}");
    match opened {
        Err(error) if error.raw_os_error() == Some(libc::EXDEV) => Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("cannot mount subpath {subpath:?}: a link on the way leads out of the source"),
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let error = Error::invalid(format!("{}: it is not there", what()));
            Err(error.with_hint("make it first: a subpath is never made"))
        }
        other => other.system(what),
    }
}

/// Mounts a source; gives what is to be given to the program's user.
fn bind(
    place: &Place<'_>,
    source: &Path,
    connected: Option<OwnedFd>,
    options: &BindOptions,
) -> Result<Option<OwnedFd>> {
    let copy = match connected {
        Some(copy) => copy,
        None => clone_source(source, options)?,
    };
    // By another mount than the copy, which may become read-only.
    let given = match options.chown {
        true => Some(open_to_give(source, options)?),
        false => None,
    };
    let what = || format!("cannot mount {} on {}", source.display(), place.target);
    set_options(&copy, options).system(what)?;
    let stat = rustix::fs::fstat(&copy).system(what)?;
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let there = place.open(is_directory).system(what)?;
    mount::attach(&copy, there).system(what)?;
    Ok(given)
}

/// Attaches a file system that was made for the container.
fn attach(place: &Place<'_>, mounted: OwnedFd, options: &BindOptions) -> Result<()> {
    let what = || format!("cannot mount on {}", place.target);
    let mounted = match &options.subpath {
        Some(subpath) => {
            let below = open_within(&mounted, subpath)?;
            mount::clone_mount(&below, c"", false).system(what)?
        }
        None => mounted,
    };
    set_options(&mounted, options).system(what)?;
    let stat = rustix::fs::fstat(&mounted).system(what)?;
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let there = place.open(is_directory).system(what)?;
    mount::attach(&mounted, there).system(what)
}

/// Attributes and propagation of a detached mount.
fn set_options(mounted: &OwnedFd, options: &BindOptions) -> io::Result<()> {
    let (kind, deep) = mounts::propagation_of(options.propagation);
    // Read-only goes all the way down: a mount below a `:ro` volume must not stay writable.
    let read_only_below = options.read_only && !options.writable_below;
    let below = if read_only_below {
        Attributes::READ_ONLY
    } else {
        Attributes::NONE
    };
    mount::set_attributes(mounted, below, Some(kind), read_only_below || deep)?;
    let (mut add, mut remove) = (Attributes::NONE, Attributes::NONE);
    for (said, attribute) in [
        (options.no_exec, Attributes::NO_EXEC),
        (options.no_suid, Attributes::NO_SUID),
        (options.no_dev, Attributes::NO_DEV),
        (
            (options.read_only && options.writable_below).then_some(true),
            Attributes::READ_ONLY,
        ),
    ] {
        match said {
            Some(true) => add = add.with(attribute),
            Some(false) => remove = remove.with(attribute),
            None => {}
        }
    }
    if (add, remove) != (Attributes::NONE, Attributes::NONE) {
        mount::change_attributes(mounted, add, remove, false)?;
    }
    Ok(())
}

/// Layers of an image, or a folder of the user's, with a folder for changes.
fn layers(
    lower: &[PathBuf],
    changes: Option<&(PathBuf, PathBuf)>,
    user_xattr: bool,
) -> Result<OwnedFd> {
    let lower: Vec<CString> = lower
        .iter()
        .map(|layer| mounts::path(layer))
        .collect::<Result<_>>()?;
    let changes = changes
        .map(|(upper, work)| Ok::<_, Error>((mounts::path(upper)?, mounts::path(work)?)))
        .transpose()?;
    let changes = changes
        .as_ref()
        .map(|(upper, work)| (upper.as_c_str(), work.as_c_str()));
    mounts::overlay(
        (&lower, &[]),
        changes,
        (false, user_xattr),
        Attributes::NONE,
    )
}

/// A file system that a volume's options or the type of a mount name.
fn file_system(
    kind: &str,
    device: &str,
    parameters: &[(String, Option<String>)],
) -> Result<OwnedFd> {
    let what = || format!("cannot mount {device} of type {kind}");
    let (kind, source) = (c_string(kind)?, c_string(device)?);
    let mut parameters = c_parameters(parameters)?;
    parameters.insert(0, (c"source".to_owned(), Some(source)));
    mount::new_mount(&kind, &borrowed(&parameters), Attributes::NONE).map_err(|cause| {
        let refused = matches!(cause.raw_os_error(), Some(libc::EPERM | libc::EACCES));
        let kind = if refused {
            ErrorKind::Unsupported
        } else {
            ErrorKind::System
        };
        let error = Error::new(kind, what()).with_source(cause);
        if refused {
            error.with_hint(
                "the kernel lets only root mount it; mount it first and bind that folder",
            )
        } else {
            error
        }
    })
}

fn c_parameters(
    parameters: &[(String, Option<String>)],
) -> Result<Vec<(CString, Option<CString>)>> {
    parameters
        .iter()
        .map(|(key, value)| Ok((c_string(key)?, value.as_deref().map(c_string).transpose()?)))
        .collect()
}

fn borrowed(parameters: &[(CString, Option<CString>)]) -> Vec<Parameter<'_>> {
    parameters
        .iter()
        .map(|(key, value)| match value {
            Some(value) => Parameter::String(key, value),
            None => Parameter::Flag(key),
        })
        .collect()
}

fn tmpfs(
    root: BorrowedFd<'_>,
    target: &str,
    options: &[(String, Option<String>)],
    wanted: TmpfsAttributes,
    copy_up: bool,
) -> Result<()> {
    let what = || format!("cannot mount a tmpfs on {target}");
    let attributes = mounts::bits(TmpfsAttributes {
        // What is copied must be written first.
        read_only: wanted.read_only && !copy_up,
        ..wanted
    });
    let has_mode = options.iter().any(|(key, _)| key == "mode");
    let options = c_parameters(options)?;
    let mounted = mount::new_mount(c"tmpfs", &borrowed(&options), attributes).system(what)?;
    if copy_up {
        copy_up::copy_into_mount(root, target, &mounted, !has_mode).system(what)?;
        if wanted.read_only {
            mount::set_attributes(&mounted, Attributes::READ_ONLY, None, false).system(what)?;
        }
    }
    let place = in_root::open_or_make_directory(root, target.as_ref(), Mode::from_raw_mode(0o755))
        .system(what)?;
    in_root::refuse_kernel_file_systems(&place).system(what)?;
    mount::attach(&mounted, &place).system(what)
}

fn open_to_give(source: &Path, options: &BindOptions) -> Result<OwnedFd> {
    let what = || format!("cannot open {} to give it away", source.display());
    let path = mounts::path(source)?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let top = rustix::fs::open(&path, flags, Mode::empty()).system(what)?;
    match &options.subpath {
        Some(subpath) => open_subpath(&top, subpath),
        None => Ok(top),
    }
}

/// Gives sources (`U`) and all that is in them to the program's user. One whose top is hers already
/// is taken to be hers all the way down.
pub(super) fn give_away(sources: &[OwnedFd], to: &Credentials) -> Result<()> {
    for source in sources {
        let what = || "cannot give a mount's source to the container's user".to_owned();
        let stat = rustix::fs::fstat(source).system(what)?;
        if (stat.st_uid, stat.st_gid) == (to.uid, to.gid) {
            continue;
        }
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let top = rustix::fs::openat(source, c".", flags, Mode::empty()).system(what)?;
            give_folder(top.as_fd(), to).system(what)?;
        }
        // The top last: an interrupted walk is begun again.
        give(source.as_fd(), c"", AtFlags::EMPTY_PATH, to).system(what)?;
    }
    Ok(())
}

fn give_folder(folder: BorrowedFd<'_>, to: &Credentials) -> rustix::io::Result<()> {
    for name in file_copy::entries(folder)? {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(folder, &name, flags, Mode::empty()) {
            Ok(below) => give_folder(below.as_fd(), to)?,
            Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {}
            // Removed meanwhile by another container.
            Err(rustix::io::Errno::NOENT) => continue,
            Err(errno) => return Err(errno),
        }
        give(folder, &name, AtFlags::SYMLINK_NOFOLLOW, to)?;
    }
    Ok(())
}

fn give(
    folder: BorrowedFd<'_>,
    name: &CStr,
    flags: AtFlags,
    to: &Credentials,
) -> rustix::io::Result<()> {
    let (uid, gid) = (
        rustix::fs::Uid::from_raw(to.uid),
        rustix::fs::Gid::from_raw(to.gid),
    );
    match rustix::fs::chownat(folder, name, Some(uid), Some(gid), flags) {
        Err(rustix::io::Errno::NOENT) if !name.is_empty() => Ok(()),
        outcome => outcome,
    }
}
