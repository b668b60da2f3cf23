//! `exec`: one more program in a running container.

use std::path::PathBuf;

use clap::Args;

use super::{
    Session, called,
    chosen::ChosenFlags,
    container_flags, parse,
    terminal::{self, DetachFlags},
    verb::{Arity, Class, Outcome, Verb, wrong_count},
};
use crate::engine::ExecSpec;

#[derive(Args)]
struct Flags {
    /// Leave the program running in the background
    #[arg(long, short = 'd')]
    detach: bool,
    #[command(flatten)]
    keys: DetachFlags,
    /// Set a variable, or copy one from this environment
    #[arg(long, short = 'e', value_name = "list")]
    env: Vec<String>,
    /// Read variables from a file
    #[arg(long, value_name = "list")]
    env_file: Vec<PathBuf>,
    #[command(flatten)]
    chosen: ChosenFlags,
    /// Keep standard input open
    #[arg(long, short = 'i')]
    interactive: bool,
    /// Give the program nearly all rights of the caller
    #[arg(long)]
    privileged: bool,
    /// Give the program a terminal
    #[arg(long, short = 't')]
    tty: bool,
    /// User of the program, name or number, with an optional group
    #[arg(long, short = 'u', value_name = "string")]
    user: Option<String>,
    /// Folder to start in
    #[arg(long, short = 'w', value_name = "string")]
    workdir: Option<String>,
}

pub const VERB: Verb = Verb {
    spellings: &["container exec", "exec"],
    about: "Run a program in a running container",
    usage: "[OPTIONS] CONTAINER COMMAND [ARG...]",
    arity: Arity::AtLeast(1),
    program_after: Some(1),
    unsupported: super::unsupported::EXEC,
    class: Class::Exec,
    flags: Flags::augment_args,
    run: |session, matches, arguments| run(session, parse::flags(matches)?, arguments),
};

fn run(session: &Session, flags: Flags, mut arguments: Vec<String>) -> Outcome {
    terminal::check_tty(flags.interactive && !flags.detach, flags.tty)?;
    if arguments.len() < 2 && !flags.chosen.any() {
        return Err(wrong_count("exec", "requires at least 2 arguments"));
    }
    let container = flags.chosen.one(session, "exec", &mut arguments)?;
    let spec = ExecSpec {
        command: arguments,
        env: container_flags::environment(&flags.env_file, &flags.env)?,
        detach_keys: flags.keys.keys(session)?,
        user: flags.user.filter(|user| !user.is_empty()),
        workdir: flags.workdir,
        tty: flags.tty,
        interactive: flags.interactive,
        detach: flags.detach,
        privileged: flags.privileged,
        caller: called::name().to_owned(),
    };
    Ok(terminal::low_byte(
        session.engine()?.exec(&container, spec)?,
    ))
}
