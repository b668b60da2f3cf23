//! Docker's `json-file` format: one object a line,
//! `{"log":"text\n","stream":"stdout","attrs":{"tag":"x"},"time":"2026-11-21T10:00:00.123456789Z"}`,
//! `attrs` only if there are any.

use std::collections::BTreeMap;

use super::{Stream, escape::escape};

const BEGINNING: &[u8] = b"{\"log\":\"";

#[derive(Debug)]
pub(super) struct JsonLines {
    /// With its name and a comma behind it; empty if there are none.
    attributes: String,
}

impl JsonLines {
    pub(super) fn new(attributes: &BTreeMap<String, String>) -> JsonLines {
        let mut text = String::new();
        if !attributes.is_empty()
            && let Ok(object) = serde_json::to_string(attributes)
        {
            text = format!("\"attrs\":{object},");
        }
        JsonLines { attributes: text }
    }

    /// A record for each line of `text`, the last of which may have no newline.
    pub(super) fn add(&self, out: &mut Vec<u8>, stream: Stream, text: &[u8], time: &str) {
        let (name, attributes) = (stream.name(), &self.attributes);
        let ending = format!("\",\"stream\":\"{name}\",{attributes}\"time\":\"{time}\"}}\n");
        // From one line's text to the next one's.
        let between = [b"\\n", ending.as_bytes(), BEGINNING].concat();
        out.reserve(text.len() + text.len() / 64 * between.len());
        out.extend_from_slice(BEGINNING);
        escape(out, text, &between);
        if text.last().is_some_and(|&last| last != b'\n') {
            out.extend_from_slice(ending.as_bytes());
        } else {
            out.truncate(out.len() - BEGINNING.len());
        }
    }
}
