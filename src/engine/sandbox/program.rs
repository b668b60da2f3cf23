//! Becoming the program, and what the shell convention says when that fails.

use std::{convert::Infallible, ffi::CString, io, os::fd::OwnedFd};

use rustix::fs::{Gid, Uid};

use super::{Stream, Streams, c_string};
use crate::{
    model::{Context, Error, ErrorKind, Result},
    sys::{exec, mount, process::Credentials, signals},
};

/// Puts the streams in their places; `null` is for those that there are not. Pipes that were made for
/// the program become its user's.
pub(super) fn connect_streams(
    streams: &Streams,
    null: impl Fn() -> Result<OwnedFd>,
    credentials: &Credentials,
) -> Result<()> {
    let what = || "cannot connect the standard streams".to_owned();
    let all = [&streams.stdin, &streams.stdout, &streams.stderr];
    let null = if all.iter().any(|stream| stream.is_none()) {
        Some(null()?)
    } else {
        None
    };
    for (place, stream) in all.into_iter().enumerate() {
        let descriptor = match stream {
            Some(Stream::Made(pipe)) => {
                give_to_user(pipe, credentials)?;
                Some(pipe)
            }
            Some(Stream::Borrowed(pipe)) => Some(pipe),
            None => null.as_ref(),
        };
        let Some(descriptor) = descriptor else {
            continue;
        };
        match place {
            0 => rustix::stdio::dup2_stdin(descriptor).system(what)?,
            1 => rustix::stdio::dup2_stdout(descriptor).system(what)?,
            _ => rustix::stdio::dup2_stderr(descriptor).system(what)?,
        }
    }
    null.into_iter().for_each(mount::leave_open);
    Ok(())
}

fn give_to_user(pipe: &OwnedFd, credentials: &Credentials) -> Result<()> {
    if (credentials.uid, credentials.gid) == (0, 0) {
        return Ok(());
    }
    let (user, group) = (
        Uid::from_raw(credentials.uid),
        Gid::from_raw(credentials.gid),
    );
    rustix::fs::fchown(pipe, Some(user), Some(group))
        .system(|| "cannot hand over a stream".to_owned())
}

/// Executes the program with nothing but the standard streams open. Returns only if that fails:
/// as [`ErrorKind::CommandNotFound`] (127) or [`ErrorKind::CommandNotExecutable`] (126).
pub(super) fn execute(arguments: &[String], environment: &[String]) -> Result<Infallible> {
    let Some(name) = arguments.first() else {
        return Err(Error::invalid("no command specified"));
    };
    let arguments: Vec<CString> = arguments
        .iter()
        .map(|text| c_string(text))
        .collect::<Result<_>>()?;
    let variables: Vec<CString> = environment
        .iter()
        .map(|text| c_string(text))
        .collect::<Result<_>>()?;
    exec::close_on_exec_from(3).system(|| "cannot close descriptors".to_owned())?;
    // What the supervisor set up is not the program's business.
    signals::restore_default(libc::SIGPIPE);
    signals::block_only(&signals::SignalSet::empty())
        .system(|| "cannot unblock signals".to_owned())?;
    Err(failure(
        name,
        try_candidates(name, environment, &arguments, &variables),
    ))
}

/// execvp(3)'s search, with the container's own `PATH`: a file that may not be executed is
/// remembered, and the search goes on.
fn try_candidates(
    name: &str,
    environment: &[String],
    arguments: &[CString],
    variables: &[CString],
) -> io::Error {
    if name.contains('/') {
        return match c_string(name) {
            Ok(program) => exec::exec(&program, arguments, variables),
            Err(_) => io::ErrorKind::NotFound.into(),
        };
    }
    let path = environment
        .iter()
        .find_map(|variable| variable.strip_prefix("PATH="))
        .unwrap_or("/bin:/usr/bin");
    let mut refused = None;
    for folder in path.split(':') {
        let folder = if folder.is_empty() { "." } else { folder };
        let Ok(program) = c_string(&format!("{folder}/{name}")) else {
            continue;
        };
        let error = exec::exec(&program, arguments, variables);
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => {}
            Some(libc::EACCES) => refused = Some(error),
            _ => return error,
        }
    }
    refused.unwrap_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
}

fn failure(name: &str, cause: io::Error) -> Error {
    let (kind, why) = match cause.raw_os_error() {
        Some(libc::ENOENT) if !name.contains('/') => {
            return Error::new(
                ErrorKind::CommandNotFound,
                format!("exec: {name:?}: executable file not found in $PATH"),
            );
        }
        Some(libc::ENOENT) => (
            ErrorKind::CommandNotFound,
            "no such file or directory".to_owned(),
        ),
        Some(libc::ENOTDIR) => (ErrorKind::CommandNotFound, "not a directory".to_owned()),
        Some(libc::EACCES) => (
            ErrorKind::CommandNotExecutable,
            "permission denied".to_owned(),
        ),
        Some(libc::ENOEXEC) => (
            ErrorKind::CommandNotExecutable,
            "exec format error".to_owned(),
        ),
        _ => (ErrorKind::CommandNotExecutable, cause.to_string()),
    };
    Error::new(kind, format!("exec: {name:?}: {why}"))
}
