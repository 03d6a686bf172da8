//! The public routes, and the gates that every request passes on its way to them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Extension, MatchedPath, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use prometheus::Registry;
use rollup::clock::Clock;
use tower_http::compression::CompressionLayer;

use crate::access::Caller;
use crate::answer::answer;
use crate::application::App;
use crate::held::Held;
use crate::host::of_this_machine;
use crate::limit::Name;
use crate::openapi::{self, Described};
use crate::pages;
use crate::problem::{Kind, Problem};
use crate::reader::Reader;
use crate::route::Route;
use crate::routes::{breakdown, meta, series, summary, table};
use crate::settings::{Access, Settings, SettingsError};

/// A question has no body; a client that sends one all the same may send this much.
const MAX_BODY_BYTES: u64 = 16 * 1024;
/// The label of requests that no route takes.
const NO_ROUTE: &str = "none";

/// A route with its description. There is no other way to add one, and none without a rule.
pub(crate) struct Entry<R: Reader> {
    pub(crate) described: Described,
    handler: MethodRouter<Arc<App<R>>>,
}

fn entry<Q: Route, R: Reader>() -> Entry<R> {
    let handler = async |State(app): State<Arc<App<R>>>,
                         Extension(caller): Extension<Caller>,
                         Extension(name): Extension<Name>,
                         RawQuery(query): RawQuery,
                         headers: HeaderMap| {
        Box::pin(answer::<Q, R>(&app, &caller, name, query.as_deref(), &headers)).await
    };
    Entry {
        described: Described::of::<Q>(),
        handler: get(handler),
    }
}

/// Every route under `/v1`.
pub(crate) fn entries<R: Reader>() -> Vec<Entry<R>> {
    vec![
        entry::<summary::Summary, R>(),
        entry::<series::Series, R>(),
        entry::<breakdown::Breakdown, R>(),
        entry::<table::Table, R>(),
        entry::<summary::Me, R>(),
        entry::<meta::Meta, R>(),
    ]
}

/// The public routes over a reader.
///
/// # Errors
/// When the key that tokens are checked with or the currency is unusable, or the registry refuses the
/// metrics.
pub fn router<R: Reader>(
    settings: Settings,
    reader: R,
    clock: Arc<dyn Clock>,
    registry: &Registry,
) -> Result<Router, SettingsError> {
    let app = Arc::new(App::new(settings, reader, clock, registry)?);
    let entries = entries::<R>();
    let routes = entries.iter().map(|entry| entry.described.path);
    app.metrics
        .begin_at_zero(routes.chain(pages::PATHS).chain([NO_ROUTE]));
    let document = openapi::document(entries.iter().map(|entry| &entry.described), &app.settings);
    let questions = entries
        .into_iter()
        .fold(Router::new(), |router, entry| {
            router.route(entry.described.path, entry.handler)
        })
        // Under `/v1` also what is not there is told to nobody without a token.
        .route("/v1/{*rest}", get(not_found))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(&app), admit::<R>))
        .layer(from_fn_with_state(Arc::clone(&app), in_time::<R>))
        .layer(CompressionLayer::new());
    let claims = match &app.settings.access {
        Access::Off => None,
        Access::Jwt(jwt) => Some(jwt.claims.clone()),
    };
    let is_open = claims.is_none();
    let mut router = Router::new()
        .merge(questions)
        .with_state(Arc::clone(&app))
        .merge(pages::router(&document, claims, Arc::clone(&app.rate))?)
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found);
    if is_open {
        router = router.layer(from_fn(of_this_machine));
    }
    Ok(router
        .layer(from_fn(hardened))
        .layer(from_fn(small))
        .layer(from_fn_with_state(app, measured::<R>)))
}

async fn not_found() -> Problem {
    Problem::new(
        Kind::NotFound,
        "there is nothing at this address; the document `openapi.json` says what there is",
    )
}

async fn method_not_allowed() -> Problem {
    Problem::new(Kind::MethodNotAllowed, "everything here is read with GET")
}

/// Finds out who asks, and whether not too often.
async fn admit<R: Reader>(State(app): State<Arc<App<R>>>, mut request: Request, next: Next) -> Response {
    let address = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map(|info| info.0.ip());
    let caller = match app.verifier.caller(request.headers(), app.clock.now()).await {
        Ok(caller) => caller,
        // Who guesses tokens is counted under the address that the guesses come from.
        Err(problem) => {
            return app
                .rate
                .take(&Name::at(address))
                .err()
                .unwrap_or(problem)
                .into_response();
        }
    };
    let name = caller
        .name()
        .map_or_else(|| Name::at(address), |subject| Name::Subject(subject.to_owned()));
    if let Err(problem) = app.rate.take(&name) {
        return problem.into_response();
    }
    let share = match app.shares.take(&name).await {
        Ok(share) => share,
        Err(problem) => return problem.into_response(),
    };
    request.extensions_mut().insert(caller);
    request.extensions_mut().insert(name);
    let mut response = next.run(request).await;
    response.extensions_mut().insert(Held::new(share));
    response
}

/// Ends what takes too long.
async fn in_time<R: Reader>(State(app): State<Arc<App<R>>>, request: Request, next: Next) -> Response {
    let limit = app.settings.limits.timeout;
    tokio::time::timeout(limit, next.run(request))
        .await
        .unwrap_or_else(|_| {
            let detail = "the question took too long: ask for a shorter range, or come again later";
            Problem::new(Kind::TimedOut, detail)
                .retry_after(1)
                .into_response()
        })
}

/// Refuses bodies, which no question has.
async fn small(request: Request, next: Next) -> Response {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let bytes = length.map(|length| length.to_str().ok().and_then(|text| text.parse::<u64>().ok()));
    match bytes {
        Some(Some(0..=MAX_BODY_BYTES)) | None => next.run(request).await,
        _ => Problem::new(Kind::TooLarge, "everything here is asked for in the address").into_response(),
    }
}

async fn hardened(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

async fn measured<R: Reader>(State(app): State<Arc<App<R>>>, request: Request, next: Next) -> Response {
    let started = tokio::time::Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let took: Duration = started.elapsed();
    // A wildcard's template is no route of ours: assets and what is not there are counted together.
    let route = route
        .as_ref()
        .map(MatchedPath::as_str)
        .filter(|route| !route.contains('{'))
        .unwrap_or(NO_ROUTE);
    app.metrics.answered(route, response.status(), took);
    response
}
