//! What is mounted, as Docker's keys tell it: `Mounts`, `HostConfig.Binds`, `.Mounts`, `.Tmpfs`,
//! `.VolumesFrom` and `Config.Volumes`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Object;
use crate::model::{
    mount::{Mount, MountSource, Origin, VolumeSource, VolumesFrom},
    volume::LOCAL,
};

/// What `-v` asked for, as it was written. Docker keeps `--mount` in another key.
pub(super) fn binds(mounts: &[Mount]) -> Value {
    let binds: Vec<String> = mounts.iter().filter_map(bind).collect();
    if binds.is_empty() {
        Value::Null
    } else {
        json!(binds)
    }
}

fn bind(mount: &Mount) -> Option<String> {
    if mount.options.origin != Origin::Volume {
        return None;
    }
    let source = match &mount.source {
        MountSource::Bind { source, .. } => source,
        MountSource::Volume(volume) if !volume.anonymous => &volume.name,
        _ => return None,
    };
    let mode = &mount.options.typed;
    let separator = if mode.is_empty() { "" } else { ":" };
    Some(format!("{source}:{}{separator}{mode}", mount.target))
}

/// Where volumes without a name are, those of the image among them.
pub(super) fn volumes(mounts: &[Mount]) -> Value {
    let nameless = mounts.iter().filter(|mount| {
        mount.volume().is_some_and(|volume| volume.anonymous)
            && matches!(mount.options.origin, Origin::Volume | Origin::Image)
    });
    let places: BTreeMap<&str, Value> = nameless
        .map(|mount| (mount.target.as_str(), json!({})))
        .collect();
    if places.is_empty() {
        Value::Null
    } else {
        json!(places)
    }
}

pub(super) fn volumes_from(containers: &[VolumesFrom]) -> Value {
    let texts: Vec<String> = containers
        .iter()
        .map(|from| match from.read_only {
            Some(true) => format!("{}:ro", from.container),
            Some(false) => format!("{}:rw", from.container),
            None => from.container.clone(),
        })
        .collect();
    if texts.is_empty() {
        Value::Null
    } else {
        json!(texts)
    }
}

/// What `--mount` asked for.
pub(super) fn requested_mounts(mounts: &[Mount]) -> Option<Vec<Value>> {
    let requested: Vec<Value> = mounts
        .iter()
        .filter(|mount| mount.options.origin == Origin::Mount)
        .map(requested_mount)
        .collect();
    (!requested.is_empty()).then_some(requested)
}

fn requested_mount(mount: &Mount) -> Value {
    let mut object = Object::default();
    let (kind, source) = kind_and_source(&mount.source);
    object.put("Type", json!(kind));
    if !source.is_empty() && !mount.volume().is_some_and(|volume| volume.anonymous) {
        object.put("Source", json!(source));
    }
    object.put("Target", json!(mount.target));
    if mount.read_only {
        object.put("ReadOnly", json!(true));
    }
    let subpath = mount.options.subpath.as_ref();
    match &mount.source {
        MountSource::Bind {
            propagation,
            recursive,
            create_source,
            ..
        } => {
            let mut options = Object::default();
            options.put("Propagation", json!(propagation.as_str()));
            options.put_some("NonRecursive", (!recursive).then_some(true));
            options.put_some("CreateMountpoint", create_source.then_some(true));
            let writable_below = mount.options.writable_below;
            options.put_some("ReadOnlyNonRecursive", writable_below.then_some(true));
            object.put("BindOptions", options.done());
        }
        MountSource::Volume(volume) => {
            let mut options = Object::default();
            options.put_some("NoCopy", volume.no_copy.then_some(true));
            options.put_some(
                "Labels",
                Some(&volume.labels).filter(|labels| !labels.is_empty()),
            );
            options.put_some("Subpath", subpath);
            if volume.driver.is_some() || !volume.driver_options.is_empty() {
                options.put(
                    "DriverConfig",
                    json!({
                        "Name": volume.driver.clone().unwrap_or_default(),
                        "Options": volume.driver_options,
                    }),
                );
            }
            if !options.0.is_empty() {
                object.put("VolumeOptions", options.done());
            }
        }
        MountSource::Tmpfs { size, mode, .. } if size.is_some() || mode.is_some() => {
            let mut options = Object::default();
            options.put_some("SizeBytes", *size);
            options.put_some("Mode", *mode);
            object.put("TmpfsOptions", options.done());
        }
        MountSource::Image { .. } => {
            object.put_some("ImageOptions", subpath.map(|path| json!({"Subpath": path})));
        }
        _ => {}
    }
    object.done()
}

/// Targets with their options as one string, as `--tmpfs` has them.
pub(super) fn tmpfs(mounts: &[Mount]) -> Option<BTreeMap<&str, String>> {
    let found: BTreeMap<&str, String> = mounts
        .iter()
        .filter_map(|mount| {
            let asked = mount.options.origin == Origin::Tmpfs;
            asked.then(|| (mount.target.as_str(), mount.options.typed.clone()))
        })
        .collect();
    (!found.is_empty()).then_some(found)
}

fn kind_and_source(source: &MountSource) -> (&'static str, &str) {
    match source {
        MountSource::Bind { source, .. } => ("bind", source),
        MountSource::Volume(volume) => ("volume", &volume.name),
        MountSource::Tmpfs { .. } => ("tmpfs", ""),
        MountSource::Ramfs { .. } => ("ramfs", ""),
        MountSource::Devpts { .. } => ("devpts", ""),
        MountSource::Image { image, .. } => ("image", image),
    }
}

pub(super) fn mount_point(mount: &Mount) -> Value {
    let (kind, source) = kind_and_source(&mount.source);
    let (propagation, read_only) = match &mount.source {
        MountSource::Bind { propagation, .. } => (propagation.as_str(), mount.read_only),
        MountSource::Image { writable, .. } => ("", !writable),
        _ => ("", mount.read_only),
    };
    json!({
        "Type": kind,
        "Source": source,
        "Destination": mount.target,
        "Mode": mount.options.typed,
        "RW": !read_only,
        "Propagation": propagation,
    })
}

pub(super) fn volume_point(mount: &Mount, volume: &VolumeSource, mountpoint: &str) -> Value {
    // Docker's word for a mount that `-v` or `--mount` gave no mode.
    let mode = match mount.options.typed.as_str() {
        "" if mount.options.origin == Origin::Volume && !volume.anonymous => "z",
        typed => typed,
    };
    json!({
        "Type": "volume",
        "Name": volume.name,
        "Source": mountpoint,
        "Destination": mount.target,
        "Driver": LOCAL,
        "Mode": mode,
        "RW": !mount.read_only,
        "Propagation": "",
    })
}
