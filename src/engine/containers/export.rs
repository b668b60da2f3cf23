//! `export`: a container's files as a tar archive, owners as the container knows them.
//!
//! What is mounted in it (volumes, binds, /proc) is left out: their folders are there, empty, as
//! Docker's are.

use std::{
    io::{BufWriter, Write},
    os::fd::AsFd,
};

use rustix::fs::OFlags;

use super::root_view::{Scope, inside};
use crate::{
    engine::Engine,
    model::{Context, Result},
    storage::pack::Packer,
    sys::in_root,
};

const BUFFER: usize = 256 << 10;

impl Engine {
    /// Writes a container's files to what `open` opens, which is done before this process enters a
    /// user namespace: root there may not write everywhere the user herself may.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchContainer`], and whatever forbids to read or write.
    pub fn export_container(
        &self,
        container: &str,
        open: impl FnOnce() -> Result<Box<dyn Write>>,
    ) -> Result<()> {
        let (directory, record) = self.store.find_container(container)?;
        let out = open()?;
        let view = self.root_view(&directory, &record, Scope::RootAlone)?;
        let what = || format!("cannot export container {container}");
        let top = in_root::open(view.root(), c"/", OFlags::RDONLY | OFlags::DIRECTORY);
        let top = top.system(what)?;
        let mut out = BufWriter::with_capacity(BUFFER, out);
        let owner = |stat: &_| inside(view.owners(), stat);
        let mut packer = Packer::new(&mut out, &owner);
        let packed = packer
            .folder_as(top.as_fd(), b"")
            .and_then(|()| packer.finish())
            .and_then(|()| out.flush());
        packed.system(what)?;
        self.note_container(&record, "export", &[]);
        Ok(())
    }
}
