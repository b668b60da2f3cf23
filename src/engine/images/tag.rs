//! `tag`: one more name for an image, made durable before it is reported.

use crate::{
    engine::{Engine, Silent},
    model::{
        Context, Error, ErrorKind, Reference, Result,
        image::ImageRecord,
        index::{ManifestKind, ManifestRecord},
    },
};

impl Engine {
    /// Gives the image, or manifest list, another name. If another image had it, that one stays without
    /// a name.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchImage`]; [`ErrorKind::InvalidArgument`] if the new name has a digest;
    /// [`ErrorKind::NameInUse`] if a list is to have the name of an image or artifact.
    pub fn tag(&self, image: &str, name: &Reference) -> Result<()> {
        self.tag_all(image, std::slice::from_ref(name))
    }

    /// [`Self::tag`] with several names. All are checked before the first is given.
    pub fn tag_all(&self, image: &str, names: &[Reference]) -> Result<()> {
        if let Some(name) = names.iter().find(|name| name.digest().is_some()) {
            return Err(Error::invalid(format!(
                "cannot give the name {name}: a digest cannot be chosen"
            )));
        }
        let found = self.store.resolve_image(image);
        if found.as_ref().is_err_and(is_missing)
            && let Some(list) = self.find_manifest(image, ManifestKind::Index)?
        {
            return names.iter().try_for_each(|name| self.tag_list(&list, name));
        }
        self.adopt(found?, &Silent)?;
        let shared = self.store.lock_shared()?;
        let image = self.store.resolve_image(image)?;
        let tagged = now()?;
        let record = |name: &Reference| ImageRecord {
            name: Some(name.clone()),
            tagged,
            ..image.clone()
        };
        let records: Vec<ImageRecord> = names.iter().map(record).collect();
        self.store.put_images(&shared, &records)?;
        let id = &image.config;
        for name in names {
            self.note_image("tag", id.as_str(), &name.familiar(), Some(id));
        }
        Ok(())
    }

    /// A manifest list gets the name, not the image that it offers to this machine.
    fn tag_list(&self, list: &ManifestRecord, name: &Reference) -> Result<()> {
        if self.store.image(name)?.is_some() {
            let name = name.familiar();
            return Err(
                Error::new(ErrorKind::NameInUse, format!("{name} is an image"))
                    .with_hint(format!("`coracle untag {name}` takes the name from it")),
            );
        }
        self.name_manifest_list(list, name)?;
        self.note_image("tag", list.digest.as_str(), &name.familiar(), None);
        Ok(())
    }

    /// Takes names from an image, all of them if `names` is empty. The image stays.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchImage`]; [`ErrorKind::InvalidArgument`] if one is not a name of this image:
    /// then it keeps them all.
    pub fn untag(&self, image: &str, names: &[Reference]) -> Result<()> {
        let alone = self.store.lock_exclusive()?;
        let target = self.store.resolve_image(image)?;
        let mut all = self.store.images()?;
        all.retain(|record| record.config == target.config && record.name.is_some());
        let has = |name: &Reference| all.iter().any(|record| record.name.as_ref() == Some(name));
        if let Some(name) = names.iter().find(|name| !has(name)) {
            let id = target.config.short();
            return Err(Error::invalid(format!(
                "cannot untag {}: it is not a name of image {id}",
                name.familiar()
            )));
        }
        let going = |record: &&ImageRecord| {
            let name = record.name.as_ref();
            names.is_empty() || name.is_some_and(|name| names.contains(name))
        };
        let going: Vec<ImageRecord> = all.iter().filter(going).cloned().collect();
        let is_last = going.len() == all.len();
        self.store.take_names(&alone, &going, is_last)?;
        for _ in &going {
            let id = &target.config;
            self.note_image("untag", id.as_str(), id.as_str(), Some(id));
        }
        Ok(())
    }
}

fn is_missing(error: &Error) -> bool {
    error.kind() == ErrorKind::NoSuchImage
}

/// Unix seconds.
fn now() -> Result<i64> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .context(ErrorKind::System, || "the clock is before 1970".to_owned())?;
    Ok(now.as_secs().cast_signed())
}
