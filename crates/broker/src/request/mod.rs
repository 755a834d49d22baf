//! Frames to typed requests and back: one table of every API that is served.

mod table;
pub mod transactions;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wire::{ErrorCode, Header, Reader, Request, Str};

use crate::Parts;
use crate::handlers::{api_versions, produce};
use crate::net::frame::SMALL_REQUEST_BYTES;
use crate::net::memory::{MemoryBudget, Reservation};
use crate::net::{Begun, Ends, Frame, Outcome, Service, Work};

pub use table::advertised;

/// Who asks, and in which version.
#[derive(Clone, Debug)]
pub struct Caller {
    pub ends: Ends,
    pub client_id: Option<Str>,
    pub version: i16,
    pub waited: Waited,
}

/// How long a request waited for what its client asked it to wait for (Fetch: until there are enough records). That is no
/// latency of the broker's.
#[derive(Clone, Debug, Default)]
pub struct Waited(Arc<AtomicU64>);

impl Waited {
    pub fn add(&self, duration: Duration) {
        self.0.fetch_add(duration.as_micros() as u64, Ordering::Relaxed);
    }

    fn total(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// The requests of one connection.
pub struct Requests {
    broker: Arc<Parts>,
    ends: Ends,
}

impl Requests {
    pub fn new(broker: Arc<Parts>, ends: Ends) -> Self {
        broker.metrics.connection_opened();
        Requests { broker, ends }
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.broker.metrics.connection_closed();
    }
}

impl Service for Requests {
    async fn begin(&mut self, frame: Frame) -> Begun {
        let began = self.broker.clock.monotonic();
        let size = frame.bytes.len();
        let (header, body) = match wire::decode_request_header(frame.bytes) {
            Ok(decoded) => decoded,
            Err(error) => return refuse(format!("unreadable request header: {error}")),
        };
        let Some(api) = header.api() else { return refuse(format!("unknown API key {}", header.api_key)) };
        let waited = Waited::default();
        let caller = Caller {
            ends: self.ends,
            client_id: header.client_id.clone(),
            version: header.api_version,
            waited: waited.clone(),
        };
        let broker = self.broker.clone();
        let body = body.with_memory_max(broker.options.request_decoded_bytes_max as usize);
        let metered = Metered { api, began, waited, broker: broker.clone(), request_bytes: size };
        match api {
            wire::ApiKey::ApiVersions if !table::serves(api, caller.version) => {
                let response = api_versions::unsupported();
                broker.metrics.errors(&response);
                Begun::Exclusive(Box::pin(async move { metered.done(respond(&header, 0, &response, None)) }))
            }
            _ if !table::serves(api, caller.version) => {
                if transactions::is_of_transactions(api) {
                    broker.transactions_asked.note(api.name(), &caller, &broker.metrics);
                }
                refuse(format!("{} version {} is not served", api.name(), caller.version))
            }
            wire::ApiKey::Produce => {
                let decoded =
                    decode::<wire::ProduceRequest>(body, caller.version, &broker.decoded_budget).await;
                let (request, decoded) = match decoded {
                    Ok(decoded) => decoded,
                    Err(outcome) => return Begun::Exclusive(Box::pin(async move { outcome })),
                };
                let acks = request.acks;
                let produced = produce::begin(request, size, &caller, &broker).await;
                let reservation = frame.reservation;
                Begun::Pipelined(Box::pin(async move {
                    let response = produced.await;
                    drop((reservation, decoded));
                    broker.metrics.errors(&response);
                    metered.done(match acks {
                        0 => produce::without_acks(&response),
                        _ => respond(&header, header.api_version, &response, None),
                    })
                }))
            }
            _ => {
                let work: Work = Box::pin(async move {
                    let _reservation = frame.reservation;
                    metered.done(table::answer(api, header, body, caller, &broker).await)
                });
                Begun::Exclusive(work)
            }
        }
    }
}

fn refuse(reason: String) -> Begun {
    Begun::Exclusive(Box::pin(async move { Outcome::Close(reason) }))
}

/// The request, and the place it takes in the memory budget: decoded, a request may be many times its size
/// (`wire::MEMORY_PER_BYTE_MAX`).
async fn decode<R: Request>(
    mut body: Reader,
    version: i16,
    budget: &MemoryBudget,
) -> Result<(R, Option<Reservation>), Outcome> {
    let request = R::decode(&mut body, version).map_err(|error| {
        let limit = match error {
            wire::DecodeError::TooMuchMemory { .. } => "; levada.request.decoded.bytes.max sets the limit",
            _ => "",
        };
        Outcome::Close(format!("malformed {} version {version}: {error}{limit}", R::NAME))
    })?;
    let reservation = match body.memory() {
        ..=SMALL_REQUEST_BYTES => None,
        memory => Some(budget.reserve(memory).await),
    };
    Ok((request, reservation))
}

/// `held` is the place of what the response refers to; it is given back when the response is written.
fn respond<R: wire::Response>(
    header: &Header,
    version: i16,
    response: &R,
    held: Option<Reservation>,
) -> Outcome {
    match wire::encode_response(header.correlation_id, version, response) {
        Ok(frame) => Outcome::Respond(frame.into_segments(), held),
        Err(error) => Outcome::Close(format!("cannot encode {} version {version}: {error}", R::NAME)),
    }
}

/// Counts one request when its answer is ready.
struct Metered {
    api: wire::ApiKey,
    began: Duration,
    waited: Waited,
    broker: Arc<Parts>,
    request_bytes: usize,
}

impl Metered {
    fn done(self, outcome: Outcome) -> Outcome {
        let took = self.broker.clock.monotonic().saturating_sub(self.began);
        let response_bytes = match &outcome {
            Outcome::Respond(pieces, _) => pieces.iter().map(|piece| piece.len()).sum(),
            _ => 0,
        };
        let waited = self.waited.total();
        self.broker.metrics.request(self.api, took, waited, self.request_bytes, response_bytes);
        outcome
    }
}

/// The code of a success or a refusal, as the wire has it.
pub fn code(error: Option<ErrorCode>) -> i16 {
    error.unwrap_or(ErrorCode::None).into()
}
