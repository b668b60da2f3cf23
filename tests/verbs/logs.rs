//! `logs`: tail, times, torn records, and following to the end.

use std::{
    fs,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use coracle::{
    engine::{LogOptions, LogRecord, LogSink, LogStream},
    model::{
        ContainerId, ContainerSpec, Error, ErrorKind, Result,
        log::{LogDriver, LogSpec},
    },
};
use proptest::prelude::*;

use super::world::World;

/// A record whose time is `second` after the epoch.
fn record(text: &str, second: i64) -> String {
    let time = jiff::Timestamp::from_second(second).unwrap();
    let line = serde_json::json!({"log": text, "stream": "stdout", "time": format!("{time:.9}")});
    format!("{line}\n")
}

/// What a record says, kept.
struct Line {
    stream: LogStream,
    time: String,
    text: Vec<u8>,
}

/// Every record goes to the function.
struct Each<F>(F);

impl<F: FnMut(Line) -> Result<()>> LogSink for Each<F> {
    fn begin(&mut self, _: &[(ContainerId, String)]) {}

    fn record(&mut self, _: usize, record: &LogRecord<'_>) -> Result<()> {
        (self.0)(Line {
            stream: record.stream,
            time: record.time.to_owned(),
            text: record.text.to_owned(),
        })
    }

    fn pause(&mut self) -> Result<()> {
        Ok(())
    }
}

fn read(
    world: &World,
    name: &str,
    options: &LogOptions,
    each: impl FnMut(Line) -> Result<()>,
) -> Result<()> {
    world
        .engine
        .logs(&[name.to_owned()], options, &mut Each(each))
}

fn collect(world: &World, options: &LogOptions) -> Vec<String> {
    let mut found = Vec::new();
    read(world, "boat", options, |line| {
        found.push(String::from_utf8(line.text).unwrap());
        Ok(())
    })
    .unwrap();
    found
}

#[derive(Clone, Debug)]
enum Piece {
    Record(String),
    /// The beginning of a record whose writer was killed: so much of it.
    Torn(usize),
    /// Not ours at all.
    Rubbish(String),
}

fn piece() -> impl Strategy<Value = Piece> {
    let text = prop_oneof!["[a-zäé\"\\\\\\n<]{0,40}", "x{30000,70000}"];
    prop_oneof![
        8 => text.prop_map(Piece::Record),
        1 => (1..60_usize).prop_map(Piece::Torn),
        1 => "[a-z{}\"]{0,30}".prop_map(Piece::Rubbish),
    ]
}

/// The file's text, and the text of each of its lines (`None` for what is no record).
fn file_of(pieces: &[Piece], torn_end: bool) -> (String, Vec<Option<(i64, String)>>) {
    let (mut file, mut lines) = (String::new(), Vec::new());
    for (second, piece) in (0..).zip(pieces) {
        match piece {
            Piece::Record(text) => {
                file.push_str(&record(text, second));
                lines.push(Some((second, text.clone())));
            }
            Piece::Torn(length) => {
                let whole = record("torn <and> gone", second);
                file.push_str(&whole[..(*length).min(whole.len() - 2)]);
                // The next record stands behind it in the same line.
                file.push_str(&record("behind", second));
                lines.push(Some((second, "behind".to_owned())));
            }
            Piece::Rubbish(text) => {
                file.push_str(text);
                file.push('\n');
                lines.push(None);
            }
        }
    }
    if torn_end {
        file.push_str("{\"log\":\"not yet");
    }
    (file, lines)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn tail_and_times_choose_whole_records(
        pieces in prop::collection::vec(piece(), 0..30),
        torn_end: bool,
        tail in prop::option::of(0..40_u64),
        since in prop::option::of(0..30_i128),
        until in prop::option::of(0..30_i128),
    ) {
        let world = World::new();
        let (directory, _lock, _) = world.add("boat");
        let (file, lines) = file_of(&pieces, torn_end);
        fs::write(directory.log_path(), file).unwrap();
        let skipped = tail.map_or(0, |tail| lines.len().saturating_sub(tail as usize));
        let expected: Vec<String> = lines[skipped..]
            .iter()
            .flatten()
            .filter(|(second, _)| since.is_none_or(|since| i128::from(*second) >= since))
            .filter(|(second, _)| until.is_none_or(|until| i128::from(*second) <= until))
            .map(|(_, text)| text.clone())
            .collect();
        let options = LogOptions {
            follow: false,
            since: since.map(|second| second * 1_000_000_000),
            until: until.map(|second| second * 1_000_000_000),
            tail,
            ..LogOptions::default()
        };
        prop_assert_eq!(collect(&world, &options), expected);
    }

    #[test]
    fn no_file_is_too_strange_to_read(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let world = World::new();
        let (directory, _lock, _) = world.add("boat");
        fs::write(directory.log_path(), &bytes).unwrap();
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        let mut count = 0;
        read(&world, "boat", &LogOptions::default(), |_| { count += 1; Ok(()) }).unwrap();
        prop_assert!(count <= lines);
    }
}

#[test]
fn a_line_without_end_does_not_fill_the_memory() {
    let world = World::new();
    let (directory, _lock, _) = world.add("boat");
    let text = format!(
        "{}{}{}",
        record("before\n", 1),
        record(&"x".repeat(3 << 20), 2),
        record("after\n", 3)
    );
    fs::write(directory.log_path(), text).unwrap();
    assert_eq!(
        collect(&world, &LogOptions::default()),
        ["before\n", "after\n"]
    );
}

#[test]
fn streams_and_times_come_along() {
    let world = World::new();
    let (directory, _lock, _) = world.add("boat");
    let text = "{\"log\":\"o\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:00.000000001Z\"}\n\
                {\"log\":\"\\u003ce\\u003e\",\"stream\":\"stderr\",\"time\":\"2026-01-01T00:00:01Z\"}\n";
    fs::write(directory.log_path(), text).unwrap();
    let mut found: Vec<Line> = Vec::new();
    read(&world, "boat", &LogOptions::default(), |line| {
        found.push(line);
        Ok(())
    })
    .unwrap();
    assert_eq!(found[0].stream, LogStream::Stdout);
    assert_eq!(found[0].time, "2026-01-01T00:00:00.000000001Z");
    assert_eq!(found[1].stream, LogStream::Stderr);
    assert_eq!(found[1].text, b"<e>");
}

#[test]
fn without_a_log_there_is_nothing_or_a_reason() {
    let world = World::new();
    world.add("boat");
    let follow = LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    assert!(collect(&world, &follow).is_empty());
    let spec = ContainerSpec {
        logging: LogSpec {
            driver: LogDriver::None,
            ..LogSpec::default()
        },
        ..ContainerSpec::default()
    };
    world.add_with("silent", spec);
    let error = read(&world, "silent", &follow, |_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn the_readers_failure_ends_it() {
    let world = World::new();
    let (directory, _lock, _) = world.add("boat");
    fs::write(directory.log_path(), record("a", 1) + &record("b", 2)).unwrap();
    let mut count = 0;
    let error = read(&world, "boat", &LogOptions::default(), |_| {
        count += 1;
        Err(Error::new(ErrorKind::System, "enough"))
    })
    .unwrap_err();
    assert_eq!((count, error.message()), (1, "enough"));
}

/// Writes `count` records, in pieces that end anywhere.
fn write_slowly(log: &Path, count: usize) {
    let mut file = fs::OpenOptions::new().append(true).open(log).unwrap();
    for number in 0..count {
        let line = record(&format!("{number}\n"), 1);
        let (first, second) = line.split_at(number * 7 % line.len());
        file.write_all(first.as_bytes()).unwrap();
        if number % 10 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        file.write_all(second.as_bytes()).unwrap();
    }
}

fn numbers(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|number| format!("{number}\n")).collect()
}

#[test]
fn following_loses_nothing_up_to_the_end() {
    for auto_remove in [false, true] {
        if auto_remove && !rustix::process::geteuid().is_root() {
            continue;
        }
        let world = World::new();
        let spec = ContainerSpec {
            auto_remove,
            ..ContainerSpec::default()
        };
        let supervised = world.run("boat", spec, "echo; sleep 0.2");
        let log = supervised.directory.log_path();
        write_slowly(&log, 20);
        // Much of the output comes after the program's end, when pipes are drained.
        let writer = std::thread::spawn({
            let log = log.clone();
            move || write_slowly(&log, 300)
        });
        let supervisor = supervised.supervise(move |_| {
            writer.join().unwrap();
            write_slowly(&log, 50);
        });
        let options = LogOptions {
            follow: true,
            tail: Some(20),
            ..LogOptions::default()
        };
        let found = collect(&world, &options);
        supervisor.join().unwrap();
        let expected = [numbers(0, 300), numbers(0, 50)].concat();
        assert_eq!(found[found.len() - 350..], expected);
    }
}

#[test]
fn following_ends_when_the_supervisor_is_killed() {
    let world = World::new();
    let supervised = world.run("boat", ContainerSpec::default(), "echo; exec sleep 1000");
    let log = supervised.directory.log_path();
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        write_slowly(&log, 5);
        supervised.be_killed();
    });
    let options = LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    assert_eq!(collect(&world, &options), numbers(0, 5));
    killer.join().unwrap();
}

#[test]
fn following_ends_at_its_time() {
    let world = World::new();
    let supervised = world.run("boat", ContainerSpec::default(), "echo; exec sleep 1000");
    let begun = Instant::now();
    let until = jiff::Timestamp::now().as_nanosecond() + 200_000_000;
    let options = LogOptions {
        follow: true,
        until: Some(until),
        ..LogOptions::default()
    };
    assert!(collect(&world, &options).is_empty());
    assert!((0.2..5.0).contains(&begun.elapsed().as_secs_f64()));
    supervised.be_killed();
}
