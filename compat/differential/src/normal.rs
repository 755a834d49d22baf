//! Makes equal what may differ between two right brokers: ids, times, hosts, the words of error messages, the order of
//! what has none.

use model::TopicId;
use model::batch::batches;
use wire::{AnyResponse, Str};

use crate::side::Names;

/// A fault put into the answers of one side.
#[derive(Clone, Copy)]
pub enum Plant {
    BaseOffset,
    ErrorCode,
    HighWatermark,
    ConfigValue,
}

impl Plant {
    pub fn named(name: &str) -> anyhow::Result<Plant> {
        Ok(match name {
            "base-offset" => Plant::BaseOffset,
            "error-code" => Plant::ErrorCode,
            "high-watermark" => Plant::HighWatermark,
            "config-value" => Plant::ConfigValue,
            _ => anyhow::bail!("there is no fault {name} to plant"),
        })
    }

    pub fn falsify(self, response: &mut AnyResponse) {
        match (self, response) {
            (Plant::BaseOffset, AnyResponse::Produce(response)) => {
                let partitions =
                    response.responses.iter_mut().flat_map(|topic| &mut topic.partition_responses);
                partitions.filter(|partition| partition.error_code == 0).for_each(|p| p.base_offset += 1);
            }
            (Plant::ErrorCode, AnyResponse::Produce(response)) => {
                let partitions =
                    response.responses.iter_mut().flat_map(|topic| &mut topic.partition_responses);
                partitions.filter(|partition| partition.error_code == 87).for_each(|p| p.error_code = 2);
            }
            (Plant::HighWatermark, AnyResponse::Fetch(response)) => {
                let partitions = response.responses.iter_mut().flat_map(|topic| &mut topic.partitions);
                partitions.filter(|partition| partition.error_code == 0).for_each(|p| p.high_watermark -= 1);
            }
            (Plant::ConfigValue, AnyResponse::DescribeConfigs(response)) => {
                let configs = response.results.iter_mut().flat_map(|result| &mut result.configs);
                configs.filter(|config| config.name == "cleanup.policy").for_each(|c| c.value = None);
            }
            _ => {}
        }
    }
}

pub fn text(mut response: AnyResponse, names: &mut Names) -> String {
    let id = |id: &mut TopicId| *id = names.topic_names.get(id).copied().unwrap_or(*id);
    let words = |message: &mut Option<Str>| {
        *message = None;
    };
    match &mut response {
        AnyResponse::Produce(response) => {
            for topic in &mut response.responses {
                id(&mut topic.topic_id);
                for partition in &mut topic.partition_responses {
                    words(&mut partition.error_message);
                    partition
                        .record_errors
                        .iter_mut()
                        .for_each(|error| words(&mut error.batch_index_error_message));
                    partition.log_append_time_ms = partition.log_append_time_ms.min(0);
                }
            }
            // Kafka answers in the order of a hash table.
            response.responses.sort_by(|a, b| (&a.name, a.topic_id).cmp(&(&b.name, b.topic_id)));
        }
        AnyResponse::Fetch(response) => {
            if response.session_id != 0 {
                let same = names.session == response.session_id;
                names.session_epoch = if same { names.session_epoch + 1 } else { 1 };
                names.session = response.session_id;
                response.session_id = 1;
            }
            let mut records = Vec::new();
            for topic in &mut response.responses {
                topic.topic_id = names.topic_names.get(&topic.topic_id).copied().unwrap_or(topic.topic_id);
                for partition in &mut topic.partitions {
                    let bytes = partition.records.take().unwrap_or_default().to_bytes();
                    records.push(contents(bytes, names));
                }
            }
            return format!("{} {}", brief(&format!("{response:?}")), records.join(" "));
        }
        AnyResponse::Metadata(response) => {
            response.brokers.clear();
            response.cluster_id = None;
            response.topics.iter_mut().for_each(|topic| id(&mut topic.topic_id));
            response.topics.sort_by(|a, b| a.name.cmp(&b.name));
            for topic in &mut response.topics {
                topic.partitions.sort_by_key(|partition| partition.partition_index);
            }
        }
        AnyResponse::OffsetCommit(response) => {
            response.topics.iter_mut().for_each(|topic| id(&mut topic.topic_id))
        }
        AnyResponse::OffsetFetch(response) => {
            response.topics.sort_by(|a, b| a.name.cmp(&b.name));
            for topic in &mut response.topics {
                topic.partitions.sort_by_key(|partition| partition.partition_index);
            }
            for group in &mut response.groups {
                group.topics.iter_mut().for_each(|topic| id(&mut topic.topic_id));
                group.topics.sort_by(|a, b| (&a.name, a.topic_id).cmp(&(&b.name, b.topic_id)));
                for topic in &mut group.topics {
                    topic.partitions.sort_by_key(|partition| partition.partition_index);
                }
            }
        }
        AnyResponse::FindCoordinator(response) => {
            (response.host, response.port) = (Str::new(), 0);
            words(&mut response.error_message);
            for coordinator in &mut response.coordinators {
                (coordinator.host, coordinator.port) = (Str::new(), 0);
                words(&mut coordinator.error_message);
            }
        }
        // Which APIs there are is compared by the tables, not here.
        AnyResponse::ApiVersions(response) => {
            response.api_keys.clear();
            response.supported_features.clear();
            response.finalized_features.clear();
            response.finalized_features_epoch = response.finalized_features_epoch.min(0);
        }
        AnyResponse::CreateTopics(response) => {
            response.topics.sort_by(|a, b| a.name.cmp(&b.name));
            for topic in &mut response.topics {
                topic.topic_id = if topic.topic_id.is_zero() { TopicId::ZERO } else { TopicId([1; 16]) };
                words(&mut topic.error_message);
                // The configs themselves are compared through DescribeConfigs.
                topic.configs = topic.configs.take().map(|_| Vec::new());
            }
        }
        AnyResponse::DeleteTopics(response) => {
            for result in &mut response.responses {
                id(&mut result.topic_id);
                words(&mut result.error_message);
            }
        }
        AnyResponse::JoinGroup(response)
            if response.error_code == i16::from(wire::ErrorCode::MemberIdRequired) =>
        {
            response.member_id = Str::new();
        }
        AnyResponse::ConsumerGroupHeartbeat(response) => words(&mut response.error_message),
        AnyResponse::ConsumerGroupDescribe(response) => {
            response.groups.iter_mut().for_each(|group| words(&mut group.error_message));
            response.groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        }
        AnyResponse::DescribeGroups(response) => {
            response.groups.iter_mut().for_each(|group| words(&mut group.error_message));
            response.groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        }
        AnyResponse::DeleteGroups(response) => {
            response.results.iter_mut().for_each(|group| words(&mut group.error_message));
            response.results.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        }
        AnyResponse::ElectLeaders(response) => {
            response.replica_election_results.sort_by(|a, b| a.topic.cmp(&b.topic));
            for topic in &mut response.replica_election_results {
                topic.partition_result.sort_by_key(|partition| partition.partition_id);
                topic.partition_result.iter_mut().for_each(|partition| words(&mut partition.error_message));
            }
        }
        AnyResponse::AlterPartitionReassignments(response) => {
            words(&mut response.error_message);
            for topic in &mut response.responses {
                topic.partitions.iter_mut().for_each(|partition| words(&mut partition.error_message));
            }
        }
        AnyResponse::ListPartitionReassignments(response) => words(&mut response.error_message),
        AnyResponse::DescribeAcls(response) => words(&mut response.error_message),
        AnyResponse::DescribeCluster(response) => {
            response.cluster_id = Str::new();
            words(&mut response.error_message);
            for broker in &mut response.brokers {
                (broker.host, broker.port) = (Str::new(), 0);
            }
        }
        // Sizes and folders are each broker's own.
        AnyResponse::DescribeLogDirs(response) => {
            for folder in &mut response.results {
                folder.log_dir = Str::new();
                (folder.total_bytes, folder.usable_bytes) = (0, 0);
                folder.topics.sort_by(|a, b| a.name.cmp(&b.name));
                for topic in &mut folder.topics {
                    topic.partitions.sort_by_key(|partition| partition.partition_index);
                    topic.partitions.iter_mut().for_each(|partition| partition.partition_size = 0);
                }
            }
        }
        AnyResponse::DeleteRecords(response) => {
            response.topics.sort_by(|a, b| a.name.cmp(&b.name));
            for topic in &mut response.topics {
                topic.partitions.sort_by_key(|partition| partition.partition_index);
            }
        }
        AnyResponse::ListOffsets(response) => {
            response.topics.sort_by(|a, b| a.name.cmp(&b.name));
            for topic in &mut response.topics {
                topic.partitions.sort_by_key(|partition| partition.partition_index);
                // The broker's own time.
                let stamped = topic.name.ends_with("stamped");
                for partition in topic.partitions.iter_mut().filter(|_| stamped) {
                    partition.timestamp = partition.timestamp.min(0);
                }
            }
        }
        AnyResponse::CreatePartitions(response) => {
            response.results.iter_mut().for_each(|result| words(&mut result.error_message));
            // Kafka answers in the order of a hash table.
            response.results.sort_by(|a, b| a.name.cmp(&b.name));
        }
        AnyResponse::InitProducerId(response) if response.producer_id >= 0 => {
            let known = names.producer_ids.iter().position(|id| *id == response.producer_id);
            let number = known.unwrap_or_else(|| {
                names.producer_ids.push(response.producer_id);
                names.producer_ids.len() - 1
            });
            response.producer_id = number as i64;
        }
        AnyResponse::DescribeConfigs(response) => {
            let mut lines = vec!["DescribeConfigs".to_string()];
            for result in &mut response.results {
                result.configs.sort_by(|a, b| a.name.cmp(&b.name));
                let kind = (result.resource_type, &result.resource_name);
                lines.push(format!("resource {kind:?}: error {}", result.error_code));
                for config in &result.configs {
                    let value = format!("{} = {:?} from {}", config.name, config.value, config.config_source);
                    let flags = (config.read_only, config.is_sensitive);
                    let synonyms: Vec<String> = config
                        .synonyms
                        .iter()
                        .map(|synonym| format!("{} {:?} {}", synonym.name, synonym.value, synonym.source))
                        .collect();
                    lines.push(format!("{value} type {} {flags:?} {synonyms:?}", config.config_type));
                }
            }
            return lines.join("\n    ");
        }
        AnyResponse::AlterConfigs(response) => {
            response.responses.iter_mut().for_each(|result| words(&mut result.error_message));
        }
        AnyResponse::IncrementalAlterConfigs(response) => {
            response.responses.iter_mut().for_each(|result| words(&mut result.error_message));
        }
        AnyResponse::DescribeTopicPartitions(response) => {
            response.topics.iter_mut().for_each(|topic| id(&mut topic.topic_id));
        }
        AnyResponse::DescribeProducers(response) => {
            for partition in response.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                words(&mut partition.error_message);
                for producer in &mut partition.active_producers {
                    let known = names.producer_ids.iter().position(|id| *id == producer.producer_id);
                    producer.producer_id = known.map_or(-2, |number| number as i64);
                    producer.last_timestamp = 0;
                }
                partition.active_producers.sort_by_key(|producer| producer.producer_id);
            }
        }
        _ => {}
    }
    brief(&format!("{response:?}"))
}

/// Without what is the same everywhere.
pub fn brief(text: &str) -> String {
    text.replace(", unknown_tagged_fields: TaggedFields(None)", "")
        .replace(", current_leader: LeaderIdAndEpoch { leader_id: -1, leader_epoch: -1 }", "")
        .replace(", diverging_epoch: EpochEndOffset { epoch: -1, end_offset: -1 }", "")
        .replace(", snapshot_id: SnapshotId { end_offset: -1, epoch: -1 }", "")
        .replace("throttle_time_ms: 0, ", "")
}

/// The parts in which two answers differ, with something around them; of several lines those that differ.
pub fn apart(ours: &str, theirs: &str) -> (String, String) {
    if ours.contains('\n') {
        let only = |of: &str, other: &str| {
            let differing: Vec<&str> =
                of.lines().filter(|line| !other.lines().any(|other| other == *line)).collect();
            differing.join("\n")
        };
        return (only(ours, theirs), only(theirs, ours));
    }
    const AROUND: usize = 160;
    let same = |a: &mut dyn Iterator<Item = char>, b: &mut dyn Iterator<Item = char>| {
        a.zip(b).take_while(|(a, b)| a == b).count()
    };
    let before = same(&mut ours.chars(), &mut theirs.chars());
    let after = same(&mut ours.chars().rev(), &mut theirs.chars().rev());
    let cut = |text: &str| {
        let skipped = before.saturating_sub(AROUND);
        let end = (text.chars().count() + AROUND).saturating_sub(after).max(before + AROUND);
        let part: String = text.chars().skip(skipped).take((end - skipped).min(6 * AROUND)).collect();
        format!("{}{part}", if skipped > 0 { "…" } else { "" })
    };
    (cut(ours), cut(theirs))
}

/// Offsets, times, keys, values and headers of all records, and what their batches say.
fn contents(bytes: bytes::Bytes, names: &Names) -> String {
    let mut out = Vec::new();
    for batch in batches(bytes) {
        let Ok(batch) = batch else {
            out.push("an unreadable batch".into());
            break;
        };
        let header = batch.header();
        let stamped = header.attributes.timestamp_type() == model::batch::TimestampType::LogAppendTime;
        let producer = names.producer_ids.iter().position(|id| *id == header.producer_id.0);
        out.push(format!(
            "[{}..{} epoch {} codec {:?} stamped {stamped} producer {producer:?} {} {}",
            header.base_offset,
            header.last_offset(),
            header.partition_leader_epoch,
            header.attributes.compression(),
            header.producer_epoch,
            header.base_sequence,
        ));
        let Ok(records) = batch.records(1 << 20) else {
            out.push("unreadable records".into());
            break;
        };
        for record in records.iter() {
            match record {
                Ok(record) => out.push(format!(
                    "{} {} {:?} {:?} {:?}",
                    records.offset(&record),
                    if stamped { 0 } else { records.timestamp(&record).0 },
                    record.key.map(<[u8]>::len),
                    record.value.map(<[u8]>::len),
                    record.headers.collect::<Vec<_>>(),
                )),
                Err(error) => out.push(error.to_string()),
            }
        }
        out.push("]".into());
    }
    out.join(" ")
}
