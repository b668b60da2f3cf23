//! What is written into the container's tree: lines of passwd and group, the time zone, secrets.
//!
//! Files of the image are replaced, never written into: a link there leads nowhere for us, and a
//! hard link is not followed to its other names. It happens before anything is mounted, so that
//! no file of the host is in reach. A crash leaves at worst a staged file in the container's layer,
//! which the next start replaces.

use std::{
    ffi::CStr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, Gid, Mode, OFlags, Uid},
    io::Errno,
};

use super::{credentials, mounts::NO_SUID_DEV_EXEC};
use crate::{
    engine::plan::{AccountPlan, SecretFile},
    model::{
        Context, Error, ErrorKind, Result,
        account::{Line, complete},
        secret::{FOLDER, SecretBytes},
        user::MAX_FILE,
    },
    sys::{
        in_root,
        mount::{self, Attributes, Parameter},
    },
};

/// Completes passwd and group, and sets the time zone. Does nothing if nothing was asked for.
pub(super) fn write(plan: &AccountPlan, root: BorrowedFd<'_>) -> Result<()> {
    add_lines(root, c"passwd", &plan.users)?;
    add_lines(root, c"group", &plan.groups)?;
    match &plan.local_time {
        Some(time) => replace(root, c"localtime", time),
        None => Ok(()),
    }
}

fn add_lines(root: BorrowedFd<'_>, name: &CStr, lines: &[Line]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let path = in_root::c_string(format!("/etc/{}", name.to_string_lossy()))
        .system(|| "cannot name a file in /etc".to_owned())?;
    let file = credentials::read_file(root, &path)?;
    if file.len() > MAX_FILE {
        return Err(Error::new(
            ErrorKind::InvalidContent,
            format!(
                "{} of the container has more than {MAX_FILE} bytes",
                path.to_string_lossy()
            ),
        ));
    }
    match complete(&file, lines) {
        Some(text) => replace(root, name, &text),
        None => Ok(()),
    }
}

/// Puts a new file, readable for all, in the place of one in /etc.
fn replace(root: BorrowedFd<'_>, name: &CStr, bytes: &[u8]) -> Result<()> {
    let what = || {
        format!(
            "cannot write the container's /etc/{}",
            name.to_string_lossy()
        )
    };
    let folder =
        in_root::open_or_make_directory(root, "/etc".as_ref(), Mode::from(0o755)).system(what)?;
    let staged = in_root::c_string(format!(".{}.coracle", name.to_string_lossy())).system(what)?;
    match rustix::fs::unlinkat(&folder, &staged, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno).system(what),
    }
    write_new(folder.as_fd(), &staged, bytes, 0o644).system(what)?;
    rustix::fs::renameat(&folder, &staged, &folder, name).system(what)
}

/// Makes a file that is not there yet, with exactly this mode.
fn write_new(
    folder: BorrowedFd<'_>,
    name: &CStr,
    mut bytes: &[u8],
    mode: u32,
) -> std::io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, name, flags, Mode::from(0o600))?;
    while !bytes.is_empty() {
        match rustix::io::write(&file, bytes) {
            Ok(0) => return Err(Errno::NOSPC.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    Ok(file)
}

/// Secrets in a tmpfs of their own. One whose target lies elsewhere is a file of it that is mounted
/// there, and has no name in it.
pub(super) fn mount_secrets(root: BorrowedFd<'_>, secrets: &[SecretFile]) -> Result<()> {
    let what = || format!("cannot mount {FOLDER}");
    let parameters = [Parameter::String(c"mode", c"755")];
    let memory = mount::new_mount(c"tmpfs", &parameters, NO_SUID_DEV_EXEC).system(what)?;
    let place =
        in_root::open_or_make_directory(root, FOLDER.as_ref(), Mode::from(0o755)).system(what)?;
    in_root::refuse_kernel_file_systems(&place).system(what)?;
    mount::attach(&memory, &place).system(what)?;
    for secret in secrets {
        add_secret(root, memory.as_fd(), secret)
            .system(|| format!("cannot give the container the secret {}", secret.target))?;
    }
    mount::set_attributes(&memory, Attributes::READ_ONLY, None, false).system(what)
}

fn add_secret(
    root: BorrowedFd<'_>,
    memory: BorrowedFd<'_>,
    secret: &SecretFile,
) -> std::io::Result<()> {
    let below = secret
        .target
        .strip_prefix(FOLDER)
        .and_then(|rest| rest.strip_prefix('/'));
    let path = Path::new(below.unwrap_or(".elsewhere"));
    let parent = Path::new("/").join(path.parent().unwrap_or(Path::new("")));
    let name = in_root::c_string(path.file_name().ok_or(std::io::ErrorKind::InvalidInput)?)?;
    let folder = in_root::open_or_make_directory(memory, &parent, Mode::from(0o755))?;
    let file = write_new(folder.as_fd(), &name, secret.data.reveal(), secret.mode)?;
    if (secret.uid, secret.gid) != (0, 0) {
        let (uid, gid) = (Uid::from_raw(secret.uid), Gid::from_raw(secret.gid));
        rustix::fs::fchown(&file, Some(uid), Some(gid))?;
    }
    if below.is_none() {
        let copy = mount::clone_mount(memory, &name, false)?;
        mount::set_attributes(&copy, Attributes::READ_ONLY, None, false)?;
        let place = in_root::open_or_make_file(root, secret.target.as_ref())?;
        in_root::refuse_kernel_file_systems(&place)?;
        mount::attach(&copy, &place)?;
        rustix::fs::unlinkat(memory, &name, AtFlags::empty())?;
    }
    Ok(())
}

/// Secrets as variables: whatever they were before.
pub(super) fn add_variables(
    environment: &mut Vec<String>,
    secrets: &[(String, SecretBytes)],
) -> Result<()> {
    for (name, value) in secrets {
        let value = std::str::from_utf8(value.reveal())
            .ok()
            .filter(|value| !value.contains('\0'))
            .ok_or_else(|| {
                Error::invalid(format!("the secret for the variable {name} is not a text"))
            })?;
        crate::engine::plan::set_variable(environment, &format!("{name}={value}"));
    }
    Ok(())
}
