//! Secrets: one file each, `secrets/NAME` (0600, in a root of 0700), a [`SecretRecord`] as JSON.
//!
//! The folder is made with the first secret. Who changes anything holds its `flock`; readers take
//! no lock, as a file is whole or not there. A record is durable when its maker returns; a crash
//! before leaves the old one, or none.

use rustix::{fs::AtFlags, io::Errno};

use super::{Durability, Store, files, locks::FolderLock, make_folder};
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
        let there = files::read_json::<SecretRecord>(folder.dir(), &record.name)?.good();
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
        let folder = FolderLock::hold(self, FOLDER)?;
        match rustix::fs::unlinkat(folder.dir(), &record.name, AtFlags::empty()) {
            // Somebody else was faster.
            Ok(()) | Err(Errno::NOENT) => Ok(record),
            Err(errno) => Err(errno).system(|| format!("cannot remove secret {}", record.name)),
        }
    }
}
