//! `--tmpfs TARGET[:OPTION,…]`

use super::{Mount, MountOptions, MountSource, Origin, absolute_target, number_up_to, parse_mode};
use crate::model::{Error, Result, human};

/// Parses `--tmpfs`: `TARGET[:OPTION,…]` with the options of tmpfs(5) and the flags of mount(8).
/// Flags are kept as typed: what an unsaid flag means is the planner's to decide.
pub fn parse_tmpfs(text: &str) -> Result<Mount> {
    let invalid = |why: &str| {
        Error::invalid(format!("invalid tmpfs {text:?}: {why}"))
            .with_hint("write it as /path[:size=64m,mode=1777,exec,…]")
    };
    let (target, typed) = text.split_once(':').unwrap_or((text, ""));
    let target = absolute_target(target).map_err(invalid)?;
    let (mut size, mut mode, mut options) = (None, None, Vec::new());
    let (mut read_only, mut copy_up) = (false, false);
    for option in typed.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            // A share of the memory: the kernel knows how much that is.
            Some(("size", value)) if value.ends_with('%') => {
                if !number_up_to(&value[..value.len() - 1], u32::MAX) {
                    return Err(invalid("size is not a number and '%'"));
                }
                options.push(option.to_owned());
            }
            Some(("size", value)) => {
                size = Some(human::parse_bytes(value).map_err(|e| invalid(e.message()))?);
            }
            Some(("mode", value)) => {
                mode = Some(parse_mode(value).ok_or_else(|| invalid("mode is not octal"))?);
            }
            // -1 would mean "unchanged" to some system calls.
            Some(("uid" | "gid", value)) if number_up_to(value, u32::MAX - 1) => {
                options.push(option.to_owned());
            }
            Some(("nr_inodes" | "nr_blocks", value)) if is_kernel_count(value) => {
                options.push(option.to_owned());
            }
            None if option == "ro" => read_only = true,
            None if option == "rw" => read_only = false,
            None if TMPFS_FLAGS.contains(&option) => options.push(option.to_owned()),
            None if option == "tmpcopyup" => copy_up = true,
            None if option == "notmpcopyup" => copy_up = false,
            // Podman's words for what is done anyway.
            None if matches!(option, "rprivate" | "private") => {}
            _ => return Err(invalid(&format!("{option:?} is not an option of tmpfs"))),
        }
    }
    Ok(Mount {
        target,
        source: MountSource::Tmpfs {
            size,
            mode,
            options,
            copy_up,
        },
        read_only,
        options: MountOptions {
            origin: Origin::Tmpfs,
            typed: typed.to_owned(),
            ..MountOptions::default()
        },
    })
}

const TMPFS_FLAGS: &[&str] = &[
    "exec",
    "noexec",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "sync",
    "async",
    "dirsync",
];

/// A number with the kernel's suffix k, m or g.
fn is_kernel_count(text: &str) -> bool {
    let digits = text
        .strip_suffix(['k', 'K', 'm', 'M', 'g', 'G'])
        .unwrap_or(text);
    number_up_to(digits, u32::MAX)
}
