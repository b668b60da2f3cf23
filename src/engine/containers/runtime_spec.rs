//! `spec`: the plan of a container that is not made, as a runtime configuration.

use std::{io::Write, path::Path};

use super::create::new_record;
use crate::{
    engine::{
        Engine, PullSettings, bundle,
        plan::{self, ContainerFiles, MountStep, RootSource},
    },
    model::{
        ContainerSpec, Context, Error, ErrorKind, Result,
        host::{HostFacts, IdRange, UserMode, id_map},
        image::ImageConfig,
        mount::{Mount, MountSource},
    },
};

const CONFIG: &str = "config.json";

impl Engine {
    /// Writes the `config.json` of a container as it would be planned here into `directory`.
    /// With `rootless` it is planned as an ordinary user without subordinate ids would.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if there is one already.
    pub fn write_runtime_spec(
        &self,
        mut spec: ContainerSpec,
        pull: &PullSettings<'_>,
        directory: &Path,
        rootless: bool,
    ) -> Result<()> {
        let image = if spec.image.is_empty() {
            None
        } else {
            Some(self.image_of(&spec, pull)?)
        };
        let config = match &image {
            Some(image) => self.image_config(&image.config)?,
            None => ImageConfig::default(),
        };
        let mut host = self.user.host_facts()?;
        if rootless {
            be_ordinary(&mut host);
        }
        refuse_stored_mounts(&spec.mounts)?;
        self.settle_namespaces(&mut spec)?;
        let neighbours = self.open_neighbours(&spec)?;
        let record = new_record(spec, image.as_ref(), &config)?;
        let files = ContainerFiles {
            directory: directory.to_owned(),
            root: RootSource::Directory("rootfs".into()),
            user_namespace: None,
            found: self.find(&record.spec)?,
            volumes: std::collections::BTreeMap::new(),
            first_start: false,
            image_mounts: Vec::new(),
        };
        let mut plan = plan::container(&record, &config, &host, &files, &neighbours.surroundings)?;
        // They belong to a container that there is not.
        plan.mounts
            .retain(|step| !matches!(step, MountStep::OwnFile { .. }));
        let text = bundle::to_json(&bundle::export(&plan, &record.spec, &host)?)?;
        write_new(&directory.join(CONFIG), &text)
    }
}

/// Volumes, images and overlays are of the store, of which a bundle knows nothing.
fn refuse_stored_mounts(mounts: &[Mount]) -> Result<()> {
    let stored = mounts.iter().find(|mount| {
        mount.volume().is_some()
            || mount.options.overlay.is_some()
            || matches!(mount.source, MountSource::Image { .. })
    });
    match stored {
        None => Ok(()),
        Some(mount) => Err(Error::new(
            ErrorKind::Unsupported,
            format!("a bundle cannot have what is mounted on {}", mount.target),
        )
        .with_hint("bind a folder instead: -v /path/on/the/host:/path")),
    }
}

/// As `--rootless` of runc has it: id 0 is the user, and no other id exists.
fn be_ordinary(host: &mut HostFacts) {
    host.initial_user_namespace = false;
    host.capabilities = crate::model::capability::ALL;
    if host.user == UserMode::Root {
        let own = |id: u32| -> Vec<IdRange> { id_map(id, &[]) };
        host.user = UserMode::Rootless {
            uids: own(rustix::process::getuid().as_raw()),
            gids: own(rustix::process::getgid().as_raw()),
        };
    }
}

fn write_new(path: &Path, text: &str) -> Result<()> {
    let what = || format!("cannot write {}", path.display());
    let mut file = match std::fs::File::create_new(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(
                Error::new(ErrorKind::Conflict, format!("{} exists", path.display()))
                    .with_hint("remove it first, or name another folder with --bundle"),
            );
        }
        other => other.system(what)?,
    };
    file.write_all(text.as_bytes()).system(what)
}
