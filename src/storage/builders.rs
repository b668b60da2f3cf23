//! The names that `buildx create` has given to the builder: `builds/builders`, one [`Builders`] as JSON.
//!
//! Who changes it holds the `flock` of `builds/`; readers take no lock, as the file is replaced as a
//! whole. It is flushed by nobody: a name that is lost can be given again.

use super::{Durability, Store, files, locks::FolderLock, make_folder};
use crate::model::{Context, ErrorKind, Result, builder::Builders};

const FOLDER: &str = "builds";
const FILE: &str = "builders";
const PLACE: &str = "builds/builders";

impl Store {
    /// What is damaged counts as absent.
    pub fn builders(&self) -> Result<Builders> {
        let stored = files::read_json::<Builders>(&self.root, PLACE)?;
        Ok(stored.good().unwrap_or_default())
    }

    /// Changes the names; nothing is written if `change` fails.
    pub fn change_builders<T>(&self, change: impl FnOnce(&mut Builders) -> Result<T>) -> Result<T> {
        make_folder(&self.root, FOLDER).system(|| "cannot make builds/".to_owned())?;
        let folder = FolderLock::hold(self, FOLDER)?;
        let mut builders = self.builders()?;
        let outcome = change(&mut builders)?;
        let text = serde_json::to_vec(&builders)
            .context(ErrorKind::Store, || "cannot write builders".to_owned())?;
        files::put(folder.dir(), FILE, &text, Durability::Volatile)?;
        Ok(outcome)
    }
}
