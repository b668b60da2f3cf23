//! `image trust set`: one rule of the policy file written anew.
//!
//! The file is replaced as a whole by a rename, with the folder locked, so a reader or a crash sees
//! the old rules or the new ones. An ordinary user's file starts as a copy of the system's: from
//! then on it counts instead, and must not be laxer by accident.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;

use super::{Trust, keys::PublicKey, read_file};
use crate::{
    engine::Engine,
    model::{
        Context, Error, ErrorKind, Reference, Result, TrustFiles,
        policy::{Policy, Requirement, Rule, SigstoreKeys},
    },
};

const MAX_KEY_BYTES: u64 = 64 << 10;

/// What is to be asked of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustKind {
    Accept,
    Reject,
    Sigstore,
}

/// `image trust set`
#[derive(Clone, Debug)]
pub struct TrustRequest {
    pub files: TrustFiles,
    /// `default`, or a scope of registries: a host, a folder, a repository, a name with tag.
    pub scope: String,
    pub kind: TrustKind,
    /// Each must have signed.
    pub keys: Vec<PathBuf>,
}

impl Engine {
    /// Writes a rule of the policy, and returns the file.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a scope that could never match, a key that cannot be used,
    /// or a policy that is not understood; [`ErrorKind::Permission`].
    pub fn set_trust(request: &TrustRequest) -> Result<PathBuf> {
        check_scope(&request.scope)?;
        let rule = rule(request)?;
        let path = place(&request.files)?;
        let (folder, _) = split(&path)?;
        fs::create_dir_all(folder).system(|| format!("cannot make {}", folder.display()))?;
        let dir = File::open(folder).system(|| format!("cannot open {}", folder.display()))?;
        flock(&dir, FlockOperation::LockExclusive)
            .system(|| format!("cannot lock {}", folder.display()))?;
        let mut policy = match request.files.named_policy {
            Some(_) if !path.exists() => Policy::accept(),
            _ => Trust::read(&request.files)?.policy,
        };
        if request.scope == "default" {
            policy.default = rule;
        } else {
            let registries = policy.transports.entry("docker".to_owned()).or_default();
            registries.insert(request.scope.clone(), rule);
        }
        replace(&path, &policy)?;
        dir.sync_all()
            .system(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

fn rule(request: &TrustRequest) -> Result<Rule> {
    if request.kind != TrustKind::Sigstore {
        if !request.keys.is_empty() {
            return Err(Error::invalid(
                "keys have a meaning with sigstoreSigned alone",
            ));
        }
        return Ok(Rule::new(match request.kind {
            TrustKind::Accept => Requirement::InsecureAcceptAnything {},
            _ => Requirement::Reject {},
        }));
    }
    let mut requirements = Vec::new();
    for key in &request.keys {
        let path = fs::canonicalize(key).context(ErrorKind::InvalidArgument, || {
            format!("cannot read {}", key.display())
        })?;
        PublicKey::from_pem(&read_file(&path, MAX_KEY_BYTES)?)
            .context(ErrorKind::InvalidArgument, || {
                format!("invalid public key {}", key.display())
            })?;
        requirements.push(Requirement::SigstoreSigned(Box::new(SigstoreKeys {
            key_path: Some(path),
            ..SigstoreKeys::default()
        })));
    }
    Rule::try_from(requirements)
        .map_err(|_| Error::invalid("at least one public key must be given with sigstoreSigned"))
}

/// A rule for `busybox` would never match `docker.io/library/busybox`, and leave a door open.
fn check_scope(scope: &str) -> Result<()> {
    if scope == "default" {
        return Ok(());
    }
    let below = match scope.strip_prefix("*.") {
        Some(domain) => format!("{domain}/x"),
        None if scope
            .rsplit('/')
            .next()
            .is_some_and(|last| last.contains(['@', ':']))
            && scope.contains('/') =>
        {
            scope.to_owned()
        }
        None => format!("{scope}/x"),
    };
    let name: Reference = below.parse().map_err(|error: Error| {
        Error::invalid(format!("invalid scope {scope:?}: {}", error.one_line()))
    })?;
    let full = below == format!("{}/x", crate::model::reference::DOCKER_HUB)
        || below == name.name()
        || below == name.to_string();
    if full {
        return Ok(());
    }
    let meant = scope.parse::<Reference>().unwrap_or(name);
    let text = format!("invalid scope {scope:?}: names must be written in full");
    Err(Error::invalid(text).with_hint(format!("for example {}", meant.name())))
}

/// The file that is in use, if this user may write it; an ordinary user's own otherwise.
fn place(files: &TrustFiles) -> Result<PathBuf> {
    if let Some(path) = &files.named_policy {
        return Ok(path.clone());
    }
    let is_root = rustix::process::geteuid().is_root();
    let own_first = files.policies.iter();
    let path = match is_root {
        true => own_first
            .clone()
            .find(|path| path.exists())
            .or(files.policies.last()),
        false => files.policies.first(),
    };
    let path =
        path.ok_or_else(|| Error::invalid("there is no place for a policy: HOME is not set"))?;
    // A link is followed: what it points to is replaced.
    Ok(fs::canonicalize(path).unwrap_or_else(|_| path.clone()))
}

fn split(path: &Path) -> Result<(&Path, &std::ffi::OsStr)> {
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) if folder.as_os_str().is_empty() => Ok((Path::new("."), name)),
        (Some(folder), Some(name)) => Ok((folder, name)),
        _ => Err(Error::invalid(format!("{} is not a file", path.display()))),
    }
}

fn replace(path: &Path, policy: &Policy) -> Result<()> {
    let what = || format!("cannot write {}", path.display());
    let (folder, name) = split(path)?;
    let mut text = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    policy
        .serialize(&mut serde_json::Serializer::with_formatter(
            &mut text, indent,
        ))
        .context(ErrorKind::System, what)?;
    text.push(b'\n');
    let staged = folder.join(format!(".{}.new", name.to_string_lossy()));
    let written = write(&staged, &text).and_then(|()| fs::rename(&staged, path));
    if written.is_err() {
        let _ = fs::remove_file(&staged);
    }
    written.system(what)
}

/// Readable by all, as the file it becomes.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_that_could_never_match_are_refused() {
        for good in [
            "default",
            "a.io",
            "a.io:5000",
            "localhost",
            "a.io/b",
            "a.io:5000/b/c:tag",
            "*.a.io",
            "docker.io",
            "docker.io/library",
            "docker.io/library/busybox",
        ] {
            assert!(check_scope(good).is_ok(), "{good}");
        }
        for bad in [
            "busybox",
            "a.io/B",
            "",
            "*.",
            "a b",
            "*a.io",
            "docker.io/busybox:1",
        ] {
            assert!(check_scope(bad).is_err(), "{bad}");
        }
    }
}
