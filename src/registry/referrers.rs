//! Who refers to a document (OCI distribution specification 1.1, "Listing Referrers"), page by page,
//! and where a registry without that API has the list instead ("Referrers Tag Schema").

use reqwest::{
    Method, StatusCode,
    header::{ACCEPT, HeaderMap, HeaderValue, LINK},
};

use super::{
    OnRetry, Registry,
    session::{Ask, Repository, Session},
    tags::{MOST_BYTES, next_query},
};
use crate::model::{
    Digest, Error, ErrorKind, Reference, Result,
    image::MAX_DOCUMENT_BYTES,
    index::{Descriptor, Index, referrers_tag},
    manifest::{Document, OCI_INDEX},
};

const MOST: usize = 10_000;

impl Registry {
    /// The documents of the repository of `reference` that have `subject` as their subject, of one
    /// type if it is given; in the registry's order. From a registry without the API: what the tag
    /// says that stands in for it, and nothing if there is no such tag.
    ///
    /// Errors: as [`Self::document`]; [`ErrorKind::InvalidContent`] above ten thousand.
    pub fn referrers(
        &self,
        reference: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
        on_retry: OnRetry<'_>,
    ) -> Result<Vec<Descriptor>> {
        let fitting = |found: Vec<Descriptor>| {
            // Filtering is the registry's right, not its duty.
            let fits = |entry: &Descriptor| {
                artifact_type.is_none_or(|wanted| entry.artifact_type.as_deref() == Some(wanted))
            };
            found.into_iter().filter(fits).collect()
        };
        let listed = self.ask_referrers(reference, subject, artifact_type, on_retry)?;
        if let Some(found) = listed {
            return Ok(fitting(found));
        }
        let tag = referrers_reference(reference, subject)?;
        match self.document_at_origin(&tag, on_retry) {
            Ok(document) => match Document::parse(&document.bytes, document.media_type.as_deref())?
            {
                Document::Index(_) => Ok(fitting(Index::parse(&document.bytes)?.manifests)),
                // Somebody's image that happens to have such a tag.
                Document::Manifest(_) => Ok(Vec::new()),
            },
            Err(error) if error.kind() == ErrorKind::NotFoundInRegistry => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// What the API says; `None` from a registry that does not have it.
    ///
    /// Errors: as [`Self::referrers`].
    pub fn referrers_api(
        &self,
        reference: &Reference,
        subject: &Digest,
        on_retry: OnRetry<'_>,
    ) -> Result<Option<Vec<Descriptor>>> {
        self.ask_referrers(reference, subject, None, on_retry)
    }

    fn ask_referrers(
        &self,
        reference: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
        on_retry: OnRetry<'_>,
    ) -> Result<Option<Vec<Descriptor>>> {
        let repository = self.repository(reference)?;
        let what = format!(
            "the list of referrers of {}@{subject}",
            reference.familiar_name()
        );
        self.runtime()?.block_on(pages(
            self.session_for(&repository),
            &repository,
            subject,
            artifact_type,
            what,
            on_retry,
        ))
    }
}

/// The tag of the repository that stands in for the API.
pub fn referrers_reference(repository: &Reference, subject: &Digest) -> Result<Reference> {
    format!("{}:{}", repository.name(), referrers_tag(subject)).parse()
}

async fn pages(
    session: &Session,
    repository: &Repository,
    subject: &Digest,
    artifact_type: Option<&str>,
    what: String,
    on_retry: OnRetry<'_>,
) -> Result<Option<Vec<Descriptor>>> {
    let begin = format!("referrers/{subject}");
    let path = match artifact_type {
        Some(wanted) => format!("{begin}?artifactType={}", escaped(wanted)),
        None => begin.clone(),
    };
    let mut ask = Ask::new(repository, Method::GET, path, what);
    ask.headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(OCI_INDEX))]);
    let mut found: Vec<Descriptor> = Vec::new();
    let mut received = 0;
    loop {
        let page = session
            .retrying(&ask.what, on_retry, async || {
                let (registry, response) = session.attempt_any(&ask).await?;
                match response.status() {
                    StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => return Ok(None),
                    status if status.is_success() => {}
                    _ => return Err(session.refusal(&ask, &registry, response).await),
                }
                let link = super::header(response.headers(), LINK.as_str());
                let body = session.body(response, MAX_DOCUMENT_BYTES, &ask.what);
                Ok(Some((body.await?, link)))
            })
            .await?;
        let Some((bytes, link)) = page else {
            return Ok(None);
        };
        received += bytes.len();
        let page = Index::parse(&bytes)?.manifests;
        let is_empty = page.is_empty();
        found.extend(page);
        if found.len() > MOST || received > MOST_BYTES {
            return Err(Error::new(
                ErrorKind::InvalidContent,
                format!(
                    "the registry sent more than {MOST} entries or {MOST_BYTES} bytes as {}",
                    ask.what
                ),
            ));
        }
        // Only its parameters are the registry's: where the list is, is known.
        match link.as_deref().and_then(next_query) {
            Some(query) if !is_empty => ask.path = format!("{begin}?{query}"),
            _ => return Ok(Some(found)),
        }
    }
}

/// A value in a query (RFC 3986, 3.4).
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    text.bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_stays_one_parameter() {
        assert_eq!(
            escaped("application/vnd.x+json&n=1"),
            "application/vnd.x%2Bjson%26n%3D1"
        );
    }

    #[test]
    fn the_tag_is_the_digest_in_letters_of_a_tag() {
        let subject: Digest = format!("sha256:{}", "0a".repeat(32)).parse().unwrap();
        let name = "localhost:5000/app:1@".to_owned() + subject.as_str();
        let tag = referrers_reference(&name.parse().unwrap(), &subject).unwrap();
        assert_eq!(
            tag.to_string(),
            format!("localhost:5000/app:sha256-{}", "0a".repeat(32))
        );
    }
}
