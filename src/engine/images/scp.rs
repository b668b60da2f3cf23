//! `image scp`: an image from one store to another, on this machine or elsewhere.
//!
//! ```text
//! here → host     save ──pipe──▶ ssh host 'coracle load'
//! host → here     ssh host 'coracle save NAME' ──pipe──▶ load
//! host → host     ssh a 'coracle save NAME' ──pipe──▶ ssh b 'coracle load'
//! ```
//!
//! Strangers' machines are reached by the user's own `ssh`: her agent, keys, configuration and known
//! hosts are its business, and so is asking her. Where there is no coracle on the other side, podman
//! or docker does. Another user of this machine ([`Host::User`]) is reached by running this program
//! as that user, which root alone may do.
//!
//! The commands are started before this process enters its user namespace: they must be the user.

use std::{
    ffi::OsString,
    fs::File,
    io::Read,
    os::{
        fd::OwnedFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, Command, Stdio},
};

use super::{
    archive::LoadSource,
    load::LoadOptions,
    save::{SaveRequest, SaveTarget, SavedImage, save},
};
use crate::{
    engine::{Engine, Progress},
    model::{
        Context, Error, ErrorKind, Reference, Result, TrustFiles,
        account::host_user,
        image_place::{Host, ImagePlace, SshHost},
    },
};

/// What a remote command may say at most; it is shown.
const MAX_ANSWER: u64 = 64 << 10;
/// Programs that can save and load, best first.
const ENGINES: [&str; 3] = ["coracle", "podman", "docker"];

#[derive(Clone, Debug)]
pub struct ScpRequest {
    pub source: ImagePlace,
    pub target: ImagePlace,
    /// What is run on the other side instead of the first engine found: a line for its shell.
    pub remote_command: Option<String>,
    pub ssh: OsString,
    /// Which images may come.
    pub trust: TrustFiles,
}

impl Engine {
    /// Copies an image; what to tell about it.
    ///
    /// # Errors
    /// Those of `save` and `load`; [`ErrorKind::System`] if a command on the other side fails.
    pub fn scp(&self, request: &ScpRequest, progress: &dyn Progress) -> Result<Vec<String>> {
        let (source, target) = (&request.source, &request.target);
        if source.image.is_empty() {
            return Err(Error::invalid("no image is named")
                .with_hint("coracle image scp IMAGE [user@]host::"));
        }
        let new_name: Option<Reference> = match target.image.is_empty() {
            true => None,
            false => Some(target.image.parse()?),
        };
        match (self.is_here(&source.host)?, self.is_here(&target.host)?) {
            (true, true) => Err(Error::invalid("both places are this store")
                .with_hint("`coracle tag` gives an image one more name")),
            (true, false) => self.send(request, new_name, progress),
            (false, true) => self.fetch(request, new_name, progress),
            (false, false) => relay(request),
        }
    }

    fn is_here(&self, host: &Host) -> Result<bool> {
        match host {
            Host::Here => Ok(true),
            Host::Ssh(_) => Ok(false),
            Host::User(name) => Ok(user(name)?.uid == rustix::process::geteuid().as_raw()),
        }
    }

    fn send(
        &self,
        request: &ScpRequest,
        new_name: Option<Reference>,
        progress: &dyn Progress,
    ) -> Result<Vec<String>> {
        let chosen = self.chosen_images(std::slice::from_ref(&request.source.image), None)?;
        let images: Vec<SavedImage> = match new_name {
            None => chosen,
            Some(name) => match <[SavedImage; 1]>::try_from(chosen) {
                Ok([image]) => vec![SavedImage {
                    names: vec![name],
                    ..image
                }],
                Err(_) => {
                    return Err(Error::invalid("a new name is for one image")
                        .with_hint("name the image with its tag"));
                }
            },
        };
        let mut load = Remote::start(
            request,
            &request.target.host,
            Act::Load(None),
            Stdio::piped(),
        )?;
        let pipe = load.child.stdin.take().map(OwnedFd::from).map(File::from);
        let pipe = pipe.ok_or_else(no_pipe)?;
        let plain = SaveRequest::default();
        let target = SaveTarget::Stream(pipe);
        let saved = save(
            &self.store,
            &images,
            plain.format,
            plain.packing,
            target,
            progress,
        );
        let answer = load.end();
        // Why the other side has stopped reading is its to say.
        saved.or_else(|error| match is_broken_pipe(&error) && answer.is_err() {
            true => Ok(()),
            false => Err(error),
        })?;
        let answer = answer?;
        for image in &images {
            let id = &image.record.config;
            self.note_image("save", id.as_str(), id.as_str(), Some(id));
        }
        Ok(answer)
    }

    fn fetch(
        &self,
        request: &ScpRequest,
        new_name: Option<Reference>,
        progress: &dyn Progress,
    ) -> Result<Vec<String>> {
        let act = Act::Save(&request.source.image);
        let mut save = Remote::start(request, &request.source.host, act, Stdio::null())?;
        let pipe = save.child.stdout.take().map(OwnedFd::from).map(File::from);
        let pipe = pipe.ok_or_else(no_pipe)?;
        let options = LoadOptions {
            name: new_name,
            ..LoadOptions::default()
        };
        let loaded = self.load_from(LoadSource::File(pipe), &options, &request.trust, progress);
        save.end()?;
        let mut lines = Vec::new();
        for image in loaded? {
            for name in &image.names {
                lines.push(format!("Loaded image: {}", name.familiar()));
            }
            if image.names.is_empty() {
                lines.push(format!("Loaded image ID: {}", image.id));
            }
        }
        Ok(lines)
    }
}

fn relay(request: &ScpRequest) -> Result<Vec<String>> {
    let act = Act::Save(&request.source.image);
    let mut save = Remote::start(request, &request.source.host, act, Stdio::null())?;
    let pipe = save.child.stdout.take().ok_or_else(no_pipe)?;
    let rename = match request.target.image.is_empty() {
        true => None,
        false => Some((&request.source.image[..], &request.target.image[..])),
    };
    let target = &request.target.host;
    let mut load = Remote::start(request, target, Act::Load(rename), Stdio::from(pipe))?;
    let answer = load.end();
    save.end()?;
    answer
}

/// What the other side is to do with standard input or output.
#[derive(Clone, Copy)]
enum Act<'a> {
    Save(&'a str),
    /// And give the first name the second.
    Load(Option<(&'a str, &'a str)>),
}

impl Act<'_> {
    /// For one engine. What begins with a dash is a name all the same.
    fn line(self, engine: &str) -> Result<String> {
        let quoted = |word: &str| {
            let quoted = shlex::try_quote(word).map(std::borrow::Cow::into_owned);
            quoted.map_err(|_| Error::invalid("a name cannot have a NUL byte"))
        };
        Ok(match self {
            Act::Save(image) => format!("{engine} save -- {}", quoted(image)?),
            Act::Load(None) => format!("{engine} load -q"),
            Act::Load(Some((old, new))) => {
                let (old, new) = (quoted(old)?, quoted(new)?);
                format!("{engine} load -q && {engine} tag -- {old} {new}")
            }
        })
    }

    /// For sh(1): whatever the user's own shell is, it can quote.
    fn script(self, engine: Option<&str>) -> Result<String> {
        if let Some(engine) = engine {
            return self.line(engine);
        }
        let mut script = String::new();
        for engine in ENGINES {
            let line = self.line(engine)?;
            script.push_str(&format!(
                "command -v {engine} >/dev/null 2>&1 && {{ {line}; exit; }}; "
            ));
        }
        script.push_str("echo 'neither coracle nor podman nor docker is here' >&2; exit 127");
        let script = shlex::try_quote(&script).map(std::borrow::Cow::into_owned);
        let script = script.map_err(|_| Error::invalid("a name cannot have a NUL byte"))?;
        Ok(format!("sh -c {script}"))
    }
}

/// A command that runs on the other side.
struct Remote {
    child: Child,
    /// For messages.
    host: String,
}

impl Remote {
    fn start(request: &ScpRequest, host: &Host, act: Act<'_>, stdin: Stdio) -> Result<Remote> {
        let engine = request.remote_command.as_deref();
        let (mut command, host) = match host {
            Host::Here => return Err(Error::invalid("this store is not elsewhere")),
            Host::Ssh(host) => (
                over_ssh(&request.ssh, host, &act.script(engine)?),
                &host.destination,
            ),
            Host::User(name) => (as_user(name, act, engine)?, name),
        };
        command.stdin(stdin).stdout(Stdio::piped());
        let child = command.spawn().map_err(|cause| {
            let error = Error::new(ErrorKind::System, format!("cannot reach {host}"));
            let error = error.with_source(cause);
            error.with_hint("image scp needs the program ssh (openssh-client)")
        })?;
        Ok(Remote {
            child,
            host: host.clone(),
        })
    }

    /// Waits for it, and hands on what it has said.
    fn end(&mut self) -> Result<Vec<String>> {
        drop(self.child.stdin.take());
        let mut answer = Vec::new();
        if let Some(stdout) = self.child.stdout.take() {
            let read = stdout.take(MAX_ANSWER).read_to_end(&mut answer);
            read.system(|| format!("cannot read the answer of {}", self.host))?;
        }
        let what = || format!("cannot wait for {}", self.host);
        let status = self.child.wait().system(what)?;
        if !status.success() {
            let how = match (status.code(), status.signal()) {
                (Some(255), _) => "ssh could not reach it, or was refused".to_owned(),
                (Some(code), _) => format!("the command there ended with {code}"),
                (None, signal) => format!("ssh was ended by signal {}", signal.unwrap_or(0)),
            };
            let text = format!("copying with {} failed: {how}", self.host);
            return Err(Error::new(ErrorKind::System, text));
        }
        let text = String::from_utf8_lossy(&answer).into_owned();
        Ok(text.lines().map(str::to_owned).collect())
    }
}

impl Drop for Remote {
    /// Without a reader or a writer it ends by itself; it is only to be no zombie.
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.stdout.take());
        let _ = self.child.wait();
    }
}

fn over_ssh(ssh: &OsString, host: &SshHost, line: &str) -> Command {
    let mut command = Command::new(ssh);
    // No terminal: the archive goes through as it is.
    command.arg("-T");
    if let Some(port) = host.port {
        command.arg("-p").arg(port.to_string());
    }
    command.arg("--").arg(&host.destination).arg(line);
    command
}

fn user(name: &str) -> Result<crate::model::account::UserEntry> {
    let passwd = std::fs::read("/etc/passwd").system(|| "cannot read /etc/passwd".to_owned())?;
    host_user(&passwd, name)
        .ok_or_else(|| Error::invalid(format!("there is no user {name} on this machine")))
}

fn as_user(name: &str, act: Act<'_>, engine: Option<&str>) -> Result<Command> {
    let user = user(name)?;
    if !rustix::process::geteuid().is_root() {
        return Err(Error::new(
            ErrorKind::Permission,
            format!("only root may read or write the images of {name}"),
        )
        .with_hint(format!("{name}@127.0.0.1:: goes by ssh")));
    }
    let own = std::env::current_exe().system(|| "cannot find this program".to_owned())?;
    let own = shlex::try_quote(&own.to_string_lossy())
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| Error::invalid("this program's path has a NUL byte"))?;
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(act.line(engine.unwrap_or(&own))?);
    command.env_clear();
    command.env(
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    command.env("HOME", &user.home).env("USER", name);
    let session = format!("/run/user/{}", user.uid);
    if std::path::Path::new(&session).is_dir() {
        command.env("XDG_RUNTIME_DIR", session);
    }
    command.current_dir("/").uid(user.uid).gid(user.gid);
    Ok(command)
}

fn is_broken_pipe(error: &Error) -> bool {
    let cause = std::error::Error::source(error);
    let cause = cause.and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

fn no_pipe() -> Error {
    Error::new(ErrorKind::System, "a command has no pipe")
}
