//! Containers whose root file system is not an image's: a folder of the host (`--rootfs`) or an
//! OCI runtime bundle (`--bundle`); and those of a build's steps, which have layers and no image.
//!
//! A bundle's `config.json` is read when the container is made, and its text kept in the
//! container's folder: later starts do the same, whatever has become of the file. The root file
//! system itself stays where it is and is used in place; nothing of it is removed with the
//! container.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::{
    engine::{
        Engine, PullSettings, bundle,
        plan::{RootSource, SandboxPlan},
    },
    model::{
        ContainerSpec, Context, Error, ErrorKind, Result,
        container::{ContainerRecord, RootRequest},
        host::{HostFacts, IdRange, UserMode},
        image::ImageRecord,
    },
    storage::ContainerDir,
};

/// What a container is made from.
pub(super) enum Source {
    Image(Box<ImageRecord>),
    /// A folder, or layers, that the spec names.
    Folder,
    /// The text of a configuration that has been understood.
    Bundle(Vec<u8>),
}

impl Source {
    pub(super) fn image(&self) -> Option<&ImageRecord> {
        match self {
            Source::Image(image) => Some(image),
            Source::Folder | Source::Bundle(_) => None,
        }
    }
}

impl Engine {
    /// Finds what the spec names, pulling an image if need be, and completes the spec with what a
    /// bundle says. Nothing is made yet.
    pub(super) fn source_of(
        &self,
        mut spec: ContainerSpec,
        pull: &PullSettings<'_>,
    ) -> Result<(ContainerSpec, Source)> {
        self.settle_namespaces(&mut spec)?;
        match spec.root.clone() {
            RootRequest::Image => {
                let image = self.image_of(&spec, pull)?;
                Ok((spec, Source::Image(Box::new(image))))
            }
            RootRequest::Directory { path, .. } => {
                check_folder(&path, &self.user.host_facts()?)?;
                Ok((spec, Source::Folder))
            }
            RootRequest::Layers { .. } => Ok((spec, Source::Folder)),
            RootRequest::Bundle { path } => {
                let host = self.user.host_facts()?;
                let text = read_config(&path)?;
                let config = bundle::parse(&text)?;
                check_folder(&bundle::root(&config, &path)?, &host)?;
                let request = bundle::request(&config, spec, &host)?;
                let refinement = bundle::Refinement::of(&config, &path, &host)?;
                for notice in request.notices.iter().chain(&refinement.notices) {
                    pull.progress.notice(notice);
                }
                Ok((request.spec, Source::Bundle(text)))
            }
        }
    }

    /// The root file system of a container that has its own; `None` is an image's.
    pub(super) fn own_root(
        &self,
        record: &ContainerRecord,
        directory: &ContainerDir,
        folder: &Path,
        host: &HostFacts,
    ) -> Result<Option<RootSource>> {
        Ok(match &record.spec.root {
            RootRequest::Image | RootRequest::Layers { .. } => None,
            RootRequest::Directory {
                path,
                overlay: false,
            } => Some(RootSource::Directory(resolved(path)?)),
            RootRequest::Directory {
                path,
                overlay: true,
            } => Some(RootSource::Overlay {
                lower: vec![resolved(path)?],
                data: Vec::new(),
                upper: folder.join("upper"),
                work: folder.join("work"),
                volatile: record.spec.auto_remove,
                user_xattr: !host.initial_user_namespace,
            }),
            RootRequest::Bundle { path } => {
                let config = bundle::parse(&directory.bundle_config()?)?;
                Some(RootSource::Directory(resolved(&bundle::root(
                    &config, path,
                )?)?))
            }
        })
    }
}

/// Without links: the root is mounted on this very folder.
fn resolved(path: &Path) -> Result<PathBuf> {
    path.canonicalize()
        .system(|| format!("cannot use root file system {}", path.display()))
}

/// Puts what a bundle says more exactly than any flag into the plan of its container.
pub(super) fn refine(
    plan: &mut SandboxPlan,
    record: &ContainerRecord,
    directory: &ContainerDir,
    host: &HostFacts,
) -> Result<()> {
    if let RootRequest::Bundle { path } = &record.spec.root {
        let config = bundle::parse(&directory.bundle_config()?)?;
        bundle::Refinement::of(&config, path, host)?.apply(plan, record, path);
    }
    Ok(())
}

fn read_config(bundle: &Path) -> Result<Vec<u8>> {
    let path = bundle.join("config.json");
    let what = || format!("cannot read {}", path.display());
    let mut text = Vec::new();
    let limit = bundle::MAX_BYTES as u64;
    // Whoever made the bundle may have put a pipe there, which opening would wait for.
    let mut options = File::options();
    let options = options.read(true).custom_flags(libc::O_NONBLOCK);
    let file = options
        .open(&path)
        .context(ErrorKind::InvalidArgument, what)?;
    if !file.metadata().system(what)?.is_file() {
        return Err(Error::invalid(format!("{} is not a file", path.display())));
    }
    file.take(limit + 1).read_to_end(&mut text).system(what)?;
    if text.len() as u64 > limit {
        return Err(Error::new(
            ErrorKind::InvalidContent,
            format!("{} has more than {limit} bytes", path.display()),
        ));
    }
    Ok(text)
}

/// The root must be a folder, and belong to somebody whom the container knows: to everybody else
/// its files are nobody's.
fn check_folder(path: &Path, host: &HostFacts) -> Result<()> {
    let metadata = path.metadata().context(ErrorKind::InvalidArgument, || {
        format!("cannot use root file system {}", path.display())
    })?;
    if !metadata.is_dir() {
        return Err(Error::invalid(format!(
            "root file system {} is not a folder",
            path.display()
        )));
    }
    let knows = |ranges: &[IdRange], id: u32| {
        let mut ranges = ranges.iter();
        ranges.any(|range| (range.outside..range.outside.saturating_add(range.count)).contains(&id))
    };
    let known = match &host.user {
        UserMode::Root => true,
        UserMode::Rootless { uids, .. } => knows(uids, metadata.uid()),
        UserMode::SingleId { uid, .. } => *uid == metadata.uid(),
    };
    if known {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        format!(
            "root file system {} belongs to user {}, who is not mapped into the container",
            path.display(),
            metadata.uid()
        ),
    )
    .with_hint("copy it, or give it to yourself with chown"))
}
