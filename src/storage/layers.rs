//! Unpacked layers: `layers/HEX/`, keyed by chain id, so that layers are shared by all images
//! that have the same ones below.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use rustix::{
    fs::{Mode, RenameFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use super::{Durability, Lease, Store, additional::missing_layer, files, make_folder};
use crate::model::{Context, Digest, Error, ErrorKind, Result};

/// Where a layer lies below the root. SHA-512 is told by its length.
pub(super) fn place(chain_id: &Digest) -> String {
    format!("layers/{}", chain_id.hex())
}

/// A layer counts if this file is there: deletion without room for a rename begins with it.
pub(super) fn facts_place(chain_id: &Digest) -> String {
    format!("{}/layer.json", place(chain_id))
}

/// `layer.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerFacts {
    /// Digest of the uncompressed tar stream.
    pub diff_id: Digest,
    /// Sum of the files' sizes in bytes.
    pub size: u64,
    /// Files, directories, links and whiteouts.
    pub entries: u64,
    /// It hides everything below it. Overlayfs takes no notice of such a mark on the root of a
    /// layer, so images do not name the layers below.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub opaque_root: bool,
    /// The boot in which a build made it, as long as it was never flushed: in any other it does not
    /// count. See [`super::builds`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unflushed: Option<String>,
}

impl LayerFacts {
    /// Whether a power cut may have taken something of it.
    fn is_doubtful(&self) -> Result<bool> {
        Ok(match &self.unflushed {
            None => false,
            Some(then) => *then != super::builds::boot()?,
        })
    }
}

impl Store {
    /// Whether the layer is there now; [`Lease::has_layer`] makes it stay. One whose record the
    /// disk has damaged is not, so that the next pull or load unpacks it anew.
    pub fn has_layer(&self, chain_id: &Digest) -> Result<bool> {
        Ok(self.has_own_layer(chain_id)?
            || (self.has_additional() && self.additional_layer(&place(chain_id)).is_some()))
    }

    /// As [`Self::has_layer`], in additional stores not looked for.
    pub fn has_own_layer(&self, chain_id: &Digest) -> Result<bool> {
        let stored = files::read_json::<LayerFacts>(&self.root, &facts_place(chain_id))?;
        match stored.good() {
            Some(facts) => Ok(!facts.is_doubtful()?),
            None => Ok(false),
        }
    }

    /// # Errors
    /// [`ErrorKind::NoSuchBlob`] if one of them is not there.
    pub fn require_layers(&self, chain_ids: &[Digest]) -> Result<()> {
        let mut layers = chain_ids.iter();
        layers.try_for_each(|chain_id| self.layer_facts(chain_id).map(drop))
    }

    /// The tree of a layer, for a mount. Not checked to be there.
    pub fn layer_tree(&self, chain_id: &Digest) -> PathBuf {
        let place = place(chain_id);
        if self.has_additional()
            && !self.has_own_layer(chain_id).unwrap_or(true)
            && let Some((layer, _)) = self.additional_layer(&place)
        {
            return layer.join("tree");
        }
        self.root_path.join(place).join("tree")
    }

    /// The tree of a layer, open for listing.
    pub(super) fn layer_folder(&self, chain_id: &Digest) -> Result<OwnedFd> {
        if self.has_additional() {
            let path = self.layer_tree(chain_id);
            return rustix::fs::openat(rustix::fs::CWD, &path, super::FOLDER, Mode::empty())
                .system(|| format!("cannot open {}", path.display()));
        }
        self.folder(&format!("{}/tree", place(chain_id)))
    }

    /// The root of a layer's tree.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBlob`] if the layer is not there or damaged.
    pub fn open_layer(&self, chain_id: &Digest) -> Result<OwnedFd> {
        self.layer_facts(chain_id)?;
        self.layer_folder(chain_id)
    }

    /// The roots of layers' trees.
    pub fn layer_folders(&self, chain_ids: &[Digest]) -> Result<Vec<OwnedFd>> {
        chain_ids
            .iter()
            .map(|chain_id| self.layer_folder(chain_id))
            .collect()
    }

    /// # Errors
    /// [`ErrorKind::NoSuchBlob`] if the layer is not there or damaged.
    pub fn layer_facts(&self, chain_id: &Digest) -> Result<LayerFacts> {
        let facts = files::read_json::<LayerFacts>(&self.root, &facts_place(chain_id))?;
        if let Some(facts) = facts.good()
            && !facts.is_doubtful()?
        {
            return Ok(facts);
        }
        self.additional_layer(&place(chain_id))
            .map(|(_, facts)| facts)
            .ok_or_else(|| missing_layer(self, chain_id))
    }
}

/// A layer being unpacked in a lease.
#[derive(Debug)]
pub struct StagedLayer {
    /// `None` as long as it follows from files that are not there yet.
    chain_id: Option<Digest>,
    name: String,
    dir: OwnedFd,
    tree: OwnedFd,
    sealed: bool,
}

impl Lease<'_> {
    /// An empty directory for the files of the layer with this chain id.
    pub fn stage_layer(&self, chain_id: &Digest) -> Result<StagedLayer> {
        let layer = self.stage_new_layer()?;
        Ok(StagedLayer {
            chain_id: Some(chain_id.clone()),
            ..layer
        })
    }

    /// An empty directory for the files of a layer that [`StagedLayer::seal_as`] will name.
    pub fn stage_new_layer(&self) -> Result<StagedLayer> {
        let what = || "cannot stage a layer".to_owned();
        let name = self.fresh_name("layer");
        rustix::fs::mkdirat(self.dir(), &name, Mode::RWXU).system(what)?;
        let open = |dir: BorrowedFd<'_>, name: &str| {
            rustix::fs::openat(dir, name, super::FOLDER, Mode::empty())
        };
        let dir = open(self.dir(), &name).system(what)?;
        make_folder(&dir, "tree").system(what)?;
        let tree = open(dir.as_fd(), "tree").system(what)?;
        // It becomes `/` of containers whose image says nothing else.
        rustix::fs::fchmod(&tree, Mode::from(0o755)).system(what)?;
        Ok(StagedLayer {
            chain_id: None,
            name,
            dir,
            tree,
            sealed: false,
        })
    }
}

impl StagedLayer {
    /// What it is called in its lease.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Where the files go.
    pub fn tree(&self) -> BorrowedFd<'_> {
        self.tree.as_fd()
    }

    /// [`Self::seal`], with the chain id that has become known.
    pub fn seal_as(&mut self, chain_id: &Digest, facts: &LayerFacts) -> Result<()> {
        self.chain_id = Some(chain_id.clone());
        self.seal(facts)
    }

    /// Says that all files are there.
    pub fn seal(&mut self, facts: &LayerFacts) -> Result<()> {
        let text = serde_json::to_vec(facts).context(ErrorKind::System, || {
            format!("cannot describe layer {}", facts.diff_id)
        })?;
        files::write_new(&self.dir, "layer.json", &text, Durability::Volatile)?;
        self.sealed = true;
        Ok(())
    }

    pub(super) fn settle(&self, store: &Store, lease: &OwnedFd) -> Result<()> {
        let (true, Some(chain_id)) = (self.sealed, &self.chain_id) else {
            return Err(Error::new(ErrorKind::System, "cannot keep a layer")
                .with_source("it was never said to be complete"));
        };
        let what = || format!("cannot keep layer {chain_id}");
        let to = place(chain_id);
        match rustix::fs::renameat(lease, &self.name, &store.root, &to) {
            Ok(()) => Ok(()),
            // Another process was faster; ours goes with the lease.
            Err(Errno::EXIST | Errno::NOTEMPTY) if store.has_own_layer(chain_id)? => Ok(()),
            // The remains of an interrupted deletion, or a damaged one: they change places with ours.
            Err(Errno::EXIST | Errno::NOTEMPTY) => rustix::fs::renameat_with(
                lease,
                &self.name,
                &store.root,
                &to,
                RenameFlags::EXCHANGE,
            )
            .system(what),
            Err(errno) => Err(errno).system(what),
        }
    }
}
