//! Each layer's tree against its blob, lower ones first; those of builds that are in no image against
//! the digest of the archive that they would make.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    os::fd::AsFd,
};

use super::{Checking, StoreCheck, references::KnownLayer};
use crate::{
    model::{Context, Digest, Result},
    storage::{
        builds::{StepLayer, StepRecord},
        check::{LayerSource, Replaced},
        pack,
    },
};

impl Checking<'_> {
    pub(super) fn layers(&mut self) {
        let mut check = StoreCheck::new("layers");
        let outcome = self.look_at_layers(&mut check);
        self.end(check, outcome);
    }

    fn look_at_layers(&mut self, check: &mut StoreCheck) -> Result<()> {
        // By depth, then by chain id: what is below is mended before it is used.
        let mut layers: BTreeMap<(usize, Digest), KnownLayer> = BTreeMap::new();
        let mut needed: BTreeSet<Digest> = BTreeSet::new();
        for image in self.all_images()? {
            needed.extend(image.record.layers.iter().cloned());
            if let Ok(known) = self.known(&image.record) {
                for layer in known.layers {
                    if image.record.layers.contains(&layer.chain_id) {
                        layers.insert((layer.below.len(), layer.chain_id.clone()), layer);
                    }
                }
            }
        }
        for (_, record) in self.store().containers()? {
            needed.extend(record.layers);
        }
        let steps = self.layers_of_steps()?;
        needed.extend(steps.keys().cloned());
        check.looked = needed.len() as u64;
        for layer in layers.values() {
            needed.remove(&layer.chain_id);
            if let Err(error) = self.look_at_layer(check, layer) {
                check
                    .unknown
                    .push(format!("layer {}: {}", layer.chain_id, error.one_line()));
            }
        }
        for chain_id in needed {
            match steps.get(&chain_id) {
                Some((layer, keys)) => self.look_at_layer_of_step(check, layer, keys)?,
                None => self.look_at_lone_layer(check, &chain_id)?,
            }
        }
        Ok(())
    }

    /// By their chain ids, with the keys of the steps that have made them.
    fn layers_of_steps(&self) -> Result<BTreeMap<Digest, (StepLayer, HashSet<Digest>)>> {
        let mut layers: BTreeMap<Digest, (StepLayer, HashSet<Digest>)> = BTreeMap::new();
        for listed in self.store().build_steps()? {
            let StepRecord { key, layer, .. } = listed.record;
            if let Some(layer) = layer {
                let chain_id = layer.chain_id.clone();
                let (_, keys) = layers.entry(chain_id).or_insert((layer, HashSet::new()));
                keys.insert(key);
            }
        }
        Ok(layers)
    }

    /// A build makes it again if it is forgotten, so nothing depends on it.
    fn look_at_layer_of_step(
        &mut self,
        check: &mut StoreCheck,
        layer: &StepLayer,
        keys: &HashSet<Digest>,
    ) -> Result<()> {
        let what = format!("layer {}", layer.chain_id);
        let why = match self.flaw_of_step(layer) {
            Ok(None) => return Ok(()),
            Ok(Some(why)) => why,
            Err(error) => {
                check.unknown.push(format!("{what}: {}", error.one_line()));
                return Ok(());
            }
        };
        // Forgotten while it was looked at.
        if !self.layers_of_steps()?.contains_key(&layer.chain_id) {
            return Ok(());
        }
        let finding = check.find(what, format!("{why}; a build has made it"));
        if self.options.repair {
            let store = &self.engine.store;
            store.forget_build_steps(keys)?;
            let alone = store.lock_exclusive()?;
            let garbage = store.bury_garbage(&alone)?;
            drop(alone);
            finding.settle(garbage.delete(store).map(|()| true));
        }
        Ok(())
    }

    fn flaw_of_step(&self, layer: &StepLayer) -> Result<Option<&'static str>> {
        let chain_id = &layer.chain_id;
        if !self.store().has_layer(chain_id)? {
            return Ok(Some("it is missing, or its layer.json is damaged"));
        }
        if self.store().layer_facts(chain_id)?.diff_id != layer.diff_id {
            return Ok(Some("layer.json has another diff id"));
        }
        if self.options.quick || !self.store().has_own_layer(chain_id)? {
            return Ok(None);
        }
        let tree = self.store().open_layer(chain_id)?;
        let digest = pack::digest_layer(tree.as_fd(), layer.with_root);
        let digest = digest.system(|| "cannot read its files".to_owned())?;
        Ok((digest != layer.diff_id).then_some("its files are other ones"))
    }

    fn look_at_layer(&mut self, check: &mut StoreCheck, layer: &KnownLayer) -> Result<()> {
        let chain_id = &layer.chain_id;
        let there = self.store().has_own_layer(chain_id)?;
        if !there && self.store().has_layer(chain_id)? {
            // An additional store's, and its owner's to look at.
            return Ok(());
        }
        if !there && !self.store().layer_is_named(chain_id)? {
            return Ok(());
        }
        let what = format!("layer {chain_id}");
        if self.options.quick && there {
            if self.store().layer_facts(chain_id)?.diff_id != layer.diff_id {
                self.damaged(check, &what, "layer.json has another diff id", layer);
            }
            return Ok(());
        }
        if !there {
            self.damaged(
                check,
                &what,
                "it is missing, or its layer.json is damaged",
                layer,
            );
            return Ok(());
        }
        let lease = self.engine.store.lease()?;
        let blob = self.store().open_blob(&layer.blob)?;
        let source = LayerSource {
            chain_id,
            diff_id: &layer.diff_id,
            below: &layer.below,
            below_is_sound: !layer.below.iter().any(|below| self.unsound.contains(below)),
        };
        let rebuilt = lease.rebuild_layer(&source, blob, self.engine.privilege())?;
        let Some(differences) = lease.compare_layer(&rebuilt, chain_id)? else {
            return Ok(());
        };
        if differences.is_empty() {
            return Ok(());
        }
        self.unsound.insert(chain_id.clone());
        let finding = check.find(&what, differences.join("; "));
        if self.options.repair {
            let replaced =
                lease.replace_layer(&rebuilt.into_layer()?, chain_id, self.options.force);
            match replaced {
                Ok(Replaced::Done | Replaced::Gone) => {
                    self.unsound.remove(chain_id);
                    finding.settle(Ok(true));
                }
                Ok(Replaced::InUse) => finding.left = Some(IN_USE.to_owned()),
                Err(error) => finding.settle(Err(error)),
            }
        }
        Ok(())
    }

    /// What cannot be compared, only made anew.
    fn damaged(&mut self, check: &mut StoreCheck, what: &str, why: &str, layer: &KnownLayer) {
        let outcome = match self.options.repair {
            true => Some(self.make_anew(layer)),
            false => None,
        };
        let mut left = None;
        if let Some(Err(error)) = &outcome {
            let users = self.users_of(&layer.chain_id);
            left = Some(format!(
                "{}; needed by {}",
                error.one_line(),
                users.join(", ")
            ));
        }
        if !matches!(outcome, Some(Ok(Replaced::Done | Replaced::Gone))) {
            self.unsound.insert(layer.chain_id.clone());
        }
        let finding = check.find(what, why);
        match outcome {
            Some(Ok(Replaced::Done | Replaced::Gone)) => finding.settle(Ok(true)),
            Some(Ok(Replaced::InUse)) => finding.left = Some(IN_USE.to_owned()),
            _ => finding.left = left,
        }
    }

    fn make_anew(&self, layer: &KnownLayer) -> Result<Replaced> {
        let lease = self.store().lease()?;
        let blob = self.store().open_blob(&layer.blob)?;
        let source = LayerSource {
            chain_id: &layer.chain_id,
            diff_id: &layer.diff_id,
            below: &layer.below,
            below_is_sound: !layer.below.iter().any(|below| self.unsound.contains(below)),
        };
        let rebuilt = lease.rebuild_layer(&source, blob, self.engine.privilege())?;
        lease.replace_layer(&rebuilt.into_layer()?, &layer.chain_id, self.options.force)
    }

    /// One whose image has no record any more: its blob went with that, so only its presence can be
    /// looked at.
    fn look_at_lone_layer(&mut self, check: &mut StoreCheck, chain_id: &Digest) -> Result<()> {
        let what = format!("layer {chain_id}");
        if self.store().has_layer(chain_id)? {
            check.unknown.push(format!(
                "{what}: the blob it came from is not known any more, so its files were not compared"
            ));
        } else if self.store().layer_is_named(chain_id)? {
            let users = self.users_of(chain_id);
            let finding = check.find(what, "it is missing, or its layer.json is damaged");
            finding.left = Some(format!(
                "its blob is not known; needed by {}",
                users.join(", ")
            ));
        }
        Ok(())
    }

    /// Everything that cannot do without the layer. They are doomed if that cannot be mended.
    fn users_of(&mut self, chain_id: &Digest) -> Vec<String> {
        let mut users = Vec::new();
        for image in self.all_images().unwrap_or_default() {
            if image.record.layers.contains(chain_id) {
                users.push(super::shown(&image.names, &image.record.config));
                self.doomed_images.push(image.record.config);
            }
        }
        for (_, record) in self.store().containers().unwrap_or_default() {
            if record.layers.contains(chain_id) {
                users.push(format!("container {}", record.id));
                self.doomed_containers.push(record.id);
            }
        }
        users
    }
}

const IN_USE: &str = "a running container uses it: stop that first, or use --force";
