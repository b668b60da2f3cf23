//! `system check`: whether the store is what it says, thing by thing, and its repair.
//!
//! ```text
//! access      owners and modes of folders and records (storage::check::places)
//! records     records of images, containers, volumes, networks, secrets that can be read
//! strangers   files that nobody knows: told of, never touched
//! leftovers   staging of the dead, old downloads, dead names, content that nothing names
//! blobs       each blob's digest, all cores
//! images      record → manifest → configuration → layers → blobs        (references)
//! layers      each layer's tree against what its blob unpacks to        (trees)
//! containers  record → layers, configuration, volumes, name
//! ```
//!
//! The order is that of repair: records before what they refer to, blobs before the layers that are
//! unpacked from them, lower layers before upper ones. A damaged or missing blob is fetched again
//! from the registry that one of the image's names refers to, a damaged layer is unpacked again from
//! its blob. What cannot be mended is told; with `force` the image or container that needs it is
//! removed. A layer that a running container has mounted is left as it is, unless forced.
//!
//! Killed anywhere, each thing is as it was or mended.

mod containers;
mod references;
mod refetch;
mod trees;

use std::{collections::BTreeSet, time::Duration};

use super::{Engine, Health, Progress, RegistryOptions};
use crate::{
    model::{ContainerId, Digest, Reference, Result},
    registry::Registry,
    storage::check::{Cure, Flaw},
};

/// What to look at and what to do about it.
#[derive(Clone, Copy, Debug)]
pub struct StoreCheckOptions {
    pub repair: bool,
    /// Remove what cannot be mended, with what needs it; replace layers of running containers.
    pub force: bool,
    /// Sizes instead of contents.
    pub quick: bool,
    /// Leftovers that are younger are none.
    pub max_age: Duration,
}

/// How one flaw ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was asked to be done, or nothing helped.
    Found,
    Mended,
    /// What needed it was removed.
    Removed,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug)]
pub struct Finding {
    /// A blob, a layer, an image, a place below the root.
    pub what: String,
    pub why: String,
    pub outcome: Outcome,
    /// Why it was not mended.
    pub left: Option<String>,
}

/// One named check.
#[derive(Clone, Debug)]
pub struct StoreCheck {
    pub name: &'static str,
    /// Broken if a finding was not mended; unknown if something could not be looked at.
    pub health: Health,
    /// How many things were looked at.
    pub looked: u64,
    pub findings: Vec<Finding>,
    /// What could not be looked at, and why.
    pub unknown: Vec<String>,
}

impl StoreCheck {
    fn new(name: &'static str) -> StoreCheck {
        StoreCheck {
            name,
            health: Health::Fine,
            looked: 0,
            findings: Vec::new(),
            unknown: Vec::new(),
        }
    }

    fn find(&mut self, what: impl Into<String>, why: impl Into<String>) -> &mut Finding {
        self.findings.push(Finding {
            what: what.into(),
            why: why.into(),
            outcome: Outcome::Found,
            left: None,
        });
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    /// Adds up what was found. A failure of the check itself is a thing it could not look at.
    fn close(mut self, outcome: Result<()>) -> StoreCheck {
        if let Err(error) = outcome {
            self.unknown.push(error.one_line());
        }
        self.add_up();
        self
    }

    fn add_up(&mut self) {
        let open = |finding: &Finding| finding.outcome == Outcome::Found;
        self.health = if self.findings.iter().any(open) {
            Health::Broken
        } else if !self.unknown.is_empty() {
            Health::Unknown
        } else {
            Health::Fine
        };
    }
}

impl Finding {
    /// Notes how an attempt to mend it ended.
    fn settle(&mut self, mended: Result<bool>) {
        match mended {
            Ok(true) => self.outcome = Outcome::Mended,
            Ok(false) => {}
            Err(error) => self.left = Some(error.one_line()),
        }
    }
}

/// One run of all checks.
struct Checking<'a> {
    engine: &'a Engine,
    options: StoreCheckOptions,
    registry: Registry,
    progress: &'a dyn Progress,
    done: Vec<StoreCheck>,
    /// Layers that are damaged and were not mended.
    unsound: BTreeSet<Digest>,
    /// Images and containers that need what could not be mended.
    doomed_images: Vec<Digest>,
    doomed_containers: Vec<ContainerId>,
}

impl Engine {
    /// Looks at the whole store, and mends what can be mended if that is asked for.
    ///
    /// # Errors
    /// Only that this user cannot look at all; everything else is a finding.
    pub fn check_store(
        &self,
        options: StoreCheckOptions,
        registry: &RegistryOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<StoreCheck>> {
        let registry = Registry::new(registry);
        if options.repair {
            self.prepare_refetch(&registry);
        }
        self.enter_user_namespace()?;
        allow_many_files();
        let mut checking = Checking {
            engine: self,
            options,
            registry,
            progress,
            done: Vec::new(),
            unsound: BTreeSet::new(),
            doomed_images: Vec::new(),
            doomed_containers: Vec::new(),
        };
        checking.places();
        checking.leftovers();
        checking.images();
        checking.layers();
        checking.containers();
        checking.volumes();
        checking.remove_doomed();
        Ok(checking.done)
    }

    /// Credentials are looked for before this process becomes somebody else. Without them it is
    /// fetched anonymously.
    fn prepare_refetch(&self, registry: &Registry) {
        for image in self.store.images().unwrap_or_default() {
            if let Some(name) = &image.name {
                let _ = registry.prepare(name);
            }
        }
    }
}

/// Trees are compared with two descriptors a level, and may be a few thousand levels deep.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    let wanted = Rlimit {
        current: most,
        maximum: most,
    };
    // Without it, what is too deep is told as not looked at.
    let _ = setrlimit(Resource::Nofile, wanted);
}

impl Checking<'_> {
    fn store(&self) -> &crate::storage::Store {
        &self.engine.store
    }

    fn end(&mut self, check: StoreCheck, outcome: Result<()>) {
        self.done.push(check.close(outcome));
    }

    fn places(&mut self) {
        let mut access = StoreCheck::new("access");
        let mut records = StoreCheck::new("records");
        let mut strangers = StoreCheck::new("strangers");
        let places = match self.store().check_places() {
            Ok(places) => places,
            Err(error) => return self.end(access, Err(error)),
        };
        access.looked = places.looked;
        self.flaws(&mut access, &places.access);
        self.flaws(&mut records, &places.records);
        for place in places.foreign {
            records
                .unknown
                .push(format!("{place}: a newer program's, or damaged"));
        }
        self.end(access, Ok(()));
        self.end(records, Ok(()));
        let health = if places.unknown.is_empty() {
            Health::Fine
        } else {
            Health::Limited
        };
        for place in places.unknown {
            strangers.find(place, "not a file of the store").left =
                Some("left alone: move it away yourself".to_owned());
        }
        self.done.push(StoreCheck {
            health,
            ..strangers
        });
    }

    fn flaws(&self, check: &mut StoreCheck, flaws: &[Flaw]) {
        for flaw in flaws {
            let finding = check.find(flaw.place.as_str(), flaw.why.as_str());
            if self.options.repair {
                finding.settle(self.store().cure(flaw, self.options.force));
                if finding.outcome == Outcome::Found && !self.options.force {
                    finding.left.get_or_insert_with(|| match flaw.cure {
                        Cure::RemoveIfForced => {
                            "--force removes it, with all that is in it".to_owned()
                        }
                        _ => "cannot be mended here".to_owned(),
                    });
                }
            }
        }
    }

    fn leftovers(&mut self) {
        let mut check = StoreCheck::new("leftovers");
        let outcome = self.look_at_leftovers(&mut check);
        self.end(check, outcome);
    }

    fn look_at_leftovers(&self, check: &mut StoreCheck) -> Result<()> {
        let found = self.store().leftovers(self.options.max_age)?;
        let kinds = [
            (&found.staging, "left by a process that died"),
            (&found.partials, "a download that nobody goes on with"),
            (&found.names, "a name whose container is not there"),
            (&found.unused, "nothing names it"),
        ];
        for (places, why) in kinds {
            for place in places {
                check.find(place.as_str(), why);
            }
        }
        if !self.options.repair || check.findings.is_empty() {
            return Ok(());
        }
        self.store().remove_leftovers(&found)?;
        let left = self.store().leftovers(self.options.max_age)?;
        let left = [left.staging, left.partials, left.names, left.unused].concat();
        for finding in &mut check.findings {
            if !left.contains(&finding.what) {
                finding.outcome = Outcome::Mended;
            }
        }
        Ok(())
    }

    /// With `force`: what needs things that could not be mended goes.
    fn remove_doomed(&mut self) {
        if !(self.options.repair && self.options.force) {
            return;
        }
        let engine = self.engine;
        for id in std::mem::take(&mut self.doomed_containers) {
            let outcome = engine.remove_broken_container(&id);
            self.settle_doomed(&format!("container {}", id.as_str()), outcome);
        }
        for image in std::mem::take(&mut self.doomed_images) {
            let outcome = engine.remove_broken_image(&image);
            self.settle_doomed(&format!("image {image}"), outcome);
        }
    }

    /// Findings that were left because of what was removed, and what could not be looked at in it.
    fn settle_doomed(&mut self, what: &str, outcome: Result<()>) {
        for check in &mut self.done {
            for finding in &mut check.findings {
                let concerned = finding.outcome == Outcome::Found
                    && finding
                        .left
                        .as_deref()
                        .is_some_and(|left| left.contains(what));
                if !concerned {
                    continue;
                }
                match &outcome {
                    Ok(()) => finding.outcome = Outcome::Removed,
                    Err(error) => finding.left = Some(error.one_line()),
                }
            }
            if outcome.is_ok() {
                // What could not be looked at in it is of no interest any more.
                check.unknown.retain(|text| !text.starts_with(what));
            }
            if matches!(check.health, Health::Broken | Health::Unknown) {
                check.add_up();
            }
        }
    }
}

/// For messages: the names of an image, or its id.
fn shown(names: &[Reference], config: &Digest) -> String {
    match names {
        [] => format!("image {config}"),
        names => {
            let names: Vec<String> = names.iter().map(Reference::familiar).collect();
            format!("image {config} ({})", names.join(", "))
        }
    }
}
