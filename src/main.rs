//! Which process is this? Decided by the name it was executed under, before any flag is parsed:
//! a container's supervisor, a process that joins a container, or a command.

#![no_main]

use std::ffi::OsString;

use coracle::{
    cmd,
    engine::{containers::exec, supervisor},
};

coracle::entry_point!(run);

fn run() -> i32 {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match arguments.first().and_then(|name| name.to_str()) {
        Some(supervisor::ROLE) => supervisor::main(&arguments),
        Some(exec::ROLE) => i32::from(cmd::finish_exec(&arguments, exec::main(&arguments))),
        _ => {
            coracle::sys::entry::prepare_command();
            // Whatever is made is the user's alone, unless said otherwise (CVE-2021-41091 and its
            // kin). The other two roles inherit it.
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
            i32::from(cmd::main(arguments))
        }
    }
}
