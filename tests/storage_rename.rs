//! Names that change, whoever else is at work, and what a killed rename leaves; containers that are
//! being removed, or whose files are damaged.

mod storage;

use std::{fs, os::unix::fs::symlink, sync::Barrier};

use coracle::model::ErrorKind;
use storage::World;

#[test]
fn a_renamed_container_has_one_name() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    let (dir, _runs, record) = world.add_container("boat", &image);
    assert_eq!(world.store.rename_container(&dir, "ship").unwrap(), "boat");
    assert_eq!(world.list("names"), ["ship"]);
    let (_, found) = world.reopen().find_container("ship").unwrap();
    assert_eq!(found.id, record.id);
    assert_eq!(found.name, "ship");
    let error = world.store.find_container("boat").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSuchContainer);
    // The old name is anybody's.
    world.add_container("boat", &image);
}

#[test]
fn a_name_that_is_taken_stays_with_its_owner() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    let (dir, _lock, record) = world.add_container("boat", &image);
    let (_, _other, owner) = world.add_container("ship", &image);
    let error = world.store.rename_container(&dir, "ship").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NameInUse);
    let error = world.store.rename_container(&dir, "boat").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(world.store.find_container("ship").unwrap().1.id, owner.id);
    assert_eq!(world.store.find_container("boat").unwrap().1.id, record.id);
}

#[test]
fn a_rename_that_was_killed_is_done_again_or_forgotten() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    let (dir, _lock, record) = world.add_container("boat", &image);
    // Killed after the claim: the container is called as before, and the rename may be repeated.
    symlink(record.id.as_str(), world.path("names/ship")).unwrap();
    assert_eq!(world.store.find_container("boat").unwrap().1.name, "boat");
    assert!(world.store.find_container("ship").is_err());
    world.store.rename_container(&dir, "ship").unwrap();
    assert_eq!(world.list("names"), ["ship"]);
    // Killed before the old name was freed: it counts for nothing, and may be taken.
    symlink(record.id.as_str(), world.path("names/boat")).unwrap();
    assert!(world.store.find_container("boat").is_err());
    world.add_container("boat", &image);
    // Or it is swept.
    symlink(record.id.as_str(), world.path("names/left")).unwrap();
    symlink("0".repeat(64), world.path("names/nobody")).unwrap();
    world.store.sweep().unwrap();
    assert_eq!(world.list("names"), ["boat", "ship"]);
}

#[test]
fn a_dead_name_is_taken_over() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    let (dir, _lock, _) = world.add_container("boat", &image);
    symlink("0".repeat(64), world.path("names/ship")).unwrap();
    world.store.rename_container(&dir, "ship").unwrap();
    assert_eq!(world.list("names"), ["ship"]);
}

#[test]
fn a_container_that_goes_while_it_is_renamed_leaves_no_name() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    for turn in 0..50 {
        let (dir, lock, record) = world.add_container("boat", &image);
        let name = format!("ship{turn}");
        let both = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                both.wait();
                // Whether it is in time is not the question.
                let _ = world.reopen().rename_container(&dir, &name);
            });
            scope.spawn(|| {
                let store = world.reopen();
                let dir = store.container(&record.id).unwrap();
                both.wait();
                // As a supervisor does that knows the name the container began with.
                store
                    .remove_ended_container(&dir, "boat", &[], lock)
                    .unwrap();
            });
        });
        assert_eq!(world.list("names"), [""; 0], "turn {turn}");
        assert_eq!(world.list("containers"), [""; 0], "turn {turn}");
    }
}

#[test]
fn two_who_want_one_name_do_not_both_get_it() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    let (first, _one, _) = world.add_container("boat", &image);
    let (second, _two, _) = world.add_container("raft", &image);
    let both = Barrier::new(2);
    let won = std::thread::scope(|scope| {
        let rename = |dir| {
            let both = &both;
            let world = &world;
            scope.spawn(move || {
                both.wait();
                world.reopen().rename_container(dir, "ship").is_ok()
            })
        };
        let (one, two) = (rename(&first), rename(&second));
        [one.join().unwrap(), two.join().unwrap()]
    });
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
    assert_eq!(world.list("names").len(), 2);
}

#[test]
fn that_a_container_is_being_removed_is_seen_while_the_remover_lives() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    let (dir, runs, record) = world.add_container("boat", &image);
    assert!(!dir.state().unwrap().removing);
    let mark = dir.mark_removing().unwrap().expect("nobody else does");
    let other = world.reopen().container(&record.id).unwrap();
    assert!(other.state().unwrap().removing);
    assert!(other.mark_removing().unwrap().is_none());
    assert!(other.is_held().unwrap());
    drop(mark);
    assert!(!other.state().unwrap().removing);
    // The mark is beside the lock: with it alone nobody runs.
    drop(runs);
    let mark = dir.mark_removing().unwrap();
    assert!(mark.is_some());
    assert!(!other.is_held().unwrap());
    assert!(other.try_hold().unwrap().is_some());
}

#[test]
fn a_container_without_its_files_is_known_as_damaged() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    let (dir, lock, record) = world.add_container("boat", &image);
    drop(lock);
    assert!(!dir.state().unwrap().damaged);
    fs::remove_dir(world.path(&format!("containers/{}/upper", record.id))).unwrap();
    assert!(dir.state().unwrap().damaged);
    let lock = dir.try_hold().unwrap().unwrap();
    world.store.remove_container(&dir, lock).unwrap();
    assert_eq!(world.list("names"), [""; 0]);
}
