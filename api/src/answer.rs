//! From a request to a response: the one way that every route goes.

mod format;

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, NaiveDate, SecondsFormat, TimeDelta, Utc};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use rollup::period::Calendar;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use self::format::Format;
use crate::access::Caller;
use crate::ask::{Ask, Moment};
use crate::budget::{Budget, Taken, charged};
use crate::cache::{CacheKey, Weighed};
use crate::etag::is_known;
use crate::limit::Name;
use crate::parameter::Parameters;
use crate::problem::Problem;
use crate::question::{Days, filters};
use crate::range::Preset;
use crate::reader::{Freshness, Gap, Reader};
use crate::route::{Common, Line, Route, Sheet};
use crate::router::App;
use crate::turns::{Turn, Turns};

/// The instant up to which everything is in the answer, also where the body is left out.
pub(crate) const AS_OF: HeaderName = HeaderName::from_static("usage-data-as-of");

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const CSV: HeaderValue = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
/// Lines of CSV that are sent at once.
const CSV_LINES: usize = 256;
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

/// What every answer starts with.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Question)]
pub(crate) struct Head<'a> {
    /// Whose usage; null where it is not one organization's.
    organization_id: Option<&'a str>,
    range: ShownRange,
    /// Spans of time with events missing, where the range touches one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<ShownGap>>, nullable = false)]
    gaps: Vec<ShownGap>,
}

/// The days of an answer, both included.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Range)]
struct ShownRange {
    /// The first day.
    #[schema(value_type = String, format = Date)]
    from: NaiveDate,
    /// The last day.
    #[schema(value_type = String, format = Date)]
    to: NaiveDate,
    /// The name under which it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    preset: Option<Preset>,
    /// The ledger's time zone.
    time_zone: &'static str,
}

/// A span of time with events missing.
#[derive(Serialize, ToSchema)]
#[schema(as = Gap)]
struct ShownGap {
    /// Its begin.
    #[schema(value_type = String, format = DateTime)]
    from: Instant,
    /// Its end.
    #[schema(value_type = String, format = DateTime)]
    to: Instant,
}

/// How fresh an answer is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Freshness)]
pub(crate) struct Fresh {
    /// When the answer was given.
    #[schema(value_type = String, format = DateTime)]
    generated_at: Instant,
    /// The instant up to which every event that reached the source is in the answer.
    #[schema(value_type = Option<String>, format = DateTime)]
    data_as_of: Option<Instant>,
    /// How long ago that is.
    lag_seconds: Option<f64>,
}

#[derive(Debug, Clone, Copy)]
struct Instant(DateTime<Utc>);

impl Instant {
    fn text(self) -> String {
        self.0.to_rfc3339_opts(SecondsFormat::Millis, true)
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

/// The least watermark of the source's lanes. Not known before the first commit, while a history is being
/// taken in, or while a lane has none.
fn as_of(freshness: &Freshness) -> Option<DateTime<Utc>> {
    let watermark = |lane: &crate::reader::Lane| lane.watermark.filter(|_| !lane.scanning);
    let known: Option<Vec<_>> = freshness.lanes.iter().map(watermark).collect();
    known?.into_iter().min()
}

impl Fresh {
    fn new(freshness: &Freshness, now: DateTime<Utc>) -> Self {
        let data_as_of = as_of(freshness);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of centuries are exact")]
        let seconds = |lag: TimeDelta| lag.num_milliseconds().max(0) as f64 / 1000.0;
        Self {
            generated_at: Instant(now),
            data_as_of: data_as_of.map(Instant),
            lag_seconds: data_as_of.map(|at| seconds(now - at)),
        }
    }
}

/// The gaps that a range touches. Events of a gap may have completed on any of its days.
fn gaps(freshness: &Freshness, days: &Days, calendar: &Calendar) -> Vec<Gap> {
    let touches =
        |gap: &Gap| calendar.day_of(gap.from) <= days.range.to && calendar.day_of(gap.to) >= days.range.from;
    let mut gaps: Vec<Gap> = freshness
        .lanes
        .iter()
        .flat_map(|lane| &lane.gaps)
        .copied()
        .filter(touches)
        .collect();
    gaps.sort_unstable();
    gaps.dedup();
    gaps
}

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
    let route = Q::parse(&parameters, &mut common)?;
    let freshness = app.gate.freshness().await?;
    let fresh = Fresh::new(&freshness, now);
    let open = app.gate.opener();
    let ask = |moment| Ask {
        moment,
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
            let moment = Moment::now(open).await?;
            let sheet = route.sheet(&common, ask(moment)).await?;
            let turns = (Arc::clone(&app.turns), name);
            csv(sheet, app.budget.clone(), turn, turns).await?
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
                freshness.mark,
                &gaps,
            ));
            let made = app.answers.get_or_make(key, async {
                let _turn = app.turns.take(&name).await;
                let mut asked = ask(Moment::at(freshness.mark, open));
                let mut answer = route.answer(&common, &asked).await;
                if answer.is_err()
                    && let Some(newer) = asked.moment.newer()
                {
                    asked = ask(newer);
                    answer = route.answer(&common, &asked).await;
                }
                let rendered = render(&common, asked.zone, &answer?, gaps, &app.budget)?;
                asked.finish().await?;
                Ok::<_, Problem>(rendered)
            });
            json(made.await?, &fresh, headers, &app.budget)?
        }
    };
    let headers = response.headers_mut();
    if let Some(at) = fresh.data_as_of {
        headers.insert(
            AS_OF,
            HeaderValue::try_from(at.text()).map_err(|error| Problem::internal(&error))?,
        );
    }
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache"),
    );
    headers.append(header::VARY, HeaderValue::from_static("accept, authorization"));
    Ok(response)
}

fn render(
    common: &Common,
    zone: &'static str,
    answer: &impl Serialize,
    gaps: Vec<Gap>,
    budget: &Budget,
) -> Result<Rendered, Problem> {
    let head = Head {
        organization_id: common.organization(),
        range: ShownRange {
            from: common.days.range.from,
            to: common.days.range.to,
            preset: common.days.preset,
            time_zone: zone,
        },
        gaps: gaps
            .into_iter()
            .map(|gap| ShownGap {
                from: Instant(gap.from),
                to: Instant(gap.to),
            })
            .collect(),
    };
    let (head, _) = members(&head, budget)?;
    let (rest, mut taken) = members(answer, budget)?;
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
fn members(object: &impl Serialize, budget: &Budget) -> Result<(Vec<u8>, Vec<Taken>), Problem> {
    let mut text = budget.text();
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

fn json(
    rendered: Arc<Rendered>,
    fresh: &Fresh,
    headers: &HeaderMap,
    budget: &Budget,
) -> Result<Response, Problem> {
    let etag = rendered.etag.clone();
    let mut response = if is_known(headers, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let (fresh, _) = members(fresh, budget)?;
        let mut text = [b"{", &rendered.head[..], b",", &fresh, b","].concat();
        let body = if rendered.weight() <= HELD_BYTES {
            text.extend_from_slice(&rendered.rest);
            text.push(b'}');
            let taken = budget.take(text.len())?;
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

/// Streams a table as CSV. The first rows are made before the response begins, so that what fails at once
/// is a proper error; what fails later breaks the response off, and is never a shorter table. Each block is
/// made in a turn, and is paid for before it is sent.
async fn csv(
    sheet: Sheet,
    budget: Budget,
    turn: Turn,
    (turns, name): (Arc<Turns>, Name),
) -> Result<Response, Problem> {
    let head = line_block(&[sheet.columns])?;
    let mut blocks = sheet
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::Lane;

    #[test]
    fn an_answer_is_as_fresh_as_its_stalest_lane() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0);
        let lane = |watermark, scanning| Lane {
            watermark,
            scanning,
            ..Lane::default()
        };
        let as_of = |lanes: Vec<Lane>| {
            as_of(&Freshness {
                lanes,
                ..Freshness::default()
            })
        };
        assert_eq!(as_of(vec![lane(at(5), false), lane(at(3), false)]), at(3));
        assert_eq!(as_of(vec![lane(at(5), false), lane(None, false)]), None);
        assert_eq!(as_of(vec![lane(at(5), false), lane(at(9), true)]), None);
        assert_eq!(as_of(vec![]), None);
    }

    #[test]
    fn a_gap_is_told_where_the_range_touches_it() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().expect(text);
        let gap = Gap {
            from: at("2026-01-05T23:00:00Z"),
            to: at("2026-01-07T01:00:00Z"),
        };
        let freshness = Freshness {
            lanes: vec![Lane {
                gaps: vec![gap],
                ..Lane::default()
            }],
            ..Freshness::default()
        };
        let touched = |from: &str, to: &str| {
            let range = crate::range::Range {
                from: from.parse().expect(from),
                to: to.parse().expect(to),
            };
            !gaps(&freshness, &Days { range, preset: None }, &Calendar::UTC).is_empty()
        };
        assert!(touched("2026-01-01", "2026-01-05"));
        assert!(touched("2026-01-06", "2026-01-06"));
        assert!(touched("2026-01-07", "2026-01-31"));
        assert!(!touched("2026-01-01", "2026-01-04"));
        assert!(!touched("2026-01-08", "2026-01-31"));
    }
}
