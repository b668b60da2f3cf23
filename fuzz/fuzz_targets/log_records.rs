//! Any line as a record of a log. Oracle: no panic; the time is one, so that it may be shown on a
//! terminal; a text is no longer than its record.

#![no_main]

use coracle::engine::containers::logs::records::{RecordFormat, RecordParser};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    for format in [RecordFormat::JsonLines, RecordFormat::K8sFile] {
        let mut parser = RecordParser::new(format, true);
        if let Some(record) = parser.parse(line) {
            assert!(record.text.len() <= line.len());
            assert!(record.time.bytes().all(|byte| byte.is_ascii_graphic()));
            assert!(record.details.is_ascii());
        }
    }
});
