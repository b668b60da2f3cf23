//! `-v [SOURCE:]TARGET[:OPTION,…]` and `--volumes-from CONTAINER[:ro|rw]`.

use super::{
    Mount, MountOptions, MountSource, OverlayFolders, Propagation, VolumeSource, VolumesFrom,
    absolute_target,
};
use crate::model::{Error, Result, volume::check_volume_name};

/// Parses `-v`.
///
/// A source that begins with `/`, `.` or `~` is a path of the host and is kept as typed: only
/// the command knows the working directory and the home. Anything else is a volume's name.
/// Without a source it is a volume without a name.
pub fn parse_volume(text: &str) -> Result<Mount> {
    let invalid = |why: &str| invalid(text, why);
    let fields: Vec<&str> = text.split(':').collect();
    let (source, target, typed) = match fields[..] {
        _ if fields.iter().any(|field| field.is_empty()) => {
            return Err(invalid("a part of it is empty"));
        }
        [target] => (None, target, ""),
        // Docker does not take options without a source either.
        [path, options] if !options.starts_with('/') && path.starts_with('/') => {
            return Err(invalid(if options.split(',').all(is_option) {
                "options need a source and a path in the container before them"
            } else {
                "the path in the container must be absolute"
            }));
        }
        [source, target] => (Some(source), target, ""),
        [source, target, options] => (Some(source), target, options),
        _ => return Err(invalid("it has more than three parts")),
    };
    let target = absolute_target(target).map_err(invalid)?;
    let given = Given::read(typed).map_err(|why| invalid(&why))?;
    let source = match source {
        Some(path) if path.starts_with(['/', '.', '~']) => {
            if path.contains('\0') {
                return Err(invalid("a path cannot contain a NUL byte"));
            }
            MountSource::Bind {
                source: path.to_owned(),
                propagation: given.propagation.unwrap_or_default(),
                recursive: !given.not_recursive,
                create_source: true,
            }
        }
        name => {
            if given.propagation.is_some() {
                return Err(invalid("a volume has no propagation"));
            }
            if let Some(name) = name {
                check_volume_name(name)?;
            }
            MountSource::Volume(VolumeSource {
                name: name.unwrap_or_default().to_owned(),
                anonymous: name.is_none(),
                no_copy: given.no_copy,
                ..VolumeSource::default()
            })
        }
    };
    Ok(Mount {
        target,
        source,
        read_only: given.read_only,
        options: MountOptions {
            typed: typed.to_owned(),
            ..given.options
        },
    })
}

fn invalid(text: &str, why: &str) -> Error {
    Error::invalid(format!("invalid volume {text:?}: {why}")).with_hint(
        "write it as NAME:/path or /path/on/the/host:/path, with :ro behind it if you like",
    )
}

/// Groups of options of which one can be given.
#[derive(Clone, Copy, PartialEq)]
enum Group {
    Access,
    Label,
    Propagation,
    Copy,
    Consistency,
    Depth,
    Exec,
    Suid,
    Dev,
    Owner,
    IdMap,
    Overlay,
    Upper,
    Work,
}

fn group(option: &str) -> Option<Group> {
    Some(match option {
        "ro" | "rw" | "rro" => Group::Access,
        "z" | "Z" => Group::Label,
        "nocopy" | "copy" => Group::Copy,
        "consistent" | "cached" | "delegated" | "default" => Group::Consistency,
        "bind" | "rbind" => Group::Depth,
        "exec" | "noexec" => Group::Exec,
        "suid" | "nosuid" => Group::Suid,
        "dev" | "nodev" => Group::Dev,
        "U" => Group::Owner,
        "O" => Group::Overlay,
        "idmap" => Group::IdMap,
        _ if Propagation::parse(option).is_some() => Group::Propagation,
        _ => match option.split_once('=')? {
            ("idmap", _) => Group::IdMap,
            ("upperdir", _) => Group::Upper,
            ("workdir", _) => Group::Work,
            _ => return None,
        },
    })
}

fn is_option(option: &str) -> bool {
    group(option).is_some()
}

/// What the third field says.
#[derive(Default)]
struct Given {
    read_only: bool,
    propagation: Option<Propagation>,
    no_copy: bool,
    not_recursive: bool,
    options: MountOptions,
}

impl Given {
    fn read(text: &str) -> Result<Given, String> {
        let mut seen = Vec::new();
        let mut given = Given::default();
        for option in text.split(',').filter(|option| !option.is_empty()) {
            let group = group(option).ok_or_else(|| format!("{option:?} is not a mount option"))?;
            if seen.contains(&group) {
                return Err(format!("{option:?} contradicts or repeats another option"));
            }
            seen.push(group);
            given.take(group, option);
        }
        if let Some(folders) = &given.options.overlay {
            let whole = seen.contains(&Group::Overlay);
            if !whole || folders.upper.is_some() != folders.work.is_some() {
                return Err("upperdir and workdir belong together, and to O".to_owned());
            }
        }
        Ok(given)
    }

    fn take(&mut self, group: Group, option: &str) {
        let value = option.split_once('=').map(|(_, value)| value.to_owned());
        let options = &mut self.options;
        match group {
            Group::Access => self.read_only = option != "rw",
            Group::Propagation => self.propagation = Propagation::parse(option),
            Group::Copy => self.no_copy = option == "nocopy",
            Group::Depth => self.not_recursive = option == "bind",
            Group::Exec => options.exec = Some(option == "exec"),
            Group::Suid => options.suid = Some(option == "suid"),
            Group::Dev => options.dev = Some(option == "dev"),
            Group::Owner => options.chown = true,
            Group::IdMap => options.id_map = Some(value.unwrap_or_default()),
            Group::Overlay => {
                options.overlay.get_or_insert_with(OverlayFolders::default);
            }
            Group::Upper => options.overlay.get_or_insert_default().upper = value,
            Group::Work => options.overlay.get_or_insert_default().work = value,
            // Labels are SELinux's, which confines nothing here; consistency is for file sharing
            // into virtual machines.
            Group::Label | Group::Consistency => {}
        }
    }
}

/// Parses `--volumes-from`: a container's name or ID with `:ro` or `:rw` behind it; Podman's `:z`
/// is taken and means nothing here.
pub fn parse_volumes_from(text: &str) -> Result<VolumesFrom> {
    let (container, options) = text.split_once(':').unwrap_or((text, ""));
    let invalid = |why: String| Error::invalid(format!("invalid volumes-from {text:?}: {why}"));
    if container.is_empty() {
        return Err(invalid("the container's name is missing".to_owned()));
    }
    let mut read_only = None;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "rw" if read_only.is_none() => read_only = Some(option == "ro"),
            "z" | "Z" => {}
            _ => return Err(invalid(format!("{option:?} is not ro or rw"))),
        }
    }
    Ok(VolumesFrom {
        container: container.to_owned(),
        read_only,
    })
}
