//! `login` and `logout`: who we are at a registry, shown to it and kept, or forgotten.
//!
//! Nothing is kept that the registry has not taken. Where it is kept says docs/registries.md.

use std::{
    io::{self, Read},
    path::PathBuf,
};

use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::{
    Session,
    failure::Failure,
    parse, ui,
    verb::{Arity, Outcome, Verb},
};
use crate::{
    engine::{
        RegistryOptions,
        logins::{self, Kept},
    },
    model::{
        Error, ErrorKind,
        auth_file::{DOCKER_HUB_KEY, StoredLogin, login_key},
        reference::DOCKER_HUB,
    },
};

/// Longest password, in bytes. Tokens of some clouds have several thousand.
const MAX_SECRET: u64 = 1 << 20;

#[derive(Args)]
struct LoginFlags {
    /// Keep the login in this file
    #[arg(long, value_name = "string")]
    authfile: Option<PathBuf>,
    /// Folder with a registry's ca.crt, client.cert and client.key
    #[arg(long, value_name = "path")]
    cert_dir: Option<PathBuf>,
    /// Keep the login in this file, in Docker's form
    #[arg(long, value_name = "string", conflicts_with = "authfile")]
    compat_auth_file: Option<PathBuf>,
    /// Print who is logged in, and do no more
    #[arg(long)]
    get_login: bool,
    /// Password; other users of this machine can see it
    #[arg(long, short = 'p', value_name = "string")]
    password: Option<String>,
    /// Take the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// Take the password from this secret
    #[arg(long, value_name = "string")]
    secret: Option<String>,
    /// Demand https and a known certificate
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tls_verify: Option<bool>,
    /// User name
    #[arg(long, short = 'u', value_name = "string")]
    username: Option<String>,
    /// Say where the login is kept
    #[arg(long, short = 'v')]
    verbose: bool,
}

pub const LOGIN: Verb = Verb {
    spellings: &["login"],
    about: "Log in to a registry",
    usage: "[OPTIONS] [SERVER]",
    arity: Arity::AtMost(1),
    flags: LoginFlags::augment_args,
    run: |session, matches, arguments| {
        let server = arguments.first().map(String::as_str);
        login(session, &parse::flags(matches)?, server)
    },
    ..Verb::PLAIN
};

fn login(session: &Session, flags: &LoginFlags, server: Option<&str>) -> Outcome {
    let key = key_of(server)?;
    let options = options(session, flags);
    if flags.get_login {
        return get_login(&options, &key);
    }
    check_sources(flags)?;
    let given = secret_given(session, flags)?;
    if given.is_none() && flags.username.is_none() {
        match again(&options, &key)? {
            Again::LoggedIn => return Ok(0),
            Again::Unknown => {}
        }
    }
    let login = match (flags.username.clone(), given) {
        (Some(user), Some(password)) => StoredLogin::Password { user, password },
        (user, given) => asked(user, given)?,
    };
    if login.user().is_empty() {
        return Err(plain("username is empty"));
    }
    let kept = logins::log_in(&options, &key, login)?;
    tell_place(&kept, flags.verbose);
    ui::line("Login Succeeded!")?;
    Ok(0)
}

fn key_of(server: Option<&str>) -> Result<String, Failure> {
    Ok(match server {
        None | Some("") => DOCKER_HUB.to_owned(),
        Some(server) => login_key(server)?,
    })
}

fn plain(text: &str) -> Failure {
    Failure::Plain(text.to_owned(), 1)
}

fn options(session: &Session, flags: &LoginFlags) -> RegistryOptions {
    let mut options = session.settings.registry_options();
    options.tls_verify = flags.tls_verify.or(options.tls_verify);
    if let Some(folder) = &flags.cert_dir {
        options.certs_dirs.insert(0, folder.clone());
    }
    only_file(&mut options, &flags.authfile, &flags.compat_auth_file);
    options
}

/// A file that was named is the only one.
fn only_file(options: &mut RegistryOptions, file: &Option<PathBuf>, compat: &Option<PathBuf>) {
    if let Some(file) = file.as_ref().or(compat.as_ref()) {
        options.auth_files = vec![file.clone()];
        options.run_auth_file = false;
        options.login_places.named = Some(file.clone());
        options.login_places.is_dockers = compat.is_some();
    }
}

fn get_login(options: &RegistryOptions, key: &str) -> Outcome {
    match logins::stored_login(options, key)? {
        Some(login) => {
            ui::line(login.user())?;
            Ok(0)
        }
        None => Err(Failure::Plain(format!("not logged into {key}"), 125)),
    }
}

fn check_sources(flags: &LoginFlags) -> Result<(), Failure> {
    match (&flags.password, flags.password_stdin, &flags.secret) {
        (Some(_), true, _) => Err(plain(
            "conflicting options: cannot specify both --password and --password-stdin",
        )),
        (Some(_), _, Some(_)) | (_, true, Some(_)) => Err(plain(
            "conflicting options: --secret cannot be combined with --password or --password-stdin",
        )),
        (None, true, None) if flags.username.as_deref().unwrap_or_default().is_empty() => Err(
            plain("the --password-stdin option requires --username to be set"),
        ),
        (None, false, Some(_)) if flags.username.is_none() => {
            Err(plain("the --secret option requires --username to be set"))
        }
        _ => Ok(()),
    }
}

/// The password that flags give, or lead to.
fn secret_given(session: &Session, flags: &LoginFlags) -> Result<Option<String>, Failure> {
    if let Some(password) = &flags.password {
        ui::aside("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        return Ok(Some(password.clone()));
    }
    if let Some(name) = &flags.secret {
        let secret = session.engine()?.secret(name)?;
        let text = String::from_utf8(secret.data.reveal().to_vec());
        return text
            .map(Some)
            .map_err(|_| plain("the secret is not UTF-8 and thus no password"));
    }
    if flags.password_stdin {
        return from_stdin().map(Some);
    }
    Ok(None)
}

fn from_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    let read = io::stdin()
        .lock()
        .take(MAX_SECRET)
        .read_to_string(&mut text);
    read.map_err(|cause| {
        Error::invalid("cannot read the password from standard input").with_source(cause)
    })?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(plain("password is empty"));
    }
    Ok(text.to_owned())
}

enum Again {
    LoggedIn,
    /// Nothing is kept, or it is no longer taken.
    Unknown,
}

/// Tries what is kept, as Docker does.
fn again(options: &RegistryOptions, key: &str) -> Result<Again, Failure> {
    let Some(login) = logins::stored_login(options, key)? else {
        return Ok(Again::Unknown);
    };
    ui::line(&format!(
        "Authenticating with existing credentials... [Username: {}]",
        login.user().escape_debug()
    ))?;
    match logins::check_login(options, key, login) {
        Ok(()) => {
            ui::line("Login Succeeded!")?;
            Ok(Again::LoggedIn)
        }
        Err(error) if error.kind() == ErrorKind::Unauthorized && ui::stdin_is_terminal() => {
            ui::aside(&format!("Login did not succeed: {}", error.one_line()));
            Ok(Again::Unknown)
        }
        Err(error) => Err(error.into()),
    }
}

/// Asks at the terminal for what is missing.
fn asked(user: Option<String>, password: Option<String>) -> Result<StoredLogin, Failure> {
    if !ui::stdin_is_terminal() {
        return Err(plain(
            "Error: Cannot perform an interactive login from a non TTY device",
        ));
    }
    let user = match user.filter(|user| !user.is_empty()) {
        Some(user) => user,
        None => {
            ui::raw(b"Username: ")?;
            let mut line = String::new();
            io::stdin()
                .read_line(&mut line)
                .map_err(|cause| Error::invalid("cannot read the user name").with_source(cause))?;
            line.trim().to_owned()
        }
    };
    if user.is_empty() {
        return Err(plain("username is empty"));
    }
    let password = match password {
        Some(password) => password,
        None => {
            let typed = typed_unseen(b"Password: ");
            ui::raw(b"\n")?;
            typed?
        }
    };
    if password.is_empty() {
        return Err(plain("password is empty"));
    }
    Ok(StoredLogin::Password { user, password })
}

/// One line from the terminal that does not show it. It is mute before it asks: what is typed or
/// pasted at once must neither be shown nor lost.
///
/// The terminal hands over every key at once and makes no signals of them, so that nothing ends this
/// process while the terminal is mute.
fn typed_unseen(prompt: &[u8]) -> Result<String, Failure> {
    let failed = |cause: io::Error| Error::invalid("cannot read the password").with_source(cause);
    let terminal = io::stdin();
    let before = tcgetattr(&terminal).map_err(|cause| failed(cause.into()))?;
    let mut mute = before.clone();
    mute.local_modes
        .remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
    tcsetattr(&terminal, OptionalActions::Flush, &mute).map_err(|cause| failed(cause.into()))?;
    let _restored = Restored(before);
    ui::raw(prompt)?;
    let mut bytes = Vec::new();
    let mut input = terminal.lock();
    loop {
        let mut key = [0];
        match input.read(&mut key) {
            Ok(0) => break,
            Ok(_) => {}
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(failed(cause).into()),
        }
        match key[0] {
            b'\r' | b'\n' => break,
            // ^C and ^\: what the shell shows for SIGINT.
            3 | 28 => return Err(Failure::Plain("interrupted".to_owned(), 130)),
            // ^D
            4 if bytes.is_empty() => break,
            4 => {}
            // Backspace takes a whole character away.
            8 | 127 => while bytes.pop().is_some_and(|byte: u8| byte & 0xc0 == 0x80) {},
            // ^U
            21 => bytes.clear(),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| plain("the password is not UTF-8"))
}

/// Puts the terminal back into its modes.
struct Restored(Termios);

impl Drop for Restored {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

fn tell_place(kept: &Kept, verbose: bool) {
    match kept {
        Kept::File(path) => ui::notice(&format!(
            "the login is kept unencrypted in {}",
            path.display()
        )),
        Kept::Helper(name) if verbose => {
            ui::notice(&format!("the login is kept by docker-credential-{name}"));
        }
        Kept::Helper(_) => {}
    }
}

#[derive(Args)]
struct LogoutFlags {
    /// Log out of all registries
    #[arg(long, short = 'a')]
    all: bool,
    /// Look in this file alone
    #[arg(long, value_name = "string")]
    authfile: Option<PathBuf>,
    /// Look in this file alone, which has Docker's form
    #[arg(long, value_name = "string", conflicts_with = "authfile")]
    compat_auth_file: Option<PathBuf>,
}

pub const LOGOUT: Verb = Verb {
    spellings: &["logout"],
    about: "Log out of a registry",
    usage: "[OPTIONS] [SERVER]",
    arity: Arity::AtMost(1),
    flags: LogoutFlags::augment_args,
    run: |session, matches, arguments| {
        let server = arguments.first().map(String::as_str);
        logout(session, &parse::flags(matches)?, server)
    },
    ..Verb::PLAIN
};

fn logout(session: &Session, flags: &LogoutFlags, server: Option<&str>) -> Outcome {
    let mut options = session.settings.registry_options();
    only_file(&mut options, &flags.authfile, &flags.compat_auth_file);
    if flags.all {
        if server.is_some() {
            return Err(plain("--all takes no argument"));
        }
        logins::log_out_of_all(&options)?;
        ui::line("Removed login credentials for all registries")?;
        return Ok(0);
    }
    let key = key_of(server)?;
    let shown = if key == DOCKER_HUB {
        DOCKER_HUB_KEY
    } else {
        &key
    };
    ui::line(&format!("Removing login credentials for {shown}"))?;
    if !logins::log_out(&options, &key)? {
        ui::notice(&format!("there was no login for {key}"));
    }
    Ok(0)
}
