//! One image of an OCI layout folder, as a base to build on (`oci-layout://PATH[:TAG][@DIGEST]`).
//!
//! It comes into the store as `load` brings it in, verified, but gets no name there: nothing that the
//! user calls an image is changed. What the store has already is not read.

use std::path::Path;

use super::{
    archive::{Archive, LoadSource},
    load::{self, Found},
    trust::Trust,
};
use crate::{
    engine::{Engine, Progress},
    model::{
        Error, ErrorKind, LayoutImage, Platform, Result, TrustFiles,
        image::ImageRecord,
        manifest::{self, Document},
    },
};

/// What a layout's image is called that is not called otherwise.
const DEFAULT_TAG: &str = "latest";

impl Engine {
    /// # Errors
    /// [`ErrorKind::NoSuchImage`], [`ErrorKind::NoMatchingPlatform`], and those of [`Engine::load`].
    pub fn image_of_layout(
        &self,
        folder: &Path,
        wanted: &LayoutImage,
        platform: &Platform,
        trust: &TrustFiles,
        progress: &dyn Progress,
    ) -> Result<ImageRecord> {
        self.enter_user_namespace()?;
        Trust::read(trust)?.admit_file("oci", Some(folder))?;
        if !folder.is_dir() {
            let what = format!("{} is not a folder", folder.display());
            return Err(Error::new(ErrorKind::InvalidArgument, what));
        }
        let lease = self.store.lease()?;
        let source = LoadSource::Path(folder.to_owned());
        let mut archive = Archive::open(&lease, source, self.privilege())?;
        let found = find(&archive, folder, wanted, platform)?;
        let loaded = load::take_in(&lease, self.privilege(), progress, &mut archive, found)?;
        let mut records = loaded.records.into_iter();
        records.next().ok_or_else(|| {
            let what = "the store has no record of the image";
            Error::new(ErrorKind::Store, what)
        })
    }
}

fn find(
    archive: &Archive<'_>,
    folder: &Path,
    wanted: &LayoutImage,
    platform: &Platform,
) -> Result<Found> {
    let not_one = |why: &str| {
        let what = format!("{} is not an OCI layout: {why}", folder.display());
        Error::new(ErrorKind::InvalidContent, what)
    };
    if archive.document("oci-layout")?.is_none() {
        return Err(not_one("it has no file oci-layout"));
    }
    let (digest, media_type) = match wanted {
        LayoutImage::Digest(digest) => (digest.clone(), None),
        LayoutImage::Any | LayoutImage::Tag(_) => {
            let index = archive.document("index.json")?;
            let index = index.ok_or_else(|| not_one("it has no index.json"))?;
            let Document::Index(index) = Document::parse(&index, Some(manifest::OCI_INDEX))? else {
                return Err(not_one("index.json is a manifest"));
            };
            let entry = choose(index.manifests(), wanted).ok_or_else(|| no_such(folder, wanted))?;
            let media_type = entry.media_type().to_string();
            (manifest::digest_of(entry)?, Some(media_type))
        }
    };
    let bytes = archive.blob_document(&digest)?;
    let platforms = std::slice::from_ref(platform);
    let found = load::oci_image(archive, bytes, media_type.as_deref(), platforms)?;
    let mut found = found.into_iter();
    found.next().ok_or_else(|| no_such(folder, wanted))
}

/// The entry of that tag; without one that is `latest`, or the only image.
fn choose<'i>(
    entries: &'i [oci_spec::image::Descriptor],
    wanted: &LayoutImage,
) -> Option<&'i oci_spec::image::Descriptor> {
    let annotation = |entry: &oci_spec::image::Descriptor, key: &str| {
        let annotations = entry.annotations().as_ref();
        annotations.and_then(|annotations| annotations.get(key).cloned())
    };
    let tagged = |tag: &str| {
        let mut entries = entries.iter();
        entries.find(|entry| {
            let name = annotation(entry, load::OCI_NAME);
            name.is_some_and(|name| {
                // Some write the whole reference.
                let own = name.rsplit_once(':').map_or("", |(_, tag)| tag);
                name == tag || own == tag
            })
        })
    };
    match wanted {
        LayoutImage::Tag(tag) => tagged(tag),
        _ => tagged(DEFAULT_TAG).or_else(|| {
            let is_image = |entry: &&_| annotation(entry, load::ATTESTATION).is_none();
            let mut images = entries.iter().filter(is_image);
            images.next().filter(|_| images.next().is_none())
        }),
    }
}

fn no_such(folder: &Path, wanted: &LayoutImage) -> Error {
    let what = match wanted {
        LayoutImage::Tag(tag) => format!("tagged {tag:?}"),
        LayoutImage::Digest(digest) => format!("{digest}"),
        LayoutImage::Any => "tagged latest, and has not one image alone".to_owned(),
    };
    Error::new(
        ErrorKind::NoSuchImage,
        format!("the OCI layout {} has no image {what}", folder.display()),
    )
    .with_hint("oci-layout://PATH:TAG or oci-layout://PATH@DIGEST says which")
}
