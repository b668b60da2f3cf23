//! Volumes: who makes one, who removes one, and what the dead leave.

mod storage;

use std::{collections::BTreeMap, fs, sync::Barrier};

use coracle::{
    model::{
        ErrorKind,
        mount::{Mount, MountSource, parse_volume},
        volume::VolumeRecord,
    },
    storage::Durability,
};
use storage::{World, container_record};

fn record(name: &str) -> VolumeRecord {
    VolumeRecord {
        name: name.to_owned(),
        created: "2026-11-21T00:00:00.5Z".to_owned(),
        labels: BTreeMap::new(),
        options: BTreeMap::new(),
    }
}

fn make(world: &World, name: &str) -> bool {
    let (_, made) = world
        .store
        .make_volume(&record(name), (None, None), Durability::Durable)
        .unwrap();
    made
}

/// A container with these mounts.
fn add_user(world: &World, name: &str, mounts: Vec<Mount>) -> coracle::model::ContainerId {
    let image = world.add_image("alpine", "one");
    let mut of = container_record(name, &image);
    of.spec.mounts = mounts;
    let staged = world.store.stage_container(&of.id).unwrap();
    staged.commit(&of, Durability::Volatile).unwrap();
    of.id
}

fn anonymous(name: &str) -> Mount {
    let mut mount = parse_volume("/anon").unwrap();
    if let MountSource::Volume(volume) = &mut mount.source {
        volume.name = name.to_owned();
    }
    mount
}

#[test]
fn one_of_many_makers_makes_it() {
    let world = World::new();
    let barrier = Barrier::new(8);
    let made: usize = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let store = world.reopen();
                    barrier.wait();
                    let made =
                        store.make_volume(&record("data"), (None, None), Durability::Volatile);
                    usize::from(made.unwrap().1)
                })
            })
            .collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).sum()
    });
    assert_eq!(made, 1);
    assert_eq!(world.list("volumes"), ["data"]);
    assert_eq!(world.list("tmp"), [""; 0]);
    assert_eq!(world.store.volume("data").unwrap(), Some(record("data")));
    assert_eq!(world.store.volumes().unwrap(), [record("data")]);
}

#[test]
fn a_volume_with_a_user_stays() {
    let world = World::new();
    make(&world, "data");
    let id = add_user(&world, "boat", vec![parse_volume("data:/x").unwrap()]);
    let error = world.store.remove_volume("data").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains(id.as_str()), "{error:?}");
    let names = ["data".to_owned()];
    assert!(
        world
            .store
            .remove_unused_volumes(&names)
            .unwrap()
            .is_empty()
    );
    world.store.collect_garbage().unwrap();
    assert_eq!(world.list("volumes"), ["data"]);
    let dir = world.store.container(&id).unwrap();
    let lock = dir.try_hold().unwrap().unwrap();
    world
        .store
        .remove_container_and_volumes(&dir, lock)
        .unwrap();
    // It has a name: it is nobody's to remove on the way.
    assert_eq!(world.list("volumes"), ["data"]);
    world.store.remove_volume("data").unwrap();
    assert_eq!(world.list("volumes"), [""; 0]);
    assert_eq!(world.list("tmp"), [""; 0]);
    let error = world.store.remove_volume("data").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSuchVolume);
}

#[test]
fn a_nameless_volume_goes_with_its_last_container() {
    let world = World::new();
    make(&world, "anon");
    let one = add_user(&world, "one", vec![anonymous("anon")]);
    let two = add_user(&world, "two", vec![anonymous("anon")]);
    for (id, left) in [(one, 1), (two, 0)] {
        let dir = world.store.container(&id).unwrap();
        let lock = dir.try_hold().unwrap().unwrap();
        world
            .store
            .remove_container_and_volumes(&dir, lock)
            .unwrap();
        assert_eq!(world.list("volumes").len(), left);
    }
    make(&world, "anon");
    let id = add_user(&world, "three", vec![anonymous("anon")]);
    let dir = world.store.container(&id).unwrap();
    let lock = dir.try_hold().unwrap().unwrap();
    world.store.remove_container(&dir, lock).unwrap();
    assert_eq!(world.list("volumes"), ["anon"]);
}

#[test]
fn what_has_no_record_counts_as_never_made() {
    let world = World::new();
    make(&world, "data");
    fs::remove_file(world.path("volumes/data/volume.json")).unwrap();
    fs::write(world.path("volumes/data/data/file"), "old").unwrap();
    assert_eq!(world.store.volume("data").unwrap(), None);
    assert!(world.store.volumes().unwrap().is_empty());
    assert!(make(&world, "data"));
    assert!(!world.path("volumes/data/data/file").exists());
    // It was flushed before it could be seen: no power cut has torn it.
    fs::write(world.path("volumes/data/volume.json"), "").unwrap();
    fs::write(world.path("volumes/data/data/file"), "precious").unwrap();
    let error = world
        .store
        .make_volume(&record("data"), (None, None), Durability::Durable)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    world.store.collect_garbage().unwrap();
    assert!(world.path("volumes/data/data/file").exists());
    // A newer program's is not ours to replace.
    fs::write(world.path("volumes/data/volume.json"), "{\"new\": 1}").unwrap();
    let error = world
        .store
        .make_volume(&record("data"), (None, None), Durability::Durable)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
}

#[test]
fn a_maker_that_died_leaves_nothing_for_long() {
    let world = World::new();
    fs::create_dir(world.path("tmp/volume-0123456789abcdef")).unwrap();
    world.store.sweep().unwrap();
    assert_eq!(world.list("tmp"), [""; 0]);
}

#[test]
fn a_store_older_than_volumes_gets_its_folder_with_the_first() {
    let world = World::new();
    fs::remove_dir(world.path("volumes")).unwrap();
    assert!(world.store.volumes().unwrap().is_empty());
    assert_eq!(world.store.volume("data").unwrap(), None);
    assert!(make(&world, "data"));
}

#[test]
fn remains_of_volumes_are_garbage() {
    let world = World::new();
    let nameless = "0123456789abcdef".repeat(4);
    for name in ["whole", "unrecorded", &nameless] {
        make(&world, name);
    }
    fs::remove_file(world.path("volumes/unrecorded/volume.json")).unwrap();
    fs::write(world.path(&format!("volumes/{nameless}/volume.json")), "").unwrap();
    world.store.collect_garbage().unwrap();
    assert_eq!(world.list("volumes"), ["whole"]);
    assert_eq!(world.list("tmp"), [""; 0]);
}

#[test]
fn nameless_volumes_go_though_their_remover_was_killed() {
    let world = World::new();
    make(&world, "anon");
    make(&world, "used");
    let id = add_user(&world, "one", vec![anonymous("anon"), anonymous("used")]);
    add_user(&world, "two", vec![anonymous("used")]);
    // Out of sight, and nothing more.
    let grave = format!("tmp/dead-+volumes-{id}-1-0");
    fs::rename(world.path(&format!("containers/{id}")), world.path(&grave)).unwrap();
    world.store.sweep().unwrap();
    assert_eq!(world.list("volumes"), ["used"]);
    assert_eq!(world.list("tmp"), [""; 0]);
}
