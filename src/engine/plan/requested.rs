//! Which mounts a container has: the user's, then those of other containers (`--volumes-from`), of
//! the image (`VOLUME`), and of a read-only root. Whoever comes first has the place.

use std::collections::HashSet;

use crate::model::{
    ContainerSpec, Error, Result,
    image::ImageConfig,
    mount::{
        ImageVolumes, Mount, MountOptions, MountSource, Origin, VolumeSource, VolumesFrom,
        absolute_target,
    },
};

/// Where programs expect to write, whatever the root is.
const WRITABLE: [&str; 3] = ["/run", "/tmp", "/var/tmp"];

/// All mounts of a container that is being made. Volumes without a name still lack one. `others`
/// are the mounts of the containers that `--volumes-from` names, in its order.
///
/// # Errors
/// Two of the user's mounts are for the same place; a `VOLUME` of the image is no path.
pub fn all_mounts(
    spec: &ContainerSpec,
    image: &ImageConfig,
    others: &[(VolumesFrom, Vec<Mount>)],
) -> Result<Vec<Mount>> {
    let mut taken = HashSet::new();
    for mount in &spec.mounts {
        if !taken.insert(mount.target.clone()) {
            return Err(
                Error::invalid(format!("duplicate mount point: {}", mount.target))
                    .with_hint("two mounts cannot have the same path in the container"),
            );
        }
    }
    let mut mounts = spec.mounts.clone();
    // Of several containers that mount something at the same place the last one counts.
    for (wanted, theirs) in others.iter().rev() {
        let shared = theirs.iter().filter(|mount| is_shared(mount));
        mounts.extend(
            shared
                .filter(|mount| taken.insert(mount.target.clone()))
                .map(|mount| of_container(mount, wanted)),
        );
    }
    for mount in image_volumes(spec, image)? {
        if taken.insert(mount.target.clone()) {
            mounts.push(mount);
        }
    }
    if spec.read_only && spec.mount_settings.read_only_tmpfs {
        let writable = WRITABLE.into_iter().map(str::to_owned);
        mounts.extend(
            writable
                .filter(|path| taken.insert(path.clone()))
                .map(|path| tmpfs(path, Origin::Default)),
        );
    }
    Ok(mounts)
}

fn is_shared(mount: &Mount) -> bool {
    matches!(
        mount.source,
        MountSource::Bind { .. } | MountSource::Volume(_)
    )
}

fn of_container(mount: &Mount, wanted: &VolumesFrom) -> Mount {
    let mut mount = mount.clone();
    mount.read_only = wanted.read_only.unwrap_or(mount.read_only);
    mount.options.origin = Origin::Container;
    mount.options.typed = match wanted.read_only {
        Some(true) => "ro".to_owned(),
        _ => String::new(),
    };
    mount
}

fn image_volumes(spec: &ContainerSpec, image: &ImageConfig) -> Result<Vec<Mount>> {
    let wanted = spec.mount_settings.image_volumes;
    let declared = image
        .config
        .as_ref()
        .and_then(|config| config.volumes.as_ref());
    let Some(declared) = declared.filter(|_| wanted != ImageVolumes::Ignore) else {
        return Ok(Vec::new());
    };
    declared
        .keys()
        .map(|path| {
            let target = absolute_target(&format!("/{path}")).map_err(|why| {
                Error::invalid(format!("the image declares a volume at {path:?}: {why}"))
                    .with_hint("--image-volume ignore runs it without")
            })?;
            Ok(match wanted {
                ImageVolumes::Tmpfs => tmpfs(target, Origin::Image),
                _ => Mount {
                    target,
                    source: MountSource::Volume(VolumeSource {
                        anonymous: true,
                        ..VolumeSource::default()
                    }),
                    read_only: false,
                    options: of(Origin::Image),
                },
            })
        })
        .collect()
}

/// As Podman has them: programs may be executed there, and what the image has is copied.
fn tmpfs(target: String, origin: Origin) -> Mount {
    Mount {
        target,
        source: MountSource::Tmpfs {
            size: None,
            mode: None,
            options: vec!["exec".to_owned()],
            copy_up: true,
        },
        read_only: false,
        options: of(origin),
    }
}

fn of(origin: Origin) -> MountOptions {
    MountOptions {
        origin,
        ..MountOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::mount::{parse_mount, parse_tmpfs, parse_volume, parse_volumes_from};

    fn image(volumes: &[&str]) -> ImageConfig {
        let volumes: serde_json::Map<String, serde_json::Value> = volumes
            .iter()
            .map(|path| ((*path).to_owned(), serde_json::json!({})))
            .collect();
        let text = serde_json::json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {"Volumes": volumes},
            "rootfs": {"type": "layers", "diff_ids": []},
        });
        ImageConfig::parse(text.to_string().as_bytes()).unwrap()
    }

    fn spec(mounts: Vec<Mount>) -> ContainerSpec {
        ContainerSpec {
            mounts,
            ..ContainerSpec::default()
        }
    }

    /// `TARGET ORIGIN KIND[:ro]`
    fn shown(mounts: &[Mount]) -> Vec<String> {
        let show = |mount: &Mount| {
            let kind = match &mount.source {
                MountSource::Bind { source, .. } => source.clone(),
                MountSource::Volume(volume) => format!("volume {:?}", volume.name),
                _ => "tmpfs".to_owned(),
            };
            let ro = if mount.read_only { ":ro" } else { "" };
            format!("{} {:?} {kind}{ro}", mount.target, mount.options.origin)
        };
        mounts.iter().map(show).collect()
    }

    #[test]
    fn the_users_mounts_come_before_those_of_others_and_of_the_image() {
        let mut spec = spec(vec![
            parse_volume("data:/a").unwrap(),
            parse_tmpfs("/b").unwrap(),
        ]);
        let others = [
            (
                parse_volumes_from("x:ro").unwrap(),
                vec![
                    parse_volume("one:/c").unwrap(),
                    parse_volume("/h:/d").unwrap(),
                    parse_tmpfs("/t").unwrap(),
                ],
            ),
            (
                parse_volumes_from("y").unwrap(),
                vec![
                    parse_volume("two:/c:ro").unwrap(),
                    parse_volume("two:/a").unwrap(),
                ],
            ),
        ];
        let image = image(&["/a", "/c/", "/e", "f"]);
        assert_eq!(
            shown(&all_mounts(&spec, &image, &others).unwrap()),
            [
                "/a Volume volume \"data\"",
                "/b Tmpfs tmpfs",
                "/c Container volume \"two\":ro",
                "/d Container /h:ro",
                "/e Image volume \"\"",
                "/f Image volume \"\"",
            ]
        );
        spec.mount_settings.image_volumes = ImageVolumes::Ignore;
        assert_eq!(all_mounts(&spec, &image, &[]).unwrap().len(), 2);
        spec.mount_settings.image_volumes = ImageVolumes::Tmpfs;
        assert_eq!(
            shown(&all_mounts(&spec, &image, &[]).unwrap())[2..],
            ["/c Image tmpfs", "/e Image tmpfs", "/f Image tmpfs"]
        );
    }

    #[test]
    fn a_read_only_root_may_have_writable_places() {
        let mut spec = spec(vec![parse_volume("data:/tmp").unwrap()]);
        spec.read_only = true;
        assert_eq!(all_mounts(&spec, &image(&[]), &[]).unwrap().len(), 1);
        spec.mount_settings.read_only_tmpfs = true;
        assert_eq!(
            shown(&all_mounts(&spec, &image(&[]), &[]).unwrap())[1..],
            ["/run Default tmpfs", "/var/tmp Default tmpfs"]
        );
        spec.read_only = false;
        assert_eq!(all_mounts(&spec, &image(&[]), &[]).unwrap().len(), 1);
    }

    #[test]
    fn one_place_cannot_be_mounted_on_twice() {
        let twice = vec![
            parse_volume("data:/a/").unwrap(),
            parse_mount("type=tmpfs,target=/b/../a").unwrap(),
        ];
        assert!(all_mounts(&spec(twice), &image(&[]), &[]).is_err());
        assert!(all_mounts(&spec(Vec::new()), &image(&["/"]), &[]).is_err());
    }
}
