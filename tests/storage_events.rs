//! The journal of events: what is written is read, whole and once, whatever happens to its files.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::PathBuf,
};

use coracle::{
    model::event::{Attributes, Event, EventType},
    storage::{EventReader, Store},
};

struct World {
    folder: tempfile::TempDir,
    store: Store,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        World { folder, store }
    }

    fn journal(&self, name: &str) -> PathBuf {
        self.folder.path().join("root/events").join(name)
    }

    /// Appends bytes as somebody who was interrupted, or another program, would.
    fn scribble(&self, bytes: &[u8]) {
        let mut file = OpenOptions::new()
            .append(true)
            .open(self.journal("journal"))
            .unwrap();
        file.write_all(bytes).unwrap();
    }
}

fn open(folder: &tempfile::TempDir) -> Store {
    Store::open(&folder.path().join("root"), &folder.path().join("run")).unwrap()
}

fn event(id: &str) -> Event {
    let attributes = Attributes::from([("name".to_owned(), "boat".to_owned())]);
    Event::new(EventType::Container, "start", id, attributes)
}

/// One of about 16 KiB.
fn large(id: &str) -> Event {
    let attributes = Attributes::from([("label".to_owned(), "x".repeat(16 << 10))]);
    Event::new(EventType::Container, "start", id, attributes)
}

fn ids(reader: &mut EventReader) -> Vec<String> {
    let mut ids = Vec::new();
    reader
        .read_on(&mut |event| {
            ids.push(event.actor.id);
            Ok(())
        })
        .unwrap();
    ids
}

#[test]
fn what_was_noted_is_read_in_order_and_once() {
    let world = World::new();
    world.store.note_events(["a", "b"].map(event));
    world.store.note_event(event("c"));
    let mut reader = world.store.events(true).unwrap();
    assert_eq!(ids(&mut reader), ["a", "b", "c"]);
    assert_eq!(ids(&mut reader), [""; 0]);
    world.store.note_event(event("d"));
    assert_eq!(ids(&mut reader), ["d"]);
    // Others may not read it: labels may be anyone's secret.
    let mode = fs::metadata(world.journal("journal"))
        .unwrap()
        .permissions();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
        0o600
    );
}

#[test]
fn without_the_past_only_what_comes_is_read() {
    let world = World::new();
    let mut early = world.store.events(false).unwrap();
    world.store.note_event(event("a"));
    let mut late = world.store.events(false).unwrap();
    world.store.note_event(event("b"));
    assert_eq!(ids(&mut early), ["a", "b"]);
    assert_eq!(ids(&mut late), ["b"]);
}

#[test]
fn an_event_has_the_time_at_which_it_was_noted() {
    let world = World::new();
    let now = || jiff::Timestamp::now().as_nanosecond();
    let before = now();
    world.store.note_event(event("a"));
    let mut reader = world.store.events(true).unwrap();
    reader
        .read_on(&mut |event| {
            assert!((before..=now()).contains(&i128::from(event.time_nano)));
            assert_eq!(event.time, event.time_nano / 1_000_000_000);
            Ok(())
        })
        .unwrap();
}

#[test]
fn torn_and_foreign_lines_are_skipped_and_hide_nothing() {
    let world = World::new();
    world.store.note_event(event("a"));
    // Killed, or out of room, in the middle of a line: the next one stands behind it.
    world.scribble(br#"{"Type":"container","Action":"die","Actor":{"ID":"to"#);
    world.store.note_event(event("b"));
    world.scribble(b"{\"Type\":\"comet\",\"Action\":\"seen\"}\nrubbish\n\n\0\0\0\n");
    world.store.note_event(event("c"));
    world.scribble(&[b'x'; 3 << 20]);
    world.store.note_event(event("d"));
    let mut reader = world.store.events(true).unwrap();
    assert_eq!(ids(&mut reader), ["a", "b", "c", "d"]);
}

#[test]
fn a_line_is_not_read_before_it_is_whole() {
    let world = World::new();
    world.store.note_event(event("a"));
    let text = fs::read(world.journal("journal")).unwrap();
    let (first, second) = text.split_at(30);
    let mut reader = world.store.events(false).unwrap();
    world.scribble(first);
    assert_eq!(ids(&mut reader), [""; 0]);
    world.scribble(second);
    assert_eq!(ids(&mut reader), ["a"]);
}

#[test]
fn a_reader_follows_across_rotations_and_the_size_is_bounded() {
    let world = World::new();
    let mut reader = world.store.events(false).unwrap();
    let (mut noted, mut read) = (Vec::new(), Vec::new());
    // Twenty megabytes, which is five journals.
    for number in 0..1280 {
        let id = number.to_string();
        world.store.note_event(large(&id));
        noted.push(id);
        if number % 7 == 0 {
            read.extend(ids(&mut reader));
        }
    }
    read.extend(ids(&mut reader));
    assert_eq!(read, noted);
    assert!(world.journal("journal.1").exists());
    let size = |name: &str| fs::metadata(world.journal(name)).map_or(0, |file| file.len());
    // One writer in sixteen looks at the size.
    assert!(size("journal") + size("journal.1") < 12 << 20);
    let names = fs::read_dir(world.journal("")).unwrap().count();
    assert!(names <= 2, "{names} files");
}

#[test]
fn an_event_for_a_file_that_was_just_rotated_is_read() {
    let world = World::new();
    world.store.note_event(event("a"));
    let mut reader = world.store.events(true).unwrap();
    assert_eq!(ids(&mut reader), ["a"]);
    let mut late = OpenOptions::new()
        .append(true)
        .open(world.journal("journal"))
        .unwrap();
    fs::rename(world.journal("journal"), world.journal("journal.1")).unwrap();
    world.store.note_event(event("b"));
    assert_eq!(ids(&mut reader), ["b"]);
    let line = serde_json::to_string(&event("late")).unwrap();
    writeln!(late, "{line}").unwrap();
    assert_eq!(ids(&mut reader), ["late"]);
}

#[test]
fn writers_at_the_same_time_lose_nothing_and_mix_nothing() {
    const WRITERS: usize = 4;
    const EACH: usize = 200;
    let world = World::new();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = open(&world.folder);
            scope.spawn(move || {
                for number in 0..EACH {
                    store.note_event(event(&format!("{writer}-{number}")));
                }
            });
        }
    });
    let mut found = ids(&mut world.store.events(true).unwrap());
    found.sort();
    found.dedup();
    assert_eq!(found.len(), WRITERS * EACH);
}

#[test]
fn a_journal_that_cannot_be_written_fails_nobody() {
    let world = World::new();
    fs::write(world.folder.path().join("root/events"), "in the way").unwrap();
    world.store.note_event(event("a"));
    assert!(world.store.events(true).is_err());
}
