//! Builds: a Dockerfile and a context → an image.
//!
//! ```text
//! text ── dockerfile ──► stages of instructions
//!           graph    ──► stages of steps, variables expanded: what is to be done, as a value
//!           solve    ──► layers in the store, by the cache or by workers ── finish ──► an image
//!           export   ──► where else it is wanted
//! ```
//!
//! Each hands the next one a value that can be compared and printed, and knows nothing of those behind
//! it. [`context`] opens what the user names, [`request`] is what was asked for, [`progress`] shows how it
//! goes, [`copy`] makes layers of files, [`worker`] gives every step a process of its own.
//!
//! What an instruction means follows BuildKit's Dockerfile frontend: where its documentation is silent,
//! its behaviour decides.

pub mod cache;
pub mod check;
pub mod context;
pub mod copy;
pub mod dockerfile;
pub mod export;
pub mod git_address;
pub mod graph;
pub mod ignore;
pub mod invoke;
mod letter_class;
pub mod lint;
pub mod progress;
pub mod request;
pub mod solve;
pub mod ssh;
pub mod worker;

use std::ops::RangeInclusive;

use crate::model::Error;

pub use solve::{Built, BuiltImage, build};

/// An error, with the place in the Dockerfile where it happened.
fn located(text: &request::Text, lines: &RangeInclusive<u32>, error: Error) -> Error {
    let shown = dockerfile::Complaint::new(error.one_line()).at(lines);
    let mut located = shown
        .into_error(&text.name, &text.text)
        .of_kind(error.kind());
    if let Some(hint) = error.hint() {
        located = located.with_hint(hint.to_owned());
    }
    located
}
