//! Stores that are made to be read by others: `image export-store`.
//!
//! The layout is that of this room's head; only the modes differ. Folders of content are 0755, files
//! 0644, and `format`, being readable by all, says that this is so ([`Store::is_shared`]). What others
//! have no business with (containers, volumes, names, secrets) is as closed as anywhere.
//!
//! `format` gets its mode before there is any content: an export that was interrupted is known as one,
//! and can be repeated. The other modes are given after the content has appeared, and all of them
//! each time: whatever an interruption leaves closed, the next export opens. The root is opened last. Times of the store's own files are 0, so that
//! the same images make the same store.

use std::path::Path;

use rustix::{
    fs::{AtFlags, FileType, Mode, Timespec, Timestamps},
    io::Errno,
};

use super::{FOLDER, Store, files, locks::SharedLock};
use crate::model::{Context, Error, ErrorKind, Result, image::ImageRecord};

const FOLDERS: [&str; 6] = [
    "blobs",
    "blobs/sha256",
    "blobs/sha512",
    "layers",
    "images",
    ".",
];

impl Store {
    /// Opens a store to share, or makes one.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if something else lies there, an ordinary store too.
    pub fn open_to_share(root: &Path, runroot: &Path) -> Result<Store> {
        let shown = root.display();
        let is_new = !Store::is_store(root)?;
        let store = Store::open(root, runroot)?;
        if !is_new && !store.is_shared()? && !store.images()?.is_empty() {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("{shown} is somebody's own store"),
            )
            .with_hint("name a folder that is empty, or a store that was exported before"));
        }
        store.show("format", 0o644)?;
        Ok(store)
    }

    /// Gives an image its names without a time.
    pub fn put_images_without_time(
        &self,
        shared: &SharedLock,
        records: Vec<ImageRecord>,
    ) -> Result<()> {
        let records: Vec<ImageRecord> = records
            .into_iter()
            .map(|record| ImageRecord {
                tagged: 0,
                ..record
            })
            .collect();
        self.put_images(shared, &records)
    }

    /// Lets everybody read the content.
    pub fn open_to_all(&self) -> Result<()> {
        for folder in ["blobs/sha256", "blobs/sha512", "images"] {
            for name in self.names_of(folder)? {
                self.show(&format!("{folder}/{name}"), 0o644)?;
            }
        }
        for name in self.names_of("layers")? {
            self.show(&format!("layers/{name}/layer.json"), 0o644)?;
            self.show(&format!("layers/{name}"), 0o755)?;
        }
        for folder in super::FOLDERS {
            if !FOLDERS.contains(&folder) {
                self.show(folder, 0o700)?;
            }
        }
        self.show("lock", 0o600)?;
        self.show("format", 0o644)?;
        for folder in FOLDERS {
            self.show(folder, 0o755)?;
        }
        rustix::fs::syncfs(&self.root).system(|| "cannot flush the store".to_owned())
    }

    fn names_of(&self, folder: &str) -> Result<Vec<String>> {
        match rustix::fs::openat(&self.root, folder, FOLDER, Mode::empty()) {
            Ok(dir) => files::names(&dir).system(|| format!("cannot list {folder}/")),
            Err(Errno::NOENT) => Ok(Vec::new()),
            Err(errno) => Err(errno).system(|| format!("cannot open {folder}/")),
        }
    }

    /// Nothing if it is not there.
    fn show(&self, place: &str, mode: u32) -> Result<()> {
        let what = || format!("cannot let others read {place}");
        let stat = match rustix::fs::statat(&self.root, place, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno).system(what),
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            return Ok(());
        }
        let mode = Mode::from_raw_mode(mode);
        rustix::fs::chmodat(&self.root, place, mode, AtFlags::empty()).system(what)?;
        let epoch = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: epoch,
            last_modification: epoch,
        };
        rustix::fs::utimensat(&self.root, place, &times, AtFlags::SYMLINK_NOFOLLOW).system(what)
    }
}
