//! What Docker's client keeps in its `config.json` beside credentials ([`super::auth_file`]): how lists
//! look, proxies for containers, filters of the prunes. Other keys belong to other programs.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Error, Result};

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClientConfig {
    /// Defaults of `--format`: `ps`, `images`, `volume ls`, `network ls`, `stats`.
    pub ps_format: Option<String>,
    pub images_format: Option<String>,
    pub volumes_format: Option<String>,
    pub networks_format: Option<String>,
    pub stats_format: Option<String>,
    pub detach_keys: Option<String>,
    /// The way to a daemon that is used if nothing else is said.
    pub current_context: Option<String>,
    /// `label=…` and `label!=…`, for every prune.
    pub prune_filters: Vec<String>,
    /// By the address of a daemon, or `default`.
    proxies: BTreeMap<String, Proxy>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Proxy {
    http_proxy: String,
    https_proxy: String,
    ftp_proxy: String,
    all_proxy: String,
    no_proxy: String,
}

impl ClientConfig {
    /// Reads the text of a `config.json`.
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| Error::invalid(error.to_string()))
    }

    /// `NAME=VALUE` for containers and steps of builds, in capitals and small, as Docker passes them.
    pub fn proxy_variables(&self) -> Vec<String> {
        let Some(proxy) = self.proxies.get("default") else {
            return Vec::new();
        };
        let named = [
            ("HTTP_PROXY", &proxy.http_proxy),
            ("HTTPS_PROXY", &proxy.https_proxy),
            ("FTP_PROXY", &proxy.ftp_proxy),
            ("ALL_PROXY", &proxy.all_proxy),
            ("NO_PROXY", &proxy.no_proxy),
        ];
        let set = named.into_iter().filter(|(_, value)| !value.is_empty());
        set.flat_map(|(name, value)| {
            [name.to_owned(), name.to_ascii_lowercase()].map(|name| format!("{name}={value}"))
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::ClientConfig;

    #[test]
    fn what_is_of_use_is_taken() {
        let text = r#"{"auths": {"x": {"auth": "eA=="}}, "psFormat": "{{.ID}}", "detachKeys": "ctrl-x",
            "proxies": {"default": {"httpProxy": "http://p:1", "noProxy": "a,b", "future": 1}},
            "pruneFilters": ["label!=keep"], "HttpHeaders": {"a": "b"}, "currentContext": "far"}"#;
        let config = ClientConfig::parse(text).unwrap();
        assert_eq!(config.ps_format.as_deref(), Some("{{.ID}}"));
        assert_eq!(config.detach_keys.as_deref(), Some("ctrl-x"));
        assert_eq!(config.current_context.as_deref(), Some("far"));
        assert_eq!(config.prune_filters, ["label!=keep"]);
        let expected = [
            "HTTP_PROXY=http://p:1",
            "http_proxy=http://p:1",
            "NO_PROXY=a,b",
            "no_proxy=a,b",
        ];
        assert_eq!(config.proxy_variables(), expected);
        assert!(
            ClientConfig::parse("{}")
                .unwrap()
                .proxy_variables()
                .is_empty()
        );
        assert!(ClientConfig::parse("[").is_err());
    }
}
