//! Image records: one small file a name, so that `run` finds an image with one `open`.
//!
//! The file name is the canonical reference with `/` written as `+` (which no reference can
//! contain); a reference too long for a file name is `+` and its SHA-256. An image without a name
//! has one record called by the digest of its configuration. Such a record does not count while a
//! named one refers to the same image: a crash between the two writes shows nothing odd.

use sha2::Digest as _;

use super::{
    Durability, Store, files,
    locks::{ExclusiveLock, FolderLock, SharedLock},
};
use crate::model::{Context, Digest, Error, ErrorKind, Reference, Result, image::ImageRecord};

/// NAME_MAX of all file systems that matter, less what [`files::put`] adds.
const LONGEST_FILE_NAME: usize = 255 - 5;

pub(super) fn file_name(name: &Reference) -> String {
    let text = name.to_string().replace('/', "+");
    if text.len() <= LONGEST_FILE_NAME {
        return text;
    }
    let hash = Digest::sha256(sha2::Sha256::digest(text.as_bytes()));
    format!("+{}", hash.hex())
}

fn place(file_name: &str) -> String {
    format!("images/{file_name}")
}

pub(super) fn file_of(record: &ImageRecord) -> String {
    record
        .name
        .as_ref()
        .map_or_else(|| record.config.to_string(), file_name)
}

/// An image that has a name needs no record without one. Sorts.
fn hide_unnamed(records: &mut Vec<ImageRecord>) {
    let named: std::collections::HashSet<Digest> = records
        .iter()
        .filter(|record| record.name.is_some())
        .map(|record| record.config.clone())
        .collect();
    records.retain(|record| record.name.is_some() || !named.contains(&record.config));
    records.sort_by_cached_key(|record| (record.name.is_none(), file_of(record)));
}

impl Store {
    /// The image under exactly this name, here or in an additional store. One `open`, `read` and
    /// `close` if it is here.
    pub fn image(&self, name: &Reference) -> Result<Option<ImageRecord>> {
        match self.own_image(name)? {
            None if self.has_additional() => self.additional_image(&file_name(name)),
            own => Ok(own),
        }
    }

    fn own_image(&self, name: &Reference) -> Result<Option<ImageRecord>> {
        let stored = files::read_json::<ImageRecord>(&self.root, &place(&file_name(name)))?;
        Ok(stored
            .good()
            .filter(|record| record.name.as_ref() == Some(name)))
    }

    /// All records, by name; unnamed ones last. Damaged files are left out. Those of additional
    /// stores are not among them.
    pub fn images(&self) -> Result<Vec<ImageRecord>> {
        let mut records = self.own_images()?;
        hide_unnamed(&mut records);
        Ok(records)
    }

    /// As [`Self::images`], with those of additional stores whose names are free.
    pub fn visible_images(&self) -> Result<Vec<ImageRecord>> {
        let mut records = self.own_images()?;
        if self.has_additional() {
            records.extend(self.additional_images(&records)?);
        }
        hide_unnamed(&mut records);
        Ok(records)
    }

    pub(super) fn own_images(&self) -> Result<Vec<ImageRecord>> {
        let folder = self.folder("images")?;
        let names = files::names(&folder).system(|| "cannot list images/".to_owned())?;
        let mut records: Vec<ImageRecord> = Vec::with_capacity(names.len());
        for name in names {
            // `None`: removed meanwhile, or damaged.
            if let Some(record) = files::read_json::<ImageRecord>(&folder, &name)?.good()
                && file_of(&record) == name
            {
                records.push(record);
            }
        }
        Ok(records)
    }

    /// A record of this store for the same image (manifest and configuration), named or not.
    pub fn own_record(&self, image: &ImageRecord) -> Result<Option<ImageRecord>> {
        let same =
            |other: &ImageRecord| other.config == image.config && other.manifest == image.manifest;
        Ok(self.own_images()?.into_iter().find(same))
    }

    /// What the user means: a name, `name@digest`, an image ID (with or without `sha256:`) or an
    /// unambiguous beginning of one.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchImage`]; [`ErrorKind::InvalidArgument`] if several images fit.
    pub fn resolve_image(&self, typed: &str) -> Result<ImageRecord> {
        let digits = typed.strip_prefix("sha256:").unwrap_or(typed);
        let could_be_id = is_hexadecimal(digits);
        let must_be_id = could_be_id && (digits.len() == 64 || digits.len() != typed.len());
        if !must_be_id {
            match typed.parse::<Reference>() {
                Ok(name) => {
                    if let Some(record) = self.image_by_reference(&name)? {
                        return Ok(record);
                    }
                    if let Some(record) = self.image_by_short_name(&name)? {
                        return Ok(record);
                    }
                }
                Err(error) if !could_be_id => return Err(error),
                Err(_) => {}
            }
        }
        let found = if could_be_id {
            self.image_by_id(digits)?
        } else {
            None
        };
        found.ok_or_else(|| {
            Error::new(ErrorKind::NoSuchImage, format!("No such image: {typed}"))
                .with_hint("`coracle images` lists those that are here")
        })
    }

    fn image_by_id(&self, digits: &str) -> Result<Option<ImageRecord>> {
        let fits = |record: &ImageRecord| {
            record.config.algorithm() == "sha256" && record.config.hex().starts_with(digits)
        };
        // Named records come first.
        let mut fitting = self.visible_images()?.into_iter().filter(fits);
        let first = fitting.next();
        if fitting.any(|other| Some(&other.config) != first.as_ref().map(|first| &first.config)) {
            return Err(Error::invalid(format!(
                "{digits} is the beginning of several image IDs"
            )));
        }
        Ok(first)
    }

    fn image_by_short_name(&self, name: &Reference) -> Result<Option<ImageRecord>> {
        let Some(meant) = self.short_names.as_ref().filter(|_| name.is_short()) else {
            return Ok(None);
        };
        for other in (meant.0)(name) {
            if other != *name
                && let Some(record) = self.image_by_reference(&other)?
            {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    fn image_by_reference(&self, name: &Reference) -> Result<Option<ImageRecord>> {
        let exact = self.image(name)?;
        let (None, Some(digest)) = (&exact, name.digest()) else {
            return Ok(exact);
        };
        // `alpine@sha256:…` is also found if it was pulled as `alpine:3`.
        Ok(self.visible_images()?.into_iter().find(|record| {
            let same_repository = record
                .name
                .as_ref()
                .is_some_and(|other| other.name() == name.name());
            same_repository && (record.manifest == *digest || record.index.as_ref() == Some(digest))
        }))
    }

    /// Gives names to images, durably. An image that loses its last name so stays as an unnamed
    /// one. What the records refer to must be in the store and kept by `_shared`.
    pub fn put_images(&self, _shared: &SharedLock, records: &[ImageRecord]) -> Result<()> {
        let folder = FolderLock::hold(self, "images")?;
        for record in records {
            self.keep_predecessor(&folder, record)?;
            self.write_image(&folder, record)?;
            if record.name.is_some() {
                self.unlink_image_file(&folder, &record.config.to_string())?;
            }
        }
        Ok(())
    }

    /// Before a name moves on: the image it stood for gets an unnamed record if it had no other.
    fn keep_predecessor(&self, folder: &FolderLock, record: &ImageRecord) -> Result<()> {
        let Some(name) = &record.name else {
            return Ok(());
        };
        let Some(old) = self.own_image(name)? else {
            return Ok(());
        };
        let known_otherwise = |old: &ImageRecord| -> Result<bool> {
            let others = self.images()?;
            Ok(others
                .iter()
                .any(|other| other.config == old.config && other.name.as_ref() != Some(name)))
        };
        if old.config == record.config || known_otherwise(&old)? {
            return Ok(());
        }
        self.write_image(folder, &ImageRecord { name: None, ..old })
    }

    fn write_image(&self, folder: &FolderLock, record: &ImageRecord) -> Result<()> {
        let text = serde_json::to_vec(record).context(ErrorKind::System, || {
            format!("cannot describe image {}", record.config)
        })?;
        files::put(folder.dir(), &file_of(record), &text, Durability::Durable)
    }

    fn unlink_image_file(&self, folder: &FolderLock, name: &str) -> Result<()> {
        match rustix::fs::unlinkat(folder.dir(), name, rustix::fs::AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno).system(|| format!("cannot remove image {name}")),
        }
    }

    /// Takes names from one image, durably. If they are its last ones it stays without a name; its
    /// record without one is written first, and does not count before the others are gone.
    pub fn take_names(
        &self,
        _alone: &ExclusiveLock,
        going: &[ImageRecord],
        is_last: bool,
    ) -> Result<()> {
        let folder = FolderLock::hold(self, "images")?;
        if let (Some(record), true) = (going.first(), is_last) {
            let unnamed = ImageRecord {
                name: None,
                ..record.clone()
            };
            self.write_image(&folder, &unnamed)?;
        }
        for record in going {
            self.unlink_image_file(&folder, &file_of(record))?;
        }
        rustix::fs::fsync(folder.dir()).system(|| "cannot write images/".to_owned())
    }

    /// Takes a name (or, for a record without one, the image) away, durably: a record must not
    /// outlive what it names. Nothing else is deleted: that is [`Store::bury_garbage`]'s, under the
    /// same lock. Needs no disk space.
    pub fn remove_image_record(&self, _alone: &ExclusiveLock, record: &ImageRecord) -> Result<()> {
        let folder = FolderLock::hold(self, "images")?;
        self.unlink_image_file(&folder, &file_of(record))?;
        // A file system that cannot flush (full, or failing) has done what it can.
        let _ = rustix::fs::fsync(folder.dir());
        Ok(())
    }
}

fn is_hexadecimal(text: &str) -> bool {
    let digit = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
    (1..=64).contains(&text.len()) && text.bytes().all(digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_short_and_unambiguous() {
        let name = |text: &str| file_name(&text.parse().unwrap());
        assert_eq!(name("alpine"), "docker.io+library+alpine:latest");
        assert_eq!(name("h:5000/a/b:c"), "h:5000+a+b:c");
        let long = |tag: &str| name(&format!("h.example/{}:{tag}", "a".repeat(240)));
        assert!(long("x").len() <= LONGEST_FILE_NAME);
        assert_ne!(long("x"), long("y"));
    }
}
