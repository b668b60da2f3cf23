//! Images: pull, load, import, list, tag, remove, inspect.

mod inspect;
mod list;
mod remove;
mod tag;

use super::Engine;
use crate::model::{Result, image::ImageRecord};

impl Engine {
    pub(crate) fn embedded_image(&self, _typed: &str) -> Result<Option<ImageRecord>> {
        Ok(None)
    }
}
