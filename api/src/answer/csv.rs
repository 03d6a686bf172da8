//! Tables, streamed.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use tokio::time::Instant;

use crate::budget::{Purse, charged};
use crate::csv_table::{CsvTable, Line};
use crate::limit::Name;
use crate::problem::Problem;
use crate::turns::{Turn, Turns};

const CSV: HeaderValue = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
/// By this mark spreadsheets know that a file is in UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// Lines that are sent at once.
const LINES: usize = 256;

/// Who gets a table.
pub(super) struct Caller {
    pub(super) purse: Purse,
    pub(super) turns: Arc<Turns>,
    pub(super) name: Name,
    /// Of the route.
    pub(super) path: &'static str,
}

/// Streams a table. The first rows are made in the turn before the response begins, so that what fails at once is a
/// proper error; what fails later breaks the response off, and is never a shorter table. Each further block is made in
/// a turn of its own, and is paid for before it is sent. With a name it is a file to be saved.
pub(super) async fn response(
    csv_table: CsvTable,
    turn: Turn,
    caller: Caller,
    file: Option<String>,
) -> Result<Response, Problem> {
    let mark = file.as_ref().map_or(&[][..], |_| BYTE_ORDER_MARK);
    let head = [mark, &line_block(&[csv_table.columns])?].concat();
    let mut blocks = csv_table
        .lines
        .chunks(LINES)
        .map(|lines| line_block(&lines.into_iter().collect::<Result<Vec<Line>, _>>()?))
        .boxed();
    let first = match blocks.next().await.transpose()? {
        Some(block) => [head, block].concat(),
        None => head,
    };
    drop(turn);
    let taken = caller.purse.take(first.len())?;
    let start = stream::iter([Ok(charged(first, taken))]);
    let began = Instant::now();
    let path = caller.path;
    let body = start
        .chain(more(blocks, caller))
        .map_err(move |problem: Problem| {
            let seconds = began.elapsed().as_secs();
            tracing::warn!(path, seconds, why = problem.detail(), "a table broke off");
            std::io::Error::other("the answer broke off")
        });
    let mut response = ([(header::CONTENT_TYPE, CSV)], Body::from_stream(body)).into_response();
    if let Some(name) = file {
        let saved = HeaderValue::try_from(format!("attachment; filename=\"{name}\""));
        let saved = saved.map_err(|error| Problem::internal(&error))?;
        response.headers_mut().insert(header::CONTENT_DISPOSITION, saved);
    }
    Ok(response)
}

fn more(
    blocks: BoxStream<'static, Result<Vec<u8>, Problem>>,
    caller: Caller,
) -> impl futures_util::Stream<Item = Result<Bytes, Problem>> + Send + 'static {
    stream::try_unfold((blocks, caller), async |(mut blocks, caller)| {
        let turn = caller.turns.take(&caller.name).await;
        let Some(block) = blocks.next().await.transpose()? else {
            return Ok(None);
        };
        drop(turn);
        let taken = caller.purse.wait(block.len()).await;
        Ok(Some((charged(block, taken), (blocks, caller))))
    })
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
