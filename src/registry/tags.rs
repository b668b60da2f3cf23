//! The names in a repository (OCI distribution specification 1.1, "Listing Tags"), page by page.

use reqwest::{Method, header::LINK};
use serde::Deserialize;

use super::{
    OnRetry,
    session::{Ask, Repository, Session},
};
use crate::model::{Error, ErrorKind, Reference, Result, image::MAX_DOCUMENT_BYTES};

const MOST: usize = 100_000;

/// Bytes of all pages together: a hundred thousand of the longest names, 128 bytes each.
pub(super) const MOST_BYTES: usize = 16 << 20;

#[derive(Deserialize)]
struct Page {
    /// `null` in an empty repository.
    tags: Option<Vec<String>>,
}

pub(super) async fn tags(
    session: &Session,
    repository: &Repository,
    reference: &Reference,
    on_retry: OnRetry<'_>,
) -> Result<Vec<String>> {
    let what = format!("the list of tags of {}", reference.familiar_name());
    let invalid = |why: &str| {
        Error::new(
            ErrorKind::InvalidContent,
            format!("the registry sent {why} as {what}"),
        )
    };
    let mut ask = Ask::new(
        repository,
        Method::GET,
        "tags/list".to_owned(),
        what.clone(),
    );
    let mut found: Vec<String> = Vec::new();
    let mut received = 0;
    loop {
        let (bytes, link) = session
            .retrying(&ask.what, on_retry, async || {
                let response = session.attempt(&ask).await?;
                let link = super::header(response.headers(), LINK.as_str());
                let body = session.body(response, MAX_DOCUMENT_BYTES, &ask.what);
                Ok((body.await?, link))
            })
            .await?;
        received += bytes.len();
        if received > MOST_BYTES {
            return Err(invalid(&format!("more than {MOST_BYTES} bytes")));
        }
        let page: Page = serde_json::from_slice(&bytes).map_err(|_| invalid("something else"))?;
        let page = page.tags.unwrap_or_default();
        let last = page.last().cloned();
        found.extend(page);
        if found.len() > MOST {
            return Err(invalid(&format!("more than {MOST} names")));
        }
        // Only its parameters are the registry's: where the list is, is known.
        match (link.as_deref().and_then(next_query), last) {
            (Some(query), Some(_)) => ask.path = format!("tags/list?{query}"),
            _ => return Ok(found),
        }
    }
}

/// The query of `<URL?QUERY>; rel="next"` (RFC 8288).
pub(super) fn next_query(link: &str) -> Option<String> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    if !parameters.contains("next") {
        return None;
    }
    let (_, query) = target.split_once('?')?;
    let plain = |c: char| c.is_ascii_graphic() && c != '#';
    query.chars().all(plain).then(|| query.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_a_query() {
        assert_eq!(
            next_query(r#"</v2/app/tags/list?n=2&last=b>; rel="next""#).as_deref(),
            Some("n=2&last=b")
        );
        assert_eq!(
            next_query(r#"<https://r.example/x?n=2>; rel="next""#).as_deref(),
            Some("n=2")
        );
        for other in [
            "",
            "<",
            "<>",
            r#"</v2/app/tags/list>; rel="next""#,
            r#"<?n=2>; rel="prev""#,
            "<?n=2 3>; rel=next",
        ] {
            assert_eq!(next_query(other), None, "{other}");
        }
    }
}
