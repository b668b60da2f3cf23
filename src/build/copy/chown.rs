//! `--chown`: who owns what is copied. Names are those of the passwd(5) and group(5) of the layers
//! below, which are an image's: bounded, and read only if they are regular files.

use std::os::fd::AsFd;

use rustix::{
    fs::{FileType, OFlags},
    io::Errno,
};

use super::tree::{Tree, open};
use crate::{
    model::{
        Context, Error, Result,
        user::{Id, MAX_FILE, UserSpec},
    },
    storage::Below,
};

/// The user and group that `user[:group]` means. A number alone is its group's too, as BuildKit has
/// it; a name alone has the group of its entry.
pub(super) fn owner(text: &str, below: &Below) -> Result<(u32, u32)> {
    let failed = || format!("invalid chown parameter {text:?}");
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let spec = match group {
        Some(group) => format!("{user}:{group}"),
        None => user.to_owned(),
    };
    let spec: UserSpec = spec.parse()?;
    let spec = match (&spec.user, &spec.group) {
        (Id::Number(uid), None) => return Ok((*uid, *uid)),
        (Id::Number(uid), Some(Id::Number(gid))) => return Ok((*uid, *gid)),
        _ => spec,
    };
    let passwd = file(below, b"etc/passwd").system(failed)?;
    let groups = file(below, b"etc/group").system(failed)?;
    let identity = spec.resolve(&passwd, &groups).map_err(|error| {
        Error::invalid(failed()).with_source(error).with_hint(
            "names are looked up in the image's /etc/passwd and /etc/group; numbers always work",
        )
    })?;
    // A number stays one, whoever the image says that is.
    match &spec.user {
        Id::Number(uid) => Ok((*uid, identity.gid)),
        Id::Name(_) => Ok((identity.uid, identity.gid)),
    }
}

/// A small file of the layers; empty if it is none.
fn file(below: &Below, path: &[u8]) -> rustix::io::Result<Vec<u8>> {
    let tree = Tree::Layers(below);
    let (path, seen) = match tree.resolve(path) {
        Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Vec::new()),
        other => other?,
    };
    let Some(seen) = seen.filter(|seen| seen.kind() == FileType::RegularFile) else {
        return Ok(Vec::new());
    };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = open(below.trees()[seen.part].as_fd(), &path, flags)?;
    let mut bytes = vec![0; MAX_FILE + 1];
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::io::read(&file, &mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
