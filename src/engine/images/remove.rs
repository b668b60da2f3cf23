//! `rmi`, by Docker's rules. A name is taken away; the image goes with its last one.
//!
//! | asked for by | others names | used by a container | without force | with force |
//! |---|---|---|---|---|
//! | name | yes | any | untag | untag |
//! | name | no | any | refused | untag; its content stays as long as the container |
//! | ID | in one repository | no | all names, and the image | the same |
//! | ID | in several | no | refused | all names, and the image |
//! | ID | any | a stopped one | refused | all names; content as above |
//! | ID | any | a running one | refused | refused |

use std::collections::BTreeSet;

use crate::{
    engine::{Engine, Removed},
    model::{
        ContainerId, Digest, Error, ErrorKind, Platform, Reference, Result, image::ImageRecord,
    },
    storage::Garbage,
};

/// A container made from the image.
struct User {
    id: ContainerId,
    running: bool,
}

impl Engine {
    /// Removes a name of an image, or the image.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchImage`]; [`ErrorKind::Conflict`] as the table says.
    pub fn remove_image(&self, typed: &str, force: bool) -> Result<Vec<Removed>> {
        self.remove_image_for(typed, force, &[])
    }

    /// [`Self::remove_image`], if it is for one of these platforms; none means any.
    ///
    /// # Errors
    /// [`ErrorKind::NoMatchingPlatform`]
    pub fn remove_image_for(
        &self,
        typed: &str,
        force: bool,
        platforms: &[Platform],
    ) -> Result<Vec<Removed>> {
        self.remove(typed, force, false, platforms)
    }

    /// Removes an image under all its names, in however many repositories.
    ///
    /// # Errors
    /// As [`Self::remove_image`].
    pub fn remove_whole_image(&self, id: &Digest, force: bool) -> Result<Vec<Removed>> {
        self.remove(id.as_str(), force, true, &[])
    }

    fn remove(
        &self,
        typed: &str,
        force: bool,
        whole: bool,
        platforms: &[Platform],
    ) -> Result<Vec<Removed>> {
        let alone = self.store.lock_exclusive()?;
        let target = self.store.resolve_image(typed)?;
        self.refuse_read_only(typed, &target)?;
        self.refuse_other_platforms(typed, &target, platforms)?;
        let all: Vec<ImageRecord> = self
            .store
            .images()?
            .into_iter()
            .filter(|record| record.config == target.config)
            .collect();
        let by_name = is_name_of(typed, &target);
        let going: Vec<&ImageRecord> = if by_name {
            all.iter()
                .filter(|record| record.name == target.name)
                .collect()
        } else {
            all.iter().collect()
        };
        if going.len() == all.len() {
            let users = self.users_of(&target.config)?;
            let repositories = if whole { &[] } else { all.as_slice() };
            refuse(typed, &target, by_name, force, repositories, &users)?;
        }
        let mut removals = Vec::new();
        for record in &going {
            self.store.remove_image_record(&alone, record)?;
            removals.extend(untagged(record, &all, &going));
        }
        let garbage = self.store.bury_garbage(&alone)?;
        drop(alone);
        if garbage.blobs.iter().any(|hex| hex == target.config.hex()) {
            removals.push(Removed::Deleted(target.config.clone()));
        }
        let layers = target.layers.iter().rev();
        let gone = layers.filter(|layer| garbage.layers.iter().any(|hex| hex == layer.hex()));
        removals.extend(gone.cloned().map(Removed::Deleted));
        self.note_removals(&target.config, &removals);
        self.delete(garbage)?;
        Ok(removals)
    }

    fn refuse_other_platforms(
        &self,
        typed: &str,
        target: &ImageRecord,
        platforms: &[Platform],
    ) -> Result<()> {
        if platforms.is_empty() {
            return Ok(());
        }
        let offered = self.image_config(&target.config)?.platform();
        if platforms.iter().any(|wanted| wanted.accepts(&offered)) {
            return Ok(());
        }
        let text = format!("image {typed} is not removed: it is for platform {offered}");
        Err(Error::new(ErrorKind::NoMatchingPlatform, text))
    }

    /// One event for each tag that went, one for the image.
    pub(super) fn note_removals(&self, image: &Digest, removals: &[Removed]) {
        for removed in removals {
            let action = match removed {
                Removed::Untagged(name) if !name.contains('@') => "untag",
                Removed::Deleted(digest) if digest == image => "delete",
                _ => continue,
            };
            self.note_image(action, image.as_str(), image.as_str(), Some(image));
        }
    }

    /// Layers may have files of ids that only the user namespace can delete; entering it costs
    /// more than trying without.
    pub(in crate::engine) fn delete(&self, garbage: Garbage) -> Result<()> {
        match garbage.delete(&self.store).and(self.store.sweep()) {
            Err(error) if error.kind() == ErrorKind::Permission => {
                self.enter_user_namespace()?;
                self.store.sweep()
            }
            outcome => outcome,
        }
    }

    fn users_of(&self, image_id: &Digest) -> Result<Vec<User>> {
        let mut users = Vec::new();
        for (dir, record) in self.store.containers()? {
            if record.image_id.as_ref() == Some(image_id) {
                users.push(User {
                    running: dir.is_held()?,
                    id: record.id,
                });
            }
        }
        Ok(users)
    }
}

fn is_name_of(typed: &str, record: &ImageRecord) -> bool {
    typed
        .parse::<Reference>()
        .is_ok_and(|name| record.name.as_ref() == Some(&name) || name.digest().is_some())
}

/// Called when the image would lose its last name.
fn refuse(
    typed: &str,
    target: &ImageRecord,
    by_name: bool,
    force: bool,
    all: &[ImageRecord],
    users: &[User],
) -> Result<()> {
    let image = target.config.short();
    let conflict =
        |why: String| Error::new(ErrorKind::Conflict, format!("cannot remove {typed}: {why}"));
    let running = users.iter().find(|user| user.running);
    if let (false, Some(user)) = (by_name, running) {
        return Err(conflict(format!(
            "image {image} is being used by running container {}",
            user.id.short()
        ))
        .with_hint(format!("stop it first: `coracle stop {}`", user.id.short())));
    }
    if force {
        return Ok(());
    }
    let repositories: BTreeSet<String> = all
        .iter()
        .filter_map(|record| record.name.as_ref().map(Reference::name))
        .collect();
    if !by_name && repositories.len() > 1 {
        return Err(conflict(format!(
            "image {image} is referenced in multiple repositories"
        ))
        .with_hint("remove its names one by one, or all with --force"));
    }
    if let Some(user) = users.first() {
        let state = if user.running { "running" } else { "stopped" };
        return Err(conflict(format!(
            "image {image} is being used by {state} container {}",
            user.id.short()
        ))
        .with_hint(format!(
            "remove the container first (`coracle rm {}`), or use --force",
            user.id.short()
        )));
    }
    Ok(())
}

/// The lines for one name that goes: the tag, and the digest if no other name of that repository
/// still shows it.
pub(super) fn untagged(
    record: &ImageRecord,
    all: &[ImageRecord],
    going: &[&ImageRecord],
) -> Vec<Removed> {
    let Some(name) = &record.name else {
        return Vec::new();
    };
    let shown = |record: &ImageRecord| record.index.clone().unwrap_or(record.manifest.clone());
    let with_digest = format!("{}@{}", name.familiar_name(), shown(record));
    let mut lines = vec![name.familiar()];
    let same = |other: &ImageRecord| {
        other.name.as_ref().map(Reference::name) == Some(name.name())
            && shown(other) == shown(record)
    };
    let stays = all
        .iter()
        .any(|other| same(other) && !going.iter().any(|gone| gone.name == other.name));
    let last = going
        .iter()
        .rfind(|other| same(other))
        .is_some_and(|other| other.name == record.name);
    if !stays && last && lines[0] != with_digest {
        lines.push(with_digest);
    }
    lines.into_iter().map(Removed::Untagged).collect()
}
