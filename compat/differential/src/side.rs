//! One of the two brokers: its connection, what it calls topics, producers and sessions.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use model::TopicId;
use wire::metadata::MetadataRequestTopic;
use wire::{
    AnyResponse, ApiKey, ApiVersionsRequest, Message, MetadataRequest, MetadataResponse,
    decode_response_header, encode_request,
};

use crate::normal;
use crate::ops::Op;

/// How long an answer may take before a side counts as hanging.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Side {
    address: String,
    stream: TcpStream,
    /// Lowest and highest version of each API.
    pub versions: BTreeMap<i16, (i16, i16)>,
    pub names: Names,
}

/// What one broker calls what the script calls otherwise.
#[derive(Default)]
pub struct Names {
    /// From the id in the script to the broker's own, and back.
    pub topic_ids: BTreeMap<TopicId, TopicId>,
    pub topic_names: BTreeMap<TopicId, TopicId>,
    /// In the order in which they were given.
    pub producer_ids: Vec<i64>,
    /// The newest fetch session.
    pub session: i32,
}

impl Names {
    pub fn topic_id(&self, script: TopicId) -> TopicId {
        self.topic_ids.get(&script).copied().unwrap_or(script)
    }

    /// The number-th producer id that was given; one that never was where there are not so many.
    pub fn producer_id(&self, number: usize) -> i64 {
        self.producer_ids.get(number).copied().unwrap_or(900_000 + number as i64)
    }
}

impl Side {
    pub fn connect(address: &str) -> anyhow::Result<Side> {
        let stream = open(address)?;
        let mut side =
            Side { address: address.into(), stream, versions: BTreeMap::new(), names: Names::default() };
        let request = ApiVersionsRequest {
            client_software_name: "differential".into(),
            client_software_version: "1".into(),
            ..Default::default()
        };
        let frame = encode_request(1, None, 3, &request)?;
        let answer = side.exchange(&frame.to_bytes())?.context("ApiVersions was not answered")?;
        let (_, mut body) = decode_response_header(ApiKey::ApiVersions, 3, answer)?;
        for api in wire::ApiVersionsResponse::decode(&mut body, 3)?.api_keys {
            side.versions.insert(api.api_key, (api.min_version, api.max_version));
        }
        Ok(side)
    }

    /// Learns the ids of topics that exist now.
    pub fn learn(&mut self, topics: &[(String, TopicId)]) -> anyhow::Result<()> {
        let topic = |(name, _): &(String, TopicId)| MetadataRequestTopic {
            name: Some(name.as_str().into()),
            ..Default::default()
        };
        let request = MetadataRequest {
            topics: Some(topics.iter().map(topic).collect()),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let frame = encode_request(1, None, 12, &request)?;
        let answer = self.exchange(&frame.to_bytes())?.context("Metadata was not answered")?;
        let (_, mut body) = decode_response_header(ApiKey::Metadata, 12, answer)?;
        for answered in MetadataResponse::decode(&mut body, 12)?.topics {
            let known = topics.iter().find(|(name, _)| answered.name.as_deref() == Some(name));
            if let (Some((_, script)), false) = (known, answered.topic_id.is_zero()) {
                self.names.topic_ids.insert(*script, answered.topic_id);
                self.names.topic_names.insert(answered.topic_id, *script);
            }
        }
        Ok(())
    }

    /// The bytes of the answer, after its length; `None` where the connection was closed instead.
    pub fn ask(&mut self, op: &Op) -> anyhow::Result<Option<Bytes>> {
        let frame = (op.frame)(&self.names);
        let answer = match op.answered {
            true => self.exchange(&frame)?,
            false => {
                self.stream.write_all(&frame)?;
                None
            }
        };
        if answer.is_none() {
            self.stream = open(&self.address)?;
        }
        Ok(answer)
    }

    /// The answer as text, with everything made equal that may differ.
    pub fn normal(&mut self, op: &Op, answer: Option<Bytes>) -> String {
        let Some(answer) = answer else { return "closed".into() };
        let (_, mut body) = match decode_response_header(op.key, op.version, answer) {
            Ok(decoded) => decoded,
            Err(error) => return format!("unreadable header: {error}"),
        };
        match AnyResponse::decode(op.key, op.version, &mut body) {
            Ok(_) if body.remaining() > 0 => format!("{} bytes too many", body.remaining()),
            Ok(response) => normal::text(response, &mut self.names),
            Err(error) => format!("unreadable: {error}"),
        }
    }

    fn exchange(&mut self, frame: &[u8]) -> anyhow::Result<Option<Bytes>> {
        let gone = |error: &std::io::Error| {
            matches!(
                error.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
            )
        };
        let mut length = [0; 4];
        match self.stream.write_all(frame).and_then(|()| self.stream.read_exact(&mut length)) {
            Err(error) if gone(&error) => return Ok(None),
            outcome => outcome.with_context(|| format!("{} does not answer", self.address))?,
        }
        let length = u32::from_be_bytes(length) as usize;
        ensure!(length < 100 << 20, "an answer of {length} bytes");
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer)?;
        Ok(Some(answer.into()))
    }
}

fn open(address: &str) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
