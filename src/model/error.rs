//! The one failure type of the library.
//!
//! A failure says *which operation on which thing* (`message`), what kind of failure it is
//! (`kind`, from which the exit code, the HTTP status and the default hint follow), what the
//! user can do about it (`hint`), and why (`source`). Nobody matches on the text.

use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as far as a caller can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum ErrorKind {
    /// A flag, a value or a file given by the user cannot be understood.
    InvalidArgument,
    /// The wrong number of positional arguments, or a command that does not exist.
    Usage,
    NoSuchContainer,
    NoSuchImage,
    NoSuchVolume,
    NoSuchSecret,
    NoSuchNetwork,
    /// A blob or layer that a record names is not in the store.
    NoSuchBlob,
    /// The name is taken by another object.
    NameInUse,
    /// The object is in a state that forbids the operation (running, stopped, in use).
    Conflict,
    /// Bytes from outside (archive, layer, manifest) break their format or a limit.
    InvalidContent,
    /// Bytes do not have the digest or size that they were promised to have.
    DigestMismatch,
    /// No entry of an image index fits the wanted platform.
    NoMatchingPlatform,
    /// The registry says that the thing is not there.
    NotFoundInRegistry,
    /// The registry refuses the credentials (or wants some).
    Unauthorized,
    /// The policy on signatures (containers-policy.json(5)) does not allow the image.
    Untrusted,
    /// The registry cannot be reached or answers nonsense.
    Registry,
    /// The store's format is newer than this program, or its files are damaged.
    Store,
    /// The disk (or quota) is full.
    NoSpace,
    /// The program to run does not exist in the container: exit code 127.
    CommandNotFound,
    /// The program to run exists but cannot be executed: exit code 126.
    CommandNotExecutable,
    /// The kernel refuses to stack the layers; copying them is the way out.
    OverlayRefused,
    /// The kernel or the host's configuration lacks something that is needed.
    Unsupported,
    /// Permission was denied by the host.
    Permission,
    /// A wait took longer than it may.
    Timeout,
    /// A program that a build has run has failed.
    BuildFailed,
    /// Any other failing system call or broken invariant.
    System,
}

/// A failure: which operation on which thing, of which kind, and why.
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error {
            kind,
            message: message.into(),
            hint: None,
            source: None,
        }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::InvalidArgument, message)
    }

    /// What the user can do about it: a command, a flag, a package. One line.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same, of another kind.
    #[must_use]
    pub fn of_kind(self, kind: ErrorKind) -> Self {
        Error { kind, ..self }
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The whole chain on one line: `message: cause: cause`. Parts of it may be an image's or a
    /// registry's words: what a terminal would obey is shown and not sent, and no line is endless.
    pub fn one_line(&self) -> String {
        let mut line = self.message.clone();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            line.push_str(": ");
            line.push_str(&cause.to_string());
            source = cause.source();
        }
        one_visible_line(&line)
    }
}

/// An [`Error`] as it crosses from one process of ours to another: its whole chain is one line.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Failure {
    pub kind: ErrorKind,
    pub message: String,
    /// Of a process that was started by an older command: none.
    #[serde(default)]
    pub hint: Option<String>,
}

impl Failure {
    /// The message is cut to so many bytes.
    #[must_use]
    pub fn within(mut self, bytes: usize) -> Self {
        self.message
            .truncate(self.message.floor_char_boundary(bytes));
        self
    }

    pub fn into_error(self) -> Error {
        Error {
            hint: self.hint,
            ..Error::new(self.kind, self.message)
        }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Failure {
            kind: error.kind,
            message: error.one_line(),
            hint: error.hint.clone(),
        }
    }
}

/// Longest message in characters; a parser may quote a whole document.
const MAX_LINE: usize = 4096;

fn one_visible_line(text: &str) -> String {
    if text.len() <= MAX_LINE && !text.contains(char::is_control) {
        return text.to_owned();
    }
    let mut line = String::new();
    for (count, character) in text.chars().enumerate() {
        match character {
            _ if count == MAX_LINE => {
                line.push('…');
                break;
            }
            '\n' | '\t' => line.push(' '),
            control if control.is_control() => line.extend(control.escape_default()),
            character => line.push(character),
        }
    }
    line
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.one_line())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Says which operation on which thing failed, and keeps the cause as the source.
pub trait Context<T> {
    /// `what` names the operation and the thing: `"cannot read blob sha256:…"`.
    fn context(self, kind: ErrorKind, what: impl FnOnce() -> String) -> Result<T>;

    /// For failing system calls: a full disk becomes [`ErrorKind::NoSpace`], a refusal
    /// [`ErrorKind::Permission`], the rest [`ErrorKind::System`].
    fn system(self, what: impl FnOnce() -> String) -> Result<T>
    where
        Self: Sized;
}

impl<T, E> Context<T> for std::result::Result<T, E>
where
    E: std::error::Error + Send + Sync + 'static,
{
    fn context(self, kind: ErrorKind, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|cause| Error::new(kind, what()).with_source(cause))
    }

    fn system(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|cause| {
            let kind = system_kind(&cause);
            Error::new(kind, what()).with_source(cause)
        })
    }
}

/// The kind of a failing system call, whatever crate's error type carries the errno.
fn system_kind(cause: &(dyn std::error::Error + 'static)) -> ErrorKind {
    let errno = if let Some(io) = cause.downcast_ref::<std::io::Error>() {
        io.raw_os_error()
    } else {
        cause
            .downcast_ref::<rustix::io::Errno>()
            .map(|errno| errno.raw_os_error())
    };
    match errno.map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT) => ErrorKind::NoSpace,
        Some(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) => ErrorKind::Permission,
        _ => ErrorKind::System,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_that_no_terminal_obeys() {
        let cause = Error::invalid("unknown field `\x1b[2J\u{9b}31m`\nat line 1");
        let error = Error::invalid("invalid manifest \x07").with_source(cause);
        assert_eq!(
            error.one_line(),
            "invalid manifest \\u{7}: unknown field `\\u{1b}[2J\\u{9b}31m` at line 1"
        );
        let endless = Error::invalid("x".repeat(1 << 20));
        assert_eq!(endless.one_line().chars().count(), MAX_LINE + 1);
    }
}
