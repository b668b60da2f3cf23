//! `system reset` and `system migrate`: the whole store at once.

use std::path::PathBuf;

use super::{Engine, EngineOptions, identity};
use crate::{
    model::{Result, host::UserMode},
    storage::{Migrated, Store},
};

/// What a reset left.
#[derive(Clone, Debug)]
pub struct Reset {
    pub root: PathBuf,
    /// Names in the root that are not the store's.
    pub left: Vec<String>,
}

impl EngineOptions {
    /// The root and the run root, without making them.
    pub fn places(&self) -> Result<(PathBuf, PathBuf)> {
        let user = identity::User::detect()?;
        let is_root = *user.mode() == UserMode::Root;
        Ok((self.store_root(is_root)?, self.store_runroot(user.uid())))
    }
}

impl Engine {
    /// Stops and removes all containers, then the networks' traces in the kernel and everything that
    /// the store has. `None` if there is no store. Interrupted, it can be called again, and any other
    /// command works.
    ///
    /// # Errors
    /// [`crate::model::ErrorKind::Conflict`] if something lies there that is no store of ours.
    pub fn reset(options: EngineOptions) -> Result<Option<Reset>> {
        let (root, _) = options.places()?;
        if !Store::is_store(&root)? {
            return Ok(None);
        }
        let engine = Engine::open_with(options, Store::open_older)?;
        for (dir, record) in engine.store.containers()? {
            match engine.remove_container(record.id.as_str(), true, true) {
                // Removed by itself at its end.
                Err(_) if engine.store.container(dir.id()).is_err() => {}
                outcome => outcome?,
            }
        }
        if let Err(error) = engine.forget_all_in_kernel() {
            // Without the rights, or on a kernel without networks, there is nothing to be removed.
            log::debug!("{}", error.one_line());
        }
        engine.enter_user_namespace()?;
        let left = engine.store.remove_all()?;
        Ok(Some(Reset { root, left }))
    }

    /// Brings the store to today's version.
    ///
    /// # Errors
    /// Those of [`Store::migrate`].
    pub fn migrate(options: EngineOptions) -> Result<Migrated> {
        Engine::open_with(options, Store::open_older)?
            .store
            .migrate()
    }
}
