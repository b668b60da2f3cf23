//! A pull, push, load or save as it goes.
//!
//! On a terminal each layer has a line with its state, and bytes and rate while it is downloaded;
//! the last line adds up. A layer that is complete becomes an ordinary line above them, so that what
//! is still going on has room on a small screen. Elsewhere (a pipe, a dumb terminal) there are
//! Docker's plain lines, a layer's id first. Nothing has a colour.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{env, ui};
use crate::{
    engine::{LayerState, Progress, Pulled},
    model::{Digest, Reference},
};

/// Where progress is written. `pull`'s is its output, `run`'s must not mix with the program's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Shows progress. Looks at the terminal when there is something to show, not before: `run`
/// makes one each time and rarely pulls.
pub struct Show {
    stream: Stream,
    quiet: bool,
    bars: OnceLock<Option<Bars>>,
}

struct Bars {
    all: MultiProgress,
    /// One bar a layer that is under way, and their sum.
    layers: Mutex<HashMap<Digest, ProgressBar>>,
    total: ProgressBar,
}

/// Layers beyond these show when their turn has come: the lines of a terminal are few.
const WAITING: usize = 12;

impl Show {
    pub fn new(stream: Stream, quiet: bool) -> Self {
        Show {
            stream,
            quiet,
            bars: OnceLock::new(),
        }
    }

    /// A line above the bars. Progress that cannot be written is not worth failing for.
    pub fn line(&self, text: &str) {
        if self.quiet {
            return;
        }
        match self.bars.get() {
            Some(Some(bars)) => bars.all.suspend(|| self.write(text)),
            _ => self.write(text),
        }
    }

    fn write(&self, text: &str) {
        match self.stream {
            Stream::Stdout => {
                let _ = ui::line(text);
            }
            Stream::Stderr => ui::aside(text),
        }
    }

    fn bars(&self) -> Option<&Bars> {
        if self.quiet {
            return None;
        }
        self.bars
            .get_or_init(|| {
                let all = bars_on(self.stream)?;
                let total = all.add(bar("total", 0));
                Some(Bars {
                    all,
                    layers: Mutex::default(),
                    total,
                })
            })
            .as_ref()
    }

    /// Removes the bars; lines follow.
    pub fn finish(&self) {
        if let Some(Some(bars)) = self.bars.get() {
            bars.total.finish_and_clear();
            let _ = bars.all.clear();
        }
    }

    /// What Docker prints at the end of a pull.
    pub fn summary(&self, pulled: &Pulled, name: &str) {
        self.finish();
        self.line(&format!("Digest: {}", pulled.digest));
        self.line(&if pulled.up_to_date {
            format!("Status: Image is up to date for {name}")
        } else {
            format!("Status: Downloaded newer image for {name}")
        });
    }
}

impl Bars {
    fn layers(&self) -> MutexGuard<'_, HashMap<Digest, ProgressBar>> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with(&self, layer: &Digest, act: impl FnOnce(&ProgressBar)) {
        if let Some(bar) = self.layers().get(layer) {
            act(bar);
        }
    }

    fn planned(&self, layer: &Digest, size: u64) {
        self.total.inc_length(size);
        let mut layers = self.layers();
        if layers.len() < WAITING && !layers.contains_key(layer) {
            let waiting = bar(layer.short(), size).with_style(style(STATE));
            waiting.set_message("Waiting");
            let waiting = self.all.insert_before(&self.total, waiting);
            waiting.tick();
            layers.insert(layer.clone(), waiting);
        }
    }

    fn started(&self, layer: &Digest, size: u64, message: &'static str) {
        let mut layers = self.layers();
        let shown = layers.entry(layer.clone()).or_insert_with(|| {
            self.all
                .insert_before(&self.total, bar(layer.short(), size))
        });
        // Of a second beginning nothing has come yet.
        let counted = shown.position();
        self.total
            .set_position(self.total.position().saturating_sub(counted));
        shown.set_style(style(BYTES));
        shown.set_message(message);
        shown.reset();
    }

    fn leaving(&self, layer: &Digest, size: u64, message: &'static str) {
        self.total.inc_length(size);
        self.started(layer, size, message);
    }

    /// Its place is free for one that waits.
    fn ended(&self, layer: &Digest) {
        if let Some(bar) = self.layers().remove(layer) {
            let rest = bar.length().unwrap_or(0).saturating_sub(bar.position());
            self.total.inc(rest);
            bar.finish_and_clear();
        }
    }

    fn state(&self, layer: &Digest, state: &LayerState) {
        match state {
            LayerState::Planned(size) => self.planned(layer, *size),
            LayerState::Elsewhere => {
                self.with(layer, |bar| bar.set_message("Shared with another command"));
            }
            LayerState::Anew => self.with(layer, |bar| {
                let counted = bar.position();
                self.total
                    .set_position(self.total.position().saturating_sub(counted));
                bar.reset();
            }),
            LayerState::Downloaded => self.with(layer, |bar| {
                bar.set_style(style(STATE));
                bar.set_message("Extracting");
            }),
            LayerState::Pushing(size) => self.leaving(layer, *size, "Pushing"),
            LayerState::Saving(size) => self.leaving(layer, *size, "Saving"),
            LayerState::Saved
            | LayerState::Pushed
            | LayerState::OnServer
            | LayerState::Mounted(_) => {
                self.ended(layer);
            }
        }
    }
}

const BYTES: &str =
    "{prefix:12}: {msg} [{wide_bar}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}";
const STATE: &str = "{prefix:12}: {msg} {decimal_total_bytes}";

/// On a narrow terminal the bar shrinks first, and then the end of the line is cut off.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// Bars where they can be drawn: on a terminal that can move its cursor.
pub(super) fn bars_on(stream: Stream) -> Option<MultiProgress> {
    let target = match stream {
        _ if env::dumb_terminal() => return None,
        Stream::Stdout if ui::stdout_is_terminal() => ProgressDrawTarget::stdout(),
        Stream::Stderr if ui::stderr_is_terminal() => ProgressDrawTarget::stderr(),
        _ => return None,
    };
    Some(MultiProgress::with_draw_target(target))
}

pub(super) fn bar(name: &str, total: u64) -> ProgressBar {
    ProgressBar::new(total)
        .with_style(style(BYTES))
        .with_prefix(name.to_owned())
}

impl Progress for Show {
    fn notice(&self, text: &str) {
        ui::notice(text);
    }

    fn layer_started(&self, layer: &Digest, total: u64) {
        if let Some(bars) = self.bars() {
            bars.started(layer, total, "Downloading");
        }
    }

    fn layer_advanced(&self, layer: &Digest, bytes: u64) {
        if let Some(bars) = self.bars() {
            bars.with(layer, |bar| bar.inc(bytes));
            bars.total.inc(bytes);
        }
    }

    fn layer_state(&self, layer: &Digest, state: LayerState) {
        let bars = self.bars();
        if let Some(bars) = bars {
            bars.state(layer, &state);
        }
        let line = |text: &str| self.line(&format!("{}: {text}", layer.short()));
        match state {
            LayerState::Pushed => line("Pushed"),
            LayerState::OnServer => line("Layer already exists"),
            LayerState::Mounted(from) => line(&format!("Mounted from {from}")),
            _ if bars.is_some() => {}
            LayerState::Planned(_) => line("Pulling fs layer"),
            LayerState::Elsewhere => line("Already being pulled by another command"),
            LayerState::Anew => line("Damaged, downloading it again"),
            LayerState::Downloaded => {
                line("Verifying Checksum");
                line("Download complete");
            }
            LayerState::Pushing(_) => line("Preparing"),
            LayerState::Saving(_) | LayerState::Saved => {}
        }
    }

    fn layer_exists(&self, layer: &Digest) {
        self.line(&format!("{}: Already exists", layer.short()));
    }

    fn layer_done(&self, layer: &Digest) {
        if let Some(bars) = self.bars() {
            bars.ended(layer);
        }
        self.line(&format!("{}: Pull complete", layer.short()));
    }

    fn retrying(&self, what: &str, why: &str) {
        self.line(&format!("{what}: trying again: {why}"));
    }

    fn image_missing(&self, reference: &Reference) {
        self.line(&format!(
            "Unable to find image '{}' locally",
            reference.familiar()
        ));
    }

    /// The first line of a pull.
    fn pulling(&self, reference: &Reference) {
        let what = match (reference.tag(), reference.digest()) {
            (_, Some(digest)) => digest.as_str(),
            (Some(tag), None) => tag,
            (None, None) => "latest",
        };
        self.line(&format!("{what}: Pulling from {}", reference.repository()));
    }

    fn image_pulled(&self, pulled: &Pulled) {
        let name = pulled
            .record
            .name
            .as_ref()
            .map_or_else(|| pulled.record.config.to_string(), Reference::familiar);
        self.summary(pulled, &name);
    }
}
