//! From a 401 to an `Authorization` header (RFC 9110, section 11; the distribution project's
//! token authentication).
//!
//! ```text
//! registry   401, WWW-Authenticate: Bearer realm="https://auth.example/token",service="r"
//! us         GET https://auth.example/token?service=r&scope=repository:NAME:pull   (Basic, if known)
//!       or   POST … grant_type=refresh_token                                       (identity token)
//! realm      {"token": "…", "expires_in": 300}
//! us         the first request again, Authorization: Bearer …
//! ```
//!
//! The realm is the registry's word, so it is not believed blindly: it must be https unless the
//! registry itself is plain http, and a registry names one realm per command. The scope is ours,
//! not the challenge's: a registry cannot make us fetch a token for more than this command.

use std::time::{Duration, Instant};

use http_auth::parser::ChallengeParser;
use oci_distribution::{secrets::RegistryAuth, token_cache::RegistryToken};
use reqwest::{
    Url,
    header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE},
};
use serde::Deserialize;

use super::{
    credentials::Credentials,
    endpoint::{Origin, Scheme},
};
use crate::model::{Error, ErrorKind, Result};

/// Tokens live at least this many seconds (the distribution project's token specification). If one
/// does not after all, the registry says 401 and it is renewed then.
const LEAST_LIFE: u64 = 60;

/// A token is not used in its last seconds: it must still be valid when the request arrives.
const MARGIN: Duration = Duration::from_secs(5);

/// Longest `WWW-Authenticate` value that is looked at, in bytes.
const MAX_CHALLENGE: usize = 8 << 10;

/// What the registry wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
    },
}

/// The first challenge that we can answer; tokens are preferred, for a password sent with every
/// request is the weaker proof.
pub(super) fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let found: Vec<Challenge> = headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter(|value| value.len() <= MAX_CHALLENGE)
        .filter_map(|value| value.to_str().ok())
        .flat_map(parse)
        .collect();
    let bearer = found
        .iter()
        .find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    bearer.or(found.first()).cloned()
}

fn parse(value: &str) -> Vec<Challenge> {
    ChallengeParser::new(value)
        .map_while(Result::ok)
        .filter_map(|challenge| {
            let parameter = |name: &str| {
                challenge
                    .params
                    .iter()
                    .find(|(key, _)| key.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.to_unescaped())
            };
            if challenge.scheme.eq_ignore_ascii_case("bearer") {
                Some(Challenge::Bearer {
                    realm: parameter("realm")?,
                    service: parameter("service"),
                })
            } else if challenge.scheme.eq_ignore_ascii_case("basic") {
                Some(Challenge::Basic)
            } else {
                None
            }
        })
        .collect()
}

/// The proof that goes with requests to one origin.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    header: HeaderValue,
    expires: Option<Instant>,
}

impl Grant {
    /// User and password as they are. Absent for credentials that are not a password.
    pub fn basic(credentials: &Credentials) -> Option<Grant> {
        use base64::Engine as _;
        let Credentials::Plain(RegistryAuth::Basic(user, password)) = credentials else {
            return None;
        };
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        Grant::new(&format!("Basic {pair}"), None)
    }

    /// A token that the auth file already holds.
    pub fn ready_token(credentials: &Credentials) -> Option<Grant> {
        match credentials {
            Credentials::Plain(RegistryAuth::Bearer(token)) => {
                Grant::new(&format!("Bearer {token}"), None)
            }
            _ => None,
        }
    }

    fn new(header: &str, expires: Option<Instant>) -> Option<Grant> {
        let mut header = HeaderValue::from_str(header).ok()?;
        header.set_sensitive(true);
        Some(Grant { header, expires })
    }

    pub fn is_fresh(&self) -> bool {
        self.expires.is_none_or(|expires| Instant::now() < expires)
    }

    pub fn header(&self) -> HeaderValue {
        self.header.clone()
    }
}

/// The token server to ask, if the registry at `origin` may send us there.
pub(super) fn realm_url(origin: &Origin, realm: &str) -> Result<Url> {
    let refuse = |why: &str| {
        Error::new(
            ErrorKind::Registry,
            format!("registry {origin} names a token server that {why}"),
        )
    };
    let url = Url::parse(realm).map_err(|_| refuse("is not a URL"))?;
    match Origin::of(&url).map(|realm| realm.scheme) {
        Some(Scheme::Https) => {}
        Some(Scheme::Http) if origin.scheme == Scheme::Http => {}
        Some(Scheme::Http) => return Err(refuse("is not https although the registry is")),
        None => return Err(refuse("is neither http nor https")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("has a password in its URL"));
    }
    Ok(url)
}

/// What to send to the token server.
pub(super) enum TokenRequest {
    Get { url: Url, proof: Option<Grant> },
    Post { url: Url, form: String },
}

pub(super) fn token_request(
    mut url: Url,
    service: Option<&str>,
    scopes: &[String],
    credentials: &Credentials,
    identity: bool,
) -> TokenRequest {
    match credentials {
        Credentials::IdentityToken(token) => {
            // `Url` is the form encoder that is already here.
            let mut form = url.clone();
            form.query_pairs_mut()
                .clear()
                .append_pair("grant_type", "refresh_token")
                .append_pair("client_id", "coracle")
                .append_pair("service", service.unwrap_or_default())
                .append_pair("scope", &scopes.join(" "))
                .append_pair("refresh_token", token);
            TokenRequest::Post {
                form: form.query().unwrap_or_default().to_owned(),
                url,
            }
        }
        Credentials::Plain(_) => {
            let mut query = url.query_pairs_mut();
            if let Some(service) = service {
                query.append_pair("service", service);
            }
            for scope in scopes {
                query.append_pair("scope", scope);
            }
            if let Credentials::Plain(RegistryAuth::Basic(user, _)) = credentials {
                query.append_pair("account", user);
                if identity {
                    query.append_pair("client_id", "coracle");
                    query.append_pair("offline_token", "true");
                }
            }
            drop(query);
            TokenRequest::Get {
                url,
                proof: Grant::basic(credentials),
            }
        }
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(flatten)]
    token: RegistryToken,
    expires_in: Option<u64>,
}

/// Reads the token server's answer; `asked` is when the question was sent. Absent if it is none.
pub(super) fn token_answer(body: &[u8], asked: Instant) -> Option<Grant> {
    let answer: TokenAnswer = serde_json::from_slice(body).ok()?;
    // Bounded above, so that no number makes the clock's arithmetic overflow.
    let life = answer.expires_in.unwrap_or(LEAST_LIFE);
    let life = Duration::from_secs(life.clamp(LEAST_LIFE, 24 * 3600));
    let expires = asked + life.saturating_sub(MARGIN);
    Grant::new(&answer.token.bearer_token(), Some(expires))
}

/// The identity token that a token server adds if it was asked for an `offline_token` and gives
/// such.
pub(super) fn identity_token(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        refresh_token: Option<String>,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    answer.refresh_token.filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn challenge_of(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        challenge(&headers)
    }

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
        })
    }

    #[test]
    fn tokens_are_preferred_to_passwords() {
        assert_eq!(
            challenge_of(&[r#"Basic realm="x", bearer REALM="https://a/t",service="s, t""#]),
            bearer("https://a/t", Some("s, t"))
        );
        assert_eq!(
            challenge_of(&["Basic realm=\"x\"", "Bearer realm=\"https://a/t\""]),
            bearer("https://a/t", None)
        );
        assert_eq!(challenge_of(&["Basic realm=\"x\""]), Some(Challenge::Basic));
        assert_eq!(challenge_of(&["Negotiate"]), None);
        assert_eq!(challenge_of(&["Bearer service=\"s\""]), None);
        assert_eq!(challenge_of(&[]), None);
    }

    #[test]
    fn a_token_server_must_be_as_safe_as_its_registry() {
        let origin = |text: &str| Origin::of(&Url::parse(text).unwrap()).unwrap();
        let (safe, plain) = (origin("https://r.example/"), origin("http://localhost:1/"));
        assert!(realm_url(&safe, "https://auth.example/token").is_ok());
        assert!(realm_url(&plain, "http://localhost:2/token").is_ok());
        for realm in [
            "http://r.example/token",
            "file:///etc/passwd",
            "/token",
            "https://u:p@auth.example/",
            "",
        ] {
            assert!(realm_url(&safe, realm).is_err(), "{realm}");
        }
    }

    #[test]
    fn an_identity_token_is_posted_and_never_in_the_url() {
        let url = Url::parse("https://auth.example/token").unwrap();
        let credentials = Credentials::IdentityToken("a+b&c".to_owned());
        match token_request(
            url,
            Some("s"),
            &["repository:x:pull".to_owned()],
            &credentials,
            false,
        ) {
            TokenRequest::Post { url, form } => {
                assert_eq!(url.as_str(), "https://auth.example/token");
                assert!(form.contains("refresh_token=a%2Bb%26c"), "{form}");
            }
            TokenRequest::Get { .. } => panic!("not posted"),
        }
    }

    #[test]
    fn both_names_of_a_token_and_its_life() {
        let now = Instant::now();
        let grant = token_answer(br#"{"token":"T","access_token":"A"}"#, now).unwrap();
        assert_eq!(grant.header(), "Bearer T");
        assert!(grant.is_fresh());
        let an_hour_ago = now.checked_sub(Duration::from_secs(3600)).unwrap_or(now);
        let answer = br#"{"access_token":"A","expires_in":300}"#;
        let grant = token_answer(answer, an_hour_ago).unwrap();
        assert_eq!(grant.header(), "Bearer A");
        assert_eq!(grant.is_fresh(), an_hour_ago == now);
        let forever = format!(r#"{{"token":"T","expires_in":{}}}"#, u64::MAX);
        assert!(token_answer(forever.as_bytes(), now).unwrap().is_fresh());
        assert!(token_answer(br#"{"token":"a\nb"}"#, now).is_none());
        assert!(token_answer(br"{}", now).is_none());
        assert!(!format!("{grant:?}").contains("Bearer A"));
    }

    proptest! {
        #[test]
        fn any_challenge_is_survived(value in "[ -~]{0,200}") {
            let _ = parse(&value);
        }

        #[test]
        fn a_quoted_realm_comes_out_as_it_went_in(realm in "[ -~&&[^\"\\\\]]{0,80}", service in "[a-z.]{1,20}") {
            let value = format!("Bearer realm=\"{realm}\",service=\"{service}\"");
            prop_assert_eq!(
                parse(&value),
                vec![Challenge::Bearer { realm, service: Some(service) }]
            );
        }
    }
}
