//! All containers at one glance: as few calls for each as its state allows, and of its records only
//! what a list shows. No folder of a container is opened.
//!
//! | the container | what is read | calls |
//! |---|---|---|
//! | has ended | `exit.json`, `state.json`, `record.json`, `upper` | 10 |
//! | does not run, and only those that run are wanted | `lock` | 3 |
//! | was never started | the same, of which two are not there | 6 |
//! | runs | as [`super::ContainerDir::state`], then `record.json` | 11 to 15 |
//!
//! A container whose exit record belongs to its last start has ended, whoever holds its lock (a
//! supervisor that is about to let go, a new start): that need not be asked. One that its supervisor
//! will start again says so in that record, and is looked at as one that runs.

use std::{collections::BTreeMap, os::fd::OwnedFd};

use serde::Deserialize;

use super::Status;
use crate::{
    model::{
        ContainerId, Context, Digest, Platform, Result,
        container::{ContainerState, ExitRecord, NetworkMode, RootRequest},
        health::HealthSpec,
        mount::Mount,
        publish::{Port, PortMapping},
        restart::RestartPolicy,
    },
    storage::{
        Store,
        files::{self, Stored},
        lease::exists,
        locks::{ObjectLock, Purpose},
    },
};

/// A container in a list.
#[derive(Debug)]
pub struct Listed {
    pub record: ListedRecord,
    /// Of one that has ended, [`Status::start`] is not read: its exit record tells when it began.
    pub status: Status,
}

/// What a list shows of [`crate::model::container::ContainerRecord`]: the same file, most of it
/// skipped.
#[derive(Debug, Deserialize)]
pub struct ListedRecord {
    pub id: ContainerId,
    pub name: String,
    pub created: String,
    pub spec: ListedSpec,
    pub image_id: Option<Digest>,
    pub layers: Vec<Digest>,
    pub path: String,
    pub args: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ListedSpec {
    pub image: String,
    pub root: RootRequest,
    pub platform: Option<Platform>,
    pub labels: BTreeMap<String, String>,
    pub mounts: Vec<Mount>,
    pub network: NetworkMode,
    pub published: Vec<PortMapping>,
    pub publish_all: bool,
    pub exposed: Vec<Port>,
    pub auto_remove: bool,
    pub restart: RestartPolicy,
    pub health: HealthSpec,
}

/// What is needed of a start record to know whose end an exit record tells.
#[derive(Deserialize)]
struct ListedStart {
    started: String,
}

impl Store {
    /// All containers that are whole, but for steps of builds, newest first; without `all` those whose lock somebody holds.
    /// Takes no lock, and so waits for none.
    pub fn list_containers(&self, all: bool) -> Result<Vec<Listed>> {
        let folder = self.folder("containers")?;
        let names = files::names(&folder).system(|| "cannot list containers/".to_owned())?;
        let mut listed = Vec::with_capacity(names.len());
        for id in names.iter().filter_map(|name| name.parse().ok()) {
            listed.extend(self.look_at(&folder, &id, all)?);
        }
        let key = |one: &Listed| (one.record.created.clone(), one.record.id.clone());
        listed.sort_by_cached_key(key);
        listed.reverse();
        Ok(listed)
    }

    fn look_at(&self, folder: &OwnedFd, id: &ContainerId, all: bool) -> Result<Option<Listed>> {
        let seen = if all {
            seen(folder, id)?
        } else if ObjectLock::purpose(folder, &format!("{id}/lock"))? == Some(Purpose::Life) {
            Seen::Otherwise
        } else {
            return Ok(None);
        };
        let damaged = || exists(folder, &format!("{id}/upper")).map(|there| !there);
        let status = match seen {
            Seen::Ended(exit) => Some(Status::at_rest(Some(exit), damaged()?)),
            Seen::NeverStarted => Some(Status::at_rest(None, damaged()?)),
            Seen::Otherwise => self.state_in_full(id)?,
        };
        let Some(status) = status else {
            return Ok(None);
        };
        let record = files::read_json(folder, &format!("{id}/record.json"))?;
        Ok(match record {
            Stored::Good(record) => Some(record)
                .filter(|record: &ListedRecord| record.id == *id && !record.spec.root.is_step()),
            _ => None,
        }
        .map(|record| Listed { record, status }))
    }

    /// `None` if it was removed meanwhile.
    fn state_in_full(&self, id: &ContainerId) -> Result<Option<Status>> {
        match self.open_container(id)? {
            Some(directory) => directory.state().map(Some),
            None => Ok(None),
        }
    }
}

/// What the files alone tell of a container's state.
enum Seen {
    /// For good.
    Ended(ExitRecord),
    NeverStarted,
    /// Its lock has to be asked, too.
    Otherwise,
}

/// The exit record is read before the start record: a new start removes that one first, and leaves
/// the exit record where it is.
fn seen(folder: &OwnedFd, id: &ContainerId) -> Result<Seen> {
    let exit = files::read_json::<ExitRecord>(folder, &format!("{id}/exit.json"))?;
    let never_ended = matches!(exit, Stored::Missing);
    let exit = exit.good().filter(|exit| !exit.restarting);
    if exit.is_none() && !never_ended {
        return Ok(Seen::Otherwise);
    }
    let start = files::read_json::<ListedStart>(folder, &format!("{id}/state.json"))?;
    Ok(match (exit, start) {
        (None, Stored::Missing) => Seen::NeverStarted,
        (Some(exit), start) => {
            let is_its_end = start
                .good()
                .is_none_or(|start| exit.started == Some(start.started));
            if is_its_end {
                Seen::Ended(exit)
            } else {
                Seen::Otherwise
            }
        }
        _ => Seen::Otherwise,
    })
}

impl Status {
    /// Of a container that is known to have ended so, or never to have been started.
    fn at_rest(exit: Option<ExitRecord>, damaged: bool) -> Status {
        Status {
            state: match &exit {
                Some(_) => ContainerState::Exited,
                None => ContainerState::Created,
            },
            start: None,
            exit,
            removing: false,
            damaged,
        }
    }
}
