//! `artifact extract`: files of an artifact, in a folder or under a given name.
//!
//! A folder gets each file under its title, which must be a plain name; a link that lies there under
//! that name is not followed. A file appears by a rename, so that one of the same name is whole
//! before and after.

use std::{
    fs,
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::{
    engine::Engine,
    model::{
        Context, Digest, Error, ErrorKind, Result,
        index::{Descriptor, file_name},
    },
};

/// Which files, and where to.
#[derive(Clone, Debug)]
pub struct Extract {
    pub artifact: String,
    pub title: Option<String>,
    pub digest: Option<Digest>,
    pub destination: PathBuf,
}

impl Engine {
    /// # Errors
    /// [`ErrorKind::NoSuchImage`]; [`ErrorKind::InvalidArgument`] for a choice that fits nothing or
    /// a destination that takes no folder of files; [`ErrorKind::InvalidContent`] for titles that
    /// are no plain names.
    pub fn extract_artifact(&self, request: &Extract) -> Result<()> {
        let (_, artifact) = self.artifact(&request.artifact)?;
        let chosen = choose(&artifact.layers, request)?;
        let into_folder = request.destination.is_dir();
        if !into_folder {
            let [layer] = chosen[..] else {
                return Err(Error::invalid(format!(
                    "{} is not a folder, and the artifact has {} files",
                    request.destination.display(),
                    chosen.len()
                ))
                .with_hint("choose one with --title or --digest"));
            };
            if let Ok(there) = fs::metadata(&request.destination)
                && !there.is_file()
            {
                return self.write_into(layer, &request.destination);
            }
            return self.write_out(layer, &request.destination);
        }
        // All names first: nothing is written for an artifact that cannot be extracted.
        let mut names = std::collections::BTreeSet::new();
        for layer in &chosen {
            let name = file_name(layer)?;
            if !names.insert(name.clone()) {
                return Err(Error::new(
                    ErrorKind::InvalidContent,
                    format!("the artifact has two files {name:?}"),
                )
                .with_hint("choose one with --digest, and name the file"));
            }
        }
        for (layer, name) in chosen.iter().zip(names_of(&chosen)?) {
            self.write_out(layer, &request.destination.join(name))?;
        }
        Ok(())
    }

    /// A device or a pipe that the user named: written to, not replaced.
    fn write_into(&self, layer: &Descriptor, path: &Path) -> Result<()> {
        let mut blob = self.store.open_blob(&layer.digest)?;
        let file = fs::OpenOptions::new().write(true).open(path);
        let mut file = file.system(|| format!("cannot write {}", path.display()))?;
        copy(&mut blob, &mut file, layer)
    }

    /// Verified on the way: what lies in the user's folder is not looked at again.
    fn write_out(&self, layer: &Descriptor, path: &Path) -> Result<()> {
        let what = || format!("cannot write {}", path.display());
        let mut blob = self.store.open_blob(&layer.digest)?;
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        let staged = folder.join(format!(
            ".coracle-{}-{}",
            std::process::id(),
            layer.digest.short()
        ));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&staged)
            .system(what)?;
        let written =
            copy(&mut blob, &mut file, layer).and_then(|()| fs::rename(&staged, path).system(what));
        if written.is_err() {
            let _ = fs::remove_file(&staged);
        }
        written
    }
}

fn names_of(chosen: &[&Descriptor]) -> Result<Vec<String>> {
    chosen.iter().map(|layer| file_name(layer)).collect()
}

fn copy(blob: &mut impl Read, file: &mut impl std::io::Write, layer: &Descriptor) -> Result<()> {
    use sha2::Digest as _;
    let what = || format!("cannot copy blob {}", layer.digest);
    let is_long = layer.digest.algorithm() == "sha512";
    let (mut sha256, mut sha512) = (sha2::Sha256::new(), sha2::Sha512::new());
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = blob.read(&mut buffer).system(what)?;
        if count == 0 {
            break;
        }
        if is_long {
            sha512.update(&buffer[..count]);
        } else {
            sha256.update(&buffer[..count]);
        }
        file.write_all(&buffer[..count]).system(what)?;
    }
    let found = match is_long {
        true => Digest::sha512(sha512.finalize()),
        false => Digest::sha256(sha256.finalize()),
    };
    if found != layer.digest {
        return Err(Error::new(
            ErrorKind::DigestMismatch,
            format!("blob {} in the store is damaged", layer.digest),
        )
        .with_hint("pull the artifact again"));
    }
    Ok(())
}

fn choose<'a>(layers: &'a [Descriptor], request: &Extract) -> Result<Vec<&'a Descriptor>> {
    let chosen: Vec<&Descriptor> = layers
        .iter()
        .filter(|layer| {
            request
                .digest
                .as_ref()
                .is_none_or(|digest| *digest == layer.digest)
                && request
                    .title
                    .as_deref()
                    .is_none_or(|title| layer.title() == Some(title))
        })
        .collect();
    if chosen.is_empty() {
        return Err(match (&request.title, &request.digest) {
            (None, None) => Error::new(
                ErrorKind::InvalidContent,
                format!("artifact {} has no files", request.artifact),
            ),
            _ => Error::invalid(format!(
                "artifact {} has no file of that title or digest",
                request.artifact
            ))
            .with_hint("`coracle artifact inspect` shows them"),
        });
    }
    Ok(chosen)
}
