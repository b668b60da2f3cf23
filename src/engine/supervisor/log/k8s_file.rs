//! The format of Kubernetes' container runtimes: `TIME STREAM F TEXT`, one line each. A part of a
//! line that goes on with the next record has `P` instead of `F`.

use super::Stream;

/// A record for each line of `text`, the last of which may have no newline.
pub(super) fn add(out: &mut Vec<u8>, stream: Stream, text: &[u8], time: &str) {
    let beginning = format!("{time} {} ", stream.name());
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        out.extend_from_slice(beginning.as_bytes());
        if line.ends_with(b"\n") {
            out.extend_from_slice(b"F ");
            out.extend_from_slice(line);
        } else {
            out.extend_from_slice(b"P ");
            out.extend_from_slice(line);
            out.push(b'\n');
        }
    }
}
