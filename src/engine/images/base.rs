//! Images to build on: for the platform that is wanted, whatever their name stands for here.
//!
//! A name of the store stands for an image of one platform, mostly this machine's. One for another is
//! looked for in the index that it came from, and kept under `NAME@DIGEST`: a build for a foreign
//! platform does not take the name away from the image that `run` means.

use super::{
    ingest::{ImageDocuments, Ingest},
    pull::nowhere,
};
use crate::{
    engine::{Engine, PullRequest, PullSettings, Silent},
    model::{
        ContainerSpec, Digest, Error, ErrorKind, Platform, Reference, Result,
        container::PullPolicy,
        image::{ImageRecord, MAX_DOCUMENT_BYTES},
        manifest::{self, Document},
    },
    registry::Registry,
};

impl Engine {
    /// Such an image, if it is here.
    pub fn base_image_here(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Option<ImageRecord>> {
        match self.named_base(reference)? {
            Some(image) if self.is_for(&image, platform)? => Ok(Some(image)),
            Some(image) => self.relative(reference, &image, platform),
            None => Ok(None),
        }
    }

    /// Such an image, fetched if it is not here or `pull` wants that. If there is none for this
    /// machine, one for another may do.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchImage`], [`ErrorKind::NoMatchingPlatform`], and those of a pull.
    pub fn base_image(
        &self,
        reference: &Reference,
        platform: &Platform,
        pull: PullPolicy,
        settings: &PullSettings<'_>,
    ) -> Result<ImageRecord> {
        let mut other = None;
        if pull != PullPolicy::Always {
            if let Some(image) = self.base_image_here(reference, platform)? {
                return Ok(image);
            }
            other = self.named_base(reference)?;
        }
        let is_native = Platform::host().accepts(platform);
        let fetched = match (&other, pull) {
            (Some(image), PullPolicy::Never) if is_native => return Ok(image.clone()),
            (_, PullPolicy::Never) => Err(Error::new(
                ErrorKind::NoSuchImage,
                format!("No such image: {reference}"),
            )),
            _ if !is_native => self.foreign_base(reference, platform, settings),
            (None, _) => self.image_of(&spec(reference, platform, pull), settings),
            (Some(_), _) => {
                let spec = spec(reference, platform, PullPolicy::Always);
                self.image_of(&spec, settings)
            }
        };
        match (fetched, other) {
            (Err(_), Some(image)) if is_native => Ok(image),
            (Err(error), Some(image)) => {
                let offered = self.image_config(&image.config)?.platform();
                let text = format!("{reference} is here for {offered}, not for {platform}");
                Err(Error::new(ErrorKind::NoMatchingPlatform, text).with_source(error))
            }
            (fetched, _) => fetched,
        }
    }

    /// The image itself, or the one for that platform that was built along with it.
    pub(in crate::engine) fn for_platform(
        &self,
        image: ImageRecord,
        wanted: Option<&Platform>,
    ) -> Result<ImageRecord> {
        let (Some(wanted), Some(name), false) = (wanted, &image.name, image.others.is_empty())
        else {
            return Ok(image);
        };
        if self.is_for(&image, wanted)? {
            return Ok(image);
        }
        let other = self.relative(name, &image, wanted);
        // If there is none, that is said of the image.
        Ok(other.ok().flatten().unwrap_or(image))
    }

    fn named_base(&self, reference: &Reference) -> Result<Option<ImageRecord>> {
        let settings = PullSettings {
            registry: Default::default(),
            progress: &Silent,
        };
        let spec = spec(reference, &Platform::host(), PullPolicy::Never);
        match self.image_of(&spec, &settings) {
            Ok(image) => Ok(Some(image)),
            Err(error) if error.kind() == ErrorKind::NoSuchImage => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Some builders leave the platform out: then it fits any.
    fn is_for(&self, image: &ImageRecord, wanted: &Platform) -> Result<bool> {
        let offered = self.image_config(&image.config)?.platform();
        Ok(offered.architecture.is_empty() || wanted.accepts(&offered))
    }

    /// What the index of an image has for another platform, if that is here, too: fetched or built.
    fn relative(
        &self,
        reference: &Reference,
        image: &ImageRecord,
        platform: &Platform,
    ) -> Result<Option<ImageRecord>> {
        let Some(index) = &image.index else {
            return Ok(None);
        };
        let bytes = self.store.read_blob(index, MAX_DOCUMENT_BYTES)?;
        let Some(digest) = chosen(&bytes, None, platform)? else {
            return Ok(None);
        };
        let name = reference.at_digest(digest.clone());
        match self.store.image(&name)? {
            Some(image) => Ok(Some(image)),
            None if image.others.contains(&digest) => self.take_out(&name, &digest).map(Some),
            None => Ok(None),
        }
    }

    /// An image whose blobs are kept with another one.
    fn take_out(&self, name: &Reference, digest: &Digest) -> Result<ImageRecord> {
        let lease = self.store.lease()?;
        let manifest = self.store.read_blob(digest, MAX_DOCUMENT_BYTES)?;
        let Document::Manifest(parsed) = Document::parse(&manifest, None)? else {
            let text = format!("{digest} is no manifest of an image");
            return Err(Error::new(ErrorKind::Store, text));
        };
        let config = manifest::digest_of(parsed.config())?;
        let documents = ImageDocuments {
            config: self.store.read_blob(&config, MAX_DOCUMENT_BYTES)?,
            manifest,
            media_type: None,
        };
        let ingest = Ingest::begin(&lease, self.privilege(), &Silent, &documents)?;
        let records = ingest
            .complete()?
            .commit(&lease, std::slice::from_ref(name))?;
        let lost = || Error::new(ErrorKind::Store, "the store has no record of the image");
        records.into_iter().next().ok_or_else(lost)
    }

    fn foreign_base(
        &self,
        reference: &Reference,
        platform: &Platform,
        settings: &PullSettings<'_>,
    ) -> Result<ImageRecord> {
        let registry = Registry::new(&settings.registry);
        let retrying = |what: &str, why: &str| settings.progress.retrying(what, why);
        let mut missed = Vec::new();
        for candidate in registry.registries()?.candidates(reference)? {
            registry.prepare(&candidate)?;
            let document = match registry.document(&candidate, &retrying) {
                Ok(document) => document,
                Err(error) => {
                    missed.push(error);
                    continue;
                }
            };
            let digest = chosen(&document.bytes, document.media_type.as_deref(), platform)?;
            let request = PullRequest {
                reference: match digest {
                    Some(digest) => candidate.at_digest(digest),
                    None => candidate,
                },
                platform: Some(platform.clone()),
                registry: settings.registry.clone(),
            };
            return Ok(self.pull(&request, settings.progress)?.record);
        }
        Err(nowhere(reference, missed))
    }
}

fn spec(reference: &Reference, platform: &Platform, pull: PullPolicy) -> ContainerSpec {
    ContainerSpec {
        image: reference.to_string(),
        platform: Some(platform.clone()),
        pull,
        ..ContainerSpec::default()
    }
}

/// `None` if it is no index.
fn chosen(bytes: &[u8], media_type: Option<&str>, platform: &Platform) -> Result<Option<Digest>> {
    match Document::parse(bytes, media_type)? {
        Document::Manifest(_) => Ok(None),
        Document::Index(index) => {
            manifest::digest_of(manifest::choose(&index, platform)?).map(Some)
        }
    }
}
