//! A store in a temporary directory, and things to put into it.

#![allow(
    dead_code,
    reason = "every test program uses another part of the environment"
)]

use std::path::PathBuf;

use coracle::{
    model::{
        ContainerId, ContainerSpec, Digest, Reference, container::ContainerRecord,
        image::ImageRecord,
    },
    storage::{ContainerDir, ContainerLock, Durability, LayerFacts, Lease, StagedLayer, Store},
};
use sha2::Digest as _;

pub struct World {
    pub store: Store,
    pub folder: tempfile::TempDir,
}

impl World {
    pub fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        World { store, folder }
    }

    /// As another process sees it.
    pub fn reopen(&self) -> Store {
        open(&self.folder)
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join("root").join(below)
    }

    /// Names in a directory of the store, sorted.
    pub fn list(&self, below: &str) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.path(below))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Puts a whole image into the store: two documents, one compressed layer, one unpacked.
    pub fn add_image(&self, name: &str, content: &str) -> ImageRecord {
        let lease = self.store.lease().unwrap();
        let (blobs, layer, record) = stage_image(&lease, Some(name), content);
        lease
            .commit(blobs, vec![layer], std::slice::from_ref(&record))
            .unwrap();
        record
    }

    /// A blob that nothing refers to.
    pub fn add_blob(&self, content: &str) {
        let lease = self.store.lease().unwrap();
        let blob = lease.stage_document(content.as_bytes()).unwrap();
        lease.commit(vec![blob], vec![], &[]).unwrap();
    }

    pub fn add_container(
        &self,
        name: &str,
        image: &ImageRecord,
    ) -> (ContainerDir, ContainerLock, ContainerRecord) {
        let record = container_record(name, image);
        let staged = self.store.stage_container(&record.id).unwrap();
        staged.make_folder("upper").unwrap();
        let (dir, lock) = staged.commit(&record, Durability::Volatile).unwrap();
        (dir, lock, record)
    }
}

fn open(folder: &tempfile::TempDir) -> Store {
    Store::open(&folder.path().join("root"), &folder.path().join("run")).unwrap()
}

pub fn digest(content: &str) -> Digest {
    Digest::sha256(sha2::Sha256::digest(content))
}

pub fn stage_image(
    lease: &Lease<'_>,
    name: Option<&str>,
    content: &str,
) -> (Vec<coracle::storage::StagedBlob>, StagedLayer, ImageRecord) {
    let texts = [
        format!("manifest {content}"),
        format!("config {content}"),
        format!("layer {content}"),
    ];
    let blobs: Vec<_> = texts
        .iter()
        .map(|text| lease.stage_document(text.as_bytes()).unwrap())
        .collect();
    let chain_id = digest(&format!("tree {content}"));
    let layer = stage_layer(lease, &chain_id, content);
    let record = ImageRecord {
        name: name.map(|name| name.parse::<Reference>().unwrap()),
        manifest: blobs[0].digest().clone(),
        config: blobs[1].digest().clone(),
        index: None,
        blobs: vec![blobs[2].digest().clone()],
        others: vec![],
        layers: vec![chain_id],
        size: 1,
        created: None,
        tagged: 0,
    };
    (blobs, layer, record)
}

pub fn stage_layer(lease: &Lease<'_>, chain_id: &Digest, content: &str) -> StagedLayer {
    let mut layer = lease.stage_layer(chain_id).unwrap();
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CREATE;
    let file =
        rustix::fs::openat(layer.tree(), "file", flags, rustix::fs::Mode::from(0o644)).unwrap();
    rustix::io::write(file, content.as_bytes()).unwrap();
    layer
        .seal(&LayerFacts {
            diff_id: chain_id.clone(),
            size: content.len() as u64,
            entries: 1,
            opaque_root: false,
            unflushed: None,
        })
        .unwrap();
    layer
}

/// The ID follows from the name and a counter, so that a name can be used again.
pub fn container_record(name: &str, image: &ImageRecord) -> ContainerRecord {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let hex = digest(&format!("{name} {count}")).hex().to_owned();
    ContainerRecord {
        id: hex.parse::<ContainerId>().unwrap(),
        name: name.to_owned(),
        created: format!("2026-01-01T00:00:00.{count:09}Z"),
        spec: ContainerSpec::default(),
        image_id: Some(image.config.clone()),
        layers: image.layers.clone(),
        ids: None,
        path: "/bin/true".to_owned(),
        args: Vec::new(),
    }
}
