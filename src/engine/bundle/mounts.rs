//! `mounts` of a configuration → steps of the plan.
//!
//! What confinement is made of is always our own: /proc, /sys and /dev are those of every
//! container, whatever options they are listed with, and nothing else can be mounted on or below
//! the first two.

use std::path::{Path, PathBuf};

use oci_spec::runtime as oci;

use super::read::{invalid, unsupported};
use crate::{
    engine::plan::{FileSystem, MountStep},
    model::{
        Result,
        mount::{Attribute, AttributeChange, Propagation},
    },
};

/// Most mounts that a configuration may list.
const MAX_MOUNTS: usize = 4096;

/// A mount as listed.
pub(super) enum Listed {
    /// Made as the planner makes it for every container.
    Own(Own),
    Other(MountStep),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    Proc,
    Sys,
    Cgroup,
    Dev,
}

pub(super) fn listed(
    config: &oci::Spec,
    bundle: &Path,
    notices: &mut Vec<String>,
) -> Result<Vec<Listed>> {
    let mounts = config.mounts().as_deref().unwrap_or_default();
    if mounts.len() > MAX_MOUNTS {
        return Err(invalid("mounts", &format!("more than {MAX_MOUNTS}")));
    }
    let mut steps = Vec::new();
    for (index, mount) in mounts.iter().enumerate() {
        let field = format!("mounts[{index}]");
        steps.extend(Wanted::read(&field, mount, bundle)?.step(notices)?);
    }
    let has_dev = |step: &Listed| matches!(step, Listed::Own(Own::Dev));
    if !steps.iter().any(has_dev) {
        return Err(unsupported("mounts", "a container needs a tmpfs on /dev"));
    }
    Ok(steps)
}

/// The steps of a plan, in the configuration's order. Where the container shares its memory with
/// others, /dev/shm and /dev/mqueue are theirs, whatever is listed.
pub(super) fn steps(listed: Vec<Listed>, planned: &[MountStep]) -> Vec<MountStep> {
    let own = |wanted: Own| {
        planned.iter().find(|step| match step {
            MountStep::Proc { .. } => wanted == Own::Proc,
            MountStep::Sys { .. } => wanted == Own::Sys,
            MountStep::Cgroup { .. } => wanted == Own::Cgroup,
            MountStep::Dev { .. } => wanted == Own::Dev,
            _ => false,
        })
    };
    let shared = |target: &str| {
        planned.iter().find(|step| match step {
            MountStep::HostShm | MountStep::JoinedShm => target == "/dev/shm",
            MountStep::HostMessageQueue => target == "/dev/mqueue",
            _ => false,
        })
    };
    listed
        .into_iter()
        .filter_map(|mount| match mount {
            Listed::Own(wanted) => own(wanted).cloned(),
            Listed::Other(MountStep::Attached { target, .. }) if shared(&target).is_some() => {
                shared(&target).cloned()
            }
            Listed::Other(step) => Some(step),
        })
        .collect()
}

/// One mount, its options sorted by whom they are for.
struct Wanted<'a> {
    field: &'a str,
    target: String,
    kind: String,
    source: Option<PathBuf>,
    bind: bool,
    recursive: bool,
    change: AttributeChange,
    propagation: Option<Propagation>,
    /// For the file system itself.
    parameters: Vec<(String, Option<String>)>,
}

impl<'a> Wanted<'a> {
    fn read(field: &'a str, mount: &oci::Mount, bundle: &Path) -> Result<Self> {
        let kind = mount.typ().clone().unwrap_or_default();
        let mut wanted = Wanted {
            field,
            target: target(field, mount.destination())?,
            bind: kind == "bind",
            recursive: false,
            kind,
            source: mount.source().clone(),
            change: AttributeChange::default(),
            propagation: None,
            parameters: Vec::new(),
        };
        if mount.uid_mappings().is_some() || mount.gid_mappings().is_some() {
            return Err(unsupported(field, "id-mapped mounts are not there yet"));
        }
        for option in mount.options().iter().flatten() {
            wanted.read_option(option)?;
        }
        if wanted.bind {
            let source = wanted
                .source
                .take()
                .ok_or_else(|| invalid(field, "a bind mount needs a source"))?;
            wanted.source = Some(bundle.join(source));
        }
        Ok(wanted)
    }

    fn read_option(&mut self, option: &str) -> Result<()> {
        if let Some(propagation) = Propagation::parse(option) {
            self.propagation = Some(propagation);
            return Ok(());
        }
        if let Some((attribute, on, recursive)) = Attribute::parse(option) {
            self.change.put(attribute, on, recursive);
            return Ok(());
        }
        match option {
            "bind" => self.bind = true,
            "rbind" => (self.bind, self.recursive) = (true, true),
            "defaults" | "async" | "silent" | "loud" | "nomand" | "norelatime" | "nolazytime"
            | "noiversion" => {}
            "unbindable" | "runbindable" | "idmap" | "ridmap" | "remount" | "tmpcopyup"
            | "copy-symlink" => {
                return Err(unsupported(
                    self.field,
                    &format!("option {option:?} is not there"),
                ));
            }
            other => self.parameters.push(match other.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (other.to_owned(), None),
            }),
        }
        Ok(())
    }

    fn step(self, notices: &mut Vec<String>) -> Result<Option<Listed>> {
        let expect = |kinds: &[&str], own: Own| {
            if kinds.contains(&self.kind.as_str()) && !self.bind {
                Ok(Some(Listed::Own(own)))
            } else {
                Err(unsupported(
                    self.field,
                    &format!(
                        "only a mount of type {} can be on {}",
                        kinds[0], self.target
                    ),
                ))
            }
        };
        match self.target.as_str() {
            "/proc" if self.parameters.iter().any(is_unknown_of_proc) => Err(unsupported(
                self.field,
                "of proc's options only hidepid, gid and subset are there",
            )),
            "/proc" if self.bind => Ok(Some(Listed::Own(Own::Proc))),
            "/proc" => expect(&["proc"], Own::Proc),
            "/sys" if self.bind => Ok(Some(Listed::Own(Own::Sys))),
            "/sys" => {
                if !self.change.is_read_only() {
                    notices.push(format!(
                        "{} in config.json: /sys stays read-only",
                        self.field
                    ));
                }
                expect(&["sysfs"], Own::Sys)
            }
            "/sys/fs/cgroup" => expect(&["cgroup", "cgroup2"], Own::Cgroup),
            "/dev" => expect(&["tmpfs"], Own::Dev),
            // Part of our /dev.
            "/dev/pts" => expect(&["devpts"], Own::Dev).map(|_| None),
            "/" => Err(invalid(self.field, "nothing can be mounted on /")),
            target if target.starts_with("/proc/") || target.starts_with("/sys/") => Err(
                unsupported(self.field, "nothing can be mounted below /proc and /sys"),
            ),
            _ => self.file_system().map(Listed::Other).map(Some),
        }
    }

    fn file_system(self) -> Result<MountStep> {
        let file_system = if self.bind {
            if let Some((name, _)) = self.parameters.first() {
                return Err(invalid(
                    self.field,
                    &format!("{name:?} is not an option of a bind mount"),
                ));
            }
            FileSystem::Bind {
                source: self.source.unwrap_or_default(),
                recursive: self.recursive,
            }
        } else {
            if self.kind.is_empty() || self.kind == "none" {
                return Err(invalid(self.field, "its type is missing"));
            }
            FileSystem::New {
                kind: self.kind,
                source: self.source.map(|path| path.to_string_lossy().into_owned()),
                parameters: self.parameters,
            }
        };
        Ok(MountStep::Attached {
            file_system,
            target: self.target,
            change: self.change,
            propagation: self.propagation.unwrap_or_default(),
        })
    }
}

fn is_unknown_of_proc((key, value): &(String, Option<String>)) -> bool {
    value.is_none() || !["hidepid", "gid", "subset"].contains(&key.as_str())
}

/// Absolute and plain. Version 1.0 allowed relative ones, seen from the root.
fn target(field: &str, path: &Path) -> Result<String> {
    let text = path
        .to_str()
        .filter(|text| !text.is_empty() && !text.contains('\0'))
        .ok_or_else(|| invalid(&format!("{field}.destination"), "it is not a path"))?;
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Ok(format!("/{}", parts.join("/")))
}
