//! `images`: what the records of `images/` say, newest first.

use crate::{
    engine::Engine,
    model::{Result, image::ImageRecord},
};

impl Engine {
    /// Every image under every name, newest first as Docker lists them; one without a name once.
    pub fn images(&self) -> Result<Vec<ImageRecord>> {
        let mut records = self.store.visible_images()?;
        // Stable: names of one image stay in order. RFC 3339 in UTC sorts as text.
        records.sort_by(|a, b| b.created.cmp(&a.created));
        Ok(records)
    }
}
