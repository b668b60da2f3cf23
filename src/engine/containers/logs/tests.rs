//! What supervisors write is what `logs` reads.

use std::{collections::BTreeMap, fs::File, os::fd::OwnedFd, path::Path};

use proptest::prelude::*;

use super::reader::LogReader;
use crate::{
    engine::{
        LogOptions, LogRecord, LogSink, LogStream,
        supervisor::log::{LogWriter, Stream},
    },
    model::{
        ContainerId, Result,
        log::{LogDriver, LogLimits, LogPlan},
    },
    storage::containers::log_files::LogFiles,
};

/// What a reader has been handed.
#[derive(Default)]
struct Heard {
    records: Vec<(LogStream, Vec<u8>)>,
}

impl Heard {
    fn of(&self, stream: LogStream) -> Vec<u8> {
        let records = self.records.iter().filter(|(other, _)| *other == stream);
        records.flat_map(|(_, text)| text.clone()).collect()
    }
}

impl LogSink for Heard {
    fn begin(&mut self, _: &[(ContainerId, String)]) {}

    fn record(&mut self, _: usize, record: &LogRecord<'_>) -> Result<()> {
        self.records.push((record.stream, record.text.to_vec()));
        Ok(())
    }

    fn pause(&mut self) -> Result<()> {
        Ok(())
    }
}

fn files(folder: &Path) -> LogFiles {
    LogFiles::new(OwnedFd::from(File::open(folder).unwrap()), "log")
}

fn writer(folder: &Path, driver: LogDriver, limits: LogLimits) -> LogWriter {
    let plan = LogPlan {
        driver,
        limits,
        path: None,
        attributes: BTreeMap::new(),
        fields: BTreeMap::new(),
        buffer: None,
    };
    LogWriter::open(&plan, || Ok(files(folder)))
        .unwrap()
        .unwrap()
}

fn reader(folder: &Path, driver: LogDriver, options: &LogOptions) -> LogReader {
    LogReader::new(files(folder), driver, options).unwrap()
}

fn read(folder: &Path, driver: LogDriver, options: &LogOptions) -> Heard {
    let mut heard = Heard::default();
    reader(folder, driver, options)
        .read_on(0, &mut heard)
        .unwrap();
    heard
}

const ENDLESS: LogLimits = LogLimits {
    size: None,
    files: 1,
    compress: false,
};

fn drivers() -> impl Strategy<Value = LogDriver> {
    prop_oneof![
        Just(LogDriver::JsonFile),
        Just(LogDriver::K8sFile),
        Just(LogDriver::Local),
    ]
}

/// Text of one stream; bytes that are no text only where a format can keep them.
fn pieces() -> impl Strategy<Value = Vec<(bool, Vec<u8>)>> {
    let text = prop_oneof![
        "[a-zäß€\"\\\\<>&\n\r\t\u{2028}]{0,60}",
        "[ -~\n]{0,200}",
        Just("x".repeat(40_000)),
    ];
    let piece = (any::<bool>(), text).prop_map(|(error, text)| (error, text.into_bytes()));
    prop::collection::vec(piece, 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn everything_comes_back(
        driver in drivers(),
        pieces in pieces(),
        cut in 1_usize..50,
        size in prop_oneof![Just(None), (100_u64..5000).prop_map(Some)],
        compress in any::<bool>(),
        tail in 0_u64..30,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let limits = LogLimits { size, files: 10_000, compress: compress && driver != LogDriver::Local };
        let mut log = writer(folder.path(), driver, limits);
        let mut following = reader(folder.path(), driver, &LogOptions::default());
        let mut followed = Heard::default();
        let mut said = [Vec::new(), Vec::new()];
        for (error, bytes) in &pieces {
            let stream = if *error { Stream::Stderr } else { Stream::Stdout };
            said[usize::from(*error)].extend_from_slice(bytes);
            // In two pieces, perhaps in the middle of a character.
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            log.write(stream, first);
            log.write(stream, second);
            following.read_on(0, &mut followed).unwrap();
        }
        log.end(Stream::Stdout);
        log.end(Stream::Stderr);
        following.read_on(0, &mut followed).unwrap();
        let heard = read(folder.path(), driver, &LogOptions::default());
        prop_assert_eq!(heard.of(LogStream::Stdout), said[0].clone());
        prop_assert_eq!(heard.of(LogStream::Stderr), said[1].clone());
        prop_assert_eq!(&heard.records, &followed.records);
        let options = LogOptions { tail: Some(tail), ..LogOptions::default() };
        let last = read(folder.path(), driver, &options);
        let wanted = heard.records.len().saturating_sub(tail as usize);
        prop_assert_eq!(&last.records[..], &heard.records[wanted..]);
    }

    #[test]
    fn k8s_file_keeps_any_bytes(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..20)) {
        let folder = tempfile::tempdir().unwrap();
        let mut log = writer(folder.path(), LogDriver::K8sFile, ENDLESS);
        for piece in &pieces {
            log.write(Stream::Stdout, piece);
        }
        log.end(Stream::Stdout);
        let heard = read(folder.path(), LogDriver::K8sFile, &LogOptions::default());
        prop_assert_eq!(heard.of(LogStream::Stdout), pieces.concat());
    }
}

#[test]
fn splits_long_lines_and_keeps_short_ones_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = writer(folder.path(), LogDriver::JsonFile, ENDLESS);
    log.write(Stream::Stdout, b"one\ntw");
    log.write(Stream::Stderr, b"err\n");
    log.write(Stream::Stdout, b"o\n");
    log.write(Stream::Stdout, &[b'x'; 40_000]);
    log.write(Stream::Stdout, b"\nrest");
    log.end(Stream::Stdout);
    let heard = read(folder.path(), LogDriver::JsonFile, &LogOptions::default());
    let texts: Vec<&[u8]> = heard
        .records
        .iter()
        .map(|(_, text)| text.as_slice())
        .collect();
    assert_eq!(texts[..3], [b"one\n".as_slice(), b"err\n", b"two\n"]);
    assert!(texts.iter().all(|text| text.len() <= 16 << 10));
    assert_eq!(texts[3..texts.len() - 1].concat().len(), 40_001);
    assert_eq!(texts.last(), Some(&b"rest".as_slice()));
}

#[test]
fn a_torn_record_harms_nobody() {
    for driver in [LogDriver::JsonFile, LogDriver::K8sFile, LogDriver::Local] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = writer(folder.path(), driver, ENDLESS);
        log.write(Stream::Stdout, b"whole\n");
        let whole = std::fs::metadata(&path).unwrap().len();
        log.write(Stream::Stdout, b"torn\n");
        let all = std::fs::metadata(&path).unwrap().len();
        for length in whole..all {
            let file = File::options().write(true).open(&path).unwrap();
            file.set_len(length).unwrap();
            let mut log = writer(folder.path(), driver, ENDLESS);
            log.write(Stream::Stdout, b"next\n");
            let heard = read(folder.path(), driver, &LogOptions::default());
            let text = String::from_utf8(heard.of(LogStream::Stdout)).unwrap();
            assert!(
                text.starts_with("whole\n") && text.ends_with("next\n"),
                "{driver:?}: {text:?}"
            );
            file.set_len(whole).unwrap();
            let mut log = writer(folder.path(), driver, ENDLESS);
            log.write(Stream::Stdout, b"torn\n");
        }
    }
}

#[test]
fn a_reader_that_sleeps_loses_only_what_the_cap_drops() {
    let folder = tempfile::tempdir().unwrap();
    let limits = LogLimits {
        size: Some(1000),
        files: 2,
        compress: false,
    };
    let mut log = writer(folder.path(), LogDriver::JsonFile, limits);
    log.write(Stream::Stdout, b"first\n");
    let mut following = reader(folder.path(), LogDriver::JsonFile, &LogOptions::default());
    let mut heard = Heard::default();
    following.read_on(0, &mut heard).unwrap();
    for number in 0..100 {
        log.write(Stream::Stdout, format!("{number}\n").as_bytes());
    }
    following.read_on(0, &mut heard).unwrap();
    let text = String::from_utf8(heard.of(LogStream::Stdout)).unwrap();
    let numbers: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    assert!(text.starts_with("first\n") && text.ends_with("99\n"));
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{text}");
}
