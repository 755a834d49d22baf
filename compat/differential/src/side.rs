//! One of the two brokers: its connection, what it calls topics, producers and sessions.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use model::TopicId;
use wire::metadata::MetadataRequestTopic;
use wire::offset_fetch::OffsetFetchRequestGroup;
use wire::{
    AnyResponse, ApiVersionsRequest, DescribeConfigsRequest, FindCoordinatorRequest, InitProducerIdRequest,
    ListOffsetsRequest, Message, MetadataRequest, OffsetFetchRequest, Request, decode_response_header,
    encode_request,
};

use crate::normal;
use crate::ops::{Op, Script};

/// How long an answer may take before a side counts as hanging.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came back.
pub enum Answer {
    /// Without its length.
    Bytes(Bytes),
    Closed,
    /// Nothing within [`PATIENCE`].
    Nothing,
}

/// How often something that is not ready yet is asked for, and how long is waited between.
pub const ATTEMPTS: usize = 1000;
pub const PAUSE: Duration = Duration::from_millis(20);

pub struct Side {
    address: String,
    stream: TcpStream,
    /// Lowest and highest version of each API.
    pub versions: BTreeMap<i16, (i16, i16)>,
    pub names: Names,
    /// Answers are falsified like this before they are compared.
    pub plant: Option<normal::Plant>,
}

/// Waits until both brokers know the same topics with the same partitions and configs, since one answers before
/// all of it took effect; what still differs after that is told.
pub fn settle(levada: &mut Side, kafka: &mut Side, script: &Script) -> anyhow::Result<Option<String>> {
    let mut last = None;
    for _ in 0..ATTEMPTS / 5 {
        let (ours, theirs) = (levada.learn(&script.topics)?, kafka.learn(&script.topics)?);
        if ours == theirs && kafka.leads(&theirs)? {
            let names: Vec<String> = ours.into_keys().collect();
            let (ours, theirs) = (levada.topic_configs(&names)?, kafka.topic_configs(&names)?);
            if ours == theirs {
                return Ok(None);
            }
            last = Some(format!("configs: levada {ours:?}, kafka {theirs:?}"));
        } else {
            last = Some(format!("topics: levada {ours:?}, kafka {theirs:?}"));
        }
        std::thread::park_timeout(PAUSE);
    }
    Ok(last)
}

/// What one broker calls what the script calls otherwise.
#[derive(Default)]
pub struct Names {
    /// From the id in the script to the broker's own, and back.
    pub topic_ids: BTreeMap<TopicId, TopicId>,
    pub topic_names: BTreeMap<TopicId, TopicId>,
    /// In the order in which they were given.
    pub producer_ids: Vec<i64>,
    /// The newest fetch session, and the epoch that it expects.
    pub session: i32,
    pub session_epoch: i32,
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
        let mut side = Side {
            address: address.into(),
            stream,
            versions: BTreeMap::new(),
            names: Names::default(),
            plant: None,
        };
        let request = ApiVersionsRequest {
            client_software_name: "differential".into(),
            client_software_version: "1".into(),
            ..Default::default()
        };
        for api in side.call(3, &request)?.api_keys {
            side.versions.insert(api.api_key, (api.min_version, api.max_version));
        }
        Ok(side)
    }

    /// Creates what a round needs and waits until all of it can be used.
    pub fn prepare(&mut self, script: &Script) -> anyhow::Result<()> {
        let created = self.call(5, &script.topics_to_create())?;
        for topic in &created.topics {
            ensure!(topic.error_code == 0, "{} cannot be created: {}", topic.name, topic.error_code);
        }
        for (key_type, keys) in [(0, script.groups()), (1, script.transactional_ids())] {
            let coordinator_keys = keys.iter().map(|key| key.as_str().into()).collect();
            let request = FindCoordinatorRequest { key_type, coordinator_keys, ..Default::default() };
            self.until("a coordinator", |side| {
                let found = side.call(4, &request)?.coordinators;
                Ok(found.iter().all(|coordinator| coordinator.error_code == 0))
            })?;
        }
        // A coordinator that has been found may still be loading.
        for group in script.groups() {
            let group = OffsetFetchRequestGroup { group_id: group.as_str().into(), ..Default::default() };
            let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
            self.until("a group's coordinator", |side| {
                Ok(side.call(8, &request)?.groups.iter().all(|group| group.error_code == 0))
            })?;
        }
        let ids = script.transactional_ids().into_iter().map(|id| Some(id.as_str().into()));
        for transactional_id in ids.chain([None, None, None]) {
            let request = InitProducerIdRequest {
                transactional_id,
                transaction_timeout_ms: 60_000,
                ..Default::default()
            };
            self.until("a producer id", |side| {
                let answer = side.call(4, &request)?;
                if answer.error_code == 0 {
                    side.names.producer_ids.push(answer.producer_id);
                }
                Ok(answer.error_code == 0)
            })?;
        }
        let names: Vec<String> = created.topics.iter().map(|topic| topic.name.to_string()).collect();
        self.until("the topics", |side| {
            let known = side.learn(&script.topics)?;
            Ok(names.iter().all(|name| known.contains_key(name)) && side.leads(&known)?)
        })
    }

    /// Asks again until this is so.
    pub fn until(
        &mut self,
        what: &str,
        mut check: impl FnMut(&mut Side) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        for _ in 0..ATTEMPTS {
            if check(self)? {
                return Ok(());
            }
            std::thread::park_timeout(PAUSE);
        }
        bail!("{} was not ready in time at {}", what, self.address)
    }

    /// Learns the ids of the topics that exist now; how many partitions each has.
    pub fn learn(&mut self, topics: &[(String, TopicId)]) -> anyhow::Result<BTreeMap<String, i32>> {
        let topic = |(name, _): &(String, TopicId)| MetadataRequestTopic {
            name: Some(name.as_str().into()),
            ..Default::default()
        };
        let request = MetadataRequest {
            topics: Some(topics.iter().map(topic).collect()),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let mut known = BTreeMap::new();
        for answered in self.call(12, &request)?.topics {
            let Some((name, script)) = topics.iter().find(|(name, _)| answered.name.as_deref() == Some(name))
            else {
                continue;
            };
            if answered.error_code != 0 || answered.partitions.iter().any(|partition| partition.leader_id < 0)
            {
                continue;
            }
            self.names.topic_ids.insert(*script, answered.topic_id);
            self.names.topic_names.insert(answered.topic_id, *script);
            known.insert(name.clone(), answered.partitions.len() as i32);
        }
        Ok(known)
    }

    /// Whether the partitions of these topics can be read, which may be a little after the metadata tells so.
    pub fn leads(&mut self, topics: &BTreeMap<String, i32>) -> anyhow::Result<bool> {
        use wire::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
        let partition = |partition_index| ListOffsetsPartition {
            partition_index,
            timestamp: -1,
            current_leader_epoch: -1,
            ..Default::default()
        };
        let topic = |(name, partitions): (&String, &i32)| ListOffsetsTopic {
            name: name.as_str().into(),
            partitions: (0..*partitions).map(partition).collect(),
            ..Default::default()
        };
        let topics = topics.iter().map(topic).collect();
        let answer = self.call(7, &ListOffsetsRequest { replica_id: -1, topics, ..Default::default() })?;
        Ok(answer
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .all(|partition| partition.error_code == 0))
    }

    /// What is set on these topics themselves.
    pub fn topic_configs(&mut self, topics: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
        use wire::describe_configs::DescribeConfigsResource;
        let resource = |name: &String| DescribeConfigsResource {
            resource_type: 2,
            resource_name: name.as_str().into(),
            ..Default::default()
        };
        let resources = topics.iter().map(resource).collect();
        let answer = self.call(4, &DescribeConfigsRequest { resources, ..Default::default() })?;
        let of_topic = |result: wire::describe_configs::DescribeConfigsResult| {
            let mut own: Vec<_> =
                result.configs.into_iter().filter(|config| config.config_source == 1).collect();
            own.sort_by(|a, b| a.name.cmp(&b.name));
            let own: Vec<String> =
                own.iter().map(|config| format!("{}={:?}", config.name, config.value)).collect();
            (result.resource_name.to_string(), own.join(" "))
        };
        Ok(answer.results.into_iter().map(of_topic).collect())
    }

    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> anyhow::Result<R::Response> {
        let frame = encode_request(1, None, version, request)?;
        let Answer::Bytes(answer) = self.exchange(&frame.to_bytes())? else {
            bail!("{} was not answered by {}", R::NAME, self.address);
        };
        let (_, mut body) = decode_response_header(R::KEY, version, answer)?;
        Ok(R::Response::decode(&mut body, version)?)
    }

    /// As [`Side::call`]; none where the connection was closed instead.
    pub fn attempt<R: Request>(&mut self, version: i16, request: &R) -> anyhow::Result<Option<R::Response>> {
        let frame = encode_request(1, None, version, request)?;
        match self.exchange(&frame.to_bytes())? {
            Answer::Bytes(answer) => {
                let (_, mut body) = decode_response_header(R::KEY, version, answer)?;
                Ok(Some(R::Response::decode(&mut body, version)?))
            }
            Answer::Closed => {
                self.stream = open(&self.address)?;
                Ok(None)
            }
            Answer::Nothing => bail!("{} was not answered by {}", R::NAME, self.address),
        }
    }

    pub fn ask(&mut self, op: &Op) -> anyhow::Result<Answer> {
        let frame = (op.frame)(&self.names);
        let answer = self.exchange(&frame)?;
        if !matches!(answer, Answer::Bytes(_)) {
            self.stream = open(&self.address)?;
        }
        Ok(answer)
    }

    /// The answer as text, with everything made equal that may differ.
    pub fn normal(&mut self, op: &Op, answer: Answer) -> String {
        let answer = match answer {
            Answer::Bytes(answer) => answer,
            Answer::Closed => return "closed".into(),
            Answer::Nothing => return "no answer".into(),
        };
        let (_, mut body) = match decode_response_header(op.key, op.version, answer) {
            Ok(decoded) => decoded,
            Err(error) => return format!("unreadable header: {error}"),
        };
        match AnyResponse::decode(op.key, op.version, &mut body) {
            Ok(_) if body.remaining() > 0 => format!("{} bytes too many", body.remaining()),
            Ok(mut response) => {
                if let Some(plant) = self.plant {
                    plant.falsify(&mut response);
                }
                normal::text(response, &mut self.names)
            }
            Err(error) => format!("unreadable: {error}"),
        }
    }

    fn exchange(&mut self, frame: &[u8]) -> anyhow::Result<Answer> {
        let mut length = [0; 4];
        match self.stream.write_all(frame).and_then(|()| self.stream.read_exact(&mut length)) {
            Ok(()) => {}
            Err(error) => match error.kind() {
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                    return Ok(Answer::Closed);
                }
                ErrorKind::WouldBlock | ErrorKind::TimedOut => return Ok(Answer::Nothing),
                _ => return Err(error).with_context(|| format!("talking to {}", self.address)),
            },
        }
        let length = u32::from_be_bytes(length) as usize;
        ensure!(length < 100 << 20, "an answer of {length} bytes");
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer)?;
        Ok(Answer::Bytes(answer.into()))
    }
}

fn open(address: &str) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
