//! The mounts that a user asked for, as steps.

use std::path::{Path, PathBuf};

use super::{
    BindOptions, ContainerFiles, FillPlan, ImageFiles, MountStep, TmpfsAttributes, TmpfsParameter,
    VolumeFiles,
    mounts::{CGROUPS, check_target, kernel_place},
};
use crate::model::{
    Error, ErrorKind, Result,
    mount::{Mount, MountSource, OverlayFolders, Propagation, absolute_target},
    volume::{Backing, MountWords},
};

/// A mount of the user's; `index` is its place in the request.
pub(super) fn user_mount(mount: &Mount, index: usize, files: &ContainerFiles) -> Result<MountStep> {
    let target = check_place(mount)?;
    refuse_what_is_not_there(mount)?;
    let options = bind_options(mount);
    let image = || {
        let found = files.image_mounts.get(index).and_then(Option::as_ref);
        found.ok_or_else(|| missing("the folders of an overlay", &target))
    };
    Ok(match &mount.source {
        MountSource::Bind { source, .. } => match &mount.options.overlay {
            Some(folders) => overlay(image()?, vec![source.into()], Some(folders), target, mount),
            None => MountStep::Bind {
                source: Path::new(source).to_owned(),
                target,
                options,
            },
        },
        MountSource::Volume(volume) => {
            let volume_files = files
                .volumes
                .get(&volume.name)
                .ok_or_else(|| missing("a volume", &target))?;
            match &mount.options.overlay {
                Some(folders) => {
                    let lower = vec![volume_files.data.clone()];
                    overlay(image()?, lower, Some(folders), target, mount)
                }
                None => {
                    let fill = (!volume.no_copy && options.subpath.is_none()).then(|| FillPlan {
                        folder: volume_files.folder.clone(),
                        first_start: files.first_start,
                        durable: !volume.anonymous,
                    });
                    volume_mount(volume_files, fill, target, options)
                }
            }
        }
        MountSource::Image {
            layers: _,
            writable,
            ..
        } => {
            let folders = OverlayFolders::default();
            let image = image()?;
            let changes = writable.then_some(&folders);
            overlay(image, image.layers.clone(), changes, target, mount)
        }
        _ => return memory_mount(mount, target, options),
    })
}

/// File systems that are made for the container alone.
fn memory_mount(mount: &Mount, target: String, options: BindOptions) -> Result<MountStep> {
    let made = |kind: &str, parameters, options| MountStep::FileSystem {
        kind: kind.to_owned(),
        device: kind.to_owned(),
        parameters,
        target: target.clone(),
        options,
    };
    Ok(match &mount.source {
        MountSource::Tmpfs {
            size,
            mode,
            options: words,
            copy_up,
        } => {
            // What is copied brings its directory's mode along.
            let mode = mode.or((!copy_up).then_some(0o1777));
            let (parameters, attributes) = tmpfs(*size, mode, words, mount.read_only)?;
            MountStep::Tmpfs {
                target,
                options: parameters,
                attributes,
                copy_up: *copy_up,
            }
        }
        MountSource::Ramfs { mode } => {
            let mode = format!("{:o}", mode.unwrap_or(0o1777));
            let options = BindOptions {
                no_suid: Some(true),
                no_dev: Some(true),
                ..options
            };
            made("ramfs", vec![("mode".to_owned(), Some(mode))], options)
        }
        MountSource::Devpts { options: words } => {
            let options = BindOptions {
                no_suid: Some(true),
                no_exec: Some(true),
                ..options
            };
            made("devpts", devpts(words), options)
        }
        _ => return Err(missing("a source", &target)),
    })
}

fn missing(what: &str, target: &str) -> Error {
    Error::new(
        ErrorKind::System,
        format!("the plan lacks {what} for {target}"),
    )
}

fn refuse_what_is_not_there(mount: &Mount) -> Result<()> {
    if mount
        .options
        .id_map
        .as_deref()
        .is_some_and(|map| !map.is_empty())
    {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "cannot mount {}: idmap takes no map of its own",
                mount.target
            ),
        )
        .with_hint("plain idmap maps by the container's user namespace"));
    }
    if mount.options.id_map.is_some() && mount.volume().is_some_and(|volume| !volume.no_copy) {
        return Err(Error::invalid(format!(
            "cannot mount {}: what is copied from the image has the container's owners already",
            mount.target
        ))
        .with_hint("with idmap a volume needs nocopy"));
    }
    if let MountSource::Bind { source, .. } = &mount.source
        && mount.options.chown
        && mount.options.subpath.is_none()
        && is_of_the_system(source)
    {
        return Err(Error::invalid(format!(
            "cannot give {source:?} to the container's user: it belongs to the system"
        ))
        .with_hint("leave U out, or mount a folder of your own"));
    }
    Ok(())
}

/// Folders whose change of owner would break the host.
fn is_of_the_system(path: &str) -> bool {
    const FOLDERS: [&str; 21] = [
        "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/media", "/mnt", "/opt",
        "/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var", "/var/lib",
    ];
    absolute_target(path).map_or(true, |clean| {
        let within = ["/boot/", "/dev/", "/etc/", "/proc/", "/sys/", "/usr/"];
        FOLDERS.contains(&clean.as_str()) || within.iter().any(|start| clean.starts_with(start))
    })
}

fn bind_options(mount: &Mount) -> BindOptions {
    let (recursive, propagation) = match &mount.source {
        MountSource::Bind {
            recursive,
            propagation,
            ..
        } => (*recursive, *propagation),
        _ => (false, Propagation::default()),
    };
    let options = &mount.options;
    let not = |allowed: Option<bool>| allowed.map(|allowed| !allowed);
    BindOptions {
        read_only: mount.read_only,
        writable_below: options.writable_below,
        recursive,
        propagation,
        subpath: options.subpath.clone(),
        no_exec: not(options.exec),
        no_suid: not(options.suid),
        no_dev: not(options.dev),
        chown: options.chown,
        id_map: options.id_map.is_some(),
        fill: None,
    }
}

/// A volume's directory, or what its driver's options name instead. Only the directory is filled
/// from the image: what somebody else has put into another file system is not ours to change.
fn volume_mount(
    volume: &VolumeFiles,
    fill: Option<FillPlan>,
    target: String,
    options: BindOptions,
) -> MountStep {
    let with = |words: &MountWords| BindOptions {
        read_only: options.read_only || words.read_only,
        no_exec: words.no_exec.then_some(true).or(options.no_exec),
        no_suid: words.no_suid.then_some(true).or(options.no_suid),
        no_dev: words.no_dev.then_some(true).or(options.no_dev),
        ..options.clone()
    };
    match &volume.backing {
        None => MountStep::Bind {
            source: volume.data.clone(),
            target,
            options: BindOptions { fill, ..options },
        },
        Some(Backing::Bind {
            device,
            recursive,
            attributes,
        }) => MountStep::Bind {
            source: device.into(),
            target,
            options: BindOptions {
                recursive: *recursive,
                ..with(attributes)
            },
        },
        Some(Backing::FileSystem {
            kind,
            device,
            parameters,
            attributes,
        }) => MountStep::FileSystem {
            kind: kind.clone(),
            device: device.clone(),
            parameters: parameters.clone(),
            target,
            options: with(attributes),
        },
    }
}

/// Layers as one tree, with the changes in a folder of the container's or of the user's.
fn overlay(
    files: &ImageFiles,
    mut lower: Vec<PathBuf>,
    changes: Option<&OverlayFolders>,
    target: String,
    mount: &Mount,
) -> MountStep {
    // Without a place for changes overlayfs wants two layers at least.
    if changes.is_none() && lower.len() < 2 {
        lower.push(files.empty.clone());
    }
    let of_user = |folder: &Option<String>| folder.as_ref().map(PathBuf::from);
    let changes = changes.map(|folders| {
        (
            of_user(&folders.upper).unwrap_or_else(|| files.upper.clone()),
            of_user(&folders.work).unwrap_or_else(|| files.work.clone()),
        )
    });
    MountStep::Overlay {
        lower,
        changes,
        user_xattr: files.user_xattr,
        target,
        options: BindOptions {
            read_only: mount.read_only && mount.options.overlay.is_none(),
            ..bind_options(mount)
        },
    }
}

fn devpts(words: &[String]) -> Vec<TmpfsParameter> {
    let mut parameters = vec![
        ("newinstance".to_owned(), None),
        ("ptmxmode".to_owned(), Some("0666".to_owned())),
    ];
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        parameters.push((key.to_owned(), Some(value.to_owned())));
    }
    parameters
}

/// As [`check_target`], but a bind may cover a few single files, and the cgroups of an init that
/// expects the host's own tree.
fn check_place(mount: &Mount) -> Result<String> {
    match absolute_target(&mount.target) {
        Ok(clean) if is_allowed_there(mount, &clean) => Ok(clean),
        _ => check_target(&mount.target),
    }
}

/// Whether all mounts of a container are such that they can be planned, before anything is made for
/// them.
pub fn check_mounts(mounts: &[Mount]) -> Result<()> {
    mounts.iter().try_for_each(|mount| {
        check_place(mount)?;
        refuse_what_is_not_there(mount)?;
        if let MountSource::Tmpfs {
            size,
            mode,
            options,
            ..
        } = &mount.source
        {
            tmpfs(*size, *mode, options, mount.read_only)?;
        }
        Ok(())
    })
}

fn is_allowed_there(mount: &Mount, target: &str) -> bool {
    let MountSource::Bind { source, .. } = &mount.source else {
        return false;
    };
    if mount.options.overlay.is_some() || kernel_place(target).is_none() {
        return false;
    }
    target != CGROUPS || Path::new(source).starts_with(CGROUPS)
}

/// Splits tmpfs options into file system parameters and mount attributes. Docker's defaults are
/// noexec, nosuid and nodev.
fn tmpfs(
    size: Option<u64>,
    mode: Option<u32>,
    options: &[String],
    read_only: bool,
) -> Result<(Vec<TmpfsParameter>, TmpfsAttributes)> {
    let mut attributes = TmpfsAttributes {
        read_only,
        no_exec: true,
        no_suid: true,
        no_dev: true,
    };
    let mut parameters = Vec::new();
    if let Some(mode) = mode {
        parameters.push(("mode".to_owned(), Some(format!("{mode:o}"))));
    }
    if let Some(size) = size {
        parameters.push(("size".to_owned(), Some(size.to_string())));
    }
    for option in options {
        match option.as_str() {
            "ro" => attributes.read_only = true,
            "rw" => attributes.read_only = false,
            "exec" => attributes.no_exec = false,
            "noexec" => attributes.no_exec = true,
            "suid" => attributes.no_suid = false,
            "nosuid" => attributes.no_suid = true,
            "dev" => attributes.no_dev = false,
            "nodev" => attributes.no_dev = true,
            // There is no disk to be in step with, and times of access cost nothing.
            "noatime" | "atime" | "diratime" | "nodiratime" | "relatime" | "norelatime"
            | "strictatime" | "nostrictatime" | "sync" | "async" | "dirsync" => {}
            other => match other.split_once('=') {
                Some((
                    key @ ("size" | "uid" | "gid" | "nr_inodes" | "nr_blocks" | "huge"),
                    value,
                )) => {
                    parameters.push((key.to_owned(), Some(value.to_owned())));
                }
                _ => return Err(Error::invalid(format!("invalid tmpfs option {other:?}"))),
            },
        }
    }
    Ok((parameters, attributes))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        engine::plan::{Found, RootSource},
        model::mount::{parse_mount, parse_tmpfs, parse_volume},
    };

    fn files() -> ContainerFiles {
        let volume = |name: &str, backing| VolumeFiles {
            data: format!("/v/{name}/data").into(),
            folder: format!("/v/{name}").into(),
            backing,
        };
        let backing = |pairs: &[(&str, &str)]| {
            let options = pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect();
            let record = crate::model::volume::VolumeRecord {
                name: "x".into(),
                created: String::new(),
                labels: BTreeMap::new(),
                options,
            };
            record.backing().unwrap()
        };
        let bound = backing(&[("type", "none"), ("device", "/d"), ("o", "rbind,ro")]);
        let memory = backing(&[("type", "tmpfs"), ("o", "size=1m,nodev")]);
        ContainerFiles {
            directory: "/c".into(),
            user_namespace: None,
            root: RootSource::Directory("/c/rootfs".into()),
            found: Found::default(),
            volumes: BTreeMap::from([
                ("data".into(), volume("data", None)),
                ("bound".into(), volume("bound", bound)),
                ("memory".into(), volume("memory", memory)),
            ]),
            first_start: true,
            image_mounts: vec![Some(ImageFiles {
                layers: vec!["layer".into()],
                upper: "upper".into(),
                work: "work".into(),
                empty: "empty".into(),
                user_xattr: true,
            })],
        }
    }

    fn volume(text: &str) -> Result<MountStep> {
        user_mount(&parse_volume(text).unwrap(), 0, &files())
    }

    fn mount(text: &str) -> Result<MountStep> {
        user_mount(&parse_mount(text).unwrap(), 0, &files())
    }

    fn bind(source: &str, target: &str, options: BindOptions) -> MountStep {
        MountStep::Bind {
            source: source.into(),
            target: target.into(),
            options,
        }
    }

    fn fill() -> Option<FillPlan> {
        Some(FillPlan {
            folder: "/v/data".into(),
            first_start: true,
            durable: true,
        })
    }

    #[test]
    fn volumes_are_binds_that_are_filled() {
        for (text, options) in [
            (
                "data:/x",
                BindOptions {
                    fill: fill(),
                    ..BindOptions::default()
                },
            ),
            ("data:/x:nocopy", BindOptions::default()),
            (
                "data:/x:ro,noexec,dev",
                BindOptions {
                    read_only: true,
                    no_exec: Some(true),
                    no_dev: Some(false),
                    fill: fill(),
                    ..BindOptions::default()
                },
            ),
        ] {
            let expected = bind("/v/data/data", "/x", options);
            assert_eq!(volume(text).unwrap(), expected, "{text}");
        }
        let subpath = mount("type=volume,source=data,target=/x,volume-subpath=a/b").unwrap();
        let options = BindOptions {
            subpath: Some("a/b".into()),
            ..BindOptions::default()
        };
        assert_eq!(subpath, bind("/v/data/data", "/x", options));
    }

    #[test]
    fn driver_options_take_the_place_of_the_volumes_own_files() {
        let options = BindOptions {
            read_only: true,
            recursive: true,
            ..BindOptions::default()
        };
        assert_eq!(volume("bound:/x").unwrap(), bind("/d", "/x", options));
        let expected = MountStep::FileSystem {
            kind: "tmpfs".into(),
            device: String::new(),
            parameters: vec![("size".into(), Some("1m".into()))],
            target: "/x".into(),
            options: BindOptions {
                no_dev: Some(true),
                ..BindOptions::default()
            },
        };
        assert_eq!(volume("memory:/x").unwrap(), expected);
    }

    #[test]
    fn read_only_binds_may_leave_what_is_below_them() {
        let text = "type=bind,source=/s,target=/x,ro,bind-recursive=writable";
        let options = BindOptions {
            read_only: true,
            writable_below: true,
            recursive: true,
            ..BindOptions::default()
        };
        assert_eq!(mount(text).unwrap(), bind("/s", "/x", options));
    }

    #[test]
    fn images_and_overlays_are_layers() {
        let overlay = |lower: &[&str], writable: bool| MountStep::Overlay {
            lower: lower.iter().map(PathBuf::from).collect(),
            changes: writable.then(|| ("upper".into(), "work".into())),
            user_xattr: true,
            target: "/x".into(),
            options: BindOptions::default(),
        };
        // One layer alone is not enough for overlayfs.
        let image = mount("type=image,source=i,target=/x").unwrap();
        assert_eq!(image, overlay(&["layer", "empty"], false));
        let image = mount("type=image,source=i,target=/x,rw=true").unwrap();
        assert_eq!(image, overlay(&["layer"], true));
        assert!(matches!(
            volume("/s:/x:O").unwrap(),
            MountStep::Overlay { lower, changes: Some(_), .. } if lower == [PathBuf::from("/s")]
        ));
    }

    #[test]
    fn a_tmpfs_is_dockers() {
        let step = user_mount(&parse_tmpfs("/x:size=50%,exec,uid=3").unwrap(), 0, &files());
        let expected = MountStep::Tmpfs {
            target: "/x".into(),
            options: vec![
                ("mode".into(), Some("1777".into())),
                ("size".into(), Some("50%".into())),
                ("uid".into(), Some("3".into())),
            ],
            attributes: TmpfsAttributes {
                read_only: false,
                no_exec: false,
                no_suid: true,
                no_dev: true,
            },
            copy_up: false,
        };
        assert_eq!(step.unwrap(), expected);
    }

    #[test]
    fn proc_and_sys_stay_as_they_are_but_for_a_few_files() {
        for text in [
            "/f:/proc/cpuinfo",
            "/f:/proc/../proc/stat:ro",
            "/sys/fs/cgroup:/sys/fs/cgroup",
            "/f:/x:idmap",
            "data:/x:idmap,nocopy",
        ] {
            assert!(
                check_mounts(&[parse_volume(text).unwrap()]).is_ok(),
                "{text}"
            );
        }
        for text in [
            "/f:/proc",
            "/f:/proc/keys",
            "/f:/proc/net/dev",
            "/f:/sys/x",
            "/f:/sys/fs/cgroup",
            "data:/proc/cpuinfo",
            "/f:/proc/cpuinfo:O",
            "/f:/x:idmap=uids=0-1-2",
            "data:/x:idmap",
            "/etc:/x:U",
            "/usr/share:/x:U",
        ] {
            assert!(
                check_mounts(&[parse_volume(text).unwrap()]).is_err(),
                "{text}"
            );
        }
    }
}
