//! `system man` and `system reference`: every command on paper. Both are written from the tree that
//! also reads the words, so they cannot say anything else; `tests/reference.rs` notices when
//! `docs/reference.md` is older than the tree.

mod man;
mod markdown;

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, Command};

use super::{
    called, env, parse, settings, tree, ui,
    unsupported::{self, Unsupported},
    verb::{Outcome, Verb},
};
use crate::model::{Context, Error, Result};

pub const MARKDOWN: Verb = Verb {
    spellings: &["system reference"],
    about: "Print the reference of all commands and flags, as Markdown",
    usage: "",
    run: |_, _, _| {
        ui::raw(markdown::reference().as_bytes())?;
        Ok(0)
    },
    ..Verb::PLAIN
};

#[derive(Args)]
struct Flags {
    /// Folder of manuals; ~/.local/share/man, or /usr/local/share/man for root
    #[arg(long, value_name = "string")]
    dir: Option<PathBuf>,
}

pub const MAN: Verb = Verb {
    spellings: &["system man"],
    about: "Write the man pages of all commands",
    usage: "[OPTIONS]",
    flags: Flags::augment_args,
    run: |_, matches, _| write_man_pages(parse::flags(matches)?),
    ..Verb::PLAIN
};

fn write_man_pages(flags: Flags) -> Outcome {
    let folder = folder(flags)?.join("man1");
    fs::create_dir_all(&folder).system(|| format!("cannot make {}", folder.display()))?;
    let pages = man::pages();
    for (name, text) in &pages {
        write_page(&folder, name, text)?;
    }
    ui::line(&format!("{} pages in {}", pages.len(), folder.display()))?;
    Ok(0)
}

/// Whoever reads it meanwhile sees the whole page, the old one or the new.
fn write_page(folder: &Path, name: &str, text: &str) -> Result<()> {
    let page = folder.join(name);
    let new = folder.join(format!(".{name}.{}", std::process::id()));
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, &page))
        .inspect_err(|_| drop(fs::remove_file(&new)))
        .system(|| format!("cannot write {}", page.display()))
}

fn folder(flags: Flags) -> Result<PathBuf> {
    if let Some(folder) = flags.dir {
        return Ok(folder);
    }
    if rustix::process::geteuid().is_root() {
        return Ok("/usr/local/share/man".into());
    }
    let data = env::xdg_data_home().or_else(|| env::home().map(|home| home.join(".local/share")));
    let data = data.ok_or_else(|| Error::invalid("HOME is not set: name a folder with --dir"))?;
    Ok(data.join("man"))
}

/// The flags that stand before every command.
fn global_flags() -> Command {
    parse::declare("coracle", settings::GlobalFlags::augment_args)
}

fn flags_of(verb: &Verb) -> Command {
    parse::declare(verb.name(), verb.flags)
}

/// Those that act, by name.
fn verbs() -> Vec<&'static Verb> {
    let mut verbs = tree::VERBS.to_vec();
    verbs.sort_by_key(|verb| verb.name());
    verbs
}

/// Those that only answer, spelling by spelling: name, what is said.
fn answers() -> Vec<(&'static str, &'static str)> {
    let only_answer = |verb: &&Verb| !tree::VERBS.iter().any(|acts| acts.name() == verb.name());
    let mut answers: Vec<_> = tree::all()
        .filter(only_answer)
        .flat_map(|verb| verb.spellings.iter().map(|name| (*name, verb.about)))
        .collect();
    answers.sort_unstable();
    answers
}

/// `coracle run`.
fn full_name(spelling: &str) -> String {
    format!("{} {spelling}", called::name())
}

/// What is said of a flag that is known and has no effect of its own.
fn answer(flag: &Unsupported) -> String {
    let kind = match flag.answer {
        unsupported::Answer::Refuse => "error",
        unsupported::Answer::Ignore => "no effect",
    };
    let usual: Vec<String> = flag
        .harmless
        .iter()
        .filter(|value| !value.is_empty())
        .map(|value| format!("`{value}`"))
        .collect();
    let except = match (flag.valued, usual.as_slice()) {
        (false, _) | (_, []) => String::new(),
        (true, usual) => format!(" but for {}", usual.join(", ")),
    };
    format!("{kind}{except}: {}", flag.instead)
        .trim_end_matches([':', ' '])
        .to_owned()
}
