//! Becoming the program, and what the shell convention says when that fails.

use std::{convert::Infallible, ffi::CString, io};

use rustix::fs::{Mode, OFlags};

use super::{Streams, c_string};
use crate::{
    model::{Context, Error, ErrorKind, Result},
    sys::{exec, signals},
};

/// Puts the streams in their places. This process is in the container's tree already.
pub(super) fn connect_streams(streams: &Streams) -> Result<()> {
    let what = || "cannot connect the standard streams".to_owned();
    let null = match streams {
        Streams {
            stdin: Some(_),
            stdout: Some(_),
            stderr: Some(_),
        } => None,
        _ => {
            let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let null = rustix::fs::open("/dev/null", flags, Mode::empty());
            Some(null.system(|| "cannot open the container's /dev/null".to_owned())?)
        }
    };
    if let Some(stdin) = streams.stdin.as_ref().or(null.as_ref()) {
        rustix::stdio::dup2_stdin(stdin).system(what)?;
    }
    if let Some(stdout) = streams.stdout.as_ref().or(null.as_ref()) {
        rustix::stdio::dup2_stdout(stdout).system(what)?;
    }
    if let Some(stderr) = streams.stderr.as_ref().or(null.as_ref()) {
        rustix::stdio::dup2_stderr(stderr).system(what)?;
    }
    null.into_iter().for_each(crate::sys::mount::leave_open);
    Ok(())
}

/// Makes the streams' pipes the user's own, so that a program that is not root can open
/// `/dev/stdout` again. Only pipes: whatever else stands there belongs to the caller.
pub(super) fn own_streams(uid: u32, gid: u32) -> Result<()> {
    if (uid, gid) == (0, 0) {
        return Ok(());
    }
    let (user, group) = (
        rustix::fs::Uid::from_raw(uid),
        rustix::fs::Gid::from_raw(gid),
    );
    for stream in [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ] {
        let stat =
            rustix::fs::fstat(stream).system(|| "cannot look at a standard stream".to_owned())?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Fifo {
            // A pipe of somebody else's (an exec's own descriptors) stays theirs.
            let _ = rustix::fs::fchown(stream, Some(user), Some(group));
        }
    }
    Ok(())
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
    // What Rust's runtime and the supervisor set up is not the program's business.
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
