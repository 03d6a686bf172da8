//! An answer on its way to the peer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::time::Instant;

use super::watch::UnderWay;

/// A large answer is handed over in pieces, so that one that is taken slowly is seen to be taken.
const PIECE_BYTES: usize = 16 * 1024;

/// A body of which every byte keeps its answer under way until it is sent.
pub(super) struct Answered {
    body: Body,
    /// What was read of the body and not handed over yet.
    rest: Bytes,
    under_way: Arc<UnderWay>,
}

impl Answered {
    pub(super) fn new(body: Body, under_way: UnderWay) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            under_way: Arc::new(under_way),
        }
    }

    fn piece(&mut self) -> Frame<Bytes> {
        let bytes = self.rest.split_to(self.rest.len().min(PIECE_BYTES));
        self.under_way.waits_for_peer(Instant::now());
        Frame::data(Bytes::from_owner(Piece {
            bytes,
            _under_way: Arc::clone(&self.under_way),
        }))
    }
}

/// Some bytes of an answer.
struct Piece {
    bytes: Bytes,
    _under_way: Arc<UnderWay>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for Answered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        loop {
            if !self.rest.is_empty() {
                return Poll::Ready(Some(Ok(self.piece())));
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) => self.rest = bytes,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Poll::Pending => {
                    self.under_way.waits_for_us();
                    return Poll::Pending;
                }
                ended => return ended,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}
