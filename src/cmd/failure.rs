//! How a command fails: what is said, and the exit code, as Docker's scripts expect them.

use crate::model::{Error, ErrorKind};

use super::{called, ui, verb::Class};

pub enum Failure {
    /// The engine's word.
    Engine(Error),
    /// A flag that does not exist or whose value makes no sense: 125 for every command.
    Flag(String),
    /// The same, found by whoever reads the value.
    Value(Error),
    /// Too many or too few arguments.
    Arity(String),
    /// No such command, and the one that was probably meant.
    UnknownCommand(String, Option<String>),
    /// A template that cannot be parsed: 64, of all numbers.
    Template(String),
    /// A message as Docker has it, with the code.
    Plain(String, u8),
    /// A flag that is known and not there, and what to do instead: 125.
    Refused(String, &'static str),
    /// The reader of standard output went away.
    BrokenPipe,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Engine(error)
    }
}

/// 128 + SIGPIPE, what a shell shows for Docker's client in this case.
const BROKEN_PIPE: u8 = 141;

impl Failure {
    /// Prints the failure and returns the exit code. `usage` is the command's name and what
    /// follows it: `("run", "[OPTIONS] IMAGE …")`.
    pub fn report(&self, class: Class, name: &str, usage: &str) -> u8 {
        match self {
            Failure::Engine(error) | Failure::Value(error) => {
                ui::error(&error.one_line(), error.hint());
            }
            Failure::Flag(message) => ui::aside(&format!("{message}\n\n{}", advice(name, usage))),
            Failure::Arity(message) => ui::error(message, None),
            Failure::UnknownCommand(message, meant) => {
                let meant = meant
                    .as_ref()
                    .map(|meant| format!("did you mean `coracle {meant}`?"));
                ui::error(message, meant.as_deref());
            }
            Failure::Template(message) => {
                ui::error(&format!("template parsing error: {message}"), None);
            }
            Failure::Plain(message, _) => ui::error(message, None),
            Failure::Refused(message, instead) => ui::error(message, Some(instead)),
            Failure::BrokenPipe => {}
        }
        match self {
            Failure::Arity(_) | Failure::UnknownCommand(..) => {
                ui::aside(&format!("\n{}", advice(name, usage)));
            }
            _ => {}
        }
        self.code(class)
    }

    /// What is said, without advice.
    pub fn text(&self) -> String {
        match self {
            Failure::Engine(error) | Failure::Value(error) => error.one_line(),
            Failure::Flag(message)
            | Failure::Arity(message)
            | Failure::UnknownCommand(message, _)
            | Failure::Template(message)
            | Failure::Plain(message, _)
            | Failure::Refused(message, _) => message.clone(),
            Failure::BrokenPipe => String::new(),
        }
    }

    pub fn code(&self, class: Class) -> u8 {
        match self {
            Failure::Engine(error) => exit_code(class, error.kind()),
            Failure::Flag(_) | Failure::Value(_) | Failure::Refused(..) => 125,
            Failure::Arity(_)
            | Failure::UnknownCommand(..)
            | Failure::Template(_)
            | Failure::Plain(_, 1)
                if called::as_podman() =>
            {
                125
            }
            Failure::Arity(_) | Failure::UnknownCommand(..) => 1,
            Failure::Template(_) => 64,
            Failure::Plain(_, code) => *code,
            Failure::BrokenPipe => BROKEN_PIPE,
        }
    }
}

fn advice(name: &str, usage: &str) -> String {
    let own = called::name();
    let command = if name.is_empty() {
        own.to_owned()
    } else {
        format!("{own} {name}")
    };
    format!("Usage:  {command} {usage}\n\nRun '{command} --help' for more information")
}

/// The table: which kind of failure of which class of command ends with which code.
pub fn exit_code(class: Class, kind: ErrorKind) -> u8 {
    let missing = matches!(
        kind,
        ErrorKind::NoSuchContainer
            | ErrorKind::NoSuchImage
            | ErrorKind::NoSuchVolume
            | ErrorKind::NoSuchSecret
            | ErrorKind::NoSuchNetwork
    );
    match (class, kind) {
        (Class::Run | Class::Exec, ErrorKind::CommandNotFound) => 127,
        (Class::Run | Class::Exec, ErrorKind::CommandNotExecutable) => 126,
        // The engine's own failures are told from the program's by a code that few programs use.
        (Class::Run, _) | (Class::Create, ErrorKind::InvalidArgument) => 125,
        (Class::Remove, _) if missing => 1,
        (Class::Remove, ErrorKind::Conflict) if called::as_podman() => 2,
        _ if called::as_podman() => 125,
        (Class::Create | Class::Exec | Class::Remove | Class::Other, _) => 1,
    }
}
