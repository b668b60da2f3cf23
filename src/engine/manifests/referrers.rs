//! Who refers to a document: signatures, bills of materials, any artifact with a `subject` (OCI
//! distribution specification 1.1, "Listing Referrers", "Referrers Tag Schema").

use crate::{
    engine::{Engine, Progress, RegistryOptions},
    model::{
        Digest, ErrorKind, Reference, Result,
        image::MAX_DOCUMENT_BYTES,
        index::{Artifact, Descriptor, Index},
        manifest::OCI_INDEX,
    },
    registry::{OnRetry, Registry},
};

/// What is noted about a document that refers to another.
#[derive(Clone, Debug)]
pub struct Referrer(pub Descriptor);

impl Referrer {
    /// The subject of a document, and how the document is listed there; `None` without a subject.
    pub(in crate::engine) fn of(bytes: &[u8], media_type: &str) -> Option<(Digest, Referrer)> {
        let mut descriptor = Descriptor::of(bytes, media_type);
        let (subject, kind, annotations) = if media_type == OCI_INDEX {
            let index = Index::parse(bytes).ok()?;
            (index.subject?, index.artifact_type, index.annotations)
        } else {
            let manifest = Artifact::parse(bytes).ok()?;
            let kind = manifest.kind().to_owned();
            (manifest.subject?, Some(kind), manifest.annotations)
        };
        descriptor.artifact_type = kind;
        descriptor.annotations = annotations;
        Some((subject.digest, Referrer(descriptor)))
    }
}

/// Adds to the list under the tag that stands in for the API. Two who do so at once may lose one of
/// both: the specification has no lock; so it is read again, and repeated if it was lost.
pub(in crate::engine) fn note_referrer(
    registry: &Registry,
    repository: &Reference,
    subject: &Digest,
    referrer: &Referrer,
    on_retry: OnRetry<'_>,
) -> Result<()> {
    // A registry that knows referrers but did not say so.
    if registry
        .referrers_api(repository, subject, on_retry)?
        .is_some()
    {
        return Ok(());
    }
    let tag = crate::registry::referrers_reference(repository, subject)?;
    for _ in 0..4 {
        let mut index = match registry.document_at_origin(&tag, on_retry) {
            Ok(document) => Index::parse(&document.bytes)?,
            Err(error) if error.kind() == ErrorKind::NotFoundInRegistry => Index::default(),
            Err(error) => return Err(error),
        };
        if index.entry(&referrer.0.digest).is_some() {
            return Ok(());
        }
        index.put(referrer.0.clone());
        index.media_type = Some(OCI_INDEX.to_owned());
        registry.put_document(&tag, index.to_bytes()?, OCI_INDEX, on_retry)?;
    }
    Ok(())
}

impl Engine {
    /// What refers to a document of a registry, of one type if it is given: the subject's digest and
    /// the list.
    ///
    /// # Errors
    /// Those of [`Registry`].
    pub fn referrers(
        &self,
        subject: &Reference,
        artifact_type: Option<&str>,
        options: &RegistryOptions,
        progress: &dyn Progress,
    ) -> Result<(Digest, Vec<Descriptor>)> {
        let registry = Registry::new(options);
        registry.prepare(subject)?;
        let on_retry = |what: &str, why: &str| progress.retrying(what, why);
        let digest = match subject.digest() {
            Some(digest) => digest.clone(),
            None => registry.document(subject, &on_retry)?.digest,
        };
        let found = registry.referrers(subject, &digest, artifact_type, &on_retry)?;
        Ok((digest, found))
    }

    /// How another document refers to this one, which is an index, artifact or image of the store or
    /// in its registry.
    pub fn descriptor_of(&self, typed: &str, options: &RegistryOptions) -> Result<Descriptor> {
        use crate::model::index::ManifestKind;
        if super::members::remote_name(typed).is_none() {
            for kind in [ManifestKind::Artifact, ManifestKind::Index] {
                if let Some(record) = self.find_manifest(typed, kind)? {
                    return self.stored_descriptor(&record.digest);
                }
            }
            match self.store.resolve_image(typed) {
                // By a digest of the index, or of an image that was chosen from one: what the
                // registry knows it by.
                Ok(image) => {
                    return self.stored_descriptor(image.index.as_ref().unwrap_or(&image.manifest));
                }
                Err(error) if error.kind() == ErrorKind::NoSuchImage => {}
                Err(error) => return Err(error),
            }
        }
        let reference: Reference = super::members::remote_name(typed)
            .unwrap_or(typed)
            .parse()?;
        let registry = Registry::new(options);
        registry.prepare(&reference)?;
        let document = registry.document(&reference, &|_, _| {})?;
        Ok(Descriptor {
            digest: document.digest,
            ..Descriptor::of(
                &document.bytes,
                &media_type(&document.bytes, document.media_type.as_deref())?,
            )
        })
    }

    fn stored_descriptor(&self, digest: &Digest) -> Result<Descriptor> {
        let bytes = self.store.read_blob(digest, MAX_DOCUMENT_BYTES)?;
        Ok(Descriptor {
            digest: digest.clone(),
            ..Descriptor::of(&bytes, &media_type(&bytes, None)?)
        })
    }
}

/// Of an index or a manifest.
pub(super) fn media_type(bytes: &[u8], announced: Option<&str>) -> Result<String> {
    use crate::model::manifest::Document;
    match Document::parse(bytes, announced)? {
        Document::Manifest(_) => super::members::manifest_type(bytes, announced),
        Document::Index(_) => {
            let stated = Index::parse(bytes)?.media_type;
            let announced = announced
                .filter(|text| text.ends_with("+json"))
                .map(str::to_owned);
            Ok(stated.or(announced).unwrap_or_else(|| OCI_INDEX.to_owned()))
        }
    }
}
