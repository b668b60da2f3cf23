//! `system alias`: links by the names of Docker's and podman's clients, so that scripts and habits
//! find this program. The links are symbolic, in a folder of the user's, and only such links are
//! ever replaced or removed.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{
    called, env,
    failure::Failure,
    parse, ui,
    verb::{Arity, Outcome, Verb},
};
use crate::model::{Context, Error, ErrorKind, Result};

#[derive(Args)]
struct Flags {
    /// Folder of the links; ~/.local/bin, or /usr/local/bin for root
    #[arg(long, value_name = "string")]
    dir: Option<PathBuf>,
}

pub const VERB: Verb = Verb {
    spellings: &["system alias"],
    about: "Be called as docker or podman: make links of these names, or remove them",
    usage: "[OPTIONS] install|remove [docker|podman...]",
    arity: Arity::AtLeast(1),
    flags: Flags::augment_args,
    run: |_, matches, words| {
        let flags: Flags = parse::flags(matches)?;
        match words[0].as_str() {
            "install" => install(flags, &words[1..]),
            "remove" => remove(flags, &words[1..]),
            other => {
                let text = format!("{other:?} is neither install nor remove");
                Err(Failure::Value(Error::invalid(text)))
            }
        }
    },
    ..Verb::PLAIN
};

fn install(flags: Flags, names: &[String]) -> Outcome {
    let names = chosen(names, &["docker"])?;
    let folder = folder(flags)?;
    let own = own_path()?;
    fs::create_dir_all(&folder).system(|| format!("cannot make {}", folder.display()))?;
    // All or none: what is in the way is found before anything is made.
    for name in &names {
        let link = folder.join(name);
        if !is_free(&link) && !is_ours(&link) {
            let text = format!("{} is there and is another program", link.display());
            let error = Error::new(ErrorKind::NameInUse, text);
            return Err(error.with_hint("choose another folder with --dir").into());
        }
    }
    for name in &names {
        let link = folder.join(name);
        let new = folder.join(format!(".{name}.{}", std::process::id()));
        symlink(&own, &new)
            .and_then(|()| fs::rename(&new, &link))
            .system(|| format!("cannot make the link {}", link.display()))?;
        ui::line(&format!("{} -> {}", link.display(), own.display()))?;
        say_what_is_found(name, &link);
    }
    Ok(0)
}

fn remove(flags: Flags, names: &[String]) -> Outcome {
    let names = chosen(names, &called::NAMES)?;
    let folder = folder(flags)?;
    for name in &names {
        let link = folder.join(name);
        if is_ours(&link) {
            fs::remove_file(&link).system(|| format!("cannot remove {}", link.display()))?;
            ui::line(&link.display().to_string())?;
        }
    }
    Ok(0)
}

fn chosen(names: &[String], usual: &[&str]) -> std::result::Result<Vec<String>, Failure> {
    if let Some(other) = names
        .iter()
        .find(|name| !called::NAMES.contains(&name.as_str()))
    {
        let text = format!("{other:?} is no name to be called by: there are docker and podman");
        return Err(Failure::Value(Error::invalid(text)));
    }
    Ok(match names.is_empty() {
        true => usual.iter().map(|name| (*name).to_owned()).collect(),
        false => names.to_vec(),
    })
}

fn folder(flags: Flags) -> Result<PathBuf> {
    if let Some(folder) = flags.dir {
        return std::path::absolute(&folder).system(|| format!("cannot find {}", folder.display()));
    }
    if rustix::process::geteuid().is_root() {
        return Ok("/usr/local/bin".into());
    }
    let home = env::home().map(|home| home.join(".local/bin"));
    home.ok_or_else(|| Error::invalid("HOME is not set: name a folder with --dir"))
}

fn own_path() -> Result<PathBuf> {
    std::env::current_exe().system(|| "cannot find this program's own file".to_owned())
}

fn is_free(link: &Path) -> bool {
    matches!(fs::symlink_metadata(link), Err(cause) if cause.kind() == io::ErrorKind::NotFound)
}

/// A link to this program, wherever that was before it was moved.
fn is_ours(link: &Path) -> bool {
    let Ok(target) = fs::read_link(link) else {
        return false;
    };
    let own = own_path().ok();
    own.as_deref() == Some(&target) || target.file_name().is_some_and(|name| name == "coracle")
}

/// A word if a shell that looks for `name` does not find the link.
fn say_what_is_found(name: &str, link: &Path) {
    let found = env::search_path()
        .into_iter()
        .map(|folder| folder.join(name));
    match found.into_iter().find(|path| path.exists()) {
        Some(path) if path == link => {}
        Some(path) => ui::notice(&format!(
            "{} comes first in PATH: put {} before it",
            path.display(),
            folder_of(link)
        )),
        None => ui::notice(&format!("PATH does not have {}", folder_of(link))),
    }
}

fn folder_of(link: &Path) -> String {
    link.parent().unwrap_or(link).display().to_string()
}
