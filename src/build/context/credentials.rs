//! Who asks for what ADD and contexts fetch: secrets with names of their own, as BuildKit has them.
//!
//! ```text
//! HTTP_AUTH_TOKEN_<host>, HTTP_AUTH_HEADER_<host>       files; a token is a bearer
//! GIT_AUTH_HEADER[.<host>], GIT_AUTH_TOKEN[.<host>]     repositories by http(s), in this order, those
//!                                                       for the host first; a token is a password
//! ```
//!
//! They go to that host and to no other that redirects lead to, and are part of no key, log or history.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::build::request::Secret;

/// What a token for git stands beside.
const TOKEN_USER: &str = "x-access-token";

#[derive(Clone, Debug, Default)]
pub struct Credentials(BTreeMap<String, Secret>);

impl Credentials {
    pub fn of(secrets: &BTreeMap<String, Secret>) -> Credentials {
        let is_one = |name: &str| name.starts_with("HTTP_AUTH_") || name.starts_with("GIT_AUTH_");
        let ours = secrets.iter().filter(|(name, _)| is_one(name));
        Credentials(
            ours.map(|(name, one)| (name.clone(), one.clone()))
                .collect(),
        )
    }

    /// Without the line's end that files have.
    fn get(&self, name: &str) -> Option<&str> {
        let text = std::str::from_utf8(&self.0.get(name)?.0).ok()?;
        Some(text.trim_end_matches(['\r', '\n']))
    }

    /// The value of Authorization for a host, without its port.
    pub fn for_file(&self, host: &str) -> Option<String> {
        let token = self.get(&format!("HTTP_AUTH_TOKEN_{host}"));
        let token = token.map(|token| format!("Bearer {token}"));
        token.or_else(|| {
            self.get(&format!("HTTP_AUTH_HEADER_{host}"))
                .map(str::to_owned)
        })
    }

    /// What git is told for a remote: names and values of its configuration.
    pub fn for_git(&self, remote: &str) -> Vec<(String, String)> {
        let Some(host) = host(remote) else {
            return Vec::new();
        };
        let header = |name: String| self.get(&name).map(str::to_owned);
        let token = |name: String| {
            let pair = format!("{TOKEN_USER}:{}", self.get(&name)?);
            Some(format!("basic {}", BASE64_STANDARD.encode(pair)))
        };
        let proof = header(format!("GIT_AUTH_HEADER.{host}"))
            .or_else(|| token(format!("GIT_AUTH_TOKEN.{host}")))
            .or_else(|| header("GIT_AUTH_HEADER".to_owned()))
            .or_else(|| token("GIT_AUTH_TOKEN".to_owned()));
        let Some(proof) = proof else {
            return Vec::new();
        };
        // As BuildKit: one token is good for all of GitHub, submodules too.
        let scopes = ["https://github.com/", "https://www.github.com/"];
        let mut scopes = scopes.into_iter();
        let scope = scopes
            .find(|scope| remote.starts_with(scope))
            .unwrap_or(remote);
        vec![
            (
                format!("http.{scope}.extraHeader"),
                format!("Authorization: {proof}"),
            ),
            // git would send it wherever a redirect leads.
            (format!("http.{scope}.followRedirects"), "false".to_owned()),
        ]
    }
}

/// With its port, if there is nothing odd about it that others might read otherwise.
fn host(remote: &str) -> Option<&str> {
    let rest = ["https://", "http://"]
        .iter()
        .find_map(|scheme| remote.strip_prefix(scheme))?;
    let (authority, _) = rest.split_once('/')?;
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || ".-_:[]".contains(letter);
    let is_odd = |letter: char| letter == '\\' || !letter.is_ascii_graphic();
    let fits = !host.is_empty() && host.chars().all(is_plain) && !authority.contains(is_odd);
    fits.then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(pairs: &[(&str, &str)]) -> Credentials {
        let secrets = pairs.iter().map(|(name, value)| {
            let secret = Secret(value.as_bytes().to_vec());
            ((*name).to_owned(), secret)
        });
        Credentials::of(&secrets.collect())
    }

    #[test]
    fn files() {
        let known = credentials(&[
            ("HTTP_AUTH_TOKEN_a.example", "word\n"),
            ("HTTP_AUTH_HEADER_a.example", "Basic x"),
            ("HTTP_AUTH_HEADER_b.example", "Basic y"),
            ("other", "z"),
        ]);
        assert_eq!(known.for_file("a.example").as_deref(), Some("Bearer word"));
        assert_eq!(known.for_file("b.example").as_deref(), Some("Basic y"));
        assert_eq!(known.for_file("c.example"), None);
        assert!(!format!("{known:?}").contains("word"));
    }

    #[test]
    fn repositories() {
        let known = credentials(&[
            ("GIT_AUTH_TOKEN", "all"),
            ("GIT_AUTH_TOKEN.a.example:8080", "one"),
            ("GIT_AUTH_HEADER.b.example", "Bearer two"),
            ("GIT_AUTH_TOKEN.b.example", "three"),
        ]);
        let header = |remote: &str| {
            let told = known.for_git(remote);
            assert!(
                told.iter()
                    .any(|(name, no)| name.ends_with("followRedirects") && no == "false")
            );
            told[0].clone()
        };
        let basic = |word: &str| {
            let pair = BASE64_STANDARD.encode(format!("x-access-token:{word}"));
            format!("Authorization: basic {pair}")
        };
        assert_eq!(
            header("https://b.example/x.git"),
            (
                "http.https://b.example/x.git.extraHeader".to_owned(),
                "Authorization: Bearer two".to_owned()
            )
        );
        assert_eq!(header("http://u:p@a.example:8080/x.git").1, basic("one"));
        assert_eq!(
            header("https://github.com/x/y.git"),
            (
                "http.https://github.com/.extraHeader".to_owned(),
                basic("all")
            )
        );
        for odd in [
            "git@a.example:x",
            "ssh://a.example/x",
            "https://a\\@b.example/x",
            "https:///x",
        ] {
            assert_eq!(known.for_git(odd), [], "{odd}");
        }
        assert_eq!(credentials(&[]).for_git("https://b.example/x.git"), []);
    }
}
