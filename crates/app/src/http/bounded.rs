//! One request within the bounds of its door: a place, room for its body as it comes, and for its answer while it is sent.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use gateway::bounds::{Bounds, Full, Room};
use gateway::events::full;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tower::Service;

use super::door::{Limits, Seat};
use super::streams::{End, Piece};

/// How often a body is held while it is answered: as it came, as it was read, and as what it leads to.
const BODY_COPIES: usize = 3;

/// Of an answer, so much is handed on at once.
const PIECE_BYTES: usize = 64 << 10;

/// Answers one request. Whoever asks after the process's health needs no place.
pub async fn answer<S>(
    mut service: S,
    bounds: Bounds,
    limits: Limits,
    seat: Arc<Seat>,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Leaving>, Infallible>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let (mut parts, body) = request.into_parts();
    let place = match parts.uri.path() {
        "/healthz" | "/readyz" | "/metrics" => Ok(None),
        path => bounds.place(stays(path, &parts.headers)).map(Some),
    };
    let under_way = Arc::new(UnderWay::new(seat));
    let place = match place {
        Ok(place) => place,
        Err(why) => return Ok(Leaving::of(full(&parts.headers, why), None, Room::default(), under_way)),
    };
    parts.extensions.insert(bounds.clone());
    let is_grpc = is_grpc(&parts.headers);
    let arrived = match body.is_end_stream() {
        true => {
            under_way.is_whole();
            None
        }
        false => Some(Arc::new(Arrived::default())),
    };
    let body = match &arrived {
        None => Body::empty(),
        Some(arrived) => Body::new(Arriving {
            body: Some(body),
            arrived: arrived.clone(),
            bounds: bounds.clone(),
            under_way: under_way.clone(),
            request_max: limits.request_max,
        }),
    };
    let Ok(mut response) = service.call(Request::from_parts(parts, body)).await;
    under_way.is_whole();
    let was_refused = arrived.as_ref().is_some_and(|arrived| arrived.was_refused.load(Ordering::Acquire));
    // What the request took is free again.
    drop(arrived);
    let headers = grpc_or_not(is_grpc);
    if was_refused {
        response = full(&headers, Full::Memory);
    }
    let bytes = response.body().size_hint().exact().unwrap_or(0);
    let room = match bounds.room(usize::try_from(bytes).unwrap_or(usize::MAX)) {
        Ok(room) => room,
        Err(why) => {
            response = full(&headers, why);
            Room::default()
        }
    };
    Ok(Leaving::of(response, place, room, under_way))
}

/// Whether an answer may take as long as it likes.
fn stays(path: &str, headers: &HeaderMap) -> bool {
    let of_grpc = path.strip_prefix("/levada.events.v1.Events/");
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    matches!(of_grpc, Some("Subscribe" | "ReadStream" | "ReadCategory" | "Pull"))
        || path.starts_with("/v1/subscriptions/") && (path.ends_with("/pull") || path.ends_with("/events"))
        || accepts.is_some_and(|accept| accept.contains("text/event-stream"))
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    content_type.is_some_and(|it| it.as_bytes().starts_with(b"application/grpc"))
}

fn grpc_or_not(is_grpc: bool) -> HeaderMap {
    let grpc = axum::http::HeaderValue::from_static("application/grpc");
    is_grpc.then_some((header::CONTENT_TYPE, grpc)).into_iter().collect()
}

/// A request keeps its connection's place from when all of it is there until it is answered.
struct UnderWay {
    seat: Arc<Seat>,
    is_whole: AtomicBool,
}

impl UnderWay {
    fn new(seat: Arc<Seat>) -> UnderWay {
        UnderWay { seat, is_whole: AtomicBool::new(false) }
    }

    fn is_whole(&self) {
        if !self.is_whole.swap(true, Ordering::AcqRel) {
            self.seat.is_busy();
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if *self.is_whole.get_mut() {
            self.seat.is_done();
        }
    }
}

/// What of a body is there.
#[derive(Default)]
struct Arrived {
    room: Mutex<Room>,
    was_refused: AtomicBool,
}

impl Arrived {
    /// Whether there is room for so much more of it.
    fn takes(&self, bounds: &Bounds, bytes: usize) -> bool {
        let is_taken = self.room.lock().grow(bounds, BODY_COPIES.saturating_mul(bytes)).is_ok();
        self.was_refused.fetch_or(!is_taken, Ordering::AcqRel);
        is_taken
    }
}

/// A body as it comes.
struct Arriving {
    /// None: the rest of it is not wanted.
    body: Option<Incoming>,
    arrived: Arc<Arrived>,
    bounds: Bounds,
    under_way: Arc<UnderWay>,
    request_max: Duration,
}

/// There is no room for the rest of a body.
#[derive(Debug, thiserror::Error)]
#[error("there is no room for more of it")]
struct NoRoom;

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(&mut *body).poll_frame(context);
        let is_whole = matches!(polled, Poll::Ready(None)) || body.is_end_stream();
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            if !self.arrived.takes(&self.bounds, bytes) {
                // A connection that is closed before all of a body came would take the answer with it.
                if let Some(rest) = self.body.take() {
                    env::spawn(timeout(self.request_max, pass_over(rest)));
                }
                return Poll::Ready(Some(Err(axum::Error::new(NoRoom))));
            }
        }
        if is_whole {
            self.under_way.is_whole();
        }
        polled.map(|next| next.map(|frame| frame.map_err(axum::Error::new)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

/// Reads what comes and forgets it.
async fn pass_over(mut body: Incoming) {
    while let Some(Ok(_)) = body.frame().await {}
}

/// An answer while it is sent, with what it has taken: in small pieces, since whoever sends it lets go of it with the
/// last one.
pub struct Leaving {
    body: Body,
    /// Of the last frame.
    rest: Bytes,
    _place: Option<OwnedSemaphorePermit>,
    room: Arc<Room>,
    under_way: Arc<UnderWay>,
    end: Option<Arc<End>>,
}

impl Leaving {
    fn of(
        response: Response,
        place: Option<OwnedSemaphorePermit>,
        room: Room,
        under_way: Arc<UnderWay>,
    ) -> hyper::Response<Leaving> {
        let (room, end) = (Arc::new(room), End::of_this_stream());
        if let Some(end) = &end {
            end.is_offered();
        }
        response.map(|body| Leaving { body, rest: Bytes::new(), _place: place, room, under_way, end })
    }
}

impl HttpBody for Leaving {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        let polled = self.next(context);
        if let Some(end) = &self.end {
            match &polled {
                Poll::Pending => end.is_quiet(),
                Poll::Ready(_) => end.is_offered(),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

impl Leaving {
    fn next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => {
                        let trailers = other.into_trailers().unwrap_or_default();
                        return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                    }
                },
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
        let length = self.rest.len().min(PIECE_BYTES);
        let (bytes, sending) = (self.rest.split_to(length), self.under_way.seat.sending.clone());
        Poll::Ready(Some(Ok(Frame::data(Piece::of(bytes, sending, self.room.clone())))))
    }
}
