//! `import`: the tar of a root file system becomes an image of one layer.

use std::{
    io::{PipeReader, Read, Write},
    thread::JoinHandle,
};

use super::{
    changes,
    ingest::{ImageDocuments, Ingest},
    load::descriptor,
    trust::Trust,
};
use crate::{
    engine::{Engine, ImportRequest, Progress, Silent, requests::ImportSource},
    model::{
        Context, Digest, Error, ErrorKind, Platform, Reference, RegistryOptions, Result,
        image::{History, ImageConfig, ProcessDefaults, RootFs},
        manifest::{self, Compression},
    },
    registry::{DownloadRequest, Registry},
    storage::{
        Lease, StagedBlob, Store,
        unpack::{Privilege, decompress_any},
    },
};

const COPY_BUFFER: usize = 256 << 10;

/// What an import makes of the tar.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// Comment in the image's history.
    pub message: Option<String>,
    /// Default: this machine's.
    pub platform: Option<Platform>,
    /// Dockerfile instructions, see [`changes::apply`].
    pub changes: Vec<String>,
    pub reference: Option<Reference>,
}

impl Engine {
    /// Makes an image of one layer from a tar stream, which may be compressed with gzip, zstd, xz or bzip2;
    /// the layer is kept uncompressed. Returns the image ID.
    pub fn import(&self, request: &ImportRequest, _progress: &dyn Progress) -> Result<Digest> {
        let file = match &request.source {
            ImportSource::File(path) => Some(path.as_path()),
            ImportSource::Input | ImportSource::Url(_) => None,
        };
        Trust::read(&request.trust)?.admit_file("tarball", file)?;
        self.enter_user_namespace()?;
        let options = ImportOptions {
            message: request.message.clone(),
            platform: request.platform.clone(),
            changes: request.changes.clone(),
            reference: request.reference.clone(),
        };
        let tar: Box<dyn Read + Send> = match &request.source {
            ImportSource::File(path) => Box::new(
                std::fs::File::open(path).system(|| format!("cannot open {}", path.display()))?,
            ),
            ImportSource::Input => Box::new(std::io::stdin()),
            ImportSource::Url(url) => Box::new(Fetched::begin(url, &request.registry)?),
        };
        let id = import(&self.store, self.privilege(), tar, &options)?;
        let name = options.reference.as_ref();
        let name = name.map_or_else(|| id.to_string(), Reference::familiar);
        self.note_image("import", id.as_str(), &name, Some(&id));
        Ok(id)
    }
}

/// What is at a URL, read while it arrives. A download that fails is an error of the last read: half an
/// archive must not pass for a whole one.
struct Fetched {
    arrives: PipeReader,
    download: Option<JoinHandle<Result<()>>>,
}

impl Fetched {
    fn begin(url: &str, options: &RegistryOptions) -> Result<Fetched> {
        let (arrives, mut leaves) = std::io::pipe().system(|| "cannot make a pipe".to_owned())?;
        let (url, options) = (url.to_owned(), options.clone());
        let download = std::thread::spawn(move || {
            let asked = DownloadRequest {
                url: &url,
                limit: u64::MAX,
                authorization: &|_| None,
                etag: None,
                last_modified: None,
            };
            let mut take = |bytes: &[u8]| {
                leaves
                    .write_all(bytes)
                    .system(|| "the import has ended".to_owned())
            };
            Registry::new(&options)
                .download(&asked, &mut take)
                .map(drop)
        });
        Ok(Fetched {
            arrives,
            download: Some(download),
        })
    }
}

impl Read for Fetched {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.arrives.read(buffer)?;
        if length > 0 || buffer.is_empty() {
            return Ok(length);
        }
        match self.download.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => Err(std::io::Error::other(error)),
            Some(Err(_)) => Err(std::io::Error::other("the download was broken off")),
            Some(Ok(Ok(()))) | None => Ok(0),
        }
    }
}

/// [`Engine::import`] into a given store.
pub fn import(
    store: &Store,
    privilege: Privilege,
    tar: impl Read + Send,
    options: &ImportOptions,
) -> Result<Digest> {
    let defaults = changes::defaults(&options.changes)?;
    let lease = store.lease()?;
    let layer = spool(&lease, tar)?;
    let config = configuration(options, defaults, layer.digest());
    let config = serde_json::to_vec(&config).map_err(|cause| {
        Error::new(ErrorKind::System, "cannot write the image configuration").with_source(cause)
    })?;
    let config_digest = {
        use sha2::Digest as _;
        Digest::sha256(sha2::Sha256::digest(&config))
    };
    let layer_type = manifest::layer_media_type(Compression::None);
    let document = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": manifest::OCI_MANIFEST,
        "config": descriptor(manifest::OCI_CONFIG, &config_digest, config.len() as u64),
        "layers": [descriptor(layer_type, layer.digest(), layer.size())],
    });
    let documents = ImageDocuments {
        manifest: document.to_string().into_bytes(),
        media_type: Some(manifest::OCI_MANIFEST.to_owned()),
        config,
    };
    let ingest = Ingest::begin(&lease, privilege, &Silent, &documents)?;
    ingest.provide(layer);
    let names: Vec<Reference> = options.reference.iter().cloned().collect();
    ingest.complete()?.commit(&lease, &names)?;
    Ok(config_digest)
}

fn spool(lease: &Lease<'_>, tar: impl Read + Send) -> Result<StagedBlob> {
    let failed = |error: std::io::Error| match error.downcast::<Error>() {
        Ok(own) => own,
        Err(error) => Error::new(ErrorKind::System, "cannot read the tar").with_source(error),
    };
    let mut plain = decompress_any(tar).map_err(failed)?;
    let mut writer = lease.write_new_blob()?;
    let mut buffer = vec![0; COPY_BUFFER];
    loop {
        match plain.read(&mut buffer) {
            Ok(0) => return writer.finish(),
            Ok(length) => writer.write(&buffer[..length])?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

fn configuration(
    options: &ImportOptions,
    defaults: ProcessDefaults,
    layer: &Digest,
) -> ImageConfig {
    let platform = options.platform.clone().unwrap_or_else(Platform::host);
    let created = jiff::Timestamp::now().to_string();
    ImageConfig {
        created: Some(created.clone()),
        author: None,
        architecture: platform.architecture,
        variant: platform.variant,
        os: platform.os,
        config: Some(defaults),
        rootfs: RootFs {
            kind: "layers".to_owned(),
            diff_ids: vec![layer.clone()],
        },
        history: Some(vec![History {
            created: Some(created),
            comment: options.message.clone(),
            ..History::default()
        }]),
        ..ImageConfig::default()
    }
}
