//! The file `format`: which programs may touch a store, and how it grows.
//!
//! ```text
//! {"version":1, "features":[…], "ro_compatible_features":[…], "compatible_features":[…]}
//! ```
//!
//! A change of the format gets a name. Which list it goes to says what a program that does not know it
//! may still do: nothing (`features`), read (`ro_compatible_features`), everything
//! (`compatible_features`; such a program keeps the name when it writes the file). The version grows
//! when an older store must be changed before it can be used: `system migrate` does that, ordinary
//! commands refuse an older version as they refuse a newer one.
//!
//! **Migrating** holds the exclusive lock from the first change to the last, which is `format` itself.
//! Each record is replaced as a whole. Killed in between, the store is still of the old version and
//! the next `system migrate` goes on: every step may be done twice.
//!
//! There has been one version, 1. Version 0 is what a store without the later folders and with
//! records as the first programs wrote them would say; no released program wrote that number, and
//! it keeps the way tested.

use std::path::Path;

use rustix::fs::AtFlags;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Durability, FOLDERS, Store, containers, files, files::Stored, make_folder};
use crate::model::{
    Context, Error, ErrorKind, Result, container::ContainerRecord, image::ImageRecord,
};

pub const VERSION: u32 = 1;
/// The features of the format that a program must know to touch the store at all.
const FEATURES: [&str; 0] = [];
/// Those that it must know to change it.
const RO_COMPATIBLE: [&str; 0] = [];

const FILE: &str = "format";
/// Longest that is read.
const MAX_BYTES: usize = 64 << 10;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Format {
    version: u32,
    /// A program must know all of these.
    features: Vec<String>,
    /// Who does not know these may only read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ro_compatible_features: Vec<String>,
    /// These harm nobody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    compatible_features: Vec<String>,
}

/// What somebody wants of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Read,
    Change,
    /// As [`Use::Change`], of older ones too.
    Migrate,
}

impl Format {
    pub(super) fn ours() -> Format {
        Format {
            version: VERSION,
            features: FEATURES.map(String::from).into(),
            ro_compatible_features: RO_COMPATIBLE.map(String::from).into(),
            compatible_features: Vec::new(),
        }
    }

    pub(super) fn parse(bytes: &[u8], root: &Path) -> Result<Format> {
        serde_json::from_slice(bytes).context(ErrorKind::Store, || {
            format!("cannot understand {}", root.join(FILE).display())
        })
    }

    /// # Errors
    /// [`ErrorKind::Store`] if this program must not do that.
    pub(super) fn allow(&self, wanted: Use, root: &Path) -> Result<()> {
        let mut unknown: Vec<&str> = unknown(&self.features, &FEATURES);
        if wanted != Use::Read {
            unknown.extend(self::unknown(&self.ro_compatible_features, &RO_COMPATIBLE));
        }
        if self.version > VERSION || !unknown.is_empty() {
            let newer = match unknown.is_empty() {
                true => format!("version {}", self.version),
                false => unknown.join(", "),
            };
            return Err(Error::new(
                ErrorKind::Store,
                format!(
                    "the store {} was written by a newer coracle ({newer})",
                    root.display()
                ),
            )
            .with_hint("use that version, or another store with --root"));
        }
        if self.version < VERSION && wanted != Use::Migrate {
            return Err(Error::new(
                ErrorKind::Store,
                format!(
                    "the store {} is of the older version {}",
                    root.display(),
                    self.version
                ),
            )
            .with_hint("`coracle system migrate` makes it one of today's"));
        }
        Ok(())
    }
}

fn unknown<'a>(found: &'a [String], known: &[&str]) -> Vec<&'a str> {
    let names = found.iter().map(String::as_str);
    names.filter(|name| !known.contains(name)).collect()
}

/// What a migration did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    pub from: u32,
    pub to: u32,
    /// Records that were written anew.
    pub records: u64,
}

impl Store {
    /// Writes `format`. The caller holds the exclusive lock.
    pub(super) fn write_format(&self, format: &Format) -> Result<()> {
        let text = serde_json::to_vec(format).unwrap_or_default();
        files::put(&self.root, FILE, &text, Durability::Durable)
    }

    pub(super) fn read_format(&self) -> Result<Option<Vec<u8>>> {
        files::read(&self.root, FILE, MAX_BYTES)
            .system(|| format!("cannot read {}", self.root_path.join(FILE).display()))
    }

    /// Brings an older store to this version. Nothing is changed in one of this version.
    ///
    /// # Errors
    /// [`ErrorKind::Store`] if it is newer, or has a record that cannot be understood;
    /// [`ErrorKind::Conflict`] if a container runs.
    pub fn migrate(&self) -> Result<Migrated> {
        let alone = self.lock_exclusive()?;
        let bytes = self.read_format()?.unwrap_or_default();
        let mut format = Format::parse(&bytes, &self.root_path)?;
        format.allow(Use::Migrate, &self.root_path)?;
        let from = format.version;
        let mut records = 0;
        if from < VERSION {
            self.refuse_running()?;
            records = self.upgrade_0_to_1()?;
            format.version = VERSION;
            self.write_format(&format)?;
        }
        drop(alone);
        Ok(Migrated {
            from,
            to: VERSION,
            records,
        })
    }

    /// They have files open whose shape would change.
    fn refuse_running(&self) -> Result<()> {
        for id in self.container_ids()? {
            if let Some(dir) = self.open_container(&id)?
                && dir.is_held()?
            {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("cannot migrate the store: container {} runs", id.short()),
                )
                .with_hint("stop it with the program that started it"));
            }
        }
        Ok(())
    }

    /// The folders that came later; records with all fields written out.
    fn upgrade_0_to_1(&self) -> Result<u64> {
        for folder in FOLDERS {
            make_folder(&self.root, folder)
                .system(|| format!("cannot make {}", self.root_path.join(folder).display()))?;
        }
        let mut written = 0;
        let images = self.folder("images")?;
        for name in files::names(&images).system(|| "cannot list images/".to_owned())? {
            written += rewrite::<ImageRecord>(&images, &name)?;
        }
        for id in self.container_ids()? {
            if let Some(dir) = self.open_container(&id)? {
                written += rewrite::<ContainerRecord>(&dir.fd(), containers::RECORD)?;
            }
        }
        Ok(written)
    }

    /// Removes `format`, and with it the promise that the rest is there: the first step of removing
    /// all.
    pub(super) fn remove_format(&self) -> Result<()> {
        match rustix::fs::unlinkat(&self.root, FILE, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno).system(|| "cannot remove the store's format".to_owned()),
        }
    }
}

/// 1 if the record was written anew. A damaged one counts as never made and is left to the next
/// collection.
fn rewrite<T: Serialize + DeserializeOwned>(
    dir: &impl std::os::fd::AsFd,
    name: &str,
) -> Result<u64> {
    match files::read_json::<T>(dir, name)? {
        Stored::Good(record) => {
            let text = serde_json::to_vec(&record)
                .context(ErrorKind::System, || format!("cannot describe {name}"))?;
            files::put(dir, name, &text, Durability::Durable)?;
            Ok(1)
        }
        Stored::Foreign(error) => Err(Error::new(
            ErrorKind::Store,
            format!("cannot migrate the store: {name} cannot be understood"),
        )
        .with_source(error)),
        Stored::Missing | Stored::Damaged => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(text: &str, wanted: Use) -> bool {
        let root = Path::new("/r");
        Format::parse(text.as_bytes(), root).is_ok_and(|format| format.allow(wanted, root).is_ok())
    }

    #[test]
    fn unknown_features_forbid_as_much_as_they_say() {
        let one = r#"{"version":1,"features":[]"#;
        let cases = [
            (format!("{one}}}"), true, true),
            (
                format!("{one},\"compatible_features\":[\"x\"]}}"),
                true,
                true,
            ),
            (
                format!("{one},\"ro_compatible_features\":[\"x\"]}}"),
                true,
                false,
            ),
            (r#"{"version":1,"features":["x"]}"#.to_owned(), false, false),
            (r#"{"version":2,"features":[]}"#.to_owned(), false, false),
            (r#"{"version":0,"features":[]}"#.to_owned(), false, false),
        ];
        for (text, read, change) in cases {
            assert_eq!(allows(&text, Use::Read), read, "{text}");
            assert_eq!(allows(&text, Use::Change), change, "{text}");
        }
        assert!(allows(r#"{"version":0,"features":[]}"#, Use::Migrate));
        assert!(!allows(r#"{"version":2,"features":[]}"#, Use::Migrate));
    }
}
