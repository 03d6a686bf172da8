//! From a request to a response: the one way that every route goes.

mod format;

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use self::format::Format;
use crate::access::Caller;
use crate::application::App;
use crate::budget::{Budget, charged};
use crate::cache::CacheKey;
use crate::csv_table::{CsvTable, Line};
use crate::envelope::{Fresh, Head, gaps};
use crate::limit::Name;
use crate::parameter::Parameters;
use crate::problem::Problem;
use crate::query::{QueryContext, View};
use crate::question::{Days, filters};
use crate::reader::Reader;
use crate::render::{json, render};
use crate::route::{Common, Route};
use crate::turns::{Turn, Turns};

/// The instant up to which everything is in the answer, also where the body is left out.
pub(crate) const AS_OF: HeaderName = HeaderName::from_static("usage-data-as-of");

const CSV: HeaderValue = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
/// Lines of CSV that are sent at once.
const CSV_LINES: usize = 256;

/// Answers one request of an authenticated caller.
pub(crate) async fn answer<Q: Route, R: Reader>(
    app: &App<R>,
    caller: &Caller,
    name: Name,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let format = Format::accepted(headers)?;
    let parameters = Parameters::parse(query, Q::PARAMETERS)?;
    let grant = caller.grant(Q::rule(&parameters), parameters.one("organizationId"))?;
    let now = (app.now)();
    let today = app.settings.calendar.day_of(now);
    let mut common = Common {
        grant,
        is_staff: caller.is_staff(),
        days: Days::parse(&parameters, &app.settings.calendar, today)?,
        filters: filters(&parameters),
        currency: app.currency,
        limits: app.settings.limits.clone(),
        excluded: app.settings.excluded_organizations.clone(),
    };
    let grant = common.grant.clone();
    let route = Q::parse(&parameters, &mut common)?;
    let freshness = app.freshness.read().await?;
    let fresh = Fresh::new(&freshness, now);
    let open = app.freshness.opener();
    let context = |view| QueryContext {
        view,
        freshness: Arc::clone(&freshness),
        scope: common.scope(),
        today,
        zone: app.settings.calendar.zone_name(),
        granularities: Arc::clone(&app.granularities),
        row_limit: app.settings.limits.rows,
        remembered: Arc::clone(&app.remembered),
    };
    let mut response = match format {
        Format::Csv => {
            let turn = app.turns.take(&name).await;
            let view = View::now(open).await?;
            let csv_table = route.csv_table(&common, context(view)).await?;
            let turns = (Arc::clone(&app.turns), name);
            csv(csv_table, app.budget.clone(), turn, turns).await?
        }
        Format::Json => {
            let gaps = gaps(&freshness, &common.days, &app.settings.calendar);
            // Everything that an answer depends on: above all, who may see it.
            let key = CacheKey::of(&(
                Q::PATH,
                &grant,
                common.is_staff,
                &parameters,
                today,
                freshness.version,
                &gaps,
            ));
            let made = app.answers.get_or_make(key, async {
                let _turn = app.turns.take(&name).await;
                let mut asked = context(View::at(freshness.version, open));
                let mut answer = route.answer(&common, &asked).await;
                if answer.is_err()
                    && let Some(newer) = asked.view.newer()
                {
                    asked = context(newer);
                    answer = route.answer(&common, &asked).await;
                }
                let head = Head::new(common.organization(), &common.days, asked.zone, &gaps);
                let rendered = render(&head, &answer?, &app.budget)?;
                asked.finish().await?;
                Ok::<_, Problem>(rendered)
            });
            json(made.await?, &fresh, headers, &app.budget)?
        }
    };
    let headers = response.headers_mut();
    if let Some(at) = fresh.data_as_of() {
        headers.insert(
            AS_OF,
            HeaderValue::try_from(at).map_err(|error| Problem::internal(&error))?,
        );
    }
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache"),
    );
    headers.append(header::VARY, HeaderValue::from_static("accept, authorization"));
    Ok(response)
}

/// Streams a table as CSV. The first rows are made before the response begins, so that what fails at once
/// is a proper error; what fails later breaks the response off, and is never a shorter table. Each block is
/// made in a turn, and is paid for before it is sent.
async fn csv(
    csv_table: CsvTable,
    budget: Budget,
    turn: Turn,
    (turns, name): (Arc<Turns>, Name),
) -> Result<Response, Problem> {
    let head = line_block(&[csv_table.columns])?;
    let mut blocks = csv_table
        .lines
        .chunks(CSV_LINES)
        .map(|lines| line_block(&lines.into_iter().collect::<Result<Vec<Line>, _>>()?))
        .boxed();
    let first = match blocks.next().await.transpose()? {
        Some(block) => [head, block].concat(),
        None => head,
    };
    drop(turn);
    let taken = budget.take(first.len())?;
    let more = stream::try_unfold(blocks, move |mut blocks| {
        let (budget, turns, name) = (budget.clone(), Arc::clone(&turns), name.clone());
        async move {
            let turn = turns.take(&name).await;
            let Some(block) = blocks.next().await.transpose()? else {
                return Ok(None);
            };
            drop(turn);
            let taken = budget.wait(block.len()).await?;
            Ok(Some((charged(block, taken), blocks)))
        }
    });
    let start = stream::iter([Ok(charged(first, taken))]);
    let stream: BoxStream<'static, Result<Bytes, Problem>> = start.chain(more).boxed();
    let stream = stream.map(|block| block.map_err(|_| std::io::Error::other("the answer broke off")));
    Ok(([(header::CONTENT_TYPE, CSV)], Body::from_stream(stream)).into_response())
}

fn line_block<R: AsRef<[u8]>>(rows: &[Vec<R>]) -> Result<Vec<u8>, Problem> {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    for row in rows {
        writer
            .write_record(row)
            .map_err(|error| Problem::internal(&error))?;
    }
    writer
        .into_inner()
        .map_err(|error| Problem::internal(error.error()))
}
