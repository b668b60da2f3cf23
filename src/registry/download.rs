//! A file by its URL: what ADD and a build's context may be. What proves who asks is sent to the host
//! and port that the user has named, and to no other that redirects lead to.

use reqwest::{
    Response, StatusCode, Url,
    header::{
        AUTHORIZATION, CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
        IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION,
    },
};

use super::{
    Registry,
    endpoint::{Origin, Scheme},
    failure::{Failure, unreachable},
    header,
    session::Session,
};
use crate::model::{Error, ErrorKind, Result};

const MAX_REDIRECTS: usize = 10;

/// What is asked for.
pub struct DownloadRequest<'a> {
    /// http or https.
    pub url: &'a str,
    /// Bytes.
    pub limit: u64,
    /// By the name of the host: the value of the header Authorization for it.
    pub authorization: &'a dyn Fn(&str) -> Option<String>,
    /// What is there already, as it was said then: it is not sent again if it has not changed.
    pub etag: Option<&'a str>,
    pub last_modified: Option<&'a str>,
}

/// What came with a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Downloaded {
    /// Where the redirects led to.
    pub url: String,
    /// Bytes.
    pub size: u64,
    pub content_type: Option<String>,
    pub content_disposition: Option<String>,
    pub last_modified: Option<String>,
    pub etag: Option<String>,
    /// There is nothing newer than what was known: nothing was taken.
    pub unchanged: bool,
}

impl Registry {
    /// Fetches what is at a URL. `take` gets all bytes in order; an error of it ends the download.
    /// What has begun is not tried again.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for what is no URL, [`ErrorKind::InvalidContent`] beyond `limit`
    /// bytes, otherwise why the server did not deliver.
    pub fn download(
        &self,
        asked: &DownloadRequest<'_>,
        take: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<Downloaded> {
        let url = asked.url;
        let parsed = Url::parse(url).map_err(|cause| {
            Error::invalid(format!("invalid URL {}", shown(url))).with_source(cause)
        })?;
        let what = format!("cannot download {}", shown(url));
        let headers = headers(asked, &parsed)?;
        let session = self.plain_session();
        let fetched = self.runtime()?.block_on(async {
            let get = async || get(session, &parsed, &headers).await;
            let mut response = session.retrying(&what, &|_, _| {}, get).await?;
            let mut downloaded = described(&response);
            if downloaded.unchanged {
                return Ok(downloaded);
            }
            let origin = origin(response.url())?;
            while let Some(bytes) = session
                .chunk(&origin, &mut response)
                .await
                .map_err(|failure| failure.error)?
            {
                downloaded.size += bytes.len() as u64;
                if downloaded.size > asked.limit {
                    let text = format!("it is larger than {} bytes", asked.limit);
                    return Err(Error::new(ErrorKind::InvalidContent, text));
                }
                take(&bytes)?;
            }
            Ok(downloaded)
        });
        fetched.map_err(|error: Error| {
            let hint = error.hint().map(str::to_owned);
            let outer = Error::new(error.kind(), what).with_source(error);
            match hint {
                Some(hint) => outer.with_hint(hint),
                None => outer,
            }
        })
    }
}

/// Without what may be a password.
fn shown(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut parsed) if parsed.password().is_some() || !parsed.username().is_empty() => {
            let _ = parsed.set_password(None);
            let _ = parsed.set_username("");
            parsed.to_string()
        }
        _ => url.to_owned(),
    }
}

fn origin(url: &Url) -> Result<Origin> {
    Origin::of(url).ok_or_else(|| Error::invalid("the URL is neither http nor https"))
}

fn headers(asked: &DownloadRequest<'_>, url: &Url) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut put = |name: HeaderName, value: Option<&str>| {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(name, value);
        }
    };
    put(IF_NONE_MATCH, asked.etag);
    put(IF_MODIFIED_SINCE, asked.last_modified);
    let host = url.host_str().unwrap_or_default();
    if let Some(proof) = (asked.authorization)(host) {
        // Without what it is: that is secret.
        let wrong = |_| Error::invalid(format!("the credentials for {host} are no header"));
        let mut proof = HeaderValue::from_str(&proof).map_err(wrong)?;
        proof.set_sensitive(true);
        headers.insert(AUTHORIZATION, proof);
    }
    Ok(headers)
}

async fn get(session: &Session, first: &Url, headers: &HeaderMap) -> Result<Response, Failure> {
    let mut url = first.clone();
    let first = origin(first)?;
    let mut headers = headers.clone();
    for _ in 0..MAX_REDIRECTS {
        let origin = origin(&url)?;
        if origin != first {
            headers.remove(AUTHORIZATION);
        }
        let request = session.client(&origin)?.get(url.clone());
        let response = request.headers(headers.clone()).send().await;
        let response = response.map_err(|cause| unreachable(&origin, cause))?;
        let status = response.status();
        let has_condition =
            headers.contains_key(IF_NONE_MATCH) || headers.contains_key(IF_MODIFIED_SINCE);
        if status.is_success() || (has_condition && status == StatusCode::NOT_MODIFIED) {
            return Ok(response);
        }
        let location = header(response.headers(), LOCATION.as_str());
        let Some(location) = location.filter(|_| status.is_redirection()) else {
            return Err(refused(&origin, status));
        };
        let next = url.join(&location);
        let next =
            next.map_err(|_| Error::new(ErrorKind::Registry, "it leads to an invalid URL"))?;
        // What was asked for with TLS never comes without.
        if origin.scheme == Scheme::Https && next.scheme() == "http" {
            let text = format!("{origin} leads from https to plain http");
            return Err(Error::new(ErrorKind::Registry, text).into());
        }
        url = next;
    }
    Err(Error::new(ErrorKind::Registry, "it leads in circles").into())
}

fn refused(origin: &Origin, status: StatusCode) -> Failure {
    let kind = match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => ErrorKind::NotFoundInRegistry,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorKind::Unauthorized,
        _ => ErrorKind::Registry,
    };
    let error = Error::new(kind, format!("{origin} answered {status}"));
    match status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        true => Failure::later(error),
        false => error.into(),
    }
}

fn described(response: &Response) -> Downloaded {
    let text = |name: &str| header(response.headers(), name);
    Downloaded {
        url: response.url().to_string(),
        size: 0,
        content_type: text(CONTENT_TYPE.as_str()),
        content_disposition: text(CONTENT_DISPOSITION.as_str()),
        last_modified: text(LAST_MODIFIED.as_str()),
        etag: text(ETAG.as_str()),
        unchanged: response.status() == StatusCode::NOT_MODIFIED,
    }
}
