//! What a check finds in the store itself, and what adding and taking away at once leave: everything
//! that a record names, and nothing that a check would call broken.

mod storage;

use std::time::Duration;

use storage::{World, stage_image};

#[test]
fn a_sound_store_has_no_flaws() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    world.add_container("box", &image);
    let places = world.store.check_places().unwrap();
    assert!(places.access.is_empty(), "{:?}", places.access);
    assert!(places.records.is_empty(), "{:?}", places.records);
    assert!(places.unknown.is_empty(), "{:?}", places.unknown);
    let digests = world.store.blob_digests().unwrap();
    assert_eq!(digests.len(), 3);
    assert!(
        world
            .store
            .verify_blobs(&digests, &|_| {})
            .damaged
            .is_empty()
    );
    let left = world.store.leftovers(Duration::ZERO).unwrap();
    assert!(left.unused.is_empty() && left.names.is_empty() && left.staging.is_empty());
}

#[test]
fn damaged_blobs_and_records_are_named() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    let place = format!("blobs/sha256/{}", image.config.hex());
    std::fs::write(world.path(&place), b"something else").unwrap();
    std::fs::write(world.path("strange"), b"").unwrap();
    let digests = world.store.blob_digests().unwrap();
    let flaws = world.store.verify_blobs(&digests, &|_| {});
    assert_eq!(flaws.damaged.len(), 1);
    assert_eq!(flaws.damaged[0].digest, image.config);
    let record = world.list("images").remove(0);
    std::fs::write(world.path(&format!("images/{record}")), b"{\"na").unwrap();
    let places = world.store.check_places().unwrap();
    assert_eq!(places.records.len(), 1);
    assert!(world.store.cure(&places.records[0], false).unwrap());
    assert_eq!(places.unknown, ["strange"]);
    assert!(world.store.check_places().unwrap().records.is_empty());
    // Needed by nobody now, and damaged.
    assert!(world.store.remove_stray_blob(&image.config).unwrap());
    assert!(!world.store.has_blob(&image.config).unwrap());
}

#[test]
fn a_needed_blob_is_no_stray() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    assert!(!world.store.remove_stray_blob(&image.blobs[0]).unwrap());
    assert!(world.store.has_blob(&image.blobs[0]).unwrap());
}

/// Pulls, removals, prunes, new names and containers, all at once: every image that has a record has
/// all of its content at every moment that it is looked at with the lock held.
#[test]
fn collecting_takes_nothing_that_is_being_used() {
    let world = World::new();
    let rounds = 40;
    std::thread::scope(|scope| {
        for worker in 0..3 {
            let world = &world;
            scope.spawn(move || {
                let store = world.reopen();
                for round in 0..rounds {
                    // All use the same content, under names of their own.
                    let name = format!("img{worker}");
                    let content = format!("shared {}", round % 3);
                    let lease = store.lease().unwrap();
                    let (blobs, layer, record) = stage_image(&lease, Some(&name), &content);
                    lease
                        .commit(blobs, vec![layer], std::slice::from_ref(&record))
                        .unwrap();
                    // Found here already: claimed, and then named without bringing it along.
                    let again = coracle::model::image::ImageRecord {
                        name: Some(format!("tag{worker}").parse().unwrap()),
                        ..record.clone()
                    };
                    let there = lease.has_layer(&record.layers[0]).unwrap()
                        && lease.has_blob(&record.manifest).unwrap()
                        && lease.has_blob(&record.config).unwrap()
                        && lease.has_blob(&record.blobs[0]).unwrap();
                    if there {
                        lease
                            .commit(Vec::new(), Vec::new(), std::slice::from_ref(&again))
                            .unwrap();
                    }
                    drop(lease);
                    let alone = store.lock_exclusive().unwrap();
                    store.remove_image_record(&alone, &record).unwrap();
                    drop(alone);
                }
            });
        }
        scope.spawn(|| {
            let store = world.reopen();
            for _ in 0..rounds * 2 {
                store.collect_garbage().unwrap();
                let _shared = store.lock_shared().unwrap();
                for image in store.images().unwrap() {
                    for blob in [&image.manifest, &image.config, &image.blobs[0]] {
                        assert!(store.has_blob(blob).unwrap(), "{blob} of {:?}", image.name);
                    }
                    assert!(store.has_layer(&image.layers[0]).unwrap());
                }
            }
        });
    });
    world.store.collect_garbage().unwrap();
    let left = world.store.leftovers(Duration::ZERO).unwrap();
    assert!(
        left.unused.is_empty() && left.staging.is_empty(),
        "{left:?}"
    );
    let digests = world.store.blob_digests().unwrap();
    assert!(
        world
            .store
            .verify_blobs(&digests, &|_| {})
            .damaged
            .is_empty()
    );
}
