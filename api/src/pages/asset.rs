//! A file that never changes while the program runs: compressed once, and sent only to who has it not.

use std::convert::Infallible;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;
use tower::{Layer, ServiceExt, service_fn};
use tower_http::compression::CompressionLayer;

use crate::etag::is_known;

/// How long a file may be used without asking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// Its name carries a hash of its content.
    ForEver,
    /// It may be another one after the next start: ask each time.
    Ask,
}

impl Lifetime {
    const fn header(self) -> HeaderValue {
        match self {
            Lifetime::ForEver => HeaderValue::from_static("public, max-age=31536000, immutable"),
            Lifetime::Ask => HeaderValue::from_static("no-cache"),
        }
    }
}

/// The encodings of a file, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Zstd,
    Gzip,
}

impl Encoding {
    const ALL: [Self; 2] = [Encoding::Zstd, Encoding::Gzip];

    const fn name(self) -> &'static str {
        match self {
            Encoding::Zstd => "zstd",
            Encoding::Gzip => "gzip",
        }
    }

    /// What a client takes, and likes best. `None`: the file as it is.
    fn accepted(headers: &HeaderMap) -> Option<Self> {
        let mut named = [None, None];
        let mut any = 0.0;
        for value in headers.get_all(header::ACCEPT_ENCODING) {
            for item in value.to_str().unwrap_or_default().split(',') {
                let mut parts = item.split(';').map(str::trim);
                let name = parts.next().unwrap_or_default();
                let weight = parts.find_map(|part| part.strip_prefix("q="));
                // A weight that is none is no wish.
                let weight: f32 = weight.map_or(Some(1.0), |q| q.parse().ok()).unwrap_or(0.0);
                if name == "*" {
                    any = weight;
                }
                for (encoding, wish) in Self::ALL.into_iter().zip(&mut named) {
                    if name.eq_ignore_ascii_case(encoding.name()) {
                        *wish = Some(weight);
                    }
                }
            }
        }
        let [zstd, gzip] = named.map(|wish: Option<f32>| wish.unwrap_or(any));
        match (zstd, gzip) {
            (zstd, gzip) if zstd > 0.0 && zstd >= gzip => Some(Encoding::Zstd),
            (_, gzip) if gzip > 0.0 => Some(Encoding::Gzip),
            _ => None,
        }
    }
}

/// A file and its compressed forms, each made when it is first asked for.
pub(super) struct Asset {
    content_type: HeaderValue,
    lifetime: Lifetime,
    etag: HeaderValue,
    plain: Bytes,
    /// `None` in the cell: it is not worth it.
    compressed: [OnceCell<Option<Bytes>>; Encoding::ALL.len()],
}

impl Asset {
    pub(super) fn new(content_type: &str, lifetime: Lifetime, plain: Bytes) -> Self {
        let tag = URL_SAFE_NO_PAD.encode(&Sha256::digest(&plain)[..16]);
        let octets = HeaderValue::from_static("application/octet-stream");
        Self {
            content_type: HeaderValue::from_str(content_type).unwrap_or(octets),
            lifetime,
            // Weak: it is the same file in each of its forms.
            etag: HeaderValue::from_str(&format!("W/\"{tag}\"")).expect("base64 in quotes"),
            plain,
            compressed: Default::default(),
        }
    }

    /// Sends the file, in the form that the client likes best, unless it has it.
    pub(super) async fn answer(&self, headers: &HeaderMap) -> Response {
        let mut response = if is_known(headers, &self.etag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            self.whole(headers).await
        };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.etag.clone());
        headers.insert(header::CACHE_CONTROL, self.lifetime.header());
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        response
    }

    async fn whole(&self, headers: &HeaderMap) -> Response {
        let content_type = (header::CONTENT_TYPE, self.content_type.clone());
        if let Some(encoding) = Encoding::accepted(headers) {
            let form = &self.compressed[encoding as usize];
            let form = form.get_or_init(|| compressed(&self.content_type, &self.plain, encoding));
            if let Some(bytes) = form.await {
                let encoding = (
                    header::CONTENT_ENCODING,
                    HeaderValue::from_static(encoding.name()),
                );
                return ([content_type, encoding], bytes.clone()).into_response();
            }
        }
        ([content_type], self.plain.clone()).into_response()
    }
}

/// The compressed form of a file. `None`: its kind is not worth it, or it became no smaller.
async fn compressed(content_type: &HeaderValue, plain: &Bytes, encoding: Encoding) -> Option<Bytes> {
    let file = ([(header::CONTENT_TYPE, content_type.clone())], plain.clone());
    let file = service_fn(move |_: Request<Body>| {
        let response = file.clone().into_response();
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let request = Request::get("/").header(header::ACCEPT_ENCODING, encoding.name());
    let request = request.body(Body::empty()).ok()?;
    let Ok(response) = CompressionLayer::new().layer(file).oneshot(request).await;
    response.headers().get(header::CONTENT_ENCODING)?;
    let bytes = to_bytes(Body::new(response.into_body()), usize::MAX).await.ok()?;
    (bytes.len() < plain.len()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_what_it_likes_best_of_what_there_is() {
        for (accepted, expected) in [
            (None, None),
            (Some(""), None),
            (Some("identity"), None),
            (Some("gzip"), Some(Encoding::Gzip)),
            (Some("GZIP"), Some(Encoding::Gzip)),
            (Some("gzip, deflate, br, zstd"), Some(Encoding::Zstd)),
            (Some("gzip;q=1.0, zstd;q=0.5"), Some(Encoding::Gzip)),
            (Some("gzip; q=0, zstd; q=0"), None),
            (Some("br"), None),
            (Some("*"), Some(Encoding::Zstd)),
            (Some("*;q=0.1, zstd;q=0"), Some(Encoding::Gzip)),
            (Some("*, gzip;q=0, zstd;q=0"), None),
            (Some("gzip;q=lots"), None),
        ] {
            let value = accepted.map(|text| HeaderValue::from_str(text).expect("a header"));
            let headers = HeaderMap::from_iter(value.map(|value| (header::ACCEPT_ENCODING, value)));
            assert_eq!(Encoding::accepted(&headers), expected, "{accepted:?}");
        }
    }

    #[tokio::test]
    async fn a_file_is_compressed_once_and_only_where_that_is_worth_it() {
        let text = Asset::new("text/css", Lifetime::Ask, Bytes::from("a {}\n".repeat(1_000)));
        let image = Asset::new("image/png", Lifetime::Ask, Bytes::from(vec![b'x'; 5_000]));
        let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"))]);
        let mut sent = Vec::new();
        for _ in 0..2 {
            let response = text.answer(&headers).await;
            assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
            sent.push(to_bytes(response.into_body(), 1_000).await.expect("small"));
        }
        assert_eq!(sent[0].as_ptr(), sent[1].as_ptr(), "the same bytes, made once");
        let response = image.answer(&headers).await;
        assert!(!response.headers().contains_key(header::CONTENT_ENCODING));
    }
}
