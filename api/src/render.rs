//! Answers as JSON: written down once, and sent to everybody who asks the same.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::stream;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::budget::{Purse, Taken, charged};
use crate::cache::Weighed;
use crate::envelope::{Fresh, Head};
use crate::etag::is_known;
use crate::problem::Problem;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Longer answers are neither remembered nor copied: everybody who reads one reads the same text.
pub(crate) const HELD_BYTES: usize = 1024 * 1024;

/// An answer without the parts that change while the rows do not.
pub(crate) struct Rendered {
    /// `"organizationId": …, "range": …`
    head: Vec<u8>,
    /// The rest of the members, and what they take where they are too long to be remembered.
    rest: Vec<u8>,
    _taken: Vec<Taken>,
    etag: HeaderValue,
}

impl Weighed for Rendered {
    fn weight(&self) -> usize {
        self.head.len() + self.rest.len()
    }
}

/// Writes an answer down.
pub(crate) fn render(head: &Head<'_>, answer: &impl Serialize, purse: &Purse) -> Result<Rendered, Problem> {
    let (head, _) = members(head, purse)?;
    let (rest, mut taken) = members(answer, purse)?;
    if head.len() + rest.len() <= HELD_BYTES {
        // It is remembered, in room of its own. Whoever reads it is charged for a copy.
        taken.clear();
    }
    let digest = Sha256::new()
        .chain_update(&head)
        .chain_update("\0")
        .chain_update(&rest)
        .finalize();
    let tag = format!("W/\"{}\"", URL_SAFE_NO_PAD.encode(&digest[..16]));
    let etag = HeaderValue::try_from(tag).map_err(|error| Problem::internal(&error))?;
    Ok(Rendered {
        head,
        rest,
        _taken: taken,
        etag,
    })
}

/// The members of an object, without its braces, and what they take.
fn members(object: &impl Serialize, purse: &Purse) -> Result<(Vec<u8>, Vec<Taken>), Problem> {
    let mut text = purse.text();
    text.json(object)?;
    let (mut bytes, taken) = text.parts();
    bytes.pop();
    bytes.remove(0);
    Ok((bytes, taken))
}

/// The long part of an answer, for one of those who read it.
struct Rest(Arc<Rendered>);

impl AsRef<[u8]> for Rest {
    fn as_ref(&self) -> &[u8] {
        &self.0.rest
    }
}

/// The response with an answer, or with the word that the caller has it already.
pub(crate) fn json(
    rendered: Arc<Rendered>,
    fresh: &Fresh,
    headers: &HeaderMap,
    purse: &Purse,
) -> Result<Response, Problem> {
    let etag = rendered.etag.clone();
    let mut response = if is_known(headers, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let (fresh, _) = members(fresh, purse)?;
        let mut text = [b"{", &rendered.head[..], b",", &fresh, b","].concat();
        let body = if rendered.weight() <= HELD_BYTES {
            text.extend_from_slice(&rendered.rest);
            text.push(b'}');
            let taken = purse.take(text.len())?;
            Body::from(charged(text, taken))
        } else {
            let parts = [
                text.into(),
                Bytes::from_owner(Rest(rendered)),
                Bytes::from_static(b"}"),
            ];
            Body::from_stream(stream::iter(parts.map(Ok::<_, std::convert::Infallible>)))
        };
        ([(header::CONTENT_TYPE, JSON)], body).into_response()
    };
    response.headers_mut().insert(header::ETAG, etag);
    Ok(response)
}
