//! `artifact add`: files become blobs and entries of a manifest.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use crate::{
    engine::{Engine, RegistryOptions},
    model::{
        Context, Digest, Error, ErrorKind, Reference, Result,
        image::MAX_DOCUMENT_BYTES,
        index::{
            Annotations, Artifact, Descriptor, EMPTY, EMPTY_TYPE, ManifestKind, ManifestRecord,
            TITLE,
        },
    },
    storage::{Lease, StagedBlob, manifests::Expected},
};

/// A file that becomes part of an artifact.
#[derive(Clone, Debug)]
pub struct NewFile {
    pub path: PathBuf,
    /// Found out from its beginning if absent.
    pub media_type: Option<String>,
    /// Whether the file's name goes along.
    pub titled: bool,
    pub annotations: Annotations,
}

#[derive(Clone, Debug)]
pub struct NewArtifact {
    pub name: Reference,
    pub files: Vec<NewFile>,
    pub artifact_type: Option<String>,
    /// What it refers to: a name, here or in its registry.
    pub subject: Option<String>,
    /// Add to the artifact of this name.
    pub append: bool,
    /// Take the place of the artifact of this name.
    pub replace: bool,
    pub registry: RegistryOptions,
}

impl Engine {
    /// Makes an artifact of files, or adds them to one; the digest of its manifest.
    ///
    /// # Errors
    /// [`ErrorKind::NameInUse`]; [`ErrorKind::InvalidArgument`] for files that cannot be taken.
    pub fn add_artifact(&self, new: &NewArtifact) -> Result<Digest> {
        crate::engine::manifests::check_name(&new.name)?;
        self.artifact_start(new)?;
        let subject = match &new.subject {
            Some(name) => Some(self.descriptor_of(name, &new.registry)?),
            None => None,
        };
        let lease = self.store.lease()?;
        let (mut layers, mut staged) = stage(&lease, &new.files)?;
        loop {
            let old = self.artifact_start(new)?;
            let (mut artifact, mut keeps) = match &old {
                Some(record) if new.append => (
                    self.read_artifact(record)?,
                    record.keeps.iter().cloned().collect(),
                ),
                _ => (
                    Artifact::new(new.artifact_type.as_deref()),
                    BTreeSet::from([Descriptor::empty().digest]),
                ),
            };
            for layer in &layers {
                append(&mut artifact, layer)?;
                keeps.insert(layer.digest.clone());
            }
            if subject.is_some() {
                artifact.subject.clone_from(&subject);
            }
            let document = lease.stage_document(&artifact.to_bytes()?)?;
            let digest = document.digest().clone();
            let mut blobs = std::mem::take(&mut staged);
            blobs.push(lease.stage_document(EMPTY)?);
            blobs.push(document);
            for digest in old.iter().flat_map(|old| &old.keeps) {
                lease.has_blob(digest)?;
            }
            let record = ManifestRecord {
                name: new.name.clone(),
                kind: ManifestKind::Artifact,
                digest: digest.clone(),
                keeps: keeps.into_iter().collect(),
                created: crate::engine::manifests::unix_seconds(),
                sources: BTreeMap::new(),
            };
            let expected = old
                .as_ref()
                .map_or(Expected::Nothing, |old| Expected::This(&old.digest));
            if lease.commit_manifest(blobs, &record, expected)? {
                return Ok(digest);
            }
            // What was staged is in the store now, and kept by the lease.
            layers.shrink_to_fit();
        }
    }

    /// The artifact that is added to or replaced, if there is one.
    fn artifact_start(&self, new: &NewArtifact) -> Result<Option<ManifestRecord>> {
        let there = self.store.manifest(&new.name)?;
        let name = new.name.familiar();
        match &there {
            Some(record) if record.kind != ManifestKind::Artifact => Err(Error::new(
                ErrorKind::NameInUse,
                format!("{name} is a manifest list"),
            )
            .with_hint("`coracle manifest rm` removes it")),
            Some(_) if !new.append && !new.replace => Err(Error::new(
                ErrorKind::NameInUse,
                format!("{name}: artifact already exists"),
            )
            .with_hint("--append adds to it, --replace takes its place")),
            None if new.append => Err(super::no_such_artifact(&name)),
            _ => Ok(there),
        }
    }
}

/// Two files of one name could not both be extracted.
fn append(artifact: &mut Artifact, layer: &Descriptor) -> Result<()> {
    let same = |other: &&Descriptor| layer.title().is_some() && other.title() == layer.title();
    match artifact.layers.iter().find(same) {
        Some(_) => Err(Error::new(
            ErrorKind::NameInUse,
            format!(
                "the artifact has a file {:?} already",
                layer.title().unwrap_or_default()
            ),
        )),
        None => {
            artifact.layers.push(layer.clone());
            Ok(())
        }
    }
}

/// Copies files into the lease and describes them.
pub(in crate::engine) fn stage(
    lease: &Lease<'_>,
    files: &[NewFile],
) -> Result<(Vec<Descriptor>, Vec<StagedBlob>)> {
    let mut layers = Vec::with_capacity(files.len());
    let mut staged = Vec::with_capacity(files.len());
    for file in files {
        let (blob, found) = stage_file(lease, &file.path)?;
        let media_type = file.media_type.clone().unwrap_or(found);
        let mut layer = Descriptor {
            digest: blob.digest().clone(),
            size: blob.size(),
            ..Descriptor::of(b"", &media_type)
        };
        layer.annotations.clone_from(&file.annotations);
        if file.titled {
            layer
                .annotations
                .insert(TITLE.to_owned(), title(&file.path)?);
        }
        layers.push(layer);
        staged.push(blob);
    }
    Ok((layers, staged))
}

fn title(path: &Path) -> Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| {
        Error::invalid(format!(
            "{} has no name in UTF-8 that could go along",
            path.display()
        ))
    })
}

/// The blob, and the type that its beginning suggests.
fn stage_file(lease: &Lease<'_>, path: &Path) -> Result<(StagedBlob, String)> {
    let what = || format!("cannot read {}", path.display());
    let mut file = File::open(path).context(ErrorKind::InvalidArgument, what)?;
    let stat = file.metadata().context(ErrorKind::InvalidArgument, what)?;
    if stat.is_dir() {
        return Err(Error::invalid(format!("{} is a folder", path.display()))
            .with_hint("an artifact has files: pack the folder with tar"));
    }
    let mut writer = lease.write_new_blob()?;
    let mut buffer = vec![0; 256 << 10];
    let mut media_type = None;
    loop {
        let count = file.read(&mut buffer).system(what)?;
        media_type.get_or_insert_with(|| media_type_of(&buffer[..count]).to_owned());
        if count == 0 {
            break;
        }
        writer.write(&buffer[..count])?;
    }
    Ok((writer.finish()?, media_type.unwrap_or_default()))
}

/// The few that matter: what a registry's pages show or a client opens.
fn media_type_of(beginning: &[u8]) -> &'static str {
    const MAGIC: [(&[u8], &str); 8] = [
        (b"\x1f\x8b", "application/gzip"),
        (b"\x28\xb5\x2f\xfd", "application/zstd"),
        (b"PK\x03\x04", "application/zip"),
        (b"%PDF-", "application/pdf"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"\x00asm", "application/wasm"),
        (b"\xfd7zXZ\x00", "application/x-xz"),
    ];
    if let Some((_, found)) = MAGIC.iter().find(|(magic, _)| beginning.starts_with(magic)) {
        return found;
    }
    if beginning.get(257..262) == Some(b"ustar") {
        return "application/x-tar";
    }
    // A character may be cut by the end of what was read.
    let text = match std::str::from_utf8(beginning) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none() && error.valid_up_to() > 0,
    };
    let control = |byte: &u8| *byte < 0x20 && !b"\t\n\r\x0c\x1b".contains(byte);
    match text && !beginning.iter().any(control) {
        true => "text/plain; charset=utf-8",
        false => "application/octet-stream",
    }
}

/// The configuration of an artifact: a small file, or the empty content.
pub(in crate::engine) fn config(
    path: Option<&Path>,
    media_type: Option<&str>,
) -> Result<(Vec<u8>, Descriptor)> {
    let Some(path) = path else {
        return Ok(match media_type {
            None | Some(EMPTY_TYPE) => (EMPTY.to_vec(), Descriptor::empty()),
            Some(other) => (EMPTY.to_vec(), Descriptor::of(EMPTY, other)),
        });
    };
    let what = || format!("cannot read {}", path.display());
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_DOCUMENT_BYTES + 1).read_to_end(&mut bytes))
        .context(ErrorKind::InvalidArgument, what)?;
    if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
        return Err(Error::invalid(format!(
            "{} is larger than {MAX_DOCUMENT_BYTES} bytes",
            path.display()
        )));
    }
    let descriptor = Descriptor::of(&bytes, media_type.unwrap_or(EMPTY_TYPE));
    Ok((bytes, descriptor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_told_from_the_beginning() {
        for (bytes, expected) in [
            (&b"hello\n"[..], "text/plain; charset=utf-8"),
            (b"", "text/plain; charset=utf-8"),
            (b"\x1f\x8b\x08", "application/gzip"),
            (b"\x7fELF\x02\x01\x01\x00", "application/octet-stream"),
            ("ä".as_bytes(), "text/plain; charset=utf-8"),
            (&"aä".as_bytes()[..2], "text/plain; charset=utf-8"),
            (b"\xff\xfe", "application/octet-stream"),
        ] {
            assert_eq!(media_type_of(bytes), expected, "{bytes:?}");
        }
    }
}
