//! The tables, and our side of them.

use std::{collections::BTreeMap, fs, path::Path};

use coracle::cmd::contract::{Command, Flag, commands};

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The rows of a table without its heading, short ones filled up.
pub fn rows<const N: usize>(name: &str) -> Vec<[String; N]> {
    let path = repository().join("tests/data/contract").join(name);
    let text = fs::read_to_string(&path).unwrap();
    let rows = text.lines().skip(1).map(|line| {
        let mut cells = line.split('\t').map(str::to_owned);
        std::array::from_fn(|_| cells.next().unwrap_or_default())
    });
    rows.collect()
}

/// Our commands by their spellings; the empty one has the global flags.
pub struct Ours {
    commands: Vec<Command>,
    by_spelling: BTreeMap<&'static str, usize>,
}

impl Ours {
    pub fn new() -> Ours {
        let commands = commands();
        let places = commands.iter().enumerate();
        let by_spelling = places
            .flat_map(|(place, command)| command.spellings.iter().map(move |name| (*name, place)))
            .collect();
        Ours {
            commands,
            by_spelling,
        }
    }

    pub fn all(&self) -> &[Command] {
        &self.commands
    }

    pub fn command(&self, spelling: &str) -> Option<&Command> {
        let spelling = if spelling == "(global)" { "" } else { spelling };
        self.by_spelling
            .get(spelling)
            .map(|place| &self.commands[*place])
    }

    /// Whether the command, or a word above it, answers that it is not there.
    pub fn is_absent(&self, spelling: &str) -> bool {
        let mut spelling = spelling;
        loop {
            if let Some(command) = self.command(spelling) {
                return command.is_absent;
            }
            match spelling.rsplit_once(' ') {
                Some((above, _)) => spelling = above,
                None => return false,
            }
        }
    }
}

pub fn flag<'a>(command: &'a Command, long: &str) -> Option<&'a Flag> {
    command
        .flags
        .iter()
        .find(|flag| flag.long == long || flag.aliases.iter().any(|alias| alias == long))
}
