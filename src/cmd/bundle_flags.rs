//! A container without an image: a folder of the host as its root, or an OCI bundle.

use std::path::{Path, PathBuf};

use clap::Args;

use super::container_flags::key_values;
use crate::model::{ContainerSpec, Context, Error, ErrorKind, Result, container::RootRequest};

#[derive(Args)]
pub struct BundleFlags {
    /// Add an annotation of the runtime specification, KEY=VALUE (default map[])
    #[arg(long, value_name = "map")]
    annotation: Vec<String>,
    /// Run the runtime bundle in this folder instead of an image
    #[arg(long, short = 'b', value_name = "string")]
    pub bundle: Option<PathBuf>,
    /// Run the hooks that the files of this folder describe
    #[arg(long, value_name = "string")]
    hooks_dir: Vec<PathBuf>,
    /// The first argument is a folder with a root file system, not an image
    #[arg(long)]
    rootfs: bool,
}

impl BundleFlags {
    pub fn is_bundle(&self) -> bool {
        self.bundle.is_some()
    }

    /// Puts what the flags say into `spec`. With a bundle no argument is an image: the first one
    /// belongs to the program.
    pub fn apply(self, spec: &mut ContainerSpec) -> Result<()> {
        spec.annotations = key_values("annotation", &self.annotation)?;
        let folders = self.hooks_dir.iter().map(|folder| absolute(folder));
        spec.hook_folders = folders.collect::<Result<_>>()?;
        match (self.bundle, self.rootfs) {
            (Some(_), true) => {
                return Err(Error::invalid(
                    "conflicting options: --bundle and --rootfs both say what the root is",
                ));
            }
            (Some(path), false) => {
                if !spec.image.is_empty() {
                    let first = std::mem::take(&mut spec.image);
                    spec.command.insert(0, first);
                }
                refuse_other_flags(spec)?;
                // Whether it is open is up to the configuration.
                spec.attach.stdin |= spec.attach.stdout;
                spec.root = RootRequest::Bundle {
                    path: absolute(&path)?,
                };
            }
            (None, true) => spec.root = root_folder(&std::mem::take(&mut spec.image))?,
            (None, false) => {}
        }
        Ok(())
    }
}

/// What a bundle says cannot be changed by flags: dropping one in silence would be worse than
/// refusing it.
fn refuse_other_flags(spec: &ContainerSpec) -> Result<()> {
    let asked = spec.clone();
    let allowed = ContainerSpec {
        name: asked.name,
        replace: asked.replace,
        command: asked.command,
        labels: asked.labels,
        annotations: asked.annotations,
        hook_folders: asked.hook_folders,
        init: asked.init,
        tty: asked.tty,
        interactive: asked.interactive,
        auto_remove: asked.auto_remove,
        stop_signal: asked.stop_signal,
        stop_timeout: asked.stop_timeout,
        logging: asked.logging,
        restart: asked.restart,
        health: asked.health,
        cidfile: asked.cidfile,
        attach: asked.attach,
        pull: asked.pull,
        platform: asked.platform,
        ..ContainerSpec::default()
    };
    if *spec == allowed {
        return Ok(());
    }
    Err(Error::invalid(
        "conflicting options: with --bundle, config.json says what the container's process, mounts, namespaces, devices and limits are",
    )
    .with_hint("change config.json; --name, --rm, -d, -i, -t, --label, --annotation and a command work with --bundle"))
}

/// `DIR[:O]`.
fn root_folder(text: &str) -> Result<RootRequest> {
    let (path, overlay) = match text.rsplit_once(':') {
        Some((path, "O")) => (path, true),
        Some((path, options)) if options.starts_with("idmap") => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the root folder {path:?} cannot be id-mapped"),
            ));
        }
        _ => (text, false),
    };
    if path.is_empty() {
        return Err(Error::invalid("--rootfs needs a folder as first argument"));
    }
    Ok(RootRequest::Directory {
        path: absolute(Path::new(path))?,
        overlay,
    })
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).context(ErrorKind::InvalidArgument, || {
        format!("cannot find where {path:?} is")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_folder_may_be_an_overlay() {
        let directory = |path: &str, overlay| RootRequest::Directory {
            path: path.into(),
            overlay,
        };
        assert_eq!(root_folder("/r").unwrap(), directory("/r", false));
        assert_eq!(root_folder("/r:O").unwrap(), directory("/r", true));
        assert_eq!(root_folder("/a:b").unwrap(), directory("/a:b", false));
        assert!(root_folder("").is_err());
        assert!(root_folder("/r:idmap").is_err());
    }
}
