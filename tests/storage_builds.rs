//! What steps of builds have made: found again, kept, doubted after a power cut, given up.

#[path = "storage/mod.rs"]
mod storage;

use std::collections::HashSet;

use coracle::{
    model::Digest,
    storage::{
        LayerFacts, Lease,
        build_caches::Having,
        builds::{StepLayer, StepRecord},
    },
};
use storage::{World, digest, stage_image};

/// Makes a step with one file, and its archive.
fn make(lease: &Lease<'_>, name: &str) -> StepRecord {
    let layer = lease.stage_new_layer().unwrap();
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CREATE;
    let mode = rustix::fs::Mode::from(0o644);
    let file = rustix::fs::openat(layer.tree(), "file", flags, mode).unwrap();
    rustix::io::write(file, name.as_bytes()).unwrap();
    let archive = lease.archive_layer(layer.tree(), false).unwrap();
    let record = StepRecord {
        squashes: false,
        key: digest(name),
        parent: None,
        layer: Some(StepLayer {
            chain_id: archive.diff_id.clone(),
            diff_id: archive.diff_id.clone(),
            size: name.len() as u64,
            blob: Some((archive.blob.digest().clone(), archive.blob.size())),
            with_root: false,
        }),
        unflushed: None,
        created: "2026-01-01T00:00:00Z".to_owned(),
        name: name.to_owned(),
        shared: None,
    };
    lease
        .commit_step(record, Some((layer, 1)), Some(archive.blob))
        .unwrap()
}

fn chain_of(record: &StepRecord) -> Digest {
    record.layer.as_ref().unwrap().chain_id.clone()
}

fn blob_of(record: &StepRecord) -> Digest {
    record.layer.as_ref().unwrap().blob.clone().unwrap().0
}

/// As if the machine had been started anew.
fn reboot(world: &World, record: &StepRecord) {
    let chain = chain_of(record);
    for place in [
        format!("builds/steps/{}", record.key.hex()),
        format!("layers/{}/layer.json", chain.hex()),
    ] {
        let text = std::fs::read_to_string(world.path(&place)).unwrap();
        let boot = record.unflushed.as_ref().unwrap();
        let other = boot.replace(|letter: char| letter.is_ascii_hexdigit(), "0");
        std::fs::write(world.path(&place), text.replace(boot, &other)).unwrap();
    }
}

#[test]
fn a_step_is_found_again_and_kept() {
    let world = World::new();
    let record = make(&world.store.lease().unwrap(), "one");
    world.store.collect_garbage().unwrap();
    let other = world.reopen();
    let lease = other.lease().unwrap();
    assert_eq!(
        lease.find_step(&digest("one")).unwrap(),
        Some(record.clone())
    );
    assert_eq!(lease.find_step(&digest("two")).unwrap(), None);
    assert_eq!(other.build_steps().unwrap()[0].record, record);
    assert!(
        other
            .layer_facts(&chain_of(&record))
            .unwrap()
            .unflushed
            .is_some()
    );
}

#[test]
fn forgotten_it_goes_but_not_under_a_lease() {
    let world = World::new();
    let record = make(&world.store.lease().unwrap(), "one");
    let lease = world.store.lease().unwrap();
    lease.find_step(&record.key).unwrap().unwrap();
    let keys = HashSet::from([record.key.clone()]);
    assert_eq!(world.store.forget_build_steps(&keys).unwrap(), 1);
    world.store.collect_garbage().unwrap();
    assert!(world.store.has_layer(&chain_of(&record)).unwrap());
    assert_eq!(world.list("builds/blobs").len(), 1);
    drop(lease);
    world.store.collect_garbage().unwrap();
    assert!(!world.store.has_layer(&chain_of(&record)).unwrap());
    assert!(world.list("builds/blobs").is_empty());
    assert!(world.list("builds/steps").is_empty());
}

#[test]
fn after_a_power_cut_it_does_not_count() {
    let world = World::new();
    let record = make(&world.store.lease().unwrap(), "one");
    reboot(&world, &record);
    let lease = world.store.lease().unwrap();
    assert_eq!(lease.find_step(&record.key).unwrap(), None);
    assert!(!lease.has_layer(&chain_of(&record)).unwrap());
    assert!(world.store.layer_facts(&chain_of(&record)).is_err());
    // Made anew, over what is there.
    make(&lease, "one");
    assert!(lease.find_step(&record.key).unwrap().is_some());
    drop(lease);
    let again = make(&world.store.lease().unwrap(), "two");
    reboot(&world, &again);
    world.store.collect_garbage().unwrap();
    assert_eq!(world.list("builds/steps"), [record.key.hex()]);
    assert_eq!(world.list("layers"), [chain_of(&record).hex()]);
}

#[test]
fn in_an_image_it_counts_for_ever() {
    let world = World::new();
    let lease = world.store.lease().unwrap();
    let record = make(&lease, "one");
    let (mut blobs, layer, mut image) = stage_image(&lease, Some("localhost/built:1"), "built");
    image.layers.push(chain_of(&record));
    image.blobs.push(blob_of(&record));
    blobs.extend(lease.stage_step_blob(&blob_of(&record)).unwrap());
    lease.commit(blobs, vec![layer], &[image]).unwrap();
    lease.drop_step_blobs([blob_of(&record)].iter());
    lease
        .acknowledge_steps(std::slice::from_ref(&record))
        .unwrap();
    assert!(world.store.has_blob(&blob_of(&record)).unwrap());
    assert!(world.list("builds/blobs").is_empty());
    let facts: LayerFacts = world.store.layer_facts(&chain_of(&record)).unwrap();
    assert_eq!(facts.unflushed, None);
    let found = lease.find_step(&record.key).unwrap().unwrap();
    assert_eq!(found.unflushed, None);
    assert_eq!(blob_of(&found), blob_of(&record));
    // It is a blob now: there is nothing to stage.
    assert!(lease.stage_step_blob(&blob_of(&record)).unwrap().is_none());
}

#[test]
fn caches_are_shared_copied_or_waited_for() {
    let world = World::new();
    let store = &world.store;
    let hold = |having| {
        store
            .hold_build_cache("id", having, &|| panic!("it waits"))
            .unwrap()
    };
    let data = |held: &coracle::storage::build_caches::HeldCache| held.data(|_| Ok(())).unwrap();
    let one = hold(Having::Shared);
    let two = hold(Having::Shared);
    assert_eq!(data(&one), data(&two));
    let copy = hold(Having::Private);
    assert_ne!(data(&copy), data(&one));
    assert!(store.build_caches().unwrap()[0].in_use);
    let key = store.build_caches().unwrap()[0].key.clone();
    store.remove_build_cache(&key).unwrap();
    assert!(data(&one).exists(), "who has it keeps it");
    drop((one, two, copy));
    std::fs::write(data(&hold(Having::Locked)).join("file"), "kept").unwrap();
    assert!(data(&hold(Having::Private)).join("file").exists());
    store.remove_build_cache(&key).unwrap();
    assert!(store.build_caches().unwrap().is_empty());
    assert!(!data(&hold(Having::Shared)).join("file").exists());
}
