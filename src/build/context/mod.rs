//! Contexts: from what the user wrote to folders that are open, and the Dockerfile among them.
//!
//! ```text
//! DIR                the folder itself, held open: nothing is copied
//! -                  standard input: an archive, or a Dockerfile alone
//! http(s)://…        the same from a server
//! git                the tree of one commit (git)
//! docker-image://, oci-layout://, target:   of named contexts: looked up by the solver
//! ```
//!
//! Archives and repositories are unpacked into a lease's staging directory, which lasts as long as
//! [`Opened`]; of a build that is killed the next command sweeps it away. What they hold is as hostile
//! as a layer, and goes through the same code ([`crate::storage::unpack`]).
//!
//! **The Dockerfile** is `Dockerfile` in the main context, or else `dockerfile`, or `Containerfile`.
//! `-f` is relative to the current directory if the context is a folder, otherwise to the context; `-`
//! is standard input. Next to it `NAME.dockerignore` says what is left out; otherwise `.dockerignore`
//! in the context's root, or `.containerignore` there, which comes first.

pub mod credentials;
mod dockerfile;
mod git;
mod ignore_file;
pub mod place;
pub(super) mod staging;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Cursor, Read},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{Mode, OFlags};

use super::request::{BuildContext, Folder, Text};
use crate::{
    engine::Engine,
    model::{Context, Error, ErrorKind, RegistryOptions, Result},
};
use credentials::Credentials;
use place::Place;
use staging::{Staging, Unpacked};

/// What the user wrote.
#[derive(Debug, Default)]
pub struct Wanted {
    /// The argument of `build`.
    pub context: String,
    /// `-f`
    pub dockerfile: Option<String>,
    /// `--build-context`, later ones win.
    pub named: Vec<(String, String)>,
    /// `--ignorefile`
    pub ignore_file: Option<PathBuf>,
    pub registry: RegistryOptions,
    pub credentials: Credentials,
}

/// Contexts that are open. Trees of archives go when this does.
#[derive(Debug)]
pub struct Opened<'engine> {
    pub dockerfile: Text,
    pub context: BuildContext,
    pub named: BTreeMap<String, BuildContext>,
    _staging: Staging<'engine>,
}

/// A context, as far as the user herself has to be there: her keys, her groups' files. Archives are
/// unpacked afterwards, as root of her ids.
enum Fetched {
    Ready(BuildContext),
    Tree(Folder),
    /// An archive or a Dockerfile.
    Stream(Box<dyn Read + Send>),
}

/// Opens everything that a build takes files from. Enters the user's namespace: only while this process
/// has one thread.
///
/// # Errors
/// What is not there, cannot be read or fetched, or is no archive; no Dockerfile.
pub fn open<'engine>(engine: &'engine Engine, wanted: &Wanted) -> Result<Opened<'engine>> {
    let main = Place::of_main(&wanted.context)?;
    let typed = wanted.dockerfile.as_deref();
    if main == Place::StandardInput && typed == Some("-") {
        return Err(Error::invalid(
            "invalid argument: can't use stdin for both build context and dockerfile",
        ));
    }
    let mut staging = Staging::new(engine, wanted.credentials.clone());
    // The Dockerfile of a folder comes from where the user is; all others from their context.
    let given = match (&main, typed) {
        (_, Some("-")) => Some(dockerfile::of_stream(standard_input()?, "-")?),
        (_, Some(url)) if place::is_url(url) => Some(dockerfile::of_stream(
            staging.download(url, &wanted.registry)?,
            url,
        )?),
        (Place::Folder(folder), Some(typed)) => {
            Some(dockerfile::of_host(typed, Path::new(folder))?)
        }
        _ => None,
    };
    let main = fetch(&mut staging, main, wanted)?;
    let mut named = Vec::new();
    for (name, value) in &wanted.named {
        let fetched = Place::of_named(value).and_then(|place| fetch(&mut staging, place, wanted));
        let fetched = fetched.map_err(|error| of_context(name, error))?;
        named.push((name.clone(), fetched));
    }
    engine.enter_user_namespace()?;
    let (mut context, lone) = unpack(&mut staging, main)?;
    let dockerfile = match (given, lone) {
        (Some(_), Some(_)) => {
            let text = "ambiguous Dockerfile source: both the context and -f are Dockerfiles";
            return Err(Error::invalid(text));
        }
        (Some(given), None) => given,
        (None, Some(lone)) => dockerfile::Found::anywhere(lone),
        (None, None) => dockerfile::of_context(&context, typed)?,
    };
    ignore_file::read(
        &mut context,
        Some(&dockerfile),
        wanted.ignore_file.as_deref(),
    )?;
    let mut opened = BTreeMap::new();
    for (name, fetched) in named {
        let context = unpack_tree(&mut staging, fetched);
        opened.insert(
            name.clone(),
            context.map_err(|error| of_context(&name, error))?,
        );
    }
    Ok(Opened {
        dockerfile: dockerfile.text,
        context,
        named: opened,
        _staging: staging,
    })
}

fn of_context(name: &str, error: Error) -> Error {
    let hint = error.hint().map(str::to_owned);
    let outer = Error::new(error.kind(), format!("cannot use the context {name:?}"));
    let outer = outer.with_source(error);
    match hint {
        Some(hint) => outer.with_hint(hint),
        None => outer,
    }
}

fn fetch(staging: &mut Staging<'_>, place: Place, wanted: &Wanted) -> Result<Fetched> {
    Ok(match place {
        Place::Folder(path) => Fetched::Tree(open_folder(Path::new(&path))?),
        Place::StandardInput => Fetched::Stream(Box::new(standard_input()?)),
        Place::Url(url) => Fetched::Stream(Box::new(staging.download(&url, &wanted.registry)?)),
        Place::Git(git) => Fetched::Tree(staging.check_out(&git)?),
        Place::Image(reference) => Fetched::Ready(BuildContext::Image(reference)),
        Place::OciLayout { path, image } => {
            let path = absolute(Path::new(&path))?;
            Fetched::Ready(BuildContext::OciLayout { path, image })
        }
        Place::Stage(name) => Fetched::Ready(BuildContext::Stage(name)),
    })
}

/// The context, or the Dockerfile that was in its place.
fn unpack(staging: &mut Staging<'_>, fetched: Fetched) -> Result<(BuildContext, Option<Text>)> {
    Ok(match fetched {
        Fetched::Ready(context) => (context, None),
        Fetched::Tree(folder) => (BuildContext::Folder(folder), None),
        Fetched::Stream(stream) => match staging.unpack(stream)? {
            Unpacked::Tree(folder) => (BuildContext::Folder(folder), None),
            Unpacked::Text(bytes) => {
                let text = dockerfile::of_stream(Cursor::new(bytes), "Dockerfile")?.text;
                (BuildContext::Empty, Some(text))
            }
        },
    })
}

/// A named context, which has no Dockerfile.
fn unpack_tree(staging: &mut Staging<'_>, fetched: Fetched) -> Result<BuildContext> {
    match unpack(staging, fetched)? {
        (mut context, None) => {
            ignore_file::read(&mut context, None, None)?;
            Ok(context)
        }
        (_, Some(_)) => Err(Error::new(
            ErrorKind::InvalidContent,
            "it is not an archive in a format that is known",
        )),
    }
}

fn open_folder(path: &Path) -> Result<Folder> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    let root = opened.map_err(|errno| {
        let what = match errno {
            rustix::io::Errno::NOENT => format!("path {:?} not found", path.display()),
            _ => format!("cannot open the context {:?}", path.display()),
        };
        Error::new(ErrorKind::InvalidArgument, what).with_source(errno)
    })?;
    Ok(folder(root, absolute(path)?))
}

fn folder(root: OwnedFd, path: PathBuf) -> Folder {
    Folder {
        root: Arc::new(root),
        path,
        ignore: None,
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).system(|| format!("cannot find where {} is", path.display()))
}

fn standard_input() -> Result<File> {
    let own = rustix::stdio::stdin().try_clone_to_owned();
    own.map(Into::into)
        .system(|| "cannot read standard input".to_owned())
}
