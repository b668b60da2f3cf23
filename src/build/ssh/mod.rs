//! `--ssh`: agents for `RUN --mount=type=ssh`.
//!
//! ```text
//! --ssh ID[=SOCKET]        an agent of the user's          Agent::Socket ─┐
//! --ssh ID=KEY[,KEY…]      files of private keys  key ──►  Agent::Keys  ──┤
//!                                                                         ▼
//! RUN  ◀── a socket, mounted: uid=, gid=, mode= are its own ── serve: a process of the step's
//!                                                                agent: what may be asked of it
//! ```
//!
//! What a step can reach is always a socket of ours, never the user's: it may list keys and have
//! something signed, and can neither add keys to the user's agent nor take any out of it, lock it or ask
//! for extensions. Keys stay in the build's own processes, outside of every container.
//!
//! The serving process ends with its step, and with whoever kills it (`PR_SET_PDEATHSIG`); the socket
//! lies in the step's lease.

mod agent;
mod key;
mod serve;
mod wire;

use std::{fs::File, io::Read, os::unix::fs::FileTypeExt, path::PathBuf};

use crate::model::{Context, Error, ErrorKind, Result};

pub use key::Key;
pub use serve::{Owner, Serving};

/// As BuildKit limits it.
const MAX_KEY_BYTES: u64 = 100 << 10;

/// Who answers.
#[derive(Debug)]
pub enum Agent {
    Socket(PathBuf),
    Keys(Vec<Key>),
}

impl Agent {
    /// One socket, or files of keys.
    ///
    /// # Errors
    /// What is neither, both at once, keys that are encrypted or of a kind that is not known.
    pub fn open(paths: &[PathBuf]) -> Result<Agent> {
        let mut keys = Vec::new();
        let mut socket = None;
        for path in paths {
            let what = || format!("cannot use {} as an SSH agent or key", path.display());
            let facts = std::fs::metadata(path).context(ErrorKind::InvalidArgument, what)?;
            if !facts.file_type().is_socket() {
                keys.push(read_key(path)?);
                continue;
            }
            let path = std::path::absolute(path).context(ErrorKind::InvalidArgument, what)?;
            if socket.replace(path).is_some() {
                return Err(Error::invalid("--ssh: only one socket is allowed"));
            }
        }
        match (socket, keys.is_empty()) {
            (Some(socket), true) => Ok(Agent::Socket(socket)),
            (None, false) => Ok(Agent::Keys(keys)),
            (None, true) => Err(Error::invalid("--ssh: there is neither a socket nor a key")),
            (Some(_), false) => Err(Error::invalid(
                "--ssh: keys and a socket cannot have the same ID",
            )),
        }
    }
}

fn read_key(path: &std::path::Path) -> Result<Key> {
    let what = || format!("cannot use {} as an SSH key", path.display());
    let mut text = Vec::new();
    let file = File::open(path).context(ErrorKind::InvalidArgument, what)?;
    let mut file = file.take(MAX_KEY_BYTES + 1);
    file.read_to_end(&mut text)
        .context(ErrorKind::InvalidArgument, what)?;
    if text.len() as u64 > MAX_KEY_BYTES {
        return Err(Error::invalid(format!("{}: it is too large", what())));
    }
    let name = path.to_string_lossy();
    Key::parse(&text, &name).map_err(|fault| {
        let error = Error::new(ErrorKind::Unsupported, format!("{}: {fault}", what()));
        error.with_hint("add the key to ssh-agent(1) and forward that: --ssh default")
    })
}
