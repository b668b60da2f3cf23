//! What becomes of a build's result besides its image in the store: `--output`.
//!
//! ```text
//! local, tar      the files of the image as a folder or an archive (tree)
//! oci, docker     the image as an archive or a layout, as `save` writes it
//! image,push      the image in a registry, as `push` sends it
//! ```

mod tree;

use std::{
    collections::HashMap,
    fs::File,
    io::{BufWriter, Write},
    os::fd::AsFd,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use super::{
    Built, BuiltImage,
    progress::{Event, Progress},
    request::BuildRequest,
};
use crate::{
    engine::{
        Engine, PushProgress, PushRequest, PushStage, Rewrite, SaveFormat, SaveRequest, SaveTarget,
        Silent,
    },
    model::{
        Context, Digest, Error, ErrorKind, Reference, Result,
        manifest::{Compression, Format},
    },
    storage::pack,
};

/// One `--output`.
#[derive(Debug)]
pub enum Output {
    /// In the store, and perhaps in a registry.
    Image(ImageOutput),
    /// The files of the result, below this folder.
    Local(LocalOutput),
    /// The same as an archive.
    Tar(Target),
    /// The image as an archive of OCI's or Docker's layout.
    Archive { format: Format, target: Target },
    /// Nothing but the cache.
    CacheOnly,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageOutput {
    /// `name=`, besides `--tag`.
    pub names: Vec<Reference>,
    pub push: bool,
    /// The registry gets it without a tag.
    pub push_by_digest: bool,
    /// `store=false`: it is not kept here.
    pub not_kept: bool,
    pub format: Option<Format>,
    pub compression: Option<Compression>,
    pub compression_level: Option<i32>,
    pub force_compression: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalOutput {
    pub path: PathBuf,
    /// One folder a platform, if there are several (and if this says so, also if there is one).
    pub platform_split: Option<bool>,
    /// What is in the folder already and not in the result goes: `mode=delete`.
    pub delete: bool,
}

#[derive(Debug)]
pub enum Target {
    File(PathBuf),
    /// Not an archive but the folder that it would unpack to.
    Folder(PathBuf),
    Stream(File),
}

/// Numbers of this room's vertices: the solver's are smaller.
const FIRST_VERTEX: usize = 1 << 20;

/// Writes and sends the result.
///
/// # Errors
/// What cannot be written or sent; outputs before it are there then.
pub fn export(
    engine: &Engine,
    request: &BuildRequest,
    built: &Built,
    outputs: &[Output],
    progress: &mut dyn Progress,
) -> Result<()> {
    for (id, output) in (FIRST_VERTEX..).zip(outputs) {
        let Some(name) = title(output) else { continue };
        progress.event(Event::Vertex { id, name: &name });
        progress.event(Event::Started { id });
        let result = Export {
            engine,
            request,
            built,
        };
        let mut say = |text: &str, size: u64| {
            progress.event(Event::Status {
                id,
                text,
                current: size,
                total: size,
                done: true,
            });
        };
        match result.one(output, &mut say) {
            Ok(()) => progress.event(Event::Done { id }),
            Err(error) => {
                let text = error.one_line();
                progress.event(Event::Failed { id, text: &text });
                return Err(error);
            }
        }
    }
    Ok(())
}

/// None for what there is nothing left to do for.
fn title(output: &Output) -> Option<String> {
    let name = match output {
        Output::Image(image) if image.push => "pushing image",
        Output::Image(_) | Output::CacheOnly => return None,
        Output::Local(_) => "exporting to client directory",
        Output::Tar(_) => "exporting to client tarball",
        Output::Archive { format, .. } => match format {
            Format::Oci => "exporting to oci image format",
            Format::Docker => "exporting to docker image format",
        },
    };
    Some(name.to_owned())
}

struct Export<'a> {
    engine: &'a Engine,
    request: &'a BuildRequest,
    built: &'a Built,
}

impl Export<'_> {
    fn id(&self) -> Result<String> {
        let missing = || Error::new(ErrorKind::System, "the image was not kept");
        let id = self.built.image_id();
        id.map(ToString::to_string).ok_or_else(missing)
    }

    /// Of the folder that one platform's files are in.
    fn folder_of(image: &BuiltImage) -> String {
        image.config.platform().to_string().replace('/', "_")
    }

    fn one(&self, output: &Output, say: &mut dyn FnMut(&str, u64)) -> Result<()> {
        match output {
            Output::Image(image) => self.push(image, say),
            Output::Local(local) => self.local(local, say),
            Output::Tar(target) => self.tar(target),
            Output::Archive { format, target } => self.archive(*format, target),
            Output::CacheOnly => Ok(()),
        }
    }

    fn local(&self, local: &LocalOutput, say: &mut dyn FnMut(&str, u64)) -> Result<()> {
        let what = || format!("cannot write to {}", local.path.display());
        let images = &self.built.images;
        let split = local.platform_split.unwrap_or(images.len() > 1);
        for image in images {
            let mut path = local.path.clone();
            let mut text = "copying files".to_owned();
            if split {
                path.push(Self::folder_of(image));
                text.push_str(&format!(" {}", image.config.platform()));
            }
            let target = tree::open_target(&path).system(what)?;
            let layers = self.engine.store().below(&image.layers)?;
            let mut copy = tree::Copy {
                layers: &layers,
                delete: local.delete,
                links: HashMap::new(),
                bytes: 0,
                left_out: 0,
            };
            copy.folder(b"", target.as_fd(), 0).system(what)?;
            say(&text, copy.bytes);
            if copy.left_out > 0 {
                say(&format!("{} devices are left out", copy.left_out), 0);
            }
        }
        Ok(())
    }

    /// All layers as one tree, which is then archived.
    fn tar(&self, target: &Target) -> Result<()> {
        let lease = self.engine.store().lease()?;
        let whole = match &self.built.images[..] {
            [image] => lease.stage_merged(&image.layers)?,
            images => {
                let each = images
                    .iter()
                    .map(|image| (Self::folder_of(image), &image.layers[..]));
                lease.stage_merged_folders(&each.collect::<Vec<_>>())?
            }
        };
        let mut out = BufWriter::with_capacity(256 << 10, Sink::open(target)?);
        pack::pack_layer(whole.tree(), false, &mut out)
            .and_then(|()| out.flush())
            .system(|| "cannot write the archive".to_owned())?;
        match out.into_inner() {
            Ok(sink) => sink.keep(),
            Err(_) => Ok(()),
        }
    }

    fn archive(&self, format: Format, target: &Target) -> Result<()> {
        if format == Format::Docker && self.built.index.is_some() {
            let text = "docker exporter does not currently support exporting manifest lists";
            return Err(Error::new(ErrorKind::Unsupported, text)
                .with_hint("type=oci holds images for several platforms"));
        }
        let (format, target) = match (format, target) {
            (Format::Oci, Target::Folder(path)) => {
                (SaveFormat::OciDir, SaveTarget::Path(path.clone()))
            }
            (Format::Oci, Target::File(path)) => {
                (SaveFormat::OciArchive, SaveTarget::Path(path.clone()))
            }
            (Format::Oci, Target::Stream(file)) => (SaveFormat::OciArchive, stream(file)?),
            (Format::Docker, Target::Folder(path)) => {
                (SaveFormat::DockerDir, SaveTarget::Path(path.clone()))
            }
            (Format::Docker, Target::File(path)) => {
                (SaveFormat::DockerArchive, SaveTarget::Path(path.clone()))
            }
            (Format::Docker, Target::Stream(file)) => (SaveFormat::DockerArchive, stream(file)?),
        };
        let names = self.request.tags.iter().map(ToString::to_string);
        let mut images: Vec<String> = names.collect();
        if images.is_empty() {
            images.push(self.id()?);
        }
        let request = SaveRequest {
            images,
            format,
            ..SaveRequest::default()
        };
        self.engine.save(&request, target, &Silent)
    }

    fn push(&self, image: &ImageOutput, say: &mut dyn FnMut(&str, u64)) -> Result<()> {
        if image.push_by_digest {
            let error = Error::new(ErrorKind::Unsupported, "push-by-digest is not supported");
            return Err(error.with_hint("give the image a name with --tag"));
        }
        let names = match image.names.is_empty() {
            true => &self.request.tags,
            false => &image.names,
        };
        if names.is_empty() {
            return Err(Error::invalid("tag is needed when pushing to registry"));
        }
        let id = self.id()?;
        let request = PushRequest {
            images: names
                .iter()
                .map(|name| match self.built.index {
                    // The name stands for all of them.
                    Some(_) => (name.to_string(), name.clone()),
                    None => (id.clone(), name.clone()),
                })
                .collect(),
            registry: self.request.registry.clone(),
            platform: None,
            rewrite: Rewrite {
                format: image.format,
                compression: image.compression,
                level: image.compression_level,
                force: image.force_compression,
            },
        };
        let layers = Layers::default();
        let pushed = self.engine.push(&request, &layers);
        for (layer, size) in layers.taken() {
            say(&format!("pushing layer {layer}"), size);
        }
        for pushed in pushed? {
            say(
                &format!("pushing manifest for {}@{}", pushed.name, pushed.digest),
                pushed.size,
            );
        }
        Ok(())
    }
}

fn stream(file: &File) -> Result<SaveTarget> {
    let own = file
        .try_clone()
        .system(|| "cannot write the archive".to_owned())?;
    Ok(SaveTarget::Stream(own))
}

/// Where an archive goes; a file has its name when it is whole.
struct Sink {
    file: File,
    staged: Option<(PathBuf, PathBuf)>,
}

impl Sink {
    fn open(target: &Target) -> Result<Sink> {
        match target {
            Target::Stream(file) => Ok(Sink {
                file: file
                    .try_clone()
                    .system(|| "cannot write the archive".to_owned())?,
                staged: None,
            }),
            Target::File(path) | Target::Folder(path) => {
                let what = || format!("cannot write {}", path.display());
                // What is no file (a pipe, /dev/null) is written to.
                if path.exists() && !path.is_file() {
                    let file = File::options().write(true).open(path).system(what)?;
                    return Ok(Sink { file, staged: None });
                }
                let mut staged = path.clone().into_os_string();
                staged.push(format!(".{}.part", std::process::id()));
                let staged = PathBuf::from(staged);
                let file = File::options()
                    .write(true)
                    .create_new(true)
                    .open(&staged)
                    .system(what)?;
                Ok(Sink {
                    file,
                    staged: Some((staged, path.clone())),
                })
            }
        }
    }

    fn keep(mut self) -> Result<()> {
        match self.staged.take() {
            None => Ok(()),
            Some((staged, path)) => std::fs::rename(&staged, &path)
                .system(|| format!("cannot write {}", path.display())),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some((staged, _)) = &self.staged {
            let _ = std::fs::remove_file(staged);
        }
    }
}

/// Which layers have arrived.
#[derive(Default)]
struct Layers(Mutex<Vec<(Digest, u64)>>);

impl Layers {
    fn taken(&self) -> Vec<(Digest, u64)> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl PushProgress for Layers {
    fn layer(&self, layer: &Digest, stage: PushStage<'_>) {
        if let PushStage::Sending(size) = stage {
            let mut layers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            layers.push((layer.clone(), size));
        }
    }

    fn retrying(&self, _: &str, _: &str) {}
}
