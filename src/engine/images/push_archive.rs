//! `push` to an archive or a folder: `save` under the name that the transport says.

use super::save::{LayerPacking, SaveFormat, SaveTarget, SavedImage, save};
use crate::{
    engine::{Engine, Silent},
    model::{
        Reference, Result,
        transport::{Archive, ArchiveKind},
    },
};

impl Engine {
    /// Writes one image to where `archive` says.
    ///
    /// # Errors
    /// Those of [`Engine::save`]; [`crate::model::ErrorKind::InvalidArgument`] if its name there is none.
    pub fn push_to_archive(&self, image: &str, archive: &Archive) -> Result<()> {
        let record = self.image_here(image, None)?;
        let (format, by_name) = match archive.kind {
            ArchiveKind::Docker => (SaveFormat::DockerArchive, true),
            ArchiveKind::Oci => (SaveFormat::OciArchive, false),
            ArchiveKind::OciFolder => (SaveFormat::OciDir, false),
            ArchiveKind::DockerFolder => (SaveFormat::DockerDir, false),
        };
        let mut saved = SavedImage {
            names: Vec::new(),
            label: None,
            record,
        };
        if by_name {
            saved.names.extend(archive.name()?);
        } else {
            saved.label.clone_from(&archive.reference);
        }
        let id = saved.record.config.clone();
        let name = saved.record.name.as_ref().map(Reference::familiar);
        let target = SaveTarget::Path(archive.path.clone());
        save(
            &self.store,
            &[saved],
            format,
            LayerPacking::AsStored,
            target,
            &Silent,
        )?;
        let name = name.unwrap_or_else(|| id.to_string());
        self.note_image("push", &name, &name, Some(&id));
        Ok(())
    }
}
