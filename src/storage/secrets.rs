//! Secrets: one file each, `secrets/NAME` (0600, in a root of 0700), a [`SecretRecord`] as JSON.
//!
//! The folder is made with the first secret. Who changes anything holds its `flock`; readers take
//! no lock, as a file is whole or not there. A record is durable when its maker returns, and its end
//! when its remover does; a crash before leaves the old one, or none, and perhaps a staged file, which
//! whoever changes something next removes: it may hold the value.

use rustix::{
    fs::{AtFlags, Mode},
    io::Errno,
};

use super::{
    Durability, Store,
    files::{self, Stored},
    locks::FolderLock,
    make_folder,
};
use crate::model::{
    Context, Error, ErrorKind, Result,
    secret::{SecretRecord, check_name},
};

const FOLDER: &str = "secrets";

impl Store {
    /// All of them, by name.
    pub fn secrets(&self) -> Result<Vec<SecretRecord>> {
        let folder = match self.folder(FOLDER) {
            Ok(folder) => folder,
            Err(_) if !self.has_secrets()? => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = files::names(&folder).system(|| "cannot list secrets/".to_owned())?;
        names.sort();
        let mut records = Vec::with_capacity(names.len());
        for name in names {
            // `None`: removed meanwhile, or damaged.
            if let Some(record) = files::read_json::<SecretRecord>(&folder, &name)?.good()
                && record.name == name
            {
                records.push(record);
            }
        }
        Ok(records)
    }

    fn has_secrets(&self) -> Result<bool> {
        match rustix::fs::accessat(
            &self.root,
            FOLDER,
            rustix::fs::Access::EXISTS,
            AtFlags::empty(),
        ) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno).system(|| "cannot look for secrets/".to_owned()),
        }
    }

    /// What the user means: a name, an ID or an unambiguous beginning of one.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchSecret`]; [`ErrorKind::InvalidArgument`] if several fit.
    pub fn resolve_secret(&self, typed: &str) -> Result<SecretRecord> {
        let missing = || {
            Error::new(
                ErrorKind::NoSuchSecret,
                format!("no secret with name or id {typed:?}: no such secret"),
            )
            .with_hint("`coracle secret ls` lists those that are here")
        };
        if check_name(typed).is_err() {
            return Err(missing());
        }
        let place = format!("{FOLDER}/{typed}");
        if let Some(record) = files::read_json::<SecretRecord>(&self.root, &place)?.good() {
            return Ok(record);
        }
        let mut fitting = self
            .secrets()?
            .into_iter()
            .filter(|record| record.id.starts_with(typed));
        match (fitting.next(), fitting.next()) {
            (Some(record), None) => Ok(record),
            (None, _) => Err(missing()),
            (Some(_), Some(_)) => Err(Error::invalid(format!(
                "{typed} is the beginning of several secrets' IDs"
            ))),
        }
    }

    /// Makes a secret. One of the same name is replaced if `replace` says so, and keeps the moment
    /// of its making.
    ///
    /// # Errors
    /// [`ErrorKind::NameInUse`]
    pub fn put_secret(&self, mut record: SecretRecord, replace: bool) -> Result<()> {
        check_name(&record.name)?;
        make_folder(&self.root, FOLDER).system(|| "cannot make secrets/".to_owned())?;
        let folder = FolderLock::hold(self, FOLDER)?;
        unlink_staged(&folder)?;
        let there = match files::read_json::<SecretRecord>(folder.dir(), &record.name)? {
            Stored::Good(old) => Some(old),
            Stored::Missing | Stored::Damaged => None,
            Stored::Foreign(error) => {
                return Err(Error::new(
                    ErrorKind::Store,
                    format!("cannot understand the record of secret {}", record.name),
                )
                .with_source(error));
            }
        };
        if let Some(old) = there {
            if !replace {
                return Err(Error::new(
                    ErrorKind::NameInUse,
                    format!("secret name in use: {}", record.name),
                )
                .with_hint("--replace puts the new value in its place"));
            }
            record.created = old.created;
        }
        let text = serde_json::to_vec(&record)
            .context(ErrorKind::Store, || "cannot write a secret".to_owned())?;
        files::put(folder.dir(), &record.name, &text, Durability::Durable)
    }

    /// Removes a secret. Containers that run keep what they were given.
    pub fn remove_secret(&self, typed: &str) -> Result<SecretRecord> {
        let record = self.resolve_secret(typed)?;
        let what = || format!("cannot remove secret {}", record.name);
        let folder = FolderLock::hold(self, FOLDER)?;
        unlink_staged(&folder)?;
        match files::read_json::<SecretRecord>(folder.dir(), &record.name)? {
            // Replaced since it was looked for: another value, of another ID.
            Stored::Good(now) if now.id != record.id && typed != record.name => {
                return Err(Error::new(
                    ErrorKind::NoSuchSecret,
                    format!("no secret with name or id {typed:?}: no such secret"),
                ));
            }
            _ => {}
        }
        match rustix::fs::unlinkat(folder.dir(), &record.name, AtFlags::empty()) {
            // Somebody else was faster.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno).system(what),
        }
        // What cannot be flushed (full, or failing) is gone all the same.
        let _ = rustix::fs::fsync(folder.dir());
        Ok(record)
    }
}

/// What a killed maker left: with the lock held nobody is writing. No name of a secret or network
/// begins with a dot.
pub(super) fn unlink_staged(folder: &FolderLock) -> Result<()> {
    let what = || "cannot remove staged files".to_owned();
    // An own descriptor: one can be listed once.
    let listing =
        rustix::fs::openat(folder.dir(), ".", super::FOLDER, Mode::empty()).system(what)?;
    for name in files::all_names(&listing).system(what)? {
        if name.starts_with('.') {
            let _ = rustix::fs::unlinkat(folder.dir(), &name, AtFlags::empty());
        }
    }
    Ok(())
}
