//! Containers, their names and locks; who is alive, and what the dead leave.

mod storage;

use std::{fs, os::unix::fs::PermissionsExt, sync::Barrier};

use coracle::{
    model::{
        ErrorKind,
        container::{ContainerState, ExitRecord, ProcessIdentity, StartRecord},
    },
    storage::Durability,
};
use storage::{World, container_record};

#[test]
fn a_container_is_found_by_id_name_and_prefix() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    let (dir, _lock, record) = world.add_container("boat", &image);
    assert_eq!(dir.path(), world.path(&format!("containers/{}", record.id)));
    assert!(dir.path().join("upper").is_dir());
    for typed in ["boat", "/boat", record.id.as_str(), record.id.short()] {
        let (_, found) = world.reopen().find_container(typed).unwrap();
        assert_eq!(found, record, "{typed}");
    }
    for typed in ["ship", "", "../containers", "boa", "g", "a/../b"] {
        let error = world.store.find_container(typed).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSuchContainer, "{typed}");
    }
}

#[test]
fn a_name_wins_over_a_prefix_and_an_ambiguous_prefix_is_an_error() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    for index in 0..17 {
        world.add_container(&format!("boat{index}"), &image);
    }
    // Seventeen IDs have at least two with the same first digit.
    let mut firsts: Vec<String> = world
        .list("containers")
        .iter()
        .map(|id| id[..1].to_owned())
        .collect();
    firsts.sort();
    let twice = firsts
        .windows(2)
        .find(|pair| pair[0] == pair[1])
        .map(|pair| pair[0].clone())
        .unwrap();
    let error = world.store.find_container(&twice).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let id = world.list("containers").remove(0);
    let (_, _, named) = world.add_container(&id[..12], &image);
    let (_, found) = world.store.find_container(&id[..12]).unwrap();
    assert_eq!(found, named);
}

#[test]
fn a_name_belongs_to_one_container_until_it_is_removed() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    let (dir, lock, first) = world.add_container("boat", &image);
    let second = container_record("boat", &image);
    let staged = world.store.stage_container(&second.id).unwrap();
    let error = staged.commit(&second, Durability::Volatile).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NameInUse);
    assert!(error.message().contains(first.id.short()), "{error:?}");
    assert_eq!(world.list("tmp"), [""; 0]);

    world.store.remove_container(&dir, lock).unwrap();
    let (_, _, third) = world.add_container("boat", &image);
    assert_eq!(world.store.find_container("boat").unwrap().1, third);
}

/// "The name is already in use" by a container that nobody lists: podman#2553 and many more. Here
/// a name counts only if its container says so.
#[test]
fn the_names_of_the_dead_are_free() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    let other = world.add_container("other", &image).2;
    let nobody = "0".repeat(64);
    for target in [nobody.as_str(), other.id.as_str(), "../../etc", "x"] {
        let link = world.path("names/boat");
        std::os::unix::fs::symlink(target, &link).unwrap();
        let error = world.store.find_container("boat").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSuchContainer);
        let (dir, lock, record) = world.add_container("boat", &image);
        assert_eq!(world.store.find_container("boat").unwrap().1, record);
        world.store.remove_container(&dir, lock).unwrap();
        assert!(!link.is_symlink());
        std::os::unix::fs::symlink(target, &link).unwrap();
        world.store.collect_garbage().unwrap();
        assert!(!link.is_symlink());
    }
}

#[test]
fn a_container_without_its_name_is_found_by_it_nevertheless() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    let (_, _, record) = world.add_container("boat", &image);
    fs::remove_file(world.path("names/boat")).unwrap();
    assert_eq!(world.store.find_container("boat").unwrap().1, record);
}

#[test]
fn of_many_who_want_one_name_one_gets_it() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    for dead_link in [false, true] {
        let name = format!("boat-{dead_link}");
        if dead_link {
            let link = world.path(&format!("names/{name}"));
            std::os::unix::fs::symlink("0".repeat(64), link).unwrap();
        }
        let start = Barrier::new(8);
        let won: usize = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let store = world.reopen();
                        let record = container_record(&name, &image);
                        start.wait();
                        let staged = store.stage_container(&record.id).unwrap();
                        match staged.commit(&record, Durability::Volatile) {
                            Ok(_) => 1,
                            Err(error) => {
                                assert_eq!(error.kind(), ErrorKind::NameInUse, "{error:?}");
                                0
                            }
                        }
                    })
                })
                .collect();
            tries.into_iter().map(|one| one.join().unwrap()).sum()
        });
        assert_eq!(won, 1);
        assert!(world.store.find_container(&name).is_ok());
    }
    assert_eq!(world.store.containers().unwrap().len(), 2);
    assert_eq!(world.list("tmp"), [""; 0]);
}

#[test]
fn a_container_of_an_image_that_was_removed_meanwhile_is_not_made() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    let alone = world.store.lock_exclusive().unwrap();
    world.store.remove_image_record(&alone, &image).unwrap();
    drop(alone);
    world.store.collect_garbage().unwrap();
    let record = container_record("boat", &image);
    let staged = world.store.stage_container(&record.id).unwrap();
    let error = staged.commit(&record, Durability::Durable).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSuchImage);
    assert_eq!(world.list("containers"), [""; 0]);
    assert_eq!(world.list("names"), [""; 0]);
}

#[test]
fn a_container_keeps_the_content_of_a_removed_image_until_it_goes() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    let (dir, lock, _) = world.add_container("boat", &image);
    let alone = world.store.lock_exclusive().unwrap();
    world.store.remove_image_record(&alone, &image).unwrap();
    drop(alone);
    world.store.collect_garbage().unwrap();
    assert!(world.store.has_layer(&image.layers[0]).unwrap());
    assert!(world.store.has_blob(&image.config).unwrap());
    assert!(!world.store.has_blob(&image.manifest).unwrap());
    world.store.collect_orphans().unwrap();
    assert!(world.store.has_layer(&image.layers[0]).unwrap());

    world.store.remove_container(&dir, lock).unwrap();
    world.store.collect_orphans().unwrap();
    assert_eq!(world.list("layers"), [""; 0]);
    assert_eq!(world.list("blobs/sha256"), [""; 0]);
    assert!(!world.path("orphans").exists());
}

#[test]
fn staging_that_was_given_up_or_killed_leaves_nothing() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    let record = container_record("boat", &image);
    drop(world.store.stage_container(&record.id).unwrap());
    assert_eq!(world.list("tmp"), [""; 0]);
    // Killed after claiming the name and before the rename.
    let staged = world.path(&format!("tmp/{}", record.id));
    fs::create_dir(&staged).unwrap();
    fs::write(staged.join("lock"), "").unwrap();
    fs::write(staged.join("record.json"), "{}").unwrap();
    std::os::unix::fs::symlink(record.id.as_str(), world.path("names/boat")).unwrap();
    world.reopen().sweep().unwrap();
    assert_eq!(world.list("tmp"), [""; 0]);
    world.add_container("boat", &image);
}

#[test]
fn a_container_being_staged_is_not_swept() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    let record = container_record("boat", &image);
    let staged = world.store.stage_container(&record.id).unwrap();
    world.reopen().sweep().unwrap();
    staged.commit(&record, Durability::Durable).unwrap();
    assert!(world.store.find_container("boat").is_ok());
}

#[test]
fn records_that_a_power_cut_destroyed_block_nobody_and_are_swept() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    let (_, _, whole) = world.add_container("whole", &image);
    for damage in [Some(""), Some("\0\0\0"), None] {
        let (dir, lock, record) = world.add_container("torn", &image);
        drop(lock);
        let file = dir.path().join("record.json");
        match damage {
            Some(text) => fs::write(file, text).unwrap(),
            None => fs::remove_file(file).unwrap(),
        }
        let store = world.reopen();
        let all: Vec<_> = store.containers().unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].1, whole);
        for typed in ["torn", record.id.as_str()] {
            let error = store.find_container(typed).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NoSuchContainer);
        }
        store.collect_garbage().unwrap();
        assert_eq!(world.list("containers"), [whole.id.as_str()]);
        assert_eq!(world.list("names"), ["whole"]);
    }
}

/// What it wrote lies beside the record. `system check` asks for `--force`, so a collection must not
/// take it on the quiet.
#[test]
fn a_container_whose_record_the_disk_has_damaged_keeps_its_files() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    let (dir, lock, record) = world.add_container("torn", &image);
    drop(lock);
    for damage in ["{\"id\":\"ab", "{\"id\": \u{1}}", "x"] {
        fs::write(dir.path().join("record.json"), damage).unwrap();
        let store = world.reopen();
        store.collect_garbage().unwrap();
        assert_eq!(world.list("containers"), [record.id.as_str()]);
        // The name is free, and nothing else is kept from working.
        assert_eq!(world.list("names"), [""; 0]);
        assert_eq!(store.containers().unwrap().len(), 0);
    }
}

#[test]
fn a_newer_programs_container_is_left_alone() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    let (dir, lock, _) = world.add_container("boat", &image);
    drop(lock);
    fs::write(dir.path().join("record.json"), r#"{"shape":"new"}"#).unwrap();
    assert_eq!(dir.record().unwrap_err().kind(), ErrorKind::Store);
    world.store.collect_garbage().unwrap();
    assert!(dir.path().is_dir());
}

#[test]
fn removal_deletes_what_overlayfs_and_hostile_images_leave() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    let (dir, lock, _) = world.add_container("boat", &image);
    fs::create_dir_all(dir.path().join("work/work")).unwrap();
    fs::set_permissions(
        dir.path().join("work/work"),
        fs::Permissions::from_mode(0o0),
    )
    .unwrap();
    world.store.remove_container(&dir, lock).unwrap();
    assert_eq!(world.list("containers"), [""; 0]);
    assert_eq!(world.list("names"), [""; 0]);
    assert_eq!(world.list("tmp"), [""; 0]);
    assert_eq!(dir.record().unwrap_err().kind(), ErrorKind::NoSuchContainer);
}

/// podman#13967: on a full disk nothing can be removed. Here the rename into `tmp/` may fail.
#[test]
fn removal_works_where_nothing_can_be_renamed() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    let (dir, lock, _) = world.add_container("boat", &image);
    let alone = world.store.lock_exclusive().unwrap();
    world.store.remove_image_record(&alone, &image).unwrap();
    drop(alone);
    // A file in the place of `tmp/` makes every rename into it fail, even root's.
    fs::remove_dir(world.path("tmp")).unwrap();
    fs::write(world.path("tmp"), "").unwrap();
    world.store.remove_container(&dir, lock).unwrap();
    assert_eq!(world.list("containers"), [""; 0]);
    assert_eq!(world.list("names"), [""; 0]);
    fs::remove_file(world.path("tmp")).unwrap();
    fs::create_dir(world.path("tmp")).unwrap();
    world.store.collect_garbage().unwrap();
    assert_eq!(world.list("layers"), [""; 0]);
}

fn started(at: &str) -> StartRecord {
    let process = ProcessIdentity {
        pid: 1,
        start_time: 1,
        boot_id: String::new(),
    };
    StartRecord {
        restarts: 0,
        supervisor: process.clone(),
        init: process,
        started: at.to_owned(),
        namespaces: Default::default(),
        process: String::new(),
        cgroup: None,
        legacy_cgroups: Vec::new(),
        spares_device_rules: false,
    }
}

#[test]
fn the_lock_says_who_lives() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    let (dir, lock, _) = world.add_container("boat", &image);
    let seen = |state| {
        let (dir, _) = world.reopen().find_container("boat").unwrap();
        assert_eq!(dir.state().unwrap().state, state);
    };
    assert!(dir.is_held().unwrap());
    assert!(dir.try_hold().unwrap().is_none());
    seen(ContainerState::Created);
    dir.put_start_record(&started("t1"), Durability::Volatile)
        .unwrap();
    seen(ContainerState::Running);
    let exit = ExitRecord {
        code: 3,
        oom_killed: false,
        by_hand: false,
        restarting: false,
        restarts: 0,
        error: None,
        started: Some("t1".to_owned()),
        finished: "t2".to_owned(),
    };
    dir.put_exit_record(&exit, Durability::Durable).unwrap();
    drop(lock);
    seen(ContainerState::Exited);
    assert_eq!(dir.state().unwrap().exit, Some(exit));

    // The next run's supervisor is killed: no exit record is taken for its own.
    let lock = dir.try_hold().unwrap().unwrap();
    dir.forget_start().unwrap();
    seen(ContainerState::Exited);
    dir.put_start_record(&started("t3"), Durability::Volatile)
        .unwrap();
    seen(ContainerState::Running);
    drop(lock);
    seen(ContainerState::Exited);
    assert_eq!(dir.state().unwrap().exit, None);
}

/// The lock must outlive the command and die with the supervisor, however that dies.
#[test]
fn the_lock_is_inherited_and_dies_with_its_last_holder() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    let (dir, lock, _) = world.add_container("boat", &image);
    // The standard input of a child is an inherited copy of the descriptor.
    let copy = std::os::fd::AsFd::as_fd(&lock)
        .try_clone_to_owned()
        .unwrap();
    drop(lock);
    let mut child = std::process::Command::new("sleep")
        .arg("60")
        .stdin(copy)
        .spawn()
        .unwrap();
    assert!(dir.is_held().unwrap());
    assert!(dir.try_hold().unwrap().is_none());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!dir.is_held().unwrap());
    assert!(dir.try_hold().unwrap().is_some());
}

#[test]
fn many_containers_come_and_go_while_garbage_is_collected() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    std::thread::scope(|scope| {
        for worker in 0..6 {
            let (world, image) = (&world, &image);
            scope.spawn(move || {
                let store = world.reopen();
                for round in 0..15 {
                    let record = container_record(&format!("w{worker}"), image);
                    let staged = store.stage_container(&record.id).unwrap();
                    let (dir, lock) = staged.commit(&record, Durability::Volatile).unwrap();
                    assert!(store.containers().unwrap().len() <= 6);
                    store.remove_container(&dir, lock).unwrap();
                    if round % 5 == worker % 5 {
                        store.collect_garbage().unwrap();
                    }
                }
            });
        }
    });
    for folder in ["containers", "names", "tmp"] {
        assert_eq!(world.list(folder), [""; 0], "{folder}");
    }
    assert!(world.store.has_layer(&image.layers[0]).unwrap());
}

/// `--rm` is the supervisor's to do. If it was killed, whoever sweeps next does it.
#[test]
fn what_was_to_be_removed_at_its_end_is_swept() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    let add = |name: &str| {
        let mut record = container_record(name, &image);
        record.spec.auto_remove = true;
        let staged = world.store.stage_container(&record.id).unwrap();
        staged.commit(&record, Durability::Volatile).unwrap()
    };
    let (_, created) = add("created");
    drop(created);
    let (dir, running) = add("running");
    dir.put_start_record(&started("t1"), Durability::Volatile)
        .unwrap();
    let (dir, killed) = add("killed");
    dir.put_start_record(&started("t1"), Durability::Volatile)
        .unwrap();
    drop(killed);
    let (dir, kept, _) = world.add_container("kept", &image);
    dir.put_start_record(&started("t1"), Durability::Volatile)
        .unwrap();
    drop(kept);

    world.store.sweep().unwrap();
    assert_eq!(world.list("names"), ["created", "kept", "running"]);
    assert_eq!(world.list("containers").len(), 3);
    assert_eq!(world.list("tmp"), [""; 0]);

    // Or whoever wants its name.
    drop(running);
    let (_, _again) = add("running");
    assert_eq!(world.list("containers").len(), 3);
}

#[test]
fn an_image_goes_with_the_last_container_that_kept_it() {
    let world = World::new();
    let image = world.add_image("alpine", "one");
    let (one, one_lock, _) = world.add_container("one", &image);
    let (two, two_lock, _) = world.add_container("two", &image);
    let alone = world.store.lock_exclusive().unwrap();
    world.store.remove_image_record(&alone, &image).unwrap();
    drop(alone);
    world.store.collect_garbage().unwrap();
    world.store.remove_container(&one, one_lock).unwrap();
    assert!(world.store.has_layer(&image.layers[0]).unwrap());
    world.store.remove_container(&two, two_lock).unwrap();
    assert_eq!(world.list("layers"), [""; 0]);
    assert_eq!(world.list("blobs/sha256"), [""; 0]);
}
