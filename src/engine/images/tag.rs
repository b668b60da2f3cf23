//! `tag`: one more name for an image, made durable before it is reported.

use crate::{
    engine::{Engine, Silent},
    model::{Context, Error, ErrorKind, Reference, Result, image::ImageRecord},
};

impl Engine {
    /// Gives the image another name. If another image had it, that one stays without a name.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchImage`]; [`ErrorKind::InvalidArgument`] if the new name has a digest.
    pub fn tag(&self, image: &str, name: &Reference) -> Result<()> {
        if name.digest().is_some() {
            return Err(Error::invalid(format!(
                "cannot give the name {name}: a digest cannot be chosen"
            )));
        }
        self.adopt(self.store.resolve_image(image)?, &Silent)?;
        let shared = self.store.lock_shared()?;
        let record = ImageRecord {
            name: Some(name.clone()),
            tagged: now()?,
            ..self.store.resolve_image(image)?
        };
        self.store
            .put_images(&shared, std::slice::from_ref(&record))?;
        let id = &record.config;
        self.note_image("tag", id.as_str(), &name.familiar(), Some(id));
        Ok(())
    }
}

/// Unix seconds.
fn now() -> Result<i64> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .context(ErrorKind::System, || "the clock is before 1970".to_owned())?;
    Ok(now.as_secs().cast_signed())
}
