//! One connection to one broker, shared by everybody who asks that broker something.
//!
//! Questions are written in the order in which they were asked, and Kafka answers in that order: so many may be under
//! way. A connection that was late or broken once is given up as a whole, because nothing tells answers apart then.
//! What a broker answers late on purpose (a Fetch that waits) needs a connection of its own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use env::SystemRandom;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tracing::debug;
use wire::{
    ApiKey, ApiVersionsRequest, ErrorCode, Message, Request, SaslAuthenticateRequest,
    SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse, Versions,
};

use crate::sasl::Conversation;
use crate::security::{Security, Stream};
use crate::{AskError, Options, check};

/// The largest answer that is read. Fetch asks for far less.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Questions that wait to be written; whoever asks next waits.
const QUEUE_MAX: usize = 256;

/// Bytes of questions that are written at once.
const WRITE_BYTES: usize = 256 << 10;

/// Parts of a session's lifetime: after the first one whoever needs a connection is to open another, after the second
/// one nothing more is asked. What is under way then still has time to be answered.
const RENEW_AT: f64 = 0.85;
const END_AT: f64 = 0.95;

/// A connection whose broker has said which versions it speaks, and knows who asks.
#[derive(Clone)]
pub struct Connection {
    shared: Arc<Shared>,
    questions: mpsc::Sender<Question>,
}

struct Shared {
    address: String,
    client_id: String,
    patience: Duration,
    correlation_id: AtomicI32,
    versions: BTreeMap<i16, Versions>,
    is_closed: AtomicBool,
    was_answered: AtomicBool,
    security: Security,
    session: Option<Session>,
}

/// How long the broker believes that the client is who it said.
#[derive(Debug, Clone, Copy)]
struct Session {
    renew_at: Instant,
    end_at: Instant,
}

struct Question {
    correlation_id: i32,
    frame: Bytes,
    awaited: Awaited,
}

/// What whoever asks waits for.
enum Awaited {
    Answer(oneshot::Sender<Bytes>),
    /// There will be no answer: only that the question is on its way.
    Written(oneshot::Sender<()>),
}

/// Who waits for an answer, in the order of the questions. None: closed.
type Waiting = Arc<Mutex<Option<VecDeque<(i32, oneshot::Sender<Bytes>)>>>>;

impl Connection {
    pub async fn open(address: &str, options: &Options) -> Result<Connection, AskError> {
        let Options { client_id, patience, security, inside, .. } = options;
        let mut greeting = Greeting {
            stream: match inside {
                Some(inside) => Stream::of(inside.connect()),
                None => dial(address, options).await?,
            },
            client_id,
            security,
            versions: BTreeMap::new(),
        };
        in_time(options, address, "ApiVersions", greeting.ask_versions()).await?;
        let session = match security.sasl() {
            None => None,
            Some(sasl) => {
                let began = Instant::now();
                let authenticating = sasl.authenticate(&mut greeting, &SystemRandom);
                let lifetime = in_time(options, address, "authentication", authenticating).await?;
                debug!(address, user = sasl.login.username, ?lifetime, "authenticated");
                lifetime.map(|lifetime| Session {
                    renew_at: began + lifetime.mul_f64(RENEW_AT),
                    end_at: began + lifetime.mul_f64(END_AT),
                })
            }
        };
        let Greeting { stream, versions, .. } = greeting;
        let shared = Arc::new(Shared {
            address: address.to_owned(),
            client_id: client_id.clone(),
            patience: *patience,
            correlation_id: AtomicI32::new(0),
            versions,
            is_closed: AtomicBool::new(false),
            was_answered: AtomicBool::new(false),
            security: security.clone(),
            session,
        });
        let (questions, queue) = mpsc::channel(QUEUE_MAX);
        let waiting: Waiting = Arc::new(Mutex::new(Some(VecDeque::new())));
        let Stream { from, mut to } = stream;
        env::spawn({
            let (waiting, patience) = (waiting.clone(), *patience);
            async move {
                write(&mut to, queue, waiting).await;
                // TLS says goodbye; the broker then closes its side, too. It need not listen any more.
                let _ = timeout(patience, to.shutdown()).await;
            }
        });
        env::spawn({
            let shared = shared.clone();
            async move {
                read(from, &waiting).await;
                shared.is_closed.store(true, Ordering::Release);
                // Whoever waits learns that nobody answers any more.
                waiting.lock().take();
            }
        });
        Ok(Connection { shared, questions })
    }

    /// Whether another one is to be opened. What was asked may still be answered.
    pub fn is_closed(&self) -> bool {
        self.is_broken() || self.is_ending()
    }

    /// Whether the broker will soon want to know anew who asks (KIP-368), on another connection.
    pub fn is_ending(&self) -> bool {
        self.shared.session.is_some_and(|session| Instant::now() >= session.renew_at)
    }

    fn is_broken(&self) -> bool {
        self.shared.is_closed.load(Ordering::Acquire)
            || self.questions.is_closed()
            || self.shared.session.is_some_and(|session| Instant::now() >= session.end_at)
    }

    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// The version of an API that both sides speak best.
    pub fn version(&self, key: ApiKey) -> Result<i16, AskError> {
        let (ours, address) = (key.stable_versions(), &self.shared.address);
        let theirs = self.shared.versions.get(&key.code()).copied();
        let theirs = theirs
            .ok_or_else(|| AskError::Foreign(format!("the broker at {address} does not offer {key}")))?;
        let version = ours.max.min(theirs.max);
        if version < ours.min || version < theirs.min {
            return Err(AskError::Foreign(format!(
                "the broker at {address} offers {key} in versions {theirs}, this client speaks {ours}"
            )));
        }
        Ok(version)
    }

    /// Asks, and waits for the answer.
    pub async fn ask<R: Request>(&self, request: &R) -> Result<R::Response, AskError> {
        self.ask_up_to(i16::MAX, request).await
    }

    /// The same, in no newer version than this one: where newer ones ask for what this client does not know.
    pub async fn ask_up_to<R: Request>(&self, newest: i16, request: &R) -> Result<R::Response, AskError> {
        self.ask_ahead(newest, request).await?.await
    }

    /// Sends a question; the answer comes with the future that is returned. Questions that are sent one after the other
    /// reach the broker in this order.
    pub async fn ask_ahead<R: Request>(
        &self,
        newest: i16,
        request: &R,
    ) -> Result<impl Future<Output = Result<R::Response, AskError>> + Send + use<R>, AskError> {
        let version = self.version(R::KEY)?.min(newest);
        let (answer, answered) = oneshot::channel();
        let correlation_id = self.send(request, version, Awaited::Answer(answer)).await?;
        let connection = self.clone();
        Ok(async move { connection.answer::<R>(version, correlation_id, answered).await })
    }

    async fn answer<R: Request>(
        &self,
        version: i16,
        correlation_id: i32,
        answered: oneshot::Receiver<Bytes>,
    ) -> Result<R::Response, AskError> {
        let body = match timeout(self.shared.patience, answered).await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => return Err(self.broken(R::KEY)),
            Err(_) => {
                // Later answers would be taken for this one.
                self.shared.is_closed.store(true, Ordering::Release);
                return Err(self.late(R::KEY));
            }
        };
        self.shared.was_answered.store(true, Ordering::Relaxed);
        let malformed = |error| {
            let address = &self.shared.address;
            AskError::Foreign(format!("{address} answered {} with something unreadable: {error}", R::KEY))
        };
        let (answered_id, mut reader) =
            wire::decode_response_header(R::KEY, version, body).map_err(malformed)?;
        debug_assert_eq!(answered_id, correlation_id, "the reader compares them");
        R::Response::decode(&mut reader, version).map_err(malformed)
    }

    /// Sends what has no answer: Produce with acks=0. Returns when it was handed to the machine's network.
    pub async fn tell<R: Request>(&self, request: &R) -> Result<(), AskError> {
        let version = self.version(R::KEY)?;
        let (written, was_written) = oneshot::channel();
        self.send(request, version, Awaited::Written(written)).await?;
        match timeout(self.shared.patience, was_written).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(self.broken(R::KEY)),
            Err(_) => Err(self.late(R::KEY)),
        }
    }

    async fn send<R: Request>(&self, request: &R, version: i16, awaited: Awaited) -> Result<i32, AskError> {
        if self.is_broken() {
            return Err(self.broken(R::KEY));
        }
        let correlation_id = self.shared.correlation_id.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        let frame = wire::encode_request(correlation_id, Some(&self.shared.client_id), version, request)?;
        let question = Question { correlation_id, frame: frame.to_bytes(), awaited };
        match timeout(self.shared.patience, self.questions.send(question)).await {
            Ok(Ok(())) => Ok(correlation_id),
            Ok(Err(_)) => Err(self.broken(R::KEY)),
            Err(_) => Err(self.late(R::KEY)),
        }
    }

    fn late(&self, key: ApiKey) -> AskError {
        let Shared { address, patience, .. } = &*self.shared;
        AskError::Lost(format!("{address} did not answer {key} within {patience:?}"))
    }

    fn broken(&self, key: ApiKey) -> AskError {
        let Shared { address, security, was_answered, .. } = &*self.shared;
        // A listener with SASL closes at the first question of somebody who did not say who they are.
        let hint = match security.sasl().is_some() || was_answered.load(Ordering::Relaxed) {
            true => String::new(),
            false => format!(
                "; if this port wants to know who asks, set security.protocol to SASL_{}",
                if security.protocol() == "SSL" { "SSL" } else { "PLAINTEXT" }
            ),
        };
        AskError::Lost(format!("the connection to {address} broke during {key}{hint}"))
    }
}

/// Over the network.
async fn dial(address: &str, options: &Options) -> Result<Stream, AskError> {
    let Options { patience, security, .. } = options;
    let lost = |why: String| {
        AskError::Lost(format!("cannot connect to {address}: is a broker running there? ({why})"))
    };
    let stream = match timeout(*patience, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(lost(error.to_string())),
        Err(_) => return Err(lost(format!("no answer within {patience:?}"))),
    };
    stream.set_nodelay(true).map_err(|error| lost(error.to_string()))?;
    in_time(options, address, "the TLS handshake", security.open(stream, address)).await
}

/// Ends when nobody can ask any more, or nothing can be written.
async fn write(to: &mut (impl AsyncWrite + Unpin), mut queue: mpsc::Receiver<Question>, waiting: Waiting) {
    let mut bytes = BytesMut::new();
    let mut written = Vec::new();
    while let Some(first) = queue.recv().await {
        let mut next = Some(first);
        {
            let mut waiting = waiting.lock();
            let Some(waiting) = waiting.as_mut() else { return };
            while let Some(question) = next {
                match question.awaited {
                    Awaited::Answer(answer) => waiting.push_back((question.correlation_id, answer)),
                    Awaited::Written(sender) => written.push(sender),
                }
                bytes.extend_from_slice(&question.frame);
                next = if bytes.len() < WRITE_BYTES { queue.try_recv().ok() } else { None };
            }
        }
        if to.write_all_buf(&mut bytes).await.is_err() || to.flush().await.is_err() {
            return;
        }
        // Who asked may have gone.
        for written in written.drain(..) {
            let _ = written.send(());
        }
    }
}

/// Ends with the connection, or with an answer that nobody asked for.
async fn read(mut from: impl AsyncRead + Unpin, waiting: &Waiting) {
    let mut buffer = BytesMut::new();
    loop {
        let Ok(frame) = read_frame(&mut from, &mut buffer).await else { return };
        let Some(id) = frame.get(..4).map(|mut id| id.get_i32()) else { return };
        let next = waiting.lock().as_mut().and_then(VecDeque::pop_front);
        match next {
            // Who asked may have gone.
            Some((expected, answer)) if expected == id => drop(answer.send(frame)),
            _ => return,
        }
    }
}

/// What comes before questions.
struct Greeting<'a> {
    stream: Stream,
    client_id: &'a str,
    security: &'a Security,
    versions: BTreeMap<i16, Versions>,
}

impl Greeting<'_> {
    /// Version 3 of ApiVersions, or the oldest where the broker does not know that.
    async fn ask_versions(&mut self) -> Result<(), AskError> {
        let request = ApiVersionsRequest {
            client_software_name: "levada".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
            ..ApiVersionsRequest::default()
        };
        let (mut body, mut version) = (self.exchange(3, &request).await?, 3);
        // A broker that does not know the version answers in version 0, whose error code follows the header.
        if body.get(4..6) == Some(&ErrorCode::UnsupportedVersion.code().to_be_bytes()) {
            (body, version) = (self.exchange(0, &request).await?, 0);
        }
        let (_, mut reader) = wire::decode_response_header(ApiKey::ApiVersions, version, body)?;
        let answer = wire::ApiVersionsResponse::decode(&mut reader, version)?;
        check(answer.error_code, None)?;
        let versions = answer
            .api_keys
            .iter()
            .map(|api| (api.api_key, Versions { min: api.min_version, max: api.max_version }));
        self.versions = versions.collect();
        Ok(())
    }

    async fn ask<R: Request>(&mut self, oldest: i16, request: &R) -> Result<R::Response, AskError> {
        let offered = self.versions.get(&R::KEY.code()).map_or(-1, |versions| versions.max);
        let version = offered.min(R::KEY.stable_versions().max);
        if version < oldest {
            return Err(AskError::Foreign(format!("it does not offer {} {oldest}, so no SASL", R::KEY)));
        }
        let body = self.exchange(version, request).await?;
        let (_, mut reader) = wire::decode_response_header(R::KEY, version, body)?;
        Ok(R::Response::decode(&mut reader, version)?)
    }

    async fn exchange<R: Request>(&mut self, version: i16, request: &R) -> Result<Bytes, AskError> {
        let mut frame = wire::encode_request(0, Some(self.client_id), version, request)?.to_bytes();
        let mut buffer = BytesMut::new();
        let Stream { from, to } = &mut self.stream;
        let answered = async {
            to.write_all_buf(&mut frame).await?;
            to.flush().await?;
            read_frame(from, &mut buffer).await
        };
        match answered.await {
            Ok(body) => Ok(body),
            Err(_) if is_tls(&buffer) => Err(AskError::Denied(format!(
                "it speaks TLS: set security.protocol to {}",
                if self.security.sasl().is_some() { "SASL_SSL" } else { "SSL" }
            ))),
            Err(error) => Err(self.security.broken(error)),
        }
    }
}

impl Conversation for Greeting<'_> {
    async fn handshake(&mut self, request: SaslHandshakeRequest) -> Result<SaslHandshakeResponse, AskError> {
        // Before version 1 what follows has no frames.
        self.ask(1, &request).await
    }

    async fn step(&mut self, request: SaslAuthenticateRequest) -> Result<SaslAuthenticateResponse, AskError> {
        self.ask(0, &request).await
    }
}

/// A TLS alert or handshake where an answer should be.
fn is_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [0x15 | 0x16, 0x03, 0x00..=0x04, ..])
}

/// A part of the greeting, within the patience.
async fn in_time<T>(
    options: &Options,
    address: &str,
    what: &str,
    doing: impl Future<Output = Result<T, AskError>>,
) -> Result<T, AskError> {
    let patience = options.patience;
    match timeout(patience, doing).await {
        Err(_) => Err(AskError::Lost(format!("{address} did not answer {what} within {patience:?}"))),
        Ok(Err(AskError::Lost(why))) => {
            Err(AskError::Lost(format!("the connection to {address} broke during {what}: {why}")))
        }
        Ok(Err(error)) => Err(error.about(address)),
        Ok(Ok(done)) => Ok(done),
    }
}

/// The next frame, without its length. What was read beyond it stays in the buffer.
async fn read_frame(from: &mut (impl AsyncReadExt + Unpin), buffer: &mut BytesMut) -> std::io::Result<Bytes> {
    let broken = |what: &str| std::io::Error::other(what.to_owned());
    loop {
        if let Some(mut head) = buffer.get(..4) {
            let length = usize::try_from(head.get_i32()).ok().filter(|length| *length <= ANSWER_BYTES_MAX);
            let Some(length) = length else {
                return Err(broken("it sent no Kafka frame: is it a Kafka broker?"));
            };
            if buffer.len() >= 4 + length {
                buffer.advance(4);
                return Ok(buffer.split_to(length).freeze());
            }
            // What is announced is not trusted: the buffer grows with what comes.
            buffer.reserve((4 + length - buffer.len()).min(1 << 20));
        } else {
            buffer.reserve(8 << 10);
        }
        if from.read_buf(buffer).await? == 0 {
            return Err(broken("it closed the connection"));
        }
    }
}
