//! Auth files on disk: which there are, and how one is changed.
//!
//! A login is written into the first of:
//!
//! 1. the file that was named (`--authfile`, the configuration, `REGISTRY_AUTH_FILE`,
//!    `DOCKER_CONFIG`);
//! 2. the file that already knows this registry, or has a helper for it: an older entry that is
//!    read earlier would hide the new one;
//! 3. `~/.docker/config.json` if it exists: who has it expects logins to outlast a reboot, and it
//!    may name the helper that keeps them;
//! 4. podman's place, `$XDG_RUNTIME_DIR/containers/auth.json` or `/run/containers/UID/auth.json`:
//!    in memory, readable by nobody else, gone with the session.
//!
//! A change is: lock of the file's folder (flock(2), so nothing is left behind) → read → a new file
//! `.NAME.coracle-new`, mode 0600 and the old one's owner → fsync → rename. Two logins at the same
//! time thus keep each other's entries. A crash leaves the old file or the new one, and at worst
//! `.NAME.coracle-new`, which the next change replaces. Where the file is a symbolic link, what it
//! points at is replaced and the link stays. Docker and podman take no lock: a change of theirs
//! in the same instant may still lose.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown},
    path::{Path, PathBuf},
};

use crate::model::{
    Context, Error, ErrorKind, RegistryOptions, Result,
    auth_file::{AuthFile, BadAuthFile, DOCKER_HUB_KEY, StoredLogin, normal_key},
    reference::DOCKER_HUB,
    registries::AUTH_FILES,
};

use super::{credential_programs::Helper, credentials::server};

/// Largest auth file, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// How many symbolic links may follow each other.
const MAX_LINKS: usize = 40;

/// All auth files in the order in which they are read.
pub(super) fn all(options: &RegistryOptions) -> Vec<PathBuf> {
    let mut files = options.auth_files.clone();
    if options.run_auth_file {
        files.push(run_file());
    }
    files
}

fn run_file() -> PathBuf {
    let user = rustix::process::getuid();
    format!("/run/containers/{user}/auth.json").into()
}

/// As [`read`], for a file among [`all`]. One that nobody has named, and that this user may not
/// read, counts as absent: most likely the folder is somebody else's (`/run/containers` after
/// `sudo`).
pub(super) fn read_among(path: &Path, options: &RegistryOptions) -> Result<Option<AuthFile>> {
    if options.login_places.named.as_deref() != Some(path)
        && let Err(cause) = File::open(path)
        && cause.kind() == io::ErrorKind::PermissionDenied
    {
        if fs::symlink_metadata(path).is_ok() {
            log::warn!("passed over auth file {}: {cause}", path.display());
        }
        return Ok(None);
    }
    read(path)
}

/// Absent if there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<AuthFile>> {
    let what = || format!("cannot read auth file {}", path.display());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(cause) if is_absent(&cause) => return Ok(None),
        Err(cause) => return Err(cause).system(what),
    };
    let mut text = String::new();
    let length = file
        .take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .system(what)?;
    if length as u64 > MAX_FILE_BYTES {
        let why = format!("it is larger than {MAX_FILE_BYTES} bytes");
        return Err(Error::invalid(format!("{}: {why}", what())));
    }
    match AuthFile::parse(&text) {
        Ok(file) => Ok(Some(file)),
        Err(bad) => Err(bad_file(path, &bad)),
    }
}

fn is_absent(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

pub(super) fn bad_file(path: &Path, bad: &BadAuthFile) -> Error {
    Error::invalid(format!("auth file {}: {bad}", path.display()))
}

/// Keeps a login; says where. `order` is registries.conf's `credential-helpers`: the first has it.
pub(super) fn remember(
    key: &str,
    login: &StoredLogin,
    options: &RegistryOptions,
    order: &[String],
) -> Result<Kept> {
    let registry = registry_of(key);
    if let Some(name) = order.first().filter(|name| *name != AUTH_FILES) {
        give_to_helper(name, key, login)?;
        return Ok(Kept::Helper(name.clone()));
    }
    let path = place_for(key, options)?;
    let file = read(&path)?.unwrap_or_default();
    let written = written_key(key, &path, options.login_places.is_dockers);
    let helper = file.helper(registry).or(file.store());
    if let Some(name) = helper {
        give_to_helper(name, key, login)?;
        change(&path, |file| {
            file.set_elsewhere(&written);
            true
        })?;
        return Ok(Kept::Helper(name.to_owned()));
    }
    change(&path, |file| {
        file.set(&written, login);
        true
    })?;
    Ok(Kept::File(path))
}

fn give_to_helper(name: &str, key: &str, login: &StoredLogin) -> Result<()> {
    if registry_of(key) != key {
        return Err(Error::invalid(format!(
            "docker-credential-{name} keeps logins of whole registries, and {key} is a part of one"
        )));
    }
    Helper::named(name)?.store(server(key), login)
}

/// Where a login has gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// `docker-credential-NAME`
    Helper(String),
    /// In plain text.
    File(PathBuf),
}

/// Takes a login out of every file and helper that has it; whether there was one. Goes on after a
/// failure and returns the first.
pub(super) fn forget(key: &str, options: &RegistryOptions, order: &[String]) -> Result<bool> {
    let registry = registry_of(key);
    let whole = registry == key;
    let from_listed = order.iter().filter(|name| whole && *name != AUTH_FILES);
    let from_listed = from_listed.map(|name| Helper::named(name)?.erase(server(registry)));
    let from_files = all(options).into_iter().map(|path| {
        let Some(file) = read_among(&path, options)? else {
            return Ok(false);
        };
        let known = file.keys().any(|known| normal_key(known) == key);
        let erased = match file.helper(registry).or(file.store()) {
            Some(name) if whole => match Helper::named(name)?.erase(server(registry)) {
                // Most likely it has nothing, as the file has nothing.
                Err(_) if !known => false,
                erased => erased?,
            },
            _ => false,
        };
        let removed = known && change(&path, |file| file.remove(key))?;
        Ok(removed || (erased && known))
    });
    any_of(from_listed.chain(from_files))
}

/// Takes all logins out of every file, and out of the helpers that files name.
pub(super) fn forget_all(options: &RegistryOptions, order: &[String]) -> Result<bool> {
    let from_listed = order.iter().filter(|name| *name != AUTH_FILES);
    let from_listed = from_listed.map(|name| empty_helper(name));
    let from_files = all(options).into_iter().map(|path| {
        let Some(file) = read_among(&path, options)? else {
            return Ok(false);
        };
        let mut found = false;
        for (registry, name) in file.helpers() {
            found |= Helper::named(name)?.erase(server(registry))?;
        }
        if let Some(name) = file.store() {
            found |= empty_helper(name)?;
        }
        let known = file.keys().next().is_some();
        Ok(found | (known && change(&path, AuthFile::remove_all)?))
    });
    any_of(from_listed.chain(from_files))
}

fn empty_helper(name: &str) -> Result<bool> {
    let helper = Helper::named(name)?;
    let mut found = false;
    for known in helper.list()?.keys() {
        found |= helper.erase(known)?;
    }
    Ok(found)
}

/// Whether one did something; all are done, and the first failure counts.
fn any_of(outcomes: impl Iterator<Item = Result<bool>>) -> Result<bool> {
    let mut any = false;
    let mut failure = None;
    for outcome in outcomes {
        match outcome {
            Ok(one) => any |= one,
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(any), Err)
}

/// The file that a login for `key` is written into (see the module's head).
fn place_for(key: &str, options: &RegistryOptions) -> Result<PathBuf> {
    let places = &options.login_places;
    if let Some(named) = &places.named {
        return Ok(named.clone());
    }
    for path in all(options) {
        if let Some(file) = read_among(&path, options)?
            && (file.helper(registry_of(key)).is_some()
                || file.login_at(key).is_ok_and(|login| login.is_some()))
        {
            return Ok(path);
        }
    }
    if let Some(docker) = &places.docker
        && docker.exists()
    {
        return Ok(docker.clone());
    }
    Ok(places.podman.clone().unwrap_or_else(run_file))
}

/// `registry.example` of `registry.example/team`
fn registry_of(key: &str) -> &str {
    key.split('/').next().unwrap_or(key)
}

/// Docker finds its hub in its own file by the old name only.
fn written_key(key: &str, path: &Path, is_dockers: bool) -> String {
    let is_dockers = is_dockers || path.file_name().is_some_and(|name| name == "config.json");
    if key == DOCKER_HUB && is_dockers {
        DOCKER_HUB_KEY.to_owned()
    } else {
        key.to_owned()
    }
}

/// Changes a file, which need not exist, if `edit` says that there is something to change.
fn change(path: &Path, edit: impl FnOnce(&mut AuthFile) -> bool) -> Result<bool> {
    let what = || format!("cannot write auth file {}", path.display());
    let target = behind_links(path).system(what)?;
    let (Some(folder), Some(name)) = (target.parent(), target.file_name()) else {
        return Err(Error::invalid(format!("{}: it is no file's path", what())));
    };
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .system(what)?;
    let lock = File::open(folder).system(what)?;
    lock.lock().system(what)?;
    let mut file = read(&target)?.unwrap_or_default();
    if !edit(&mut file) {
        return Ok(false);
    }
    let mut fresh = std::ffi::OsString::from(".");
    fresh.push(name);
    fresh.push(".coracle-new");
    let fresh = folder.join(fresh);
    replace(&fresh, &target, file.to_text().as_bytes()).map_err(|cause| {
        let _ = fs::remove_file(&fresh);
        Error::new(ErrorKind::System, what()).with_source(cause)
    })?;
    // The rename is what counts; that it lasts is wished for.
    let _ = lock.sync_all();
    Ok(true)
}

fn replace(fresh: &Path, target: &Path, bytes: &[u8]) -> io::Result<()> {
    let _ = fs::remove_file(fresh);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(fresh)?;
    if let Ok(old) = fs::metadata(target) {
        let own = file.metadata()?;
        if (old.uid(), old.gid()) != (own.uid(), own.gid()) {
            // `sudo` with the user's HOME: she must be able to read her file afterwards.
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
    }
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(fresh, target)
}

/// What a chain of symbolic links stands for, whether that exists or not.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(next) => path = path.parent().unwrap_or(Path::new("")).join(next),
            // Not a link, or nothing at all.
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}
