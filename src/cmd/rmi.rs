//! `rmi`: take names from images, and remove those without any.

use clap::Args;

use super::{
    Session, each,
    failure::{Failure, exit_code},
    parse, ui,
    verb::{Arity, Class, Outcome, Verb},
};
use crate::{
    engine::{Engine, Removed},
    model::{Digest, Error, ErrorKind, Platform},
};

#[derive(Args)]
struct Flags {
    /// Remove all images, under all their names
    #[arg(long, short = 'a')]
    all: bool,
    /// Remove an image although a stopped container or another name uses it
    #[arg(long, short = 'f')]
    force: bool,
    /// Say nothing of images that are not there
    #[arg(long, short = 'i')]
    ignore: bool,
    /// For Docker's sake: images have no parents
    #[arg(long, hide = true)]
    no_prune: bool,
    /// Remove an image only if it is for one of these platforms
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    platform: Vec<String>,
}

pub const VERB: Verb = Verb {
    spellings: &["image rm", "image remove", "rmi"],
    about: "Remove images",
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    arity: Arity::AtLeast(0),
    flags: Flags::augment_args,
    run: |session, matches, names| {
        let flags: Flags = parse::flags(matches)?;
        if !flags.all {
            Arity::AtLeast(1).check("rmi", names.len(), matches)?;
        }
        run(session, &flags, &names)
    },
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags, names: &[String]) -> Outcome {
    if flags.all && !names.is_empty() {
        let message = "--all removes every image; name none beside it";
        return Err(Failure::Plain(message.to_owned(), 125));
    }
    if flags.all && !flags.platform.is_empty() {
        let message = "--all removes every image, of whichever platform";
        return Err(Failure::Plain(message.to_owned(), 125));
    }
    let texts = flags.platform.iter().filter(|text| !text.is_empty());
    let platforms: Vec<Platform> = texts.map(|text| text.parse()).collect::<Result<_, _>>()?;
    let engine = session.engine()?;
    if flags.all {
        return remove_all(engine, flags.force);
    }
    each::each(Class::Remove, names, |name| {
        let mut removed = Vec::new();
        let result = remove(engine, name, flags.force, &platforms).map(|lines| removed = lines);
        match result {
            Err(error) if flags.ignore && error.kind() == ErrorKind::NoSuchImage => {}
            other => {
                each::forgive_missing(flags.force, other)?;
            }
        }
        tell(&removed)
    })
}

/// An image, or a list of manifests: `images` shows both. The members of a list are of their own.
fn remove(
    engine: &Engine,
    name: &str,
    force: bool,
    platforms: &[Platform],
) -> Result<Vec<Removed>, Error> {
    let error = match engine.remove_image_for(name, force, platforms) {
        Err(error) if error.kind() == ErrorKind::NoSuchImage => error,
        other => return other,
    };
    if !platforms.is_empty() {
        return match engine.manifest_list(name) {
            Ok(list) => {
                let name = list.name.familiar();
                let text = format!("{name} is a manifest list: --platform is for images");
                let hint = format!("`coracle manifest remove {name} MEMBER` takes a member out");
                Err(Error::invalid(text).with_hint(hint))
            }
            Err(_) => Err(error),
        };
    }
    match remove_list(engine, name) {
        Err(other) if other.kind() == ErrorKind::NoSuchImage => Err(error),
        other => other,
    }
}

fn remove_list(engine: &Engine, name: &str) -> Result<Vec<Removed>, Error> {
    let list = engine.remove_manifest_list(name)?;
    let name = Removed::Untagged(list.name.familiar());
    Ok(vec![name, Removed::Deleted(list.digest)])
}

/// Each image once. One that went meanwhile is no failure.
fn remove_all(engine: &Engine, force: bool) -> Outcome {
    for list in engine.manifest_lists()? {
        match remove_list(engine, &list.name.to_string()) {
            Err(error) if error.kind() == ErrorKind::NoSuchImage => {}
            removed => tell(&removed?)?,
        }
    }
    let mut ids: Vec<Digest> = Vec::new();
    for image in engine.images()? {
        if !ids.contains(&image.config) {
            ids.push(image.config);
        }
    }
    let mut code = 0;
    for id in ids {
        match engine.remove_whole_image(&id, force) {
            Ok(removed) => tell(&removed)?,
            Err(error) if error.kind() == ErrorKind::NoSuchImage => {}
            Err(error) => {
                each::tell(&error);
                code = exit_code(Class::Remove, error.kind());
            }
        }
    }
    Ok(code)
}

fn tell(removed: &[Removed]) -> Result<(), Failure> {
    for what in removed {
        match what {
            Removed::Untagged(name) => ui::line(&format!("Untagged: {name}"))?,
            Removed::Deleted(digest) => ui::line(&format!("Deleted: {digest}"))?,
        }
    }
    Ok(())
}
