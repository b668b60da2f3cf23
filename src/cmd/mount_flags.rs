//! What is mounted in a container.

use std::path::PathBuf;

use clap::Args;

use super::{env, ui};
use crate::model::{
    ContainerSpec, Context, Error, ErrorKind, Result, human,
    mount::{self, ImageVolumes, Mount, MountSettings, MountSource},
    volume::check_volume_driver,
};

#[derive(Args)]
pub struct MountFlags {
    /// What becomes of the image's volumes: anonymous, tmpfs or ignore
    #[arg(long, value_name = "string")]
    image_volume: Option<String>,
    /// Mount a path, volume, tmpfs or image, type=...,source=...,target=...
    #[arg(long, value_name = "mount")]
    mount: Vec<String>,
    /// Mount the root file system read-only
    #[arg(long)]
    read_only: bool,
    /// With --read-only, make /run, /tmp and /var/tmp writable
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    read_only_tmpfs: Option<bool>,
    /// Size of /dev/shm
    #[arg(long, value_name = "bytes")]
    shm_size: Option<String>,
    /// Mount a tmpfs, PATH[:OPTIONS]
    #[arg(long, value_name = "list")]
    tmpfs: Vec<String>,
    /// Mount a volume or a path of the host, [SOURCE:]TARGET[:OPTIONS]
    #[arg(long, short = 'v', value_name = "list")]
    volume: Vec<String>,
    /// What keeps the volumes that are made: local is the only one
    #[arg(long, value_name = "string")]
    volume_driver: Option<String>,
    /// Mount what another container mounts, CONTAINER[:ro]
    #[arg(long, value_name = "list")]
    volumes_from: Vec<String>,
}

impl MountFlags {
    /// Puts what the flags say into `spec`.
    pub fn apply(self, spec: &mut ContainerSpec) -> Result<()> {
        spec.mounts = mounts(&self.volume, &self.mount, &self.tmpfs)?;
        spec.read_only = self.read_only;
        let shm_size = self.shm_size.as_deref().map(human::parse_bytes);
        spec.mount_settings = MountSettings {
            volumes_from: self
                .volumes_from
                .iter()
                .map(|text| mount::parse_volumes_from(text))
                .collect::<Result<_>>()?,
            volume_driver: self.volume_driver.filter(|driver| !driver.is_empty()),
            image_volumes: ImageVolumes::parse(self.image_volume.as_deref().unwrap_or_default())?,
            // As with Docker 0 stands for the default.
            shm_size: shm_size.transpose()?.filter(|&size| size > 0),
            read_only_tmpfs: self.read_only_tmpfs.unwrap_or(false),
        };
        if let Some(driver) = &spec.mount_settings.volume_driver {
            check_volume_driver(driver)?;
        }
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
    all.retain(|mount| !is_missing_engine_socket(mount));
    for text in tmpfs {
        all.push(mount::parse_tmpfs(text)?);
    }
    Ok(all)
}

/// Whether this is the socket of an engine that does not run here. CI systems mount it into every job;
/// there is nothing to mount, and a folder made in its place would keep that engine from starting.
fn is_missing_engine_socket(mount: &Mount) -> bool {
    let MountSource::Bind { source, .. } = &mount.source else {
        return false;
    };
    let path = std::path::Path::new(source);
    let own = |below: &str| env::xdg_runtime_dir().is_some_and(|dir| path == dir.join(below));
    let known = [
        "/var/run/docker.sock",
        "/run/docker.sock",
        "/run/podman/podman.sock",
    ];
    let is_known =
        known.contains(&source.as_str()) || own("docker.sock") || own("podman/podman.sock");
    let missing = is_known && !path.exists();
    if missing {
        ui::notice(&format!(
            "{source} is not mounted: there is no daemon, and no such socket"
        ));
    }
    missing
}

/// A source is relative to the working directory, or to the home if it begins with `~`.
pub fn absolute(mut mount: Mount) -> Result<Mount> {
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
