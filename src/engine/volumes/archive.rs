//! `volume export` and `volume import`: a volume's files as a tar archive.

use std::{
    fs::File,
    io::{self, BufWriter, Read, Write},
    path::PathBuf,
};

use crate::{
    engine::Engine,
    model::{Context, Error, ErrorKind, Result},
    storage::{
        pack::pack,
        unpack::{Decompressor, UnpackOptions},
    },
};

/// Most bytes that an archive may hold: the disk is the limit, and it says so itself.
const MAX_BYTES: u64 = 1 << 50;
const BUFFER: usize = 256 << 10;

impl Engine {
    /// Writes the files of a volume to what `open` opens, which is done before this process enters a
    /// user namespace: root there may not write everywhere the user herself may.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchVolume`]; [`ErrorKind::Unsupported`] for one whose options mount something
    /// else.
    pub fn export_volume(
        &self,
        name: &str,
        open: impl FnOnce() -> Result<Box<dyn Write>>,
    ) -> Result<()> {
        self.files_of(name, "exported")?;
        let out = open()?;
        self.enter_user_namespace()?;
        let data = self.store.volume_data(name)?;
        let what = || format!("cannot export volume {name}");
        let mut out = BufWriter::with_capacity(BUFFER, out);
        pack(&data, &mut out).system(what)?;
        out.flush().system(what)
    }

    /// Puts the files of a tar archive (which may be compressed with gzip or zstd) into a volume that
    /// is there, over those that it has. An archive that cannot be read to its end changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchVolume`], [`ErrorKind::InvalidContent`].
    pub fn import_volume(&self, name: &str, input: Option<&PathBuf>) -> Result<()> {
        self.files_of(name, "imported into")?;
        let source: Box<dyn Read> = match input {
            Some(path) => {
                Box::new(File::open(path).system(|| format!("cannot open {}", path.display()))?)
            }
            None => Box::new(io::stdin()),
        };
        self.enter_user_namespace()?;
        let plain =
            Decompressor::detect(source).map_err(|error| match error.downcast::<Error>() {
                Ok(own) => own,
                Err(error) => {
                    Error::new(ErrorKind::System, "cannot read the archive").with_source(error)
                }
            })?;
        let options = UnpackOptions {
            whiteouts: false,
            ..UnpackOptions::new(self.privilege(), MAX_BYTES)
        };
        self.store.lease()?.import_volume(name, plain, &options)
    }

    fn files_of(&self, name: &str, act: &str) -> Result<()> {
        if self.volume_record(name)?.backing()?.is_none() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("volume {name} cannot be {act}: its options mount another file system"),
        )
        .with_hint("run tar in a container that mounts it"))
    }
}
