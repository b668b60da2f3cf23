//! `container clone`: one more container like one that is there, from its record. What it has
//! written stays its own (`commit` takes that along); its volumes are shared.

use super::update;
use crate::{
    engine::{CloneRequest, Engine, PullSettings, StartOptions},
    model::{
        ContainerId, Error, ErrorKind, Result,
        container::{ContainerRecord, ContainerState, RootRequest},
    },
};

impl Engine {
    /// Makes the copy, removes the original if that is asked for, and starts the copy if that is.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchContainer`]; [`ErrorKind::Conflict`] if the original is to be removed and
    /// runs, without `force`; those of `create` and `start`.
    pub fn clone_container(
        &self,
        request: &CloneRequest,
        pull: &PullSettings<'_>,
    ) -> Result<ContainerId> {
        let (directory, record) = self.store.find_container(&request.container)?;
        if request.destroy && !request.force && directory.state()?.state == ContainerState::Running
        {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "cannot remove container {} after cloning it: it is running",
                    record.name
                ),
            )
            .with_hint("stop it first, or add --force"));
        }
        let mut spec = record.spec.clone();
        let limits = update::effective(&directory, &record)?;
        spec.resources = limits.updated(&request.changes)?;
        spec.image = self.image_for_clone(&record, request);
        spec.name = Some(match &request.name {
            Some(name) => name.clone(),
            None => self.name_for_clone(&record)?,
        });
        spec.cidfile = None;
        // Their mounts are among the container's own since it was made.
        spec.mount_settings.volumes_from.clear();
        let id = self.create(spec, pull)?;
        if request.destroy {
            self.remove_container(record.id.as_str(), request.force, false)?;
        }
        if request.run {
            self.start(id.as_str(), StartOptions { attach: None })?;
        }
        Ok(id)
    }

    /// The very image, although its name may have moved on.
    fn image_for_clone(&self, record: &ContainerRecord, request: &CloneRequest) -> String {
        match (&request.image, &record.image_id) {
            (Some(image), _) if record.spec.root == RootRequest::Image => image.clone(),
            (None, Some(id)) => match self.store.resolve_image(&record.spec.image) {
                Ok(image) if image.config == *id => record.spec.image.clone(),
                _ => id.to_string(),
            },
            _ => record.spec.image.clone(),
        }
    }

    /// Podman's: NAME-clone, NAME-clone1, …
    fn name_for_clone(&self, record: &ContainerRecord) -> Result<String> {
        let mut count = 0;
        loop {
            let name = match count {
                0 => format!("{}-clone", record.name),
                _ => format!("{}-clone{count}", record.name),
            };
            match self.store.find_container(&name) {
                Ok(_) => count += 1,
                Err(error) if error.kind() == ErrorKind::NoSuchContainer => return Ok(name),
                Err(error) => return Err(error),
            }
        }
    }
}
