//! Volumes: one method of [`Engine`] a verb, and what containers need of them.

mod archive;
mod mounting;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Engine, supervisor};
use crate::{
    model::{
        ContainerId, Context, Error, ErrorKind, Result,
        event::EventType,
        volume::{ANONYMOUS_LABEL, LOCAL, VolumeRecord, check_volume_driver, check_volume_name},
    },
    storage::Durability,
    sys::tree_size,
};

/// `volume create`
#[derive(Clone, Debug, Default)]
pub struct VolumeRequest {
    /// Without one it gets 64 random digits.
    pub name: Option<String>,
    pub driver: String,
    pub labels: BTreeMap<String, String>,
    /// Of the driver: `type`, `device`, `o`.
    pub options: BTreeMap<String, String>,
    /// Owner of its root directory, as containers see it.
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

/// One line of `volume ls`.
#[derive(Clone, Debug)]
pub struct VolumeSummary {
    pub name: String,
    /// RFC 3339, UTC.
    pub created: String,
    pub labels: BTreeMap<String, String>,
    /// The directory with its files.
    pub mountpoint: String,
    /// The containers that name it.
    pub used_by: Vec<ContainerId>,
    pub anonymous: bool,
}

impl Engine {
    /// Makes a volume; its name. One that is there already is left as it is, as Docker does.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a wrong name or option, [`ErrorKind::Unsupported`] for
    /// another driver.
    pub fn create_volume(&self, request: VolumeRequest) -> Result<(String, bool)> {
        check_volume_driver(&request.driver)?;
        let mut labels = request.labels;
        let name = match request.name {
            Some(name) => {
                check_volume_name(&name)?;
                name
            }
            None => {
                labels.insert(ANONYMOUS_LABEL.to_owned(), String::new());
                mounting::random_name()?
            }
        };
        let record = VolumeRecord {
            name,
            created: supervisor::now(),
            labels,
            options: request.options,
        };
        record.backing()?;
        let owner = (request.uid, request.gid);
        if owner != (None, None) {
            self.enter_user_namespace()?;
        }
        let (record, made) = self
            .store
            .make_volume(&record, owner, Durability::Durable)?;
        if made {
            self.note_volume("create", &record.name, &[]);
        }
        Ok((record.name, made))
    }

    /// All volumes, by name.
    pub fn volumes(&self) -> Result<Vec<VolumeSummary>> {
        let mut users = self.store.volume_users()?;
        let records = self.store.volumes()?;
        let summary = |record: VolumeRecord| VolumeSummary {
            mountpoint: self.mountpoint(&record.name),
            used_by: users.remove(&record.name).unwrap_or_default(),
            anonymous: record.is_anonymous(),
            name: record.name,
            created: record.created,
            labels: record.labels,
        };
        Ok(records.into_iter().map(summary).collect())
    }

    /// Whether there is a volume of that name.
    pub fn volume_exists(&self, name: &str) -> Result<bool> {
        if check_volume_name(name).is_err() {
            return Ok(false);
        }
        Ok(self.store.volume(name)?.is_some())
    }

    /// One object as Docker's `volume inspect` shows it.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchVolume`]
    pub fn inspect_volume(&self, name: &str) -> Result<Value> {
        let record = self.volume_record(name)?;
        let filled = |map: &BTreeMap<String, String>| match map.is_empty() {
            true => Value::Null,
            false => json!(map),
        };
        let mut object = Map::new();
        let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
        put("CreatedAt", json!(seconds(&record.created)));
        put("Driver", json!(LOCAL));
        put("Labels", filled(&record.labels));
        put("Mountpoint", json!(self.mountpoint(&record.name)));
        put("Name", json!(record.name));
        put("Options", filled(&record.options));
        put("Scope", json!(LOCAL));
        Ok(Value::Object(object))
    }

    pub(in crate::engine) fn mountpoint(&self, name: &str) -> String {
        let path = self.store.volume_paths(name).data;
        let path = std::path::absolute(&path).unwrap_or(path);
        path.to_string_lossy().into_owned()
    }

    fn volume_record(&self, name: &str) -> Result<VolumeRecord> {
        let record = match check_volume_name(name) {
            Ok(()) => self.store.volume(name)?,
            Err(_) => None,
        };
        record.ok_or_else(|| {
            Error::new(
                ErrorKind::NoSuchVolume,
                format!("get {name}: no such volume"),
            )
            .with_hint("`coracle volume ls` lists those that are here")
        })
    }

    /// Removes a volume and its files.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchVolume`]; [`ErrorKind::Conflict`] if a container uses it.
    pub fn remove_volume(&self, name: &str) -> Result<()> {
        self.volume_record(name)?;
        self.enter_user_namespace()?;
        self.store.remove_volume(name)?;
        self.note_volume("destroy", name, &[]);
        Ok(())
    }

    /// Removes those of the volumes that no container uses; which, and how many bytes of the
    /// disk that frees.
    pub fn prune_volumes(&self, names: &[String]) -> Result<(Vec<String>, u64)> {
        self.enter_user_namespace()?;
        let (mut removed, mut bytes) = (Vec::new(), 0);
        for name in names {
            let size = self.volume_size(name).unwrap_or(0);
            if !self
                .store
                .remove_unused_volumes(std::slice::from_ref(name))?
                .is_empty()
            {
                self.note_volume("destroy", name, &[]);
                removed.push(name.clone());
                bytes += size;
            }
        }
        self.note_prune(EventType::Volume, bytes);
        Ok((removed, bytes))
    }

    /// Bytes that a volume's files take on the disk.
    fn volume_size(&self, name: &str) -> Result<u64> {
        let data = self.store.volume_data(name)?;
        let own = rustix::fs::fstat(&data).map_or(0, |stat| tree_size::blocks(&stat));
        let whole = tree_size::on_disk(&data).system(|| format!("cannot measure {name}"))?;
        // An empty directory is not what anybody asked to be rid of.
        Ok(whole.saturating_sub(own))
    }
}

/// Docker shows a volume's age in seconds.
fn seconds(moment: &str) -> String {
    match moment.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => moment.to_owned(),
    }
}
