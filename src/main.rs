//! Which process is this? Decided by the name it was executed under, before any flag is parsed:
//! a container's supervisor, a process that joins a container, or a command.

use std::{ffi::OsString, process::ExitCode};

use coracle::{
    cmd,
    engine::{containers::exec, supervisor},
};

fn main() -> ExitCode {
    // Whatever is made is the user's alone, unless said otherwise (CVE-2021-41091 and its kin).
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match arguments.first().and_then(|name| name.to_str()) {
        Some(supervisor::ROLE) => exit_code(supervisor::main()),
        Some(exec::ROLE) => cmd::finish_exec(exec::main()),
        _ => cmd::main(arguments),
    }
}

fn exit_code(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status).unwrap_or(1))
}
