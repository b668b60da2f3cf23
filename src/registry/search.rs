//! The repositories of a registry, by a part of the name: Docker's search API of the first version
//! (`GET /v1/search?q=TERM&n=LIMIT`), and where a registry does not have that, its catalog
//! (`GET /v2/_catalog`), in which names are all there is.

use reqwest::{Method, header::LINK};
use serde::Deserialize;

use super::{
    Registry, header,
    session::{Ask, Repository, Session, Whole},
    tags::next_query,
};
use crate::model::{Error, ErrorKind, Result, image::MAX_DOCUMENT_BYTES, reference::DOCKER_HUB};

/// Pages of a catalog that are read.
const MAX_PAGES: usize = 100;

/// A repository that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FoundRepository {
    /// As the registry says it: `library/alpine` or, on Docker Hub, `alpine`.
    pub name: String,
    pub description: String,
    #[serde(rename = "star_count")]
    pub stars: u64,
    #[serde(rename = "is_official")]
    pub official: bool,
    #[serde(rename = "is_automated")]
    pub automated: bool,
}

#[derive(Deserialize)]
struct Results {
    #[serde(default)]
    results: Vec<FoundRepository>,
}

#[derive(Deserialize)]
struct Catalog {
    repositories: Option<Vec<String>>,
}

impl Registry {
    /// At most `limit` repositories of `registry` whose name (or, on Docker Hub, description) has
    /// `term`.
    ///
    /// Errors: as [`Registry::document`].
    pub fn search(&self, registry: &str, term: &str, limit: usize) -> Result<Vec<FoundRepository>> {
        let credentials = self.credentials_for(registry)?;
        let whole = Whole {
            api: "v1",
            ..Whole::default()
        };
        let api = self.whole(registry, whole, credentials.clone())?;
        let session = self.session_for(&api);
        match self
            .runtime()?
            .block_on(first_version(session, &api, term, limit))
        {
            Ok(found) => return Ok(found),
            Err(error) if registry == DOCKER_HUB => return Err(error),
            // It may want to be somebody, or have nothing there.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFoundInRegistry
                        | ErrorKind::Unauthorized
                        | ErrorKind::InvalidContent
                ) => {}
            Err(error) => return Err(error),
        }
        let whole = Whole {
            api: "v2",
            scope: "registry:catalog:*",
            identity: false,
        };
        let api = self.whole(registry, whole, credentials)?;
        self.runtime()?
            .block_on(catalog(session, &api, term, limit))
    }
}

async fn first_version(
    session: &Session,
    api: &Repository,
    term: &str,
    limit: usize,
) -> Result<Vec<FoundRepository>> {
    let term: String = reqwest::Url::parse_with_params("http://x/", [("q", term)])
        .ok()
        .and_then(|url| url.query().map(str::to_owned))
        .unwrap_or_default();
    let path = format!("search?{term}&n={limit}");
    let body = get(session, api, path).await?.0;
    let answer: Results = serde_json::from_slice(&body).map_err(|_| not_a_list())?;
    let mut found = answer.results;
    found.truncate(limit);
    Ok(found)
}

async fn catalog(
    session: &Session,
    api: &Repository,
    term: &str,
    limit: usize,
) -> Result<Vec<FoundRepository>> {
    let mut found = Vec::new();
    let mut path = "_catalog?n=1000".to_owned();
    for _ in 0..MAX_PAGES {
        let (body, link) = get(session, api, path).await?;
        let page: Catalog = serde_json::from_slice(&body).map_err(|_| not_a_list())?;
        let names = page.repositories.unwrap_or_default();
        found.extend(
            names
                .into_iter()
                .filter(|name| name.contains(term))
                .map(|name| FoundRepository {
                    name,
                    ..FoundRepository::default()
                }),
        );
        match link.as_deref().and_then(next_query) {
            Some(query) if found.len() < limit => path = format!("_catalog?{query}"),
            _ => break,
        }
    }
    found.truncate(limit);
    Ok(found)
}

async fn get(
    session: &Session,
    api: &Repository,
    path: String,
) -> Result<(Vec<u8>, Option<String>)> {
    let ask = Ask::new(
        api,
        Method::GET,
        path,
        "the list of repositories".to_owned(),
    );
    session
        .retrying(&ask.what, &|_, _| {}, async || {
            let response = session.attempt(&ask).await?;
            let link = header(response.headers(), LINK.as_str());
            let body = session.body(response, MAX_DOCUMENT_BYTES, &ask.what);
            Ok((body.await?, link))
        })
        .await
}

fn not_a_list() -> Error {
    Error::new(
        ErrorKind::InvalidContent,
        "the registry sent something else than a list of repositories",
    )
}
