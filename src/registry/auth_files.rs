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
    auth_file::{AuthFile, BadAuthFile, DOCKER_HUB_KEY, StoredLogin},
    reference::DOCKER_HUB,
};

use super::{credentials::server, helpers::Helper};

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

/// Keeps a login; says where.
pub(super) fn remember(key: &str, login: &StoredLogin, options: &RegistryOptions) -> Result<Kept> {
    let path = place_for(key, options)?;
    let registry = registry_of(key);
    let file = read(&path)?.unwrap_or_default();
    let helper = file.helper(registry).or(file.store()).map(str::to_owned);
    let written = written_key(key, &path);
    match helper {
        Some(name) => {
            if registry != key {
                return Err(Error::invalid(format!(
                    "docker-credential-{name} keeps logins of whole registries, and {key} is a part of one"
                )));
            }
            Helper::named(&name)?.store(server(registry), login)?;
            change(&path, |file| {
                file.set_elsewhere(&written);
                true
            })?;
            Ok(Kept::Helper(name))
        }
        None => {
            change(&path, |file| {
                file.set(&written, login);
                true
            })?;
            Ok(Kept::File(path))
        }
    }
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
pub(super) fn forget(key: &str, options: &RegistryOptions) -> Result<bool> {
    let registry = registry_of(key);
    let mut found = false;
    let mut failure = None;
    for path in all(options) {
        let outcome = forget_in(
            &path,
            |file, is_known| {
                let helper = file.helper(registry).or(file.store());
                match helper {
                    Some(name) if registry == key => {
                        let erased = Helper::named(name)?.erase(server(registry));
                        // Where the file knows of nothing, a helper that fails most likely has nothing.
                        if is_known {
                            erased
                        } else {
                            Ok(erased.unwrap_or(false))
                        }
                    }
                    _ => Ok(false),
                }
            },
            |file| file.remove(key),
            |file| {
                file.keys()
                    .any(|known| crate::model::auth_file::normal_key(known) == key)
            },
        );
        match outcome {
            Ok(here) => found |= here,
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(found), Err)
}

/// Takes all logins out of every file, and out of the helpers that files name.
pub(super) fn forget_all(options: &RegistryOptions) -> Result<bool> {
    let mut found = false;
    let mut failure = None;
    for path in all(options) {
        let outcome = forget_in(
            &path,
            |file, _| erase_everything(file),
            AuthFile::remove_all,
            |file| file.keys().next().is_some(),
        );
        match outcome {
            Ok(here) => found |= here,
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(found), Err)
}

fn erase_everything(file: &AuthFile) -> Result<bool> {
    let mut found = false;
    for (registry, name) in file.helpers() {
        found |= Helper::named(name)?.erase(server(registry))?;
    }
    if let Some(name) = file.store() {
        let helper = Helper::named(name)?;
        for known in helper.list()?.keys() {
            found |= helper.erase(known)?;
        }
    }
    Ok(found)
}

/// One file's part of a logout: first what helpers have, then its own entries.
fn forget_in(
    path: &Path,
    erase: impl Fn(&AuthFile, bool) -> Result<bool>,
    remove: impl Fn(&mut AuthFile) -> bool,
    knows: impl Fn(&AuthFile) -> bool,
) -> Result<bool> {
    let Some(file) = read(path)? else {
        return Ok(false);
    };
    let known = knows(&file);
    let erased = erase(&file, known)?;
    let removed = known && change(path, &remove)?;
    Ok(erased || removed)
}

/// The file that a login for `key` is written into (see the module's head).
fn place_for(key: &str, options: &RegistryOptions) -> Result<PathBuf> {
    let places = &options.login_places;
    if let Some(named) = &places.named {
        return Ok(named.clone());
    }
    for path in all(options) {
        if let Some(file) = read(&path)?
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
fn written_key(key: &str, path: &Path) -> String {
    let is_dockers = path.file_name().is_some_and(|name| name == "config.json");
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
