//! Who only looks waits for nobody: every lock of the store is held by somebody else meanwhile.

use std::{fs::File, os::fd::OwnedFd, path::Path, sync::mpsc, time::Duration};

use coracle::{
    engine::{Engine, EngineOptions, EventOptions, LogOptions, LogRecord, LogSink},
    model::{ContainerId, ContainerSpec, Result},
};
use rustix::fs::{FlockOperation, flock};

use crate::world::World;

/// Longest that all of it may take; a wait for a lock would take for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// An exclusive `flock` on each of these, below the root.
fn hold(world: &World, places: &[String]) -> Vec<OwnedFd> {
    let root = world.folder.path().join("root");
    let hold = |place: &String| {
        let file: OwnedFd = File::open(root.join(place)).unwrap().into();
        flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
        file
    };
    places.iter().map(hold).collect()
}

#[test]
fn readers_wait_for_no_lock() {
    let world = World::new();
    let running = world.run("boat", ContainerSpec::default(), "echo; sleep 1000");
    let (directory, lock, record) = world.add("raft");
    // One that is over and should be gone: it is not shown, and whoever comes next removes it.
    let spec = ContainerSpec {
        auto_remove: true,
        ..ContainerSpec::default()
    };
    world.run("wreck", spec, "echo; sleep 1000").be_killed();
    world.store.note_events([]);
    let boat = running.directory.id().to_string();
    let mut places: Vec<String> = [
        "lock",
        "containers",
        "images",
        "names",
        "tmp",
        "events",
        "volumes",
    ]
    .map(str::to_owned)
    .into();
    let folders = [boat, record.id.to_string()];
    places.extend(folders.map(|id| format!("containers/{id}")));
    let held = hold(&world, &places);
    let (done, wait) = mpsc::channel();
    let (folder, raft) = (world.folder.path().to_owned(), record.id.to_string());
    std::thread::spawn(move || {
        look_around(&folder, &raft);
        done.send(()).unwrap();
    });
    wait.recv_timeout(PATIENCE)
        .expect("a reader waits for a lock, or failed");
    drop((held, lock, directory));
    running.be_killed();
}

fn look_around(folder: &Path, raft: &str) {
    let engine = Engine::open(EngineOptions {
        root: Some(folder.join("root")),
        runroot: Some(folder.join("run")),
        ..EngineOptions::default()
    })
    .unwrap();
    let names = |all: bool| {
        let listed = engine.containers(all, false).unwrap();
        let names: Vec<String> = listed.into_iter().map(|one| one.name).collect();
        names.join(" ")
    };
    assert_eq!(names(true), "raft boat");
    assert_eq!(names(false), "boat");
    for name in ["boat", "raft", &raft[..20]] {
        engine.inspect_container(name, false).unwrap();
        engine.published_ports(name).unwrap();
    }
    engine.inspect_image("boat").unwrap();
    engine.images().unwrap();
    engine.volumes().unwrap();
    engine.processes("boat").unwrap();
    engine
        .logs(&["boat".to_owned()], &LogOptions::default(), &mut Unread)
        .unwrap();
    engine
        .events(&EventOptions::default(), &mut |_| Ok(()))
        .unwrap();
}

struct Unread;

impl LogSink for Unread {
    fn begin(&mut self, _: &[(ContainerId, String)]) {}

    fn record(&mut self, _: usize, _: &LogRecord<'_>) -> Result<()> {
        Ok(())
    }

    fn pause(&mut self) -> Result<()> {
        Ok(())
    }
}
