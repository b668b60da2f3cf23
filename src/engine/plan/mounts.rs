//! What is mounted in a container: Docker's and Podman's defaults, then what the user asked for.

use std::path::{Path, PathBuf};

use super::{
    BindOptions, ContainerFiles, FillPlan, ImageFiles, MountStep, TmpfsAttributes, TmpfsParameter,
    VolumeFiles, namespaces, systemd,
};
use crate::model::{
    ContainerSpec, Error, ErrorKind, Result,
    host::HostFacts,
    mount::{Mount, MountSource, OverlayFolders, Propagation, absolute_target},
    namespace::{IpcMode, Place, Placement},
    security::SecuritySpec,
    volume::{Backing, MountWords},
};

pub const SHM_BYTES: u64 = 64 << 20;

/// What was decided before about the container as a whole.
pub(super) struct Context<'a> {
    pub placement: Placement,
    /// Where hosts, hostname and resolv.conf are, if not in the container's folder.
    pub network_files: Option<&'a Path>,
    pub systemd: bool,
    /// A cgroup was made for the container: what its cgroup namespace shows is its own.
    pub own_cgroup: bool,
}

fn writable_cgroup(security: &SecuritySpec) -> bool {
    security.writable_cgroups.unwrap_or(security.privileged)
}

/// /dev/shm goes with the IPC namespace; that of a path has none that could be found.
fn shared_memory(spec: &ContainerSpec, placement: &Placement) -> Option<MountStep> {
    match (&spec.namespaces.ipc, placement.ipc) {
        (IpcMode::None, _) => None,
        (IpcMode::Container(_), _) => Some(MountStep::JoinedShm),
        (_, Place::Host) => Some(MountStep::HostShm),
        _ => Some(MountStep::Shm {
            bytes: spec.mount_settings.shm_size.unwrap_or(SHM_BYTES),
        }),
    }
}

/// The steps in their order: our own file systems first, so that a user's mount may go below
/// /dev, then the user's by depth, as Docker sorts them (a parent before what lies in it).
pub(super) fn steps(
    spec: &ContainerSpec,
    host: &HostFacts,
    files: &ContainerFiles,
    context: &Context<'_>,
) -> Result<Vec<MountStep>> {
    let Context { placement, .. } = context;
    let mut steps = vec![
        MountStep::Proc {
            fresh: namespaces::fresh_proc(placement, host),
        },
        MountStep::Dev {
            make_nodes: host.initial_user_namespace,
            host_devices: spec.security.privileged,
        },
    ];
    steps.extend(shared_memory(spec, placement));
    steps.push(match placement.ipc {
        Place::Host => MountStep::HostMessageQueue,
        Place::Own | Place::Joined => MountStep::MessageQueue,
    });
    steps.push(MountStep::Sys {
        fresh: placement.network != Place::Host,
    });
    steps.push(MountStep::Cgroup {
        of_host: placement.cgroup == Place::Host,
        writable: (context.systemd || writable_cgroup(&spec.security))
            && context.own_cgroup
            && placement.cgroup == Place::Own,
    });
    if context.systemd {
        steps.extend(systemd::mounts(spec));
    }
    steps.extend(super::devices::steps(files)?);
    let mut wanted: Vec<(usize, &Mount)> = spec.mounts.iter().enumerate().collect();
    wanted.sort_by_key(|(_, mount)| depth(mount));
    // A volume on /etc does not hide them, one on /etc/hosts does.
    let shallow = wanted.partition_point(|(_, mount)| depth(mount) < 2);
    for (index, mount) in &wanted[..shallow] {
        steps.push(user_mount(mount, *index, files)?);
    }
    steps.extend(own_files(spec, files, context));
    for (index, mount) in &wanted[shallow..] {
        steps.push(user_mount(mount, *index, files)?);
    }
    steps.extend(super::accounts::steps(files));
    Ok(steps)
}

/// What we write into /etc.
fn own_files(
    spec: &ContainerSpec,
    files: &ContainerFiles,
    context: &Context<'_>,
) -> impl Iterator<Item = MountStep> {
    let folder = context.network_files.unwrap_or(&files.directory).to_owned();
    [
        ("hostname", !spec.namespaces.no_hostname),
        ("hosts", !spec.namespaces.no_hosts),
        ("resolv.conf", true),
    ]
    .into_iter()
    .filter(|(_, wanted)| *wanted)
    .map(move |(name, _)| MountStep::OwnFile {
        source: folder.join(name),
        target: format!("/etc/{name}"),
    })
}

fn depth(mount: &Mount) -> usize {
    let parts = mount.target.split('/').filter(|part| !part.is_empty());
    parts.count()
}

/// A mount of the user's; `index` is its place in the request.
fn user_mount(mount: &Mount, index: usize, files: &ContainerFiles) -> Result<MountStep> {
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
    if mount.options.id_map.is_some() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "cannot mount {}: idmap needs a user namespace of the container's own",
                mount.target
            ),
        )
        .with_hint("without one, owners are the same inside and outside: leave idmap out"));
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

/// Files of procfs that may be replaced by others, which tell a container about itself (lxcfs):
/// nothing of the confinement is made of them. Others allow /proc/net/dev, too, but that is another
/// file for every process.
const REPLACEABLE: [&str; 10] = [
    "proc/cpuinfo",
    "proc/diskstats",
    "proc/loadavg",
    "proc/meminfo",
    "proc/slabinfo",
    "proc/stat",
    "proc/swaps",
    "proc/sys/crypto/fips_enabled",
    "proc/sys/kernel/ns_last_pid",
    "proc/uptime",
];
const CGROUPS: &str = "/sys/fs/cgroup";

/// A place in procfs or sysfs on which something may be mounted: the file system's name, and the
/// path in it.
pub fn kernel_place(target: &str) -> Option<(&str, &str)> {
    let path = target.strip_prefix('/')?;
    (REPLACEABLE.contains(&path) || target == CGROUPS)
        .then(|| path.split_once('/'))
        .flatten()
}

/// Our /proc and /sys are what the confinement is made of: nothing may be put over them
/// (CVE-2019-16884 and its successors), nor over the root.
pub fn check_target(target: &str) -> Result<String> {
    let clean = absolute_target(target)
        .map_err(|why| Error::invalid(format!("invalid mount target {target:?}: {why}")))?;
    if matches!(clean.split('/').nth(1), Some("proc" | "sys")) {
        return Err(Error::invalid(format!(
            "invalid mount target {target:?}: nothing can be mounted on or below /proc, /sys, or on /"
        )));
    }
    Ok(clean)
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
