//! `kill`, `stop`, `wait`, `rm`.

use coracle::model::{ContainerSpec, ErrorKind, signal::SIGKILL};

use super::world::World;

const SLEEP: &str = "echo; exec sleep 1000";
const STUBBORN: &str = "trap '' TERM USR1; echo; while :; do sleep 0.05; done";

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_signal_reaches_the_first_process() {
    let world = World::new();
    let supervisor = world
        .run("boat", ContainerSpec::default(), SLEEP)
        .supervise(|_| {});
    world.engine.kill("boat", 15).unwrap();
    assert_eq!(supervisor.join().unwrap(), 143);
    assert_eq!(world.engine.wait("boat").unwrap(), 143);
}

#[test]
fn after_sigkill_the_end_is_written_down() {
    let world = World::new();
    let supervisor = world
        .run("boat", ContainerSpec::default(), STUBBORN)
        .supervise(|_| std::thread::sleep(std::time::Duration::from_millis(50)));
    world.engine.kill("boat", SIGKILL).unwrap();
    let (directory, _) = world.store.find_container("boat").unwrap();
    assert_eq!(directory.state().unwrap().exit.unwrap().code, 137);
    supervisor.join().unwrap();
}

#[test]
fn what_does_not_run_cannot_be_killed_but_is_stopped_already() {
    let world = World::new();
    let (_, lock, record) = world.add("created");
    drop(lock);
    let error = world.engine.kill("created", 15).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(
        error.message(),
        format!(
            "cannot kill container: created: container {} is not running",
            record.id
        )
    );
    world.engine.stop("created", None, None).unwrap();
    assert_eq!(world.engine.wait("created").unwrap(), 0);
    let error = world.engine.stop("nobody", None, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSuchContainer);
}

#[test]
fn the_polite_signal_is_the_callers_the_containers_or_the_images() {
    let world = World::new();
    let script = "trap 'exit 1' TERM; trap 'exit 2' USR1; trap 'exit 3' HUP; echo; \
                  while :; do sleep 0.01; done";
    for (signal, of_spec, code) in [(None, None, 2), (None, Some(1), 3), (Some(15), Some(1), 1)] {
        let name = format!("boat{code}");
        let spec = ContainerSpec {
            stop_signal: of_spec,
            ..ContainerSpec::default()
        };
        let supervisor = world.run(&name, spec, script).supervise(|_| {});
        world.engine.stop(&name, signal, Some(-1)).unwrap();
        assert_eq!(supervisor.join().unwrap(), code);
    }
}

#[test]
fn who_does_not_listen_is_killed_in_time() {
    let world = World::new();
    for (timeout, of_spec) in [(Some(0), None), (None, Some(1)), (Some(1), Some(1000))] {
        let name = format!("boat{timeout:?}").replace(['(', ')'], "");
        let spec = ContainerSpec {
            stop_timeout: of_spec,
            ..ContainerSpec::default()
        };
        let supervisor = world.run(&name, spec, STUBBORN).supervise(|_| {});
        let begun = std::time::Instant::now();
        world.engine.stop(&name, None, timeout).unwrap();
        let seconds = timeout.or(of_spec).unwrap();
        assert!(begun.elapsed().as_secs() >= seconds.try_into().unwrap());
        assert!(begun.elapsed().as_secs() < 9);
        assert_eq!(supervisor.join().unwrap(), 137);
    }
}

#[test]
fn the_exit_code_is_awaited() {
    let world = World::new();
    let supervised = world.run("boat", ContainerSpec::default(), "echo; sleep 0.2; exit 42");
    let supervisor = supervised.supervise(|_| {});
    assert_eq!(world.engine.wait("boat").unwrap(), 42);
    supervisor.join().unwrap();
    assert_eq!(world.engine.wait("boat").unwrap(), 42);
}

#[test]
fn the_exit_code_of_one_that_removes_itself_is_heard() {
    if !is_root() {
        // Who removes a container enters a user namespace, which a test with threads cannot.
        return;
    }
    let world = World::new();
    let spec = ContainerSpec {
        auto_remove: true,
        ..ContainerSpec::default()
    };
    let supervisor = world
        .run("boat", spec, "echo; sleep 0.2; exit 42")
        .supervise(|_| {});
    assert_eq!(world.engine.wait("boat").unwrap(), 42);
    supervisor.join().unwrap();
    let error = world.engine.wait("boat").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSuchContainer);
}

#[test]
fn a_killed_supervisor_means_137() {
    let world = World::new();
    let supervised = world.run("boat", ContainerSpec::default(), SLEEP);
    let killer = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        supervised.be_killed();
    });
    assert_eq!(world.engine.wait("boat").unwrap(), 137);
    killer.join().unwrap();
    let state = &world.engine.inspect_container("boat", false).unwrap()["State"];
    assert_eq!(state["Status"], "exited");
    assert_eq!(state["ExitCode"], 137);
    assert_eq!(state["Pid"], 0);
    let why = state["Error"].as_str().unwrap();
    assert!(why.contains("supervisor was killed"), "{why}");
    assert_eq!(
        world.engine.kill("boat", 15).unwrap_err().kind(),
        ErrorKind::Conflict
    );
}

#[test]
fn a_running_container_is_removed_only_by_force() {
    let world = World::new();
    let supervisor = world
        .run("boat", ContainerSpec::default(), STUBBORN)
        .supervise(|_| {});
    let error = world
        .engine
        .remove_container("boat", false, false)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(
        error.message(),
        "cannot remove container \"/boat\": container is running: stop the container before \
         removing or force remove"
    );
    if is_root() {
        world.engine.remove_container("boat", true, false).unwrap();
        assert_eq!(supervisor.join().unwrap(), 137);
        assert!(world.store.containers().unwrap().is_empty());
        world.add("boat");
    } else {
        world.engine.kill("boat", SIGKILL).unwrap();
    }
}

#[test]
fn removal_of_one_that_removes_itself_is_no_failure() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let spec = ContainerSpec {
        auto_remove: true,
        ..ContainerSpec::default()
    };
    let supervisor = world.run("boat", spec, SLEEP).supervise(|_| {});
    world.engine.remove_container("boat", true, false).unwrap();
    assert_eq!(supervisor.join().unwrap(), 137);
    assert!(world.store.containers().unwrap().is_empty());
}

#[test]
fn one_that_is_being_started_is_not_removed() {
    let world = World::new();
    let (_, lock, _) = world.add("boat");
    for force in [false, true] {
        let error = world
            .engine
            .remove_container("boat", force, false)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }
    drop(lock);
    if is_root() {
        world.engine.remove_container("boat", false, false).unwrap();
        assert!(world.store.containers().unwrap().is_empty());
    }
}
