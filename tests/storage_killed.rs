//! A real process that fills and empties a store is killed again and again, at another moment
//! each time. After every kill the store must be usable at once, hold everything that was
//! acknowledged, and after one collection nothing else.

mod storage;

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use coracle::{
    model::{Reference, container::ContainerState},
    storage::{Durability, Store},
};
use storage::{container_record, digest, stage_image};

const FOLDER: &str = "CORACLE_TEST_KILLED_STORE";
const ROUND: &str = "CORACLE_TEST_KILLED_ROUND";

fn open(folder: &Path) -> Store {
    Store::open(&folder.join("root"), &folder.join("run")).unwrap()
}

/// Says on standard output what is finished: the test believes exactly that.
fn acknowledge(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nack {text}").unwrap();
    out.flush().unwrap();
}

fn work(folder: &Path, round: &str) {
    let store = open(folder);
    for step in 0.. {
        let name = format!("i{round}-{step}");
        let lease = store.lease().unwrap();
        let (blobs, layer, record) = stage_image(&lease, Some(&name), &name);
        lease
            .commit(blobs, vec![layer], std::slice::from_ref(&record))
            .unwrap();
        drop(lease);
        acknowledge(&format!("+image {name}"));

        let mut container = container_record("boat", &record);
        // Every process counts from the beginning.
        let id = digest(&format!("{round} {step}"));
        container.id = id.hex().parse().unwrap();
        let staged = store.stage_container(&container.id).unwrap();
        staged.make_folder("upper").unwrap();
        let (dir, lock) = staged.commit(&container, Durability::Volatile).unwrap();
        acknowledge(&format!("+container {}", container.id));
        acknowledge(&format!("?container {}", container.id));
        store.remove_container(&dir, lock).unwrap();
        acknowledge(&format!("-container {}", container.id));

        if step % 2 == 1 {
            acknowledge(&format!("?image {name}"));
            let alone = store.lock_exclusive().unwrap();
            store.remove_image_record(&alone, &record).unwrap();
            drop(alone);
            store.collect_garbage().unwrap();
            acknowledge(&format!("-image {name}"));
        }
    }
}

/// What must be there, and what may be: a removal was under way.
#[derive(Default)]
struct Known {
    there: BTreeSet<String>,
    doubtful: BTreeSet<String>,
}

impl Known {
    fn note(&mut self, line: &str) {
        let Some(fact) = line.strip_prefix("ack ") else {
            return;
        };
        let thing = fact[1..].to_owned();
        match fact.as_bytes()[0] {
            b'+' => drop(self.there.insert(thing)),
            b'?' => {
                self.there.remove(&thing);
                self.doubtful.insert(thing);
            }
            _ => drop(self.doubtful.remove(&thing)),
        }
    }
}

fn run_and_kill(folder: &Path, round: u32, known: &mut Known) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed_at_any_moment", "--nocapture"])
        .env(FOLDER, folder)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_micros(15_000 + u64::from(round) * 1_377));
        child.kill().unwrap();
        child.wait().unwrap()
    });
    for line in out.lines() {
        known.note(&line.unwrap());
    }
    let status = killer.join().unwrap();
    assert!(status.code().is_none(), "it failed by itself: {status}");
}

fn check(folder: &Path, known: &mut Known) {
    let store = open(folder);
    let images: BTreeSet<String> = store
        .images()
        .unwrap()
        .iter()
        .map(|record| format!("image {}", record.name.as_ref().unwrap().familiar_name()))
        .collect();
    let containers = store.containers().unwrap();
    for thing in &known.there {
        match thing.split_once(' ') {
            Some(("image", name)) => {
                let name: Reference = name.parse().unwrap();
                let record = store.image(&name).unwrap().expect("acknowledged");
                for digest in [&record.manifest, &record.config, &record.blobs[0]] {
                    store.read_blob(digest, 1000).unwrap();
                }
                let file = store.layer_tree(&record.layers[0]).join("file");
                assert_eq!(fs::read_to_string(file).unwrap(), name.familiar_name());
            }
            Some((_, id)) => assert!(containers.iter().any(|(dir, _)| dir.id().as_str() == id)),
            None => unreachable!("every thing has a kind"),
        }
    }
    // What is there and was not acknowledged is whole nevertheless, and can be removed.
    for (dir, record) in containers {
        assert_eq!(record.name, "boat");
        assert_eq!(dir.state().unwrap().state, ContainerState::Created);
        let lock = dir.try_hold().unwrap().expect("its holder is dead");
        store.remove_container(&dir, lock).unwrap();
    }
    store.collect_garbage().unwrap();
    let list = |below: &str| {
        fs::read_dir(folder.join("root").join(below))
            .unwrap()
            .count()
    };
    assert_eq!(list("tmp"), 0);
    assert_eq!(list("containers"), 0);
    assert_eq!(list("names"), 0);
    assert_eq!(list("layers"), images.len());
    assert_eq!(list("blobs/sha256"), 3 * images.len());
    known.there = images;
    known.doubtful.clear();
}

#[test]
fn killed_at_any_moment() {
    if let (Some(folder), Ok(round)) = (std::env::var_os(FOLDER), std::env::var(ROUND)) {
        return work(Path::new(&folder), &round);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut known = Known::default();
    for round in 0..40 {
        run_and_kill(folder.path(), round, &mut known);
        check(folder.path(), &mut known);
    }
    assert!(known.there.len() > 20, "{:?}", known.there);
}
