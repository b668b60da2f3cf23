//! The files that are mounted over a container's /etc/hosts, /etc/hostname and /etc/resolv.conf. They
//! are written anew before every start: they are never flushed, so that a power cut may leave them
//! empty.

use std::os::fd::AsFd;

use crate::{
    engine::plan,
    model::{
        Result,
        container::{ContainerRecord, NetworkMode},
    },
    storage::{files, shifted},
};

/// `folder` is the container's; a new file gets the mode that the umask leaves of 0644.
pub fn write(
    folder: impl AsFd,
    record: &ContainerRecord,
    shared_hostname: Option<&str>,
) -> Result<()> {
    let folder = folder.as_fd();
    let hostname = plan::hostname(record, shared_hostname);
    let hosts = format!(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n127.0.0.1\t{hostname}\n"
    );
    // Without a network there is nobody to ask.
    let resolv_conf = match record.spec.network {
        NetworkMode::None => Vec::new(),
        // With a container's network that one's files are mounted.
        NetworkMode::Host | NetworkMode::Path(_) | NetworkMode::Container(_) => {
            std::fs::read("/etc/resolv.conf").unwrap_or_default()
        }
    };
    [
        ("hosts", hosts.as_bytes()),
        ("hostname", format!("{hostname}\n").as_bytes()),
        ("resolv.conf", &resolv_conf),
    ]
    .into_iter()
    .try_for_each(|(name, text)| files::write_readable(folder, name, text))?;
    match &record.ids {
        Some(ids) => shifted::give_to_root(folder, &["hosts", "hostname", "resolv.conf"], ids),
        None => Ok(()),
    }
}
