//! Whether a container or an image is there.

use crate::{engine::Engine, model::Result};

impl Engine {
    /// # Errors
    /// [`NoSuchContainer`](crate::model::ErrorKind::NoSuchContainer)
    pub fn container_exists(&self, container: &str) -> Result<()> {
        self.store.find_container(container).map(drop)
    }

    /// # Errors
    /// [`NoSuchImage`](crate::model::ErrorKind::NoSuchImage)
    pub fn image_exists(&self, image: &str) -> Result<()> {
        self.store.resolve_image(image).map(drop)
    }
}
