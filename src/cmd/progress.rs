//! A pull or load as it goes: Docker's plain lines, or one bar a layer on a terminal.

use std::{
    collections::HashMap,
    sync::{Mutex, OnceLock, PoisonError},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::ui;
use crate::{
    engine::{Progress, Pulled},
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
    /// One bar a layer, and their sum.
    layers: Mutex<HashMap<Digest, ProgressBar>>,
    total: ProgressBar,
}

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
                let target = match self.stream {
                    Stream::Stdout if ui::stdout_is_terminal() => ProgressDrawTarget::stdout(),
                    Stream::Stderr if ui::stderr_is_terminal() => ProgressDrawTarget::stderr(),
                    _ => return None,
                };
                let all = MultiProgress::with_draw_target(target);
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

    /// The first line of a pull.
    pub fn pulling(&self, reference: &Reference) {
        let what = match (reference.tag(), reference.digest()) {
            (_, Some(digest)) => digest.as_str(),
            (Some(tag), None) => tag,
            (None, None) => "latest",
        };
        self.line(&format!("{what}: Pulling from {}", reference.repository()));
    }
}

impl Bars {
    fn with(&self, layer: &Digest, act: impl FnOnce(&ProgressBar)) {
        let layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = layers.get(layer) {
            act(bar);
        }
    }
}

pub(super) fn bar(name: &str, total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{prefix:12}: [{bar:30}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar())
    .progress_chars("=> ");
    ProgressBar::new(total)
        .with_style(style)
        .with_prefix(name.to_owned())
}

impl Progress for Show {
    fn notice(&self, text: &str) {
        ui::notice(text);
    }

    fn layer_started(&self, layer: &Digest, total: u64) {
        match self.bars() {
            Some(bars) => {
                let mut layers = bars.layers.lock().unwrap_or_else(PoisonError::into_inner);
                layers.entry(layer.clone()).or_insert_with(|| {
                    bars.total.inc_length(total);
                    bars.all
                        .insert_before(&bars.total, bar(layer.short(), total))
                });
            }
            None => self.line(&format!("{}: Pulling fs layer", layer.short())),
        }
    }

    fn layer_advanced(&self, layer: &Digest, bytes: u64) {
        if let Some(bars) = self.bars() {
            bars.with(layer, |bar| bar.inc(bytes));
            bars.total.inc(bytes);
        }
    }

    fn layer_exists(&self, layer: &Digest) {
        self.line(&format!("{}: Already exists", layer.short()));
    }

    fn layer_done(&self, layer: &Digest) {
        if let Some(bars) = self.bars() {
            bars.with(layer, ProgressBar::finish_and_clear);
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
        self.pulling(reference);
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
