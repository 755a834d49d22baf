//! The log and the group as the broker has them: read over Kafka's protocol, past the event store.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use client::{Bootstrap, Cluster, Tail, Tailed};
use model::batch::{BatchHeader, Record as Raw, batches};
use model::{Offset, TopicId};
use tokio::sync::mpsc;
use tokio::time::timeout;
use wire::consumer_protocol::ConsumerProtocolAssignment;
use wire::{DescribeGroupsRequest, Message, Reader};

use crate::history::{EventId, Log, Place, Record, Stream, What, Writer, category_name};

/// How long nothing may come of what is known to be there.
const PATIENCE: Duration = Duration::from_secs(30);

/// The event store's group (levada.events.group.id).
const GROUP: &str = "lv.own.events";

const BATCH_BYTES_MAX: usize = 256 << 20;

pub async fn connect(address: &str) -> anyhow::Result<Cluster> {
    let bootstrap = Bootstrap(vec![address.to_owned()]);
    let options = client::Options {
        bootstrap,
        client_id: "faults".to_owned(),
        patience: Duration::from_secs(10),
        inside: None,
        security: client::Security::default(),
    };
    Ok(Cluster::connect(options).await?)
}

fn topic_name(category: u8) -> String {
    format!("{}.events", category_name(category))
}

pub async fn topic_id(cluster: &Cluster, category: u8) -> anyhow::Result<TopicId> {
    Ok(cluster.topic(&topic_name(category), false).await?.id)
}

/// Everything that is in the events topics.
pub async fn read(cluster: &Cluster, categories: u8) -> anyhow::Result<Log> {
    let mut log = Log::new();
    for category in 0..categories {
        let topic = cluster.topic(&topic_name(category), false).await?;
        let indexes: Vec<i32> = topic.partitions.iter().map(|partition| partition.index).collect();
        let ends = cluster.offsets(&topic, &indexes, -1, 0).await?;
        let from = indexes.iter().map(|index| (*index, Offset::ZERO));
        let tails = Tail::start(cluster.clone(), &topic.name, topic.id, from);
        for (partition, tail) in tails {
            let end = ends.get(&partition).copied().flatten().context("a partition without an end")?;
            let records = read_partition(category, tail, end).await?;
            log.insert(Place { category, partition }, records);
        }
    }
    Ok(log)
}

async fn read_partition(
    category: u8,
    mut tail: mpsc::Receiver<Tailed>,
    end: i64,
) -> anyhow::Result<Vec<Record>> {
    let mut records: Vec<Record> = Vec::new();
    let mut next = 0;
    while next < end {
        let Some(Tailed::Records { bytes, .. }) = timeout(PATIENCE, tail.recv()).await? else {
            bail!("a partition cannot be read from offset {next} on");
        };
        for batch in batches(bytes) {
            let Ok(batch) = batch else { break };
            batch.header().check_crc(batch.bytes())?;
            let of_batch = batch.records(BATCH_BYTES_MAX)?;
            for one in of_batch.iter() {
                let one = one?;
                let offset = of_batch.offset(&one).0;
                if offset >= next {
                    records.push(record(category, offset, batch.header(), &one));
                }
            }
            next = next.max(batch.header().next_offset().0);
        }
    }
    Ok(records)
}

fn record(category: u8, offset: i64, header: &BatchHeader, raw: &Raw<'_>) -> Record {
    let headers: BTreeMap<&[u8], &str> = raw
        .headers
        .into_iter()
        .filter_map(|(name, value)| Some((name, std::str::from_utf8(value?).ok()?)))
        .collect();
    let text = |name: &str| headers.get(name.as_bytes()).copied().unwrap_or_default();
    let batch = Writer { id: header.producer_id.0, epoch: header.producer_epoch.0 };
    let writer = text("lv-ep")
        .split_once(':')
        .and_then(|(id, epoch)| Some(Writer { id: id.parse().ok()?, epoch: epoch.parse().ok()? }));
    let what = match text("ce_type") {
        _ if header.attributes.is_control() || header.attributes.is_transactional() => {
            What::Odd("a record of a transaction".to_owned())
        }
        "levada.claim.v1" => What::Claim,
        kind => event(category, kind, raw, &text).unwrap_or_else(|why| What::Odd(why.to_owned())),
    };
    Record { offset, batch, writer: writer.unwrap_or(Writer { id: -1, epoch: -1 }), what }
}

fn event<'a>(
    category: u8,
    kind: &str,
    raw: &Raw<'_>,
    text: &impl Fn(&str) -> &'a str,
) -> Result<What, &'static str> {
    let key = raw.key.and_then(|key| std::str::from_utf8(key).ok()).ok_or("no key")?;
    let stream: Stream = key.parse().map_err(|()| "no stream of ours")?;
    let version = text("lv-ver").parse().map_err(|_| "no version")?;
    if text("ce_subject") != key || text("ce_source") != format!("/streams/{}", category_name(category)) {
        return Err("subject or source are wrong");
    }
    if kind == "levada.stream.boundary.v1" {
        let boundary = String::from_utf8_lossy(raw.value.unwrap_or_default()).into_owned();
        return Ok(What::Mark { stream, version, boundary });
    }
    let id: EventId = text("ce_id").parse().map_err(|()| "no id of ours")?;
    if kind != format!("K{}", id.kind()) || text("lv-tags") != format!("[\"t{}\"]", id.tag()) {
        return Err("its type or tags were changed");
    }
    if raw.value.unwrap_or_default() != id.data().as_bytes() {
        return Err("its data were changed");
    }
    Ok(What::Event { stream, version, id })
}

/// Which partitions each member of the event store's group has, by its URL. While it rebalances, nobody has any.
pub async fn owners(cluster: &Cluster, categories: u8) -> anyhow::Result<BTreeMap<String, Vec<Place>>> {
    let request = DescribeGroupsRequest { groups: vec![GROUP.into()], ..DescribeGroupsRequest::default() };
    let answer = cluster.coordinator(GROUP).await?.ask(&request).await?;
    let mut owners = BTreeMap::new();
    for member in answer.groups.into_iter().flat_map(|group| group.members) {
        let url = member.group_instance_id.map(|url| url.to_string()).unwrap_or_default();
        let mut reader = Reader::new(member.member_assignment);
        let Ok(version) = reader.i16() else { continue };
        let version =
            version.clamp(ConsumerProtocolAssignment::VERSIONS.min, ConsumerProtocolAssignment::VERSIONS.max);
        let assignment = ConsumerProtocolAssignment::decode(&mut reader, version)?;
        let mut places = Vec::new();
        for topic in assignment.assigned_partitions {
            let category = (0..categories).find(|category| topic_name(*category) == *topic.topic);
            let Some(category) = category else { continue };
            places.extend(topic.partitions.iter().map(|partition| Place { category, partition: *partition }));
        }
        owners.insert(url, places);
    }
    Ok(owners)
}
