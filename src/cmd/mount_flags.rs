//! What is mounted in a container.

use std::path::PathBuf;

use clap::Args;

use super::env;
use crate::model::{
    ContainerSpec, Context, Error, ErrorKind, Result,
    mount::{self, Mount, MountSource},
};

#[derive(Args)]
pub struct MountFlags {
    /// Mount a path or a tmpfs, type=...,source=...,target=...
    #[arg(long, value_name = "mount")]
    mount: Vec<String>,
    /// Mount the root file system read-only
    #[arg(long)]
    read_only: bool,
    /// Mount a tmpfs, PATH[:OPTIONS]
    #[arg(long, value_name = "list")]
    tmpfs: Vec<String>,
    /// Mount a path of the host, SOURCE:TARGET[:OPTIONS]
    #[arg(long, short = 'v', value_name = "list")]
    volume: Vec<String>,
}

impl MountFlags {
    /// Puts what the flags say into `spec`.
    pub fn apply(self, spec: &mut ContainerSpec) -> Result<()> {
        spec.mounts = mounts(&self.volume, &self.mount, &self.tmpfs)?;
        spec.read_only = self.read_only;
        Ok(())
    }
}

fn mounts(volumes: &[String], mounts: &[String], tmpfs: &[String]) -> Result<Vec<Mount>> {
    let mut all = Vec::new();
    for text in volumes {
        all.push(absolute(mount::parse_volume(text)?)?);
    }
    for text in mounts {
        all.push(absolute(mount::parse_mount(text)?)?);
    }
    for text in tmpfs {
        all.push(mount::parse_tmpfs(text)?);
    }
    Ok(all)
}

/// A source is relative to the working directory, or to the home if it begins with `~`.
fn absolute(mut mount: Mount) -> Result<Mount> {
    if let MountSource::Bind { source, .. } = &mut mount.source
        && !source.starts_with('/')
    {
        let path = match (source.as_str(), env::home()) {
            ("~", Some(home)) => home,
            (path, Some(home)) if path.starts_with("~/") => home.join(&path[2..]),
            (path, _) => PathBuf::from(path),
        };
        let path = std::path::absolute(&path).context(ErrorKind::InvalidArgument, || {
            format!("cannot find where {source:?} is")
        })?;
        *source = path
            .into_os_string()
            .into_string()
            .map_err(|path| Error::invalid(format!("the mount source {path:?} is not UTF-8")))?;
    }
    Ok(mount)
}
