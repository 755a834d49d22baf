//! The event store over gRPC: see `proto/levada/events/v1/events.proto`.

pub(super) mod codec;
mod consumers;
mod services;

use std::pin::Pin;
use std::time::Duration;

use client::Position;
use events::event::Facts;
use events::{
    Append, AppendError, Category, Condition, Direction, Expected, Filter, Found, Freshness, Handle,
    NewEvent, ReadError, Recorded, Sealed, Selector, StreamAppend,
};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

use super::read::{STUCK_MAX, viewed};
use crate::bounds::{Bounds, Held, PAGE_BYTES, Parts};
use crate::freshness::WAIT_MAX;
use api::events_server::{Events, EventsServer};
use api::stream_append;
pub use services::{Grpc, GrpcAnswering};

#[allow(clippy::all, reason = "generated")]
pub(super) mod api {
    tonic::include_proto!("levada.events.v1");
}

/// Events that are read at once.
const PAGE: usize = 500;

/// Answers that may wait to be sent, within the room of their page.
const ANSWERS_MAX: usize = 1;

/// How often a subscriber hears of its position when nothing happens.
const CHECKPOINT: Duration = Duration::from_secs(15);

const WAIT_DEFAULT: Duration = Duration::from_secs(2);

/// The largest request. A topic's max.message.bytes is the limit of what it may hold.
const REQUEST_BYTES_MAX: usize = 8 << 20;

fn service(handle: Handle) -> EventsServer<Store> {
    EventsServer::new(Store(handle)).max_decoding_message_size(REQUEST_BYTES_MAX)
}

pub struct Store(Handle);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Events for Store {
    type ReadStreamStream = Answers<api::Event>;
    type ReadCategoryStream = Answers<api::ReadCategoryResponse>;
    type SubscribeStream = Answers<api::SubscribeResponse>;

    async fn append(
        &self,
        request: Request<api::AppendRequest>,
    ) -> Result<Response<api::AppendResponse>, Status> {
        let request = request.into_inner();
        let category = category(&request.category)?;
        let append = self.read_append(request)?;
        let appended = self.0.append(&category, append).await.map_err(append_status)?;
        let version = |(stream, version)| api::StreamVersion { stream, version };
        Ok(Response::new(api::AppendResponse {
            streams: appended.versions.into_iter().map(version).collect(),
            position: appended.position.to_string(),
            repeated: appended.is_repeated,
        }))
    }

    async fn read_stream(
        &self,
        request: Request<api::ReadStreamRequest>,
    ) -> Result<Response<Self::ReadStreamStream>, Status> {
        let bounds = bounds(&request);
        let request = request.into_inner();
        let category = category(&request.category)?;
        let freshness = freshness(request.freshness)?;
        let direction = if request.backward { Direction::Backward } else { Direction::Forward };
        let from = match (request.from, direction) {
            (0, Direction::Forward) => 1,
            (0, Direction::Backward) => u64::MAX,
            (from, _) => from,
        };
        let mut left = if request.limit == 0 { u64::MAX } else { request.limit };
        let handle = viewed(self.0.clone(), request.raw).in_pages(PAGE_BYTES);
        let stream = request.stream;
        let page = |left: u64| usize::try_from(left).unwrap_or(usize::MAX).min(PAGE);
        // What is wrong with the request is the answer, and not an event.
        let read = || handle.read_stream(&category, &stream, from, direction, page(left), &freshness);
        let (mut found, mut held) = bounds.page(read, Found::size).await.map_err(read_status)?;
        let incomplete = found.incomplete.first().map(|why| ascii(why));
        let (answers, sent) = mpsc::channel(ANSWERS_MAX);
        env::spawn(async move {
            loop {
                left -= found.events.len() as u64;
                let last = found.events.last().map(|last| last.version);
                for recorded in found.events {
                    if !send(&answers, Ok(event(recorded)), &held).await {
                        return;
                    }
                }
                let from = match last {
                    Some(last) if !found.is_end && left > 0 => match direction {
                        Direction::Forward => last + 1,
                        Direction::Backward => last - 1,
                    },
                    _ => return,
                };
                drop(held);
                let read = || handle.read_stream(&category, &stream, from, direction, page(left), &freshness);
                (found, held) = match paged(&answers, bounds.page(read, Found::size)).await {
                    Some(paged) => paged,
                    None => return,
                };
            }
        });
        let mut response: Response<Self::ReadStreamStream> =
            Response::new(Box::pin(Parts::of(ReceiverStream::new(sent))));
        if let Some(why) = incomplete {
            response.metadata_mut().insert("levada-incomplete", why);
        }
        Ok(response)
    }

    async fn read_category(
        &self,
        request: Request<api::ReadCategoryRequest>,
    ) -> Result<Response<Self::ReadCategoryStream>, Status> {
        let bounds = bounds(&request);
        let request = request.into_inner();
        let category = category(&request.category)?;
        let freshness = freshness(request.freshness)?;
        let filter = filter(request.any_of, request.correlation_id);
        let mut after = position(&request.after)?;
        let mut left = if request.limit == 0 { u64::MAX } else { request.limit };
        let handle = viewed(self.0.clone(), request.raw).in_pages(PAGE_BYTES);
        let (answers, sent) = mpsc::channel(ANSWERS_MAX);
        env::spawn(async move {
            while left > 0 {
                let page = usize::try_from(left).unwrap_or(usize::MAX).min(PAGE);
                let read = || handle.read_category(&category, &after, &filter, page, &freshness);
                let Some((found, held)) = paged(&answers, bounds.page(read, Found::size)).await else {
                    return;
                };
                left -= found.events.len() as u64;
                let answer = api::ReadCategoryResponse {
                    events: found.events.into_iter().map(event).collect(),
                    position: found.position.to_string(),
                    incomplete: found.incomplete,
                };
                if !send(&answers, Ok(answer), &held).await || found.is_end {
                    return;
                }
                after = found.position;
            }
        });
        Ok(Response::new(Box::pin(Parts::of(ReceiverStream::new(sent)))))
    }

    async fn subscribe(
        &self,
        request: Request<api::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let bounds = bounds(&request);
        let request = request.into_inner();
        let category = category(&request.category)?;
        let filter = filter(request.any_of, request.correlation_id);
        let mut after = match request.after.as_str() {
            "end" => self.0.end_of(&category).map_err(read_status)?,
            text => position(text)?,
        };
        let handle = viewed(self.0.clone(), request.raw).in_pages(PAGE_BYTES);
        let (answers, sent) = mpsc::channel(ANSWERS_MAX);
        env::spawn(async move {
            loop {
                let now = Freshness::default();
                let read = || handle.read_category(&category, &after, &filter, PAGE, &now);
                let Some((found, held)) = paged(&answers, bounds.page(read, Found::size)).await else {
                    return;
                };
                let answer = api::SubscribeResponse {
                    events: found.events.into_iter().map(event).collect(),
                    position: found.position.to_string(),
                    caught_up: found.is_end,
                    incomplete: found.incomplete,
                };
                if !send(&answers, Ok(answer), &held).await {
                    return;
                }
                drop(held);
                after = found.position;
                if !found.is_end {
                    continue;
                }
                tokio::select! {
                    biased;
                    () = answers.closed() => return,
                    added = timeout(CHECKPOINT, handle.added(&category, &after)) => if let Ok(Err(error)) = added {
                        send(&answers, Err(read_status(error)), &Held::default()).await;
                        return;
                    },
                }
            }
        });
        Ok(Response::new(Box::pin(Parts::of(ReceiverStream::new(sent)))))
    }

    async fn pull(&self, request: Request<api::PullRequest>) -> Result<Response<api::PullResponse>, Status> {
        consumers::pull(&self.0, request).await
    }

    async fn ack(&self, request: Request<api::AckRequest>) -> Result<Response<api::AckResponse>, Status> {
        consumers::ack(&self.0, request).await
    }

    async fn nack(&self, request: Request<api::NackRequest>) -> Result<Response<api::NackResponse>, Status> {
        consumers::nack(&self.0, request).await
    }
}

type Sender<T> = mpsc::Sender<(Result<T, Status>, Held)>;

/// Whether it was taken: whoever takes nothing for long holds the room of others.
async fn send<T>(answers: &Sender<T>, answer: Result<T, Status>, held: &Held) -> bool {
    timeout(STUCK_MAX, answers.send((answer, held.clone()))).await.is_ok_and(|sent| sent.is_ok())
}

/// A page, unless nobody waits for it, or it cannot be read, which is told.
async fn paged<T>(
    answers: &Sender<T>,
    page: impl Future<Output = Result<(Found, Held), ReadError>>,
) -> Option<(Found, Held)> {
    let paged = tokio::select! {
        biased;
        () = answers.closed() => return None,
        paged = page => paged,
    };
    match paged {
        Ok(paged) => Some(paged),
        Err(error) => {
            send(answers, Err(read_status(error)), &Held::default()).await;
            None
        }
    }
}

/// A text as metadata, which are ASCII.
fn ascii(text: &str) -> tonic::metadata::AsciiMetadataValue {
    let is_plain = |c: &char| c.is_ascii_graphic() || *c == ' ';
    let plain: String = text.chars().map(|c| if is_plain(&c) { c } else { '?' }).collect();
    plain.parse().expect("graphic characters and spaces are metadata")
}

/// What this request's door has.
fn bounds<T>(request: &Request<T>) -> Bounds {
    request.extensions().get().cloned().unwrap_or_default()
}

impl Store {
    fn read_append(&self, request: api::AppendRequest) -> Result<Append, Status> {
        let new_event = |event: api::NewEvent| {
            check_json("metadata", "application/json", event.metadata.as_bytes())?;
            check_json("data", &event.content_type, &event.data)?;
            Ok::<_, Status>(NewEvent {
                id: text(event.id).unwrap_or_else(|| self.0.new_id()),
                facts: Facts {
                    kind: event.r#type,
                    content_type: text(event.content_type).unwrap_or_else(|| "application/json".to_owned()),
                    tags: event.tags,
                    correlation: text(event.correlation_id),
                    causation: text(event.causation_id),
                    metadata: text(event.metadata),
                    sealed: sealed(event.subject, event.personal)?,
                    schema_version: Some(event.schema_version).filter(|version| *version > 0),
                },
                data: event.data,
            })
        };
        let stream = |part: api::StreamAppend| {
            Ok::<_, Status>(StreamAppend {
                stream: part.stream,
                expected: match part.expected {
                    None => Expected::Any,
                    Some(stream_append::Expected::Version(version)) => Expected::Exactly(version),
                    Some(stream_append::Expected::None(true)) => Expected::None,
                    Some(stream_append::Expected::Exists(true)) => Expected::Exists,
                    Some(stream_append::Expected::None(false) | stream_append::Expected::Exists(false)) => {
                        Expected::Any
                    }
                },
                events: part.events.into_iter().map(new_event).collect::<Result<_, _>>()?,
            })
        };
        let condition = |condition: api::Condition| {
            let any_of = condition.fail_if_events_match.into_iter().map(selector).collect();
            Ok::<_, Status>(Condition { any_of, after: position(&condition.after)? })
        };
        Ok(Append {
            boundary: text(request.boundary),
            streams: request.streams.into_iter().map(stream).collect::<Result<_, _>>()?,
            conditions: request.conditions.into_iter().map(condition).collect::<Result<_, _>>()?,
        })
    }
}

/// Refuses what says that it is JSON and is not, as over HTTP. Nothing at all is no data.
fn check_json(what: &str, content_type: &str, bytes: &[u8]) -> Result<(), Status> {
    let is_json = content_type.is_empty() || events::is_json(content_type);
    if bytes.is_empty() || !is_json {
        return Ok(());
    }
    match serde_json::from_slice::<&serde_json::value::RawValue>(bytes) {
        Ok(_) => Ok(()),
        Err(error) => Err(invalid(format!("an event's {what} is no JSON: {error}"))),
    }
}

pub(super) fn invalid(detail: impl Into<String>) -> Status {
    status(Code::InvalidArgument, "invalid-request", detail.into())
}

pub(super) fn not_found(detail: impl Into<String>) -> Status {
    status(Code::NotFound, "not-found", detail.into())
}

pub(super) fn unavailable(detail: impl Into<String>) -> Status {
    status(Code::Unavailable, "unavailable", detail.into())
}

pub(super) fn text(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

pub(super) fn sealed(subject: String, personal: Vec<String>) -> Result<Option<Sealed>, Status> {
    super::shapes::sealed(text(subject), personal)
        .map_err(|problem| invalid(problem.details().detail.clone()))
}

pub(super) fn category(name: &str) -> Result<Category, Status> {
    Category::new(name).map_err(|error| invalid(error.to_string()))
}

fn position(text: &str) -> Result<Position, Status> {
    match text {
        "" => Ok(Position::default()),
        text => text.parse().map_err(|error: client::PositionError| invalid(error.to_string())),
    }
}

fn selector(selector: api::Selector) -> Selector {
    Selector { types: selector.types.into_iter().collect(), tags: selector.tags.into_iter().collect() }
}

fn filter(any_of: Vec<api::Selector>, correlation: String) -> Filter {
    Filter {
        any_of: any_of.into_iter().map(selector).collect(),
        correlation: text(correlation),
        subject: None,
    }
}

pub(super) fn freshness(wanted: Option<api::Freshness>) -> Result<Freshness, Status> {
    let wanted = wanted.unwrap_or_default();
    let wait = Some(Duration::from_millis(wanted.wait_ms.into())).filter(|wait| !wait.is_zero());
    if wait.is_some_and(|wait| wait > WAIT_MAX) {
        let max = WAIT_MAX.as_millis();
        return Err(invalid(format!("`wait_ms` is at most {max}, not {}", wanted.wait_ms)));
    }
    Ok(Freshness {
        at_least: position(&wanted.min_position)?,
        is_strong: wanted.strong,
        wait: wait.unwrap_or(WAIT_DEFAULT),
    })
}

pub(super) fn event(recorded: Recorded) -> api::Event {
    let (facts, seen) = (recorded.facts, recorded.seen);
    api::Event {
        schema_version: facts.schema(),
        recorded_schema_version: seen.recorded_schema_version.unwrap_or_default(),
        recorded_type: seen.recorded_kind.unwrap_or_default(),
        upcast_error: seen.upcast_error.unwrap_or_default(),
        subject: facts.sealed.map(|sealed| sealed.subject).unwrap_or_default(),
        erased: seen.is_erased,
        stream: recorded.stream,
        version: recorded.version,
        id: recorded.id,
        r#type: facts.kind,
        content_type: facts.content_type,
        data: recorded.data,
        tags: facts.tags,
        correlation_id: facts.correlation.unwrap_or_default(),
        causation_id: facts.causation.unwrap_or_default(),
        metadata: facts.metadata.unwrap_or_default(),
        timestamp: recorded.time.0,
        partition: recorded.partition,
        offset: recorded.offset.0,
    }
}

pub(super) fn append_status(error: AppendError) -> Status {
    let detail = error.to_string();
    let (code, problem) = match &error {
        AppendError::Version { .. } => (Code::FailedPrecondition, "wrong-version"),
        AppendError::Condition { .. } => (Code::FailedPrecondition, "condition-failed"),
        AppendError::Boundary { .. } => (Code::FailedPrecondition, "wrong-boundary"),
        AppendError::IdTaken { .. } => (Code::AlreadyExists, "id-taken"),
        AppendError::Invalid(_) => (Code::InvalidArgument, "invalid-request"),
        AppendError::TooLarge { .. } => (Code::ResourceExhausted, "too-large"),
        AppendError::NoCategory(_) => (Code::NotFound, "not-found"),
        AppendError::Unavailable(_) | AppendError::Elsewhere { .. } => (Code::Unavailable, "unavailable"),
        AppendError::Halted(_) => (Code::Unavailable, "halted"),
        AppendError::InDoubt(_) => (Code::Aborted, "in-doubt"),
    };
    let mut status = status(code, problem, detail);
    if let AppendError::Version { current, .. } = error {
        status.metadata_mut().insert("levada-current", current.into());
    }
    status
}

pub(super) fn read_status(error: ReadError) -> Status {
    let (code, problem) = match &error {
        ReadError::NoCategory(_) | ReadError::NoStream(_) => (Code::NotFound, "not-found"),
        ReadError::Invalid(_) | ReadError::Position(_) => (Code::InvalidArgument, "invalid-request"),
        ReadError::Stale { .. } => (Code::Unavailable, "stale-read"),
        ReadError::Unavailable(_) => (Code::Unavailable, "unavailable"),
    };
    status(code, problem, error.to_string())
}

/// With what the same problem is called over HTTP.
fn status(code: Code, problem: &'static str, detail: String) -> Status {
    let mut status = Status::new(code, detail);
    let problem = tonic::metadata::MetadataValue::from_static(problem);
    status.metadata_mut().insert("levada-problem", problem);
    status
}
