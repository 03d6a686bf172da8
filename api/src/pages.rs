//! What is public: the description of the routes, its page, and the dashboard. They hold no data.

use axum::Router;
use axum::extract::{Path, Request};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::dashboard;
use crate::problem::{Kind, Problem};

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

/// The public pages.
pub(crate) fn router(document: OpenApi) -> Router {
    let docs: Router = SwaggerUi::new("/docs")
        .config(Config::from("/openapi.json"))
        .into();
    let own = Router::new()
        .route("/openapi.json", get(async move || axum::Json(document)))
        .route("/", get(async || page("index.html")))
        .route(
            "/{*path}",
            get(async |Path(path): Path<String>, uri: Uri| asset(&path, &uri)),
        )
        .layer(from_fn(async |request, next| {
            guarded(request, next, POLICY).await
        }));
    own.merge(docs.layer(from_fn(async |request, next| {
        guarded(request, next, DOCS_POLICY).await
    })))
}

async fn guarded(request: Request, next: Next, policy: HeaderValue) -> Response {
    let mut response = next.run(request).await;
    // The pages of the routes say it in their own way.
    if response.status() == StatusCode::NOT_FOUND && !response.headers().contains_key(header::CONTENT_TYPE) {
        response = Problem::new(Kind::NotFound, "there is no such file").into_response();
    }
    response
        .headers_mut()
        .insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// A file of the dashboard.
fn asset(path: &str, uri: &Uri) -> Response {
    match dashboard::file(path) {
        Some(_) => page(path),
        None => Problem::new(
            Kind::NotFound,
            format!("there is nothing at `{}`", crate::problem::echo(uri.path())),
        )
        .into_response(),
    }
}

fn page(path: &str) -> Response {
    match dashboard::file(path) {
        Some(file) => {
            // Assets carry a hash of their content in their names; the page that names them does not.
            let cache = if path.starts_with("assets/") {
                "public, max-age=31536000, immutable"
            } else {
                "no-cache"
            };
            let headers = [
                (header::CONTENT_TYPE, file.content_type),
                (header::CACHE_CONTROL, cache.to_owned()),
            ];
            (headers, file.bytes).into_response()
        }
        None => Html(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>usage-ledger</title>\
             <p>The usage page was not built into this program: <code>make dashboard</code> builds it, and \
             <code>cargo build</code> then takes it in. The reader itself is here: \
             <a href=\"/docs/\">its routes</a>.",
        )
        .into_response(),
    }
}
