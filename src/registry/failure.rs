//! From a failed attempt to an error for the user, and whether to try again.
//!
//! Errors of the HTTP client name the whole URL, and URLs of redirects carry signatures that are
//! as good as passwords: only the innermost cause is kept. Words of a registry are shown without
//! control characters, because they reach terminals.

use std::{error::Error as StdError, io, time::Duration};

use reqwest::{StatusCode, header::HeaderMap};
use rustls::CertificateError;
use serde::Deserialize;

use super::endpoint::{self, Origin};
use crate::model::{Error, ErrorKind};

/// Longest pause that a server may ask for with `Retry-After`; beyond it the attempt is given up.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// One attempt that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub error: Error,
    pub retry: Retry,
    /// TLS could not be spoken with this server at all, as opposed to: it was not trusted.
    pub not_tls: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    /// The next attempt would fail, too.
    Never,
    /// After the usual pause.
    Later,
    /// After the pause that the server asked for.
    After(Duration),
}

impl Failure {
    pub fn later(error: Error) -> Self {
        Failure {
            error,
            retry: Retry::Later,
            not_tls: false,
        }
    }
}

/// What cannot be helped by trying again.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure {
            error,
            retry: Retry::Never,
            not_tls: false,
        }
    }
}

/// No answer came from `origin`.
pub(super) fn unreachable(origin: &Origin, cause: reqwest::Error) -> Failure {
    let cause = cause.without_url();
    let tls = tls_error(&cause);
    if let Some(rustls::Error::InvalidCertificate(why)) = tls {
        return untrusted(origin, why).into();
    }
    let not_tls = cause.is_connect();
    let no_such_host = causes(&cause).any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|cause| cause.kind() == io::ErrorKind::NotFound)
    });
    let speaks_plain = matches!(tls, Some(rustls::Error::InvalidMessage(_)));
    let alert = matches!(tls, Some(rustls::Error::AlertReceived(_)));
    let verb = if cause.is_connect() {
        "reach"
    } else {
        "talk to"
    };
    let mut error = Error::new(
        ErrorKind::Registry,
        format!("cannot {verb} registry {origin}"),
    )
    .with_source(innermost(&cause));
    if speaks_plain {
        error = error.with_hint("if the registry speaks plain http, use --tls-verify=false");
    }
    Failure {
        error,
        retry: if speaks_plain || alert || no_such_host {
            Retry::Never
        } else {
            Retry::Later
        },
        not_tls,
    }
}

fn untrusted(origin: &Origin, why: &CertificateError) -> Error {
    let error = |what: &str| {
        Error::new(
            ErrorKind::Registry,
            format!("the certificate of registry {origin} {what}"),
        )
    };
    let trust_it =
        format!("put the CA into /etc/docker/certs.d/{origin}/ca.crt or use --tls-verify=false");
    match why {
        CertificateError::UnknownIssuer => {
            error("is signed by an unknown authority").with_hint(trust_it)
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            error("has expired").with_hint("check the clock of this machine and the certificate")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            error("is not valid yet").with_hint("check the clock of this machine")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            error("is for another name")
                .with_hint("the name must be among the certificate's subject alternative names")
        }
        // Among these are certificates that signed themselves.
        other => error("is not valid")
            .with_source(other.to_string())
            .with_hint(trust_it),
    }
}

/// The server answered, but not with what was asked for. `what` is the thing (`"manifest
/// localhost/app:1"`), `body` the beginning of the answer.
pub(super) fn refused(
    origin: &Origin,
    what: &str,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> Failure {
    let words = words(body);
    let said = words.map(|words| format!(": {words}")).unwrap_or_default();
    let error = match status {
        StatusCode::NOT_FOUND => Error::new(
            ErrorKind::NotFoundInRegistry,
            format!("{what} is not in registry {origin}{said}"),
        ),
        StatusCode::FORBIDDEN if said.is_empty() => unauthorized(origin, what, DENIED),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => unauthorized(origin, what, &said),
        StatusCode::TOO_MANY_REQUESTS => Error::new(
            ErrorKind::Registry,
            format!("registry {origin} limits requests for {what}{said}"),
        )
        .with_hint(format!(
            "wait, or log in for a higher limit: coracle login{}",
            login_name(origin)
        )),
        StatusCode::PAYLOAD_TOO_LARGE => Error::new(
            ErrorKind::Registry,
            format!("registry {origin} answered {status} for {what}{said}"),
        )
        .with_hint("a proxy in front of the registry may limit how large a request is"),
        _ => Error::new(
            ErrorKind::Registry,
            format!("registry {origin} answered {status} for {what}{said}"),
        ),
    };
    let pause = headers
        .get(reqwest::header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(retry_after);
    let retry = match (status, pause) {
        (StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED, _) => Retry::Never,
        (StatusCode::TOO_MANY_REQUESTS, Some(pause)) if pause > LONGEST_PAUSE => Retry::Never,
        (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, Some(pause)) => {
            Retry::After(pause.min(LONGEST_PAUSE))
        }
        (StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT, _) => Retry::Later,
        (status, _) if status.is_server_error() => Retry::Later,
        _ => Retry::Never,
    };
    Failure {
        error,
        retry,
        not_tls: false,
    }
}

/// What registries say, for answers to HEAD, which say nothing.
const DENIED: &str = ": denied: requested access to the resource is denied";
const UNPROVEN: &str = ": unauthorized: authentication required";

pub(super) fn unauthorized(origin: &Origin, what: &str, said: &str) -> Error {
    let said = if said.is_empty() { UNPROVEN } else { said };
    Error::new(
        ErrorKind::Unauthorized,
        format!("registry {origin} denies access to {what}, or it does not exist{said}"),
    )
    .with_hint(format!(
        "log in with: coracle login{} (or give --creds)",
        login_name(origin)
    ))
}

/// What `login` calls the registry: nothing is Docker Hub.
fn login_name(origin: &Origin) -> String {
    match endpoint::is_docker_hub(origin) {
        true => String::new(),
        false => format!(" {origin}"),
    }
}

/// Seconds or an HTTP date (RFC 9110, section 10.2.3).
fn retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value.trim()).ok()?;
    let pause = date.timestamp().duration_since(jiff::Timestamp::now());
    Some(Duration::try_from(pause).unwrap_or(Duration::ZERO))
}

/// OCI distribution specification, "Error Codes". Some registries have codes of their own.
#[derive(Deserialize)]
struct Envelope {
    errors: Vec<Complaint>,
}

#[derive(Deserialize)]
struct Complaint {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// What the registry says about the failure, on one harmless line: its code and its message, as
/// Docker shows them (`denied: requested access to the resource is denied`).
fn words(body: &[u8]) -> Option<String> {
    let envelope: Envelope = serde_json::from_slice(body).ok()?;
    let first = envelope.errors.first()?;
    let code = first.code.to_lowercase().replace('_', " ");
    let message = first.message.trim();
    let text = if message.is_empty() || message.eq_ignore_ascii_case(&code) {
        code
    } else if code.is_empty() {
        message.to_owned()
    } else {
        format!("{code}: {message}")
    };
    Some(printable(&text)).filter(|text| !text.is_empty())
}

/// At most 300 characters, and none that steers a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        // Bidirectional overrides could show a reader other words than were sent.
        .filter(|c| !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        .take(300)
        .collect::<String>()
        .trim()
        .to_owned()
}

/// The cause at the bottom as text.
pub(super) fn innermost(error: &(dyn StdError + 'static)) -> String {
    causes(error)
        .last()
        .map(|cause| printable(&cause.to_string()))
        .unwrap_or_default()
}

fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// The error and what is below it. An `io::Error` hides its payload from `source`.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn StdError + 'static) = *error;
        error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .map(|inner| inner as &(dyn StdError + 'static))
            .or_else(|| error.source())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_registry_cannot_steer_the_terminal() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no\u001b[2J\nreally\u202e"}]}"#;
        assert_eq!(words(body).as_deref(), Some("denied: no [2J really"));
        for (code, message, shown) in [
            (
                "UNAUTHORIZED",
                "authentication required",
                "unauthorized: authentication required",
            ),
            ("MANIFEST_UNKNOWN", "manifest unknown", "manifest unknown"),
            ("TOOMANYREQUESTS", "too fast", "toomanyrequests: too fast"),
        ] {
            let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
            assert_eq!(words(body.as_bytes()).as_deref(), Some(shown));
        }
        let long = format!(
            r#"{{"errors":[{{"code":"X","message":"{}"}}]}}"#,
            "y".repeat(9000)
        );
        assert_eq!(words(long.as_bytes()).map(|text| text.len()), Some(300));
        assert_eq!(
            words(br#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#).as_deref(),
            Some("manifest unknown")
        );
        assert_eq!(words(b"<html>"), None);
        assert_eq!(words(br#"{"errors":[]}"#), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(
            retry_after("Wed, 21 Oct 2015 07:28:00 GMT"),
            Some(Duration::ZERO)
        );
        assert!(retry_after("Tue, 31 Dec 2999 23:59:59 GMT") > Some(LONGEST_PAUSE));
        assert_eq!(retry_after("soon"), None);
        assert_eq!(retry_after("-1"), None);
    }
}
