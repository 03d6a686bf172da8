//! From a request to a response: the one way that every route goes.

mod csv;
mod file_name;
mod format;

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use chrono::{DateTime, NaiveDate, Utc};
use rollup::kept::Kept;

use self::file_name::file_name;
use self::format::Format;
use crate::access::{Caller, Grant};
use crate::application::App;
use crate::cache::CacheKey;
use crate::envelope::{Fresh, Head, gaps};
use crate::limit::Name;
use crate::parameter::Parameters;
use crate::problem::Problem;
use crate::query::{QueryContext, View};
use crate::question::{Days, filters};
use crate::reader::{Reader, Snapshot};
use crate::rejected::Rejections;
use crate::render::{json, render};
use crate::route::{Common, Route};

/// The instant up to which everything is in the answer, also where the body is left out.
pub(crate) const AS_OF: HeaderName = HeaderName::from_static("usage-data-as-of");

/// A quarter of an hour: the clock of every zone shows whole hours at quarters of one of UTC.
const QUARTER_SECONDS: i64 = 15 * 60;

/// A snapshot that the store keeps no longer is followed by a newer one so often at most.
const NEWER_SNAPSHOTS: u32 = 2;

/// Answers one request of an authenticated caller.
pub(crate) async fn answer<Q: Route, R: Reader>(
    app: &App<R>,
    caller: &Caller,
    name: Name,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let parameters = Parameters::parse(query, Q::PARAMETERS)?;
    let format = Format::asked(&parameters, headers)?;
    let grant = caller.grant(Q::rule(&parameters), parameters.one("organizationId"))?;
    let now = app.clock.now();
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
    let question = Question {
        app,
        route: Q::parse(&parameters, &mut common)?,
        common,
        grant,
        parameters,
        name,
        now,
        today,
    };
    let mut newer = 0;
    let (mut response, as_of) = loop {
        let answered = match format {
            Format::Csv => question.csv(None).await,
            Format::File => question.csv(Some(question.file_name())).await,
            Format::Json => question.json(headers).await,
        };
        match answered {
            Err(problem) if problem.is_gone() && newer < NEWER_SNAPSHOTS => newer += 1,
            answered => break answered?,
        }
    };
    let headers = response.headers_mut();
    if let Some(at) = as_of {
        let at = HeaderValue::try_from(at).map_err(|error| Problem::internal(&error))?;
        headers.insert(AS_OF, at);
    }
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache"),
    );
    headers.append(header::VARY, HeaderValue::from_static("accept, authorization"));
    Ok(response)
}

/// A question whose answer the caller may see.
struct Question<'a, Q, R: Reader> {
    app: &'a App<R>,
    route: Q,
    common: Common,
    /// As it was before the route narrowed it.
    grant: Grant,
    parameters: Parameters,
    name: Name,
    now: DateTime<Utc>,
    today: NaiveDate,
}

/// A response, and the instant up to which everything is in it.
type Answered = (Response, Option<String>);

impl<Q: Route, R: Reader> Question<'_, Q, R> {
    fn context(&self, snapshot: R::Snapshot) -> QueryContext<R::Snapshot> {
        let app = self.app;
        let later = &snapshot.freshness().later;
        let kept = app.granularities.iter().map(|granularity| {
            let mut later = later.iter();
            let later = later.find(|kept| kept.granularity == *granularity);
            later.copied().unwrap_or(Kept::always(*granularity))
        });
        QueryContext {
            kept: kept.collect(),
            view: View::of(snapshot),
            scope: self.common.scope(),
            now: self.now,
            today: self.today,
            calendar: app.settings.calendar,
            row_limit: app.settings.limits.rows,
            remembered: Arc::clone(&app.remembered),
        }
    }

    fn file_name(&self) -> String {
        file_name(Q::PATH, self.common.organization(), self.common.days.range)
    }

    /// The answer as CSV: where it is a file, under this name.
    async fn csv(&self, file: Option<String>) -> Result<Answered, Problem> {
        let app = self.app;
        let turn = app.turns.take(&self.name).await;
        let snapshot = app.snapshots.open().await?;
        let as_of = Fresh::new(snapshot.freshness(), self.now).data_as_of();
        let csv_table = self.route.csv_table(&self.common, self.context(snapshot)).await?;
        let caller = csv::Caller {
            purse: app.budget.of(&self.name),
            turns: Arc::clone(&app.turns),
            name: self.name.clone(),
            path: Q::PATH,
        };
        Ok((csv::response(csv_table, turn, caller, file).await?, as_of))
    }

    async fn json(&self, headers: &HeaderMap) -> Result<Answered, Problem> {
        let app = self.app;
        let purse = app.budget.of(&self.name);
        let snapshot = app.snapshots.open().await?;
        let fresh = Fresh::new(snapshot.freshness(), self.now);
        let gaps = gaps(snapshot.freshness(), &self.common.days, &app.settings.calendar);
        // Everything that an answer depends on: above all, who may see it.
        let key = CacheKey::of(&(
            Q::PATH,
            &self.grant,
            self.common.is_staff,
            &self.parameters,
            self.today,
            // Which hours are over.
            self.now.timestamp().div_euclid(QUARTER_SECONDS),
            snapshot.freshness().version,
            snapshot.freshness().letters,
            Q::VERIFIED.then_some(snapshot.freshness().verified),
            &gaps,
        ));
        let made = app.answers.get_or_make(key, async {
            let _turn = app.turns.take(&self.name).await;
            let context = self.context(snapshot);
            let answer = self.route.answer(&self.common, &context).await?;
            let rejections = Rejections::read(Q::REJECTED, &self.common, &context).await?;
            let head = Head::new(
                self.common.organization(),
                &self.common.days,
                context.calendar.zone_name(),
                &gaps,
                rejections,
            );
            render(&head, &answer, &purse)
        });
        let response = json(made.await?, &fresh, headers, &purse)?;
        Ok((response, fresh.data_as_of()))
    }
}
