//! The public pages: the description of the routes, its page, and the dashboard. They hold no data.
//!
//! Whatever leads from one to another is relative: a proxy may have put all of them below a path of its own, of which
//! nothing is known here.

mod asset;
mod claims;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::Config;

use self::asset::{Asset, Lifetime};
use crate::dashboard;
use crate::limit::{Name, RateLimit};
use crate::problem::{Kind, Problem};
use crate::settings::Claims;

/// The pages load nothing from anywhere else, run nothing that is inline, and sit in nobody's frame.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
/// The page of the routes is not ours: it styles itself inline, and brings its images along.
const DOCS_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
);
/// The file that a folder is asked for.
const INDEX: &str = "index.html";
/// The pages that have an address of their own; the others are files of theirs.
pub(crate) const PATHS: [&str; 4] = ["/", "/docs", "/docs/", "/openapi.json"];
/// The page where the dashboard was not built.
const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>usage-ledger</title>\
    <p>The usage page was not built into this program: <code>make dashboard</code> builds it, and \
    <code>cargo build</code> then takes it in. The reader itself is here: <a href=\"docs/\">its routes</a>.";

/// The public pages, each visitor's requests counted. The dashboard is told where tokens say what, where they are checked.
pub(crate) fn router(
    document: &OpenApi,
    claims: Option<Claims>,
    rate: Arc<RateLimit>,
) -> Result<Router, serde_json::Error> {
    let document = Bytes::from(serde_json::to_vec(document)?);
    let document = Arc::new(Asset::new("application/json", Lifetime::Ask, document));
    let pages = Arc::new(Pages {
        claims,
        files: Files::default(),
    });
    let docs = Arc::new(Docs {
        config: Arc::new(Config::from("../openapi.json")),
        files: Files::default(),
    });
    let own = Router::new()
        .route(
            "/openapi.json",
            get(async move |headers: HeaderMap| document.answer(&headers).await),
        )
        .route("/", get(index))
        .route("/{*path}", get(page))
        .with_state(pages)
        .layer(from_fn(async |request, next| {
            guarded(request, next, POLICY).await
        }));
    let docs = Router::new()
        .route("/docs", get(async || Redirect::to("docs/")))
        .route("/docs/", get(docs_index))
        .route("/docs/{*path}", get(docs_file))
        .with_state(docs)
        .layer(from_fn(async |request, next| {
            guarded(request, next, DOCS_POLICY).await
        }));
    Ok(own.merge(docs).layer(from_fn_with_state(rate, counted)))
}

/// Counts the requests that come from one place.
async fn counted(State(rate): State<Arc<RateLimit>>, request: Request, next: Next) -> Response {
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>();
    match rate.take(&Name::visiting(address.map(|info| info.0.ip()))) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

async fn guarded(request: Request, next: Next, policy: HeaderValue) -> Response {
    let mut response = next.run(request).await;
    response
        .headers_mut()
        .insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// The files that were asked for so far. There are only so many.
#[derive(Default)]
struct Files {
    known: Mutex<HashMap<String, Arc<Asset>>>,
}

impl Files {
    /// The file at a path, found by `find` where it is asked for the first time.
    fn get(&self, path: &str, find: impl FnOnce() -> Option<Asset>) -> Option<Arc<Asset>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asset) = known.get(path) {
            return Some(Arc::clone(asset));
        }
        let asset = Arc::new(find()?);
        known.insert(path.to_owned(), Arc::clone(&asset));
        Some(asset)
    }
}

/// The dashboard.
struct Pages {
    claims: Option<Claims>,
    files: Files,
}

impl Pages {
    fn file(&self, path: &str) -> Option<Arc<Asset>> {
        self.files.get(path, || {
            let file = dashboard::file(path)?;
            // Assets carry a hash of their content in their names; the page that names them does not.
            let lifetime = if path.starts_with("assets/") {
                Lifetime::ForEver
            } else {
                Lifetime::Ask
            };
            let bytes = match &self.claims {
                Some(claims) if path == INDEX => Bytes::from(told(&file.bytes, claims)?),
                _ => Bytes::from_owner(file.bytes),
            };
            Some(Asset::new(&file.content_type, lifetime, bytes))
        })
    }
}

/// The page, told where tokens say what.
fn told(page: &[u8], claims: &Claims) -> Option<String> {
    let page = String::from_utf8_lossy(page);
    claims::filled(&page, claims)
        .inspect_err(|error| tracing::error!(error = %error, "the page cannot be told where tokens say what"))
        .ok()
}

async fn index(State(pages): State<Arc<Pages>>, headers: HeaderMap) -> Response {
    let page = pages.file(INDEX).or_else(|| {
        let page = || {
            let page = Bytes::from_static(NOT_BUILT.as_bytes());
            Some(Asset::new("text/html; charset=utf-8", Lifetime::Ask, page))
        };
        pages.files.get("", page)
    });
    answer(page, &headers, "/").await
}

async fn page(
    State(pages): State<Arc<Pages>>,
    Path(path): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    answer(pages.file(&path), &headers, uri.path()).await
}

/// The page of the routes.
struct Docs {
    config: Arc<Config<'static>>,
    files: Files,
}

impl Docs {
    fn file(&self, path: &str) -> Option<Arc<Asset>> {
        self.files.get(path, || {
            let file = utoipa_swagger_ui::serve(path, Arc::clone(&self.config));
            let file = file
                .inspect_err(|error| tracing::error!(error = %error, path, "a page cannot be made"))
                .ok()??;
            let bytes = Bytes::from(file.bytes.into_owned());
            Some(Asset::new(&file.content_type, Lifetime::Ask, bytes))
        })
    }
}

async fn docs_index(State(docs): State<Arc<Docs>>, headers: HeaderMap) -> Response {
    answer(docs.file(INDEX), &headers, "/docs/").await
}

async fn docs_file(
    State(docs): State<Arc<Docs>>,
    Path(path): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    answer(docs.file(&path), &headers, uri.path()).await
}

async fn answer(file: Option<Arc<Asset>>, headers: &HeaderMap, path: &str) -> Response {
    match file {
        Some(asset) => asset.answer(headers).await,
        None => {
            let detail = format!("there is nothing at `{}`", crate::problem::echo(path));
            Problem::new(Kind::NotFound, detail).into_response()
        }
    }
}
