//! What a command is: its spellings, its flags and the function that does it.

use clap::ArgMatches;

use super::{Session, called, chosen, failure::Failure, unsupported::Unsupported};

/// The exit code, or why there is none.
pub type Outcome = Result<u8, Failure>;

/// One command. The values live beside the code of each, in `src/cmd/NAME.rs`; the list of all
/// is [`super::tree`].
pub struct Verb {
    /// Every spelling, the long grouped ones first: `["container run", "run"]`.
    pub spellings: &'static [&'static str],
    /// One line for help.
    pub about: &'static str,
    /// What follows the name: `[OPTIONS] IMAGE [COMMAND] [ARG...]`.
    pub usage: &'static str,
    pub arity: Arity,
    /// Everything behind the n-th argument belongs to the container's program, flags included.
    pub program_after: Option<usize>,
    /// Docker's flags that are known and not there yet.
    pub unsupported: &'static [Unsupported],
    pub class: Class,
    /// `Args::augment_args` of the command's flags: called for the chosen command alone.
    pub flags: fn(clap::Command) -> clap::Command,
    pub run: fn(&Session, &ArgMatches, Vec<String>) -> Outcome,
}

/// How many arguments a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    None,
    Exactly(usize),
    AtLeast(usize),
    /// At least one, unless this flag says what the first argument would.
    OneUnless(&'static str),
    /// At least one, unless flags choose instead ([`super::chosen`]).
    OneUnlessChosen,
    AtMost(usize),
    Between(usize, usize),
}

/// Which column of the exit code table counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Starts a container: `run`.
    Run,
    /// Makes one: `create`.
    Create,
    /// Starts a program in one: `exec`.
    Exec,
    /// Takes things away.
    Remove,
    Other,
}

impl Verb {
    /// What most commands are: flags anywhere, nothing run.
    pub const PLAIN: Verb = Verb {
        spellings: &[],
        about: "",
        usage: "",
        arity: Arity::None,
        program_after: None,
        unsupported: &[],
        class: Class::Other,
        flags: |command| command,
        run: |_, _, _| Ok(0),
    };

    /// The spelling that help and messages use: the short one.
    pub fn name(&self) -> &'static str {
        self.spellings.last().copied().unwrap_or_default()
    }
}

impl Arity {
    /// Docker's words for a wrong count.
    pub fn check(self, name: &str, count: usize, flags: &ArgMatches) -> Result<(), Failure> {
        let plural = |n: usize| if n == 1 { "" } else { "s" };
        let wants = match self {
            Arity::None if count > 0 => "accepts no arguments".to_owned(),
            Arity::Exactly(n) if count != n => format!("requires {n} argument{}", plural(n)),
            Arity::OneUnless(flag) if count == 0 && !flags.contains_id(flag) => {
                "requires at least 1 argument".to_owned()
            }
            Arity::OneUnlessChosen if count == 0 && !chosen::is_by_flags(flags) => {
                "requires at least 1 argument".to_owned()
            }
            Arity::AtLeast(n) if count < n => {
                format!("requires at least {n} argument{}", plural(n))
            }
            Arity::AtMost(n) if count > n => format!("requires at most {n} argument{}", plural(n)),
            Arity::Between(least, most) if count < least || count > most => {
                format!("requires at least {least} and at most {most} arguments")
            }
            _ => return Ok(()),
        };
        Err(wrong_count(name, &wants))
    }
}

/// Docker's words for a wrong count, with what the command wants.
pub fn wrong_count(name: &str, wants: &str) -> Failure {
    Failure::Arity(format!("'{} {name}' {wants}", called::name()))
}
