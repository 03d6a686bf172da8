//! From a request to a response: the one way that every route goes.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, NaiveDate, SecondsFormat, TimeDelta, Utc};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use rollup::period::Calendar;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::access::Caller;
use crate::ask::{Ask, Moment};
use crate::cache::{CacheKey, Weighed};
use crate::parameter::Parameters;
use crate::problem::{Kind, Problem};
use crate::question::{Days, filters};
use crate::range::Preset;
use crate::reader::{Freshness, Gap, Reader};
use crate::route::{Common, Line, Route, Sheet};
use crate::router::App;

/// The instant up to which everything is in the answer, also where the body is left out.
pub(crate) const AS_OF: HeaderName = HeaderName::from_static("usage-data-as-of");

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const CSV: HeaderValue = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
/// Lines of CSV that are sent at once.
const CSV_LINES: usize = 256;

/// An answer without the parts that change while the rows do not.
pub(crate) struct Rendered {
    /// `"organizationId": …, "range": …`
    head: String,
    /// The rest of the members.
    rest: String,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Csv,
}

impl Format {
    /// What the caller takes: JSON, unless it likes CSV better.
    fn accepted(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut best = [0.0_f32; 2];
        let mut said = false;
        for value in headers.get_all(header::ACCEPT) {
            let ranges = value.to_str().unwrap_or_default().split(',');
            for range in ranges.map(str::trim).filter(|range| !range.is_empty()) {
                said = true;
                let mut parts = range.split(';').map(str::trim);
                let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
                let weight = parts
                    .find_map(|part| part.strip_prefix("q="))
                    .map_or(Some(1.0), |q| q.parse().ok());
                let weight = weight.unwrap_or(0.0);
                match kind.as_str() {
                    "application/json" => best[0] = weight,
                    "text/csv" => best[1] = weight,
                    "*/*" | "application/*" => best[0] = best[0].max(weight),
                    "text/*" => best[1] = best[1].max(weight),
                    _ => {}
                }
            }
        }
        match best {
            [json, csv] if csv > json => Ok(Format::Csv),
            [json, _] if json > 0.0 || !said => Ok(Format::Json),
            _ => Err(Problem::new(
                Kind::NotAcceptable,
                "answers are `application/json` or `text/csv`",
            )),
        }
    }
}

/// Answers one request of an authenticated caller.
pub(crate) async fn answer<Q: Route, R: Reader>(
    app: &App<R>,
    caller: &Caller,
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
            let _permit = app.permit().await?;
            let moment = Moment::now(open).await?;
            csv(route.sheet(&common, ask(moment)).await?).await?
        }
        Format::Json => {
            let gaps = gaps(&freshness, &common.days, &app.settings.calendar);
            // Everything that an answer depends on: above all, who may see it.
            let key = CacheKey::of(&(Q::PATH, &grant, &parameters, today, freshness.mark, &gaps));
            let made = app.answers.get_or_make(key, async {
                let _permit = app.permit().await?;
                let mut asked = ask(Moment::at(freshness.mark, open));
                let mut answer = route.answer(&common, &asked).await;
                if answer.is_err()
                    && let Some(newer) = asked.moment.newer()
                {
                    asked = ask(newer);
                    answer = route.answer(&common, &asked).await;
                }
                let rendered = render(&common, asked.zone, &answer?, gaps)?;
                asked.finish().await?;
                Ok::<_, Problem>(rendered)
            });
            json(&*made.await?, &fresh, headers)?
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
    let (head, rest) = (members(&head)?, members(answer)?);
    let digest = Sha256::new()
        .chain_update(&head)
        .chain_update("\0")
        .chain_update(&rest)
        .finalize();
    let tag = format!("W/\"{}\"", URL_SAFE_NO_PAD.encode(&digest[..16]));
    let etag = HeaderValue::try_from(tag).map_err(|error| Problem::internal(&error))?;
    Ok(Rendered { head, rest, etag })
}

/// The members of an object, without its braces.
fn members(object: &impl Serialize) -> Result<String, Problem> {
    let mut text = serde_json::to_string(object)?;
    text.pop();
    text.remove(0);
    Ok(text)
}

fn json(rendered: &Rendered, fresh: &Fresh, headers: &HeaderMap) -> Result<Response, Problem> {
    let mut response = if matches(headers, &rendered.etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let body = format!("{{{},{},{}}}", rendered.head, members(fresh)?, rendered.rest);
        ([(header::CONTENT_TYPE, JSON)], body).into_response()
    };
    response.headers_mut().insert(header::ETAG, rendered.etag.clone());
    Ok(response)
}

/// Whether the caller has this answer already. Tags are compared weakly.
fn matches(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let Ok(own) = etag.to_str().map(opaque) else {
        return false;
    };
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| tag.trim() == "*" || opaque(tag) == own)
}

/// Streams a table as CSV. The first rows are made before the response begins, so that what fails at once
/// is a proper error; what fails later breaks the response off, and is never a shorter table.
async fn csv(sheet: Sheet) -> Result<Response, Problem> {
    let head = line_block(&[sheet.columns])?;
    let mut blocks = sheet.lines.chunks(CSV_LINES).map(|lines| {
        let lines: Vec<Line> = lines.into_iter().collect::<Result<_, _>>()?;
        line_block(&lines)
    });
    let first = blocks.next().await.transpose()?;
    let start = futures_util::stream::iter([Ok(head)].into_iter().chain(first.map(Ok)));
    let stream: BoxStream<'static, Result<Bytes, Problem>> = start.chain(blocks).boxed();
    let stream = stream.map(|block| block.map_err(|_| std::io::Error::other("the answer broke off")));
    Ok(([(header::CONTENT_TYPE, CSV)], Body::from_stream(stream)).into_response())
}

fn line_block<R: AsRef<[u8]>>(rows: &[Vec<R>]) -> Result<Bytes, Problem> {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    for row in rows {
        writer
            .write_record(row)
            .map_err(|error| Problem::internal(&error))?;
    }
    let bytes = writer
        .into_inner()
        .map_err(|error| Problem::internal(error.error()))?;
    Ok(bytes.into())
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
    fn csv_is_answered_to_whom_likes_it_better_than_json() {
        let format = |accept: &str| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().expect("a header"))]);
            Format::accepted(&headers).ok()
        };
        assert_eq!(Format::accepted(&HeaderMap::new()), Ok(Format::Json));
        for (accept, expected) in [
            ("*/*", Some(Format::Json)),
            ("text/csv", Some(Format::Csv)),
            ("text/csv, */*;q=0.1", Some(Format::Csv)),
            ("text/csv;q=0.5, application/json", Some(Format::Json)),
            ("application/json, text/csv", Some(Format::Json)),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Some(Format::Json)),
            ("application/xml", None),
            ("text/csv;q=0", None),
            ("", Some(Format::Json)),
        ] {
            assert_eq!(format(accept), expected, "{accept}");
        }
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
