//! A push as it goes: Docker's plain lines, or one bar a layer on a terminal.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use indicatif::{MultiProgress, ProgressBar};

use super::{
    progress::{self, Stream, bar},
    ui,
};
use crate::{
    engine::{PushProgress, PushStage, Pushed},
    model::{Digest, Reference},
};

pub struct Show {
    quiet: bool,
    /// On a terminal.
    bars: Option<MultiProgress>,
    layers: Mutex<HashMap<Digest, ProgressBar>>,
    /// The repository that was named last.
    repository: Mutex<Option<String>>,
}

impl Show {
    pub fn new(quiet: bool) -> Self {
        Show {
            quiet,
            bars: progress::bars_on(Stream::Stdout).filter(|_| !quiet),
            layers: Mutex::default(),
            repository: Mutex::default(),
        }
    }

    /// A line above the bars. Progress that cannot be written is not worth failing for.
    pub fn line(&self, text: &str) {
        if self.quiet {
            return;
        }
        let write = || {
            let _ = ui::line(text);
        };
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }

    /// Removes the bars.
    pub fn finish(&self) {
        if let Some(bars) = &self.bars {
            for bar in self.layers().drain() {
                bar.1.finish_and_clear();
            }
            let _ = bars.clear();
        }
    }

    fn layers(&self) -> MutexGuard<'_, HashMap<Digest, ProgressBar>> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, layer: &Digest, how: &str) {
        if let Some(bar) = self.layers().remove(layer) {
            bar.finish_and_clear();
        }
        self.line(&format!("{}: {how}", layer.short()));
    }
}

impl PushProgress for Show {
    fn image(&self, name: &Reference) {
        let mut last = self
            .repository
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Docker says it once for all tags.
        if last.as_ref() != Some(&name.name()) {
            self.line(&format!("The push refers to repository [{}]", name.name()));
            *last = Some(name.name());
        }
    }

    fn layer(&self, layer: &Digest, stage: PushStage<'_>) {
        match stage {
            // On a terminal a bar says it.
            PushStage::Preparing if self.bars.is_some() => {}
            PushStage::Preparing => self.line(&format!("{}: Preparing", layer.short())),
            PushStage::Compressing => self.line(&format!("{}: Compressing", layer.short())),
            PushStage::Sending(size) => {
                if let Some(bars) = &self.bars {
                    let bar = bars.add(bar(layer.short(), size));
                    self.layers().insert(layer.clone(), bar);
                }
            }
            PushStage::Sent(bytes) => {
                if let Some(bar) = self.layers().get(layer) {
                    bar.set_position(bytes);
                }
            }
            PushStage::Exists => self.end(layer, "Layer already exists"),
            PushStage::Mounted(from) => self.end(layer, &format!("Mounted from {from}")),
            PushStage::Pushed => self.end(layer, "Pushed"),
            PushStage::Foreign => self.end(layer, "Skipped foreign layer"),
        }
    }

    fn pushed(&self, pushed: &Pushed) {
        let tag = pushed.name.tag().unwrap_or_default();
        self.line(&format!(
            "{tag}: digest: {} size: {}",
            pushed.digest, pushed.size
        ));
    }

    fn retrying(&self, what: &str, why: &str) {
        self.line(&format!("{what}: trying again: {why}"));
    }
}
