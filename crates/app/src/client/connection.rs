//! One connection to one broker.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::{Buf, Bytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wire::{ApiKey, ApiVersionsRequest, ErrorCode, Message, Request, Versions};

/// The largest answer that is read. Fetch asks for far less.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// The broker cannot be reached, or does not answer (any more): another connection may help.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Lost(String);

/// A connection whose broker has said which versions it speaks.
pub struct Connection {
    address: String,
    stream: TcpStream,
    patience: Duration,
    correlation_id: i32,
    versions: BTreeMap<i16, Versions>,
}

impl Connection {
    pub async fn open(address: &str, patience: Duration) -> anyhow::Result<Connection> {
        let lost =
            |why: String| Lost(format!("cannot connect to {address}: is a broker running there? ({why})"));
        let stream = match timeout(patience, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(lost(error.to_string()).into()),
            Err(_) => return Err(lost(format!("no answer within {patience:?}")).into()),
        };
        stream.set_nodelay(true)?;
        let mut connection = Connection {
            address: address.to_owned(),
            stream,
            patience,
            correlation_id: 0,
            versions: BTreeMap::new(),
        };
        connection.ask_versions().await?;
        Ok(connection)
    }

    /// The version of an API that both sides speak best.
    pub fn version(&self, key: ApiKey) -> anyhow::Result<i16> {
        let ours = key.stable_versions();
        let theirs = self.versions.get(&key.code()).copied();
        let theirs =
            theirs.with_context(|| format!("the broker at {} does not offer {key}", self.address))?;
        let version = ours.max.min(theirs.max);
        ensure!(
            version >= ours.min && version >= theirs.min,
            "the broker at {} offers {key} in versions {theirs}, this client speaks {ours}",
            self.address
        );
        Ok(version)
    }

    /// Asks, and waits for the answer.
    pub async fn ask<R: Request>(&mut self, request: &R) -> anyhow::Result<R::Response> {
        let version = self.version(R::KEY)?;
        let body = self.exchange(request, version).await?;
        self.decode::<R>(version, body)
    }

    /// The same, in no newer version than this one: where newer ones ask for what this client does not know.
    pub async fn ask_up_to<R: Request>(&mut self, newest: i16, request: &R) -> anyhow::Result<R::Response> {
        let version = self.version(R::KEY)?.min(newest);
        let body = self.exchange(request, version).await?;
        self.decode::<R>(version, body)
    }

    /// Sends what has no answer: Produce with acks=0.
    pub async fn tell<R: Request>(&mut self, request: &R) -> anyhow::Result<()> {
        let version = self.version(R::KEY)?;
        self.send(request, version).await
    }

    fn decode<R: Request>(&self, version: i16, body: Bytes) -> anyhow::Result<R::Response> {
        let malformed = || format!("{} answered {} with something unreadable", self.address, R::KEY);
        let (correlation_id, mut reader) =
            wire::decode_response_header(R::KEY, version, body).with_context(malformed)?;
        ensure!(correlation_id == self.correlation_id, "{} answered another question", self.address);
        R::Response::decode(&mut reader, version).with_context(malformed)
    }

    /// Version 3 of ApiVersions, or the oldest where the broker does not know that.
    async fn ask_versions(&mut self) -> anyhow::Result<()> {
        let request = ApiVersionsRequest {
            client_software_name: "levada-cli".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
            ..ApiVersionsRequest::default()
        };
        let body = self.exchange(&request, 3).await?;
        // A broker that does not know the version answers in version 0, whose error code follows the header.
        let refused = body.get(4..6) == Some(&ErrorCode::UnsupportedVersion.code().to_be_bytes());
        let answer = if refused {
            let body = self.exchange(&request, 0).await?;
            self.decode::<ApiVersionsRequest>(0, body)?
        } else {
            self.decode::<ApiVersionsRequest>(3, body)?
        };
        super::check(answer.error_code, None)?;
        self.versions = answer
            .api_keys
            .iter()
            .map(|api| (api.api_key, Versions { min: api.min_version, max: api.max_version }))
            .collect();
        Ok(())
    }

    async fn send<R: Request>(&mut self, request: &R, version: i16) -> anyhow::Result<()> {
        self.correlation_id += 1;
        let frame = wire::encode_request(self.correlation_id, Some("levada-cli"), version, request)?;
        let mut bytes = frame.to_bytes();
        let sending = timeout(self.patience, self.stream.write_all_buf(&mut bytes)).await;
        sending.map_err(|_| self.late(R::KEY))?.with_context(|| self.broken(R::KEY))
    }

    /// Sends a request and reads the frame that comes back, without its length.
    async fn exchange<R: Request>(&mut self, request: &R, version: i16) -> anyhow::Result<Bytes> {
        self.send(request, version).await?;
        let reading = timeout(self.patience, read_frame(&mut self.stream)).await;
        reading.map_err(|_| self.late(R::KEY))?.with_context(|| self.broken(R::KEY))
    }

    fn late(&self, key: ApiKey) -> anyhow::Error {
        Lost(format!("{} did not answer {key} within {:?}", self.address, self.patience)).into()
    }

    fn broken(&self, key: ApiKey) -> Lost {
        Lost(format!("the connection to {} broke during {key}", self.address))
    }
}

async fn read_frame(stream: &mut TcpStream) -> anyhow::Result<Bytes> {
    let length = stream.read_i32().await?;
    let length = usize::try_from(length).ok().filter(|length| *length <= ANSWER_BYTES_MAX);
    let Some(length) = length else { bail!("it sent no Kafka frame: is it a Kafka broker?") };
    let mut frame = stream.take(length as u64);
    let mut bytes = bytes::BytesMut::with_capacity(length.min(1 << 20));
    while frame.read_buf(&mut bytes).await? > 0 {}
    ensure!(bytes.remaining() == length, "it closed in the middle of an answer");
    Ok(bytes.freeze())
}
