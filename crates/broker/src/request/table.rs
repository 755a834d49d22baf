//! Every API that is served: its versions, and what its handler is given.

use wire::{ApiKey, Header, Reader};

use super::{Caller, decode, respond};
use crate::Parts;
use crate::handlers::*;
use crate::net::Outcome;

/// The APIs that ApiVersions lists, with their versions. Only what is served is listed.
pub fn advertised() -> impl Iterator<Item = (ApiKey, i16, i16)> {
    SERVED.iter().map(|(api, min, max)| match api {
        // Versions 0 to 2 are gone, but older librdkafka sends uncompressed unless they are listed (KAFKA-18659).
        ApiKey::Produce => (*api, 0, *max),
        _ => (*api, *min, *max),
    })
}

pub fn serves(api: ApiKey, version: i16) -> bool {
    SERVED.iter().any(|(served, min, max)| *served == api && (*min..=*max).contains(&version))
}

macro_rules! apis {
    ($($api:ident $min:literal..=$max:literal => |$request:ident, $caller:ident, $broker:ident| $answer:expr;)*) => {
        /// Produce is served by its own way (`request/mod.rs`), since it is pipelined; Fetch, since its answers hold
        /// memory.
        const SERVED: &[(ApiKey, i16, i16)] =
            &[(ApiKey::Produce, 3, 13), (ApiKey::Fetch, 4, 18), $((ApiKey::$api, $min, $max)),*];

        pub async fn answer(api: ApiKey, header: Header, body: Reader, caller: Caller, broker: &Parts) -> Outcome {
            match api {
                ApiKey::Fetch => {
                    let (request, _decoded) = match decode(body, caller.version, &broker.decoded_budget).await {
                        Ok(decoded) => decoded,
                        Err(outcome) => return outcome,
                    };
                    let (response, held) = fetch::handle(request, &caller, broker).await;
                    broker.metrics.errors(&response);
                    respond(&header, caller.version, &response, held)
                }
                $(ApiKey::$api => {
                    let ($request, _decoded) = match decode(body, caller.version, &broker.decoded_budget).await {
                        Ok(decoded) => decoded,
                        Err(outcome) => return outcome,
                    };
                    let ($caller, $broker) = (&caller, broker);
                    let response = $answer.await;
                    $broker.metrics.errors(&response);
                    respond(&header, $caller.version, &response, None)
                })*
                _ => Outcome::Close(format!("{} is not served", api.name())),
            }
        }
    };
}

apis! {
    ListOffsets 1..=11 => |r, c, b| list_offsets::handle(r, c, &b.topics);
    Metadata 0..=13 => |r, c, b| metadata::handle(r, c, &b.node, &b.topics, &b.cluster);
    OffsetCommit 2..=10 => |r, c, b| offset_commit::handle(r, c, &b.topics, &b.groups, &b.options, &*b.clock);
    OffsetFetch 1..=10 => |r, c, b| offset_fetch::handle(r, c, &b.topics, &b.groups);
    FindCoordinator 0..=6 => |r, c, b| find_coordinator::handle(r, c, &b.node, &b.groups, &b.transactional_ids);
    SaslHandshake 0..=1 => |r, _c, _b| sasl::handshake(r);
    SaslAuthenticate 0..=2 => |r, _c, _b| sasl::authenticate(r);
    ApiVersions 0..=5 => |r, c, b| api_versions::handle(r, c, &b.node);
    CreateTopics 2..=7 => |r, c, b| create_topics::handle(r, c, &b.cluster);
    DeleteTopics 1..=6 => |r, c, b| delete_topics::handle(r, c, &b.topics, &b.cluster, &b.groups, &b.options);
    DeleteRecords 0..=2 => |r, _c, b| delete_records::handle(r, &b.topics, &b.storage);
    InitProducerId 0..=5 => |r, c, b| init_producer_id::handle(r, c, b);
    OffsetForLeaderEpoch 2..=4 => |r, _c, b| offset_for_leader_epoch::handle(r, &b.topics);
    JoinGroup 0..=9 => |r, c, b| join_group::handle(r, c, &b.groups, &b.topics, &*b.random);
    SyncGroup 0..=5 => |r, c, b| sync_group::handle(r, c, &b.groups, &b.topics);
    Heartbeat 0..=4 => |r, _c, b| heartbeat::handle(r, &b.groups);
    LeaveGroup 0..=5 => |r, c, b| leave_group::handle(r, c, &b.groups);
    DescribeGroups 0..=6 => |r, c, b| describe_groups::handle(r, c, &b.groups);
    ListGroups 0..=5 => |r, _c, b| list_groups::handle(r, &b.groups);
    ConsumerGroupHeartbeat 0..=1 =>
        |r, c, b| consumer_group_heartbeat::handle(r, c, &b.groups, &b.topics, &b.cluster, &*b.random);
    ConsumerGroupDescribe 0..=1 => |r, _c, b| consumer_group_describe::handle(r, &b.groups, &b.topics);
    DeleteGroups 0..=3 => |r, _c, b| delete_groups::handle(r, &b.groups);
    DescribeConfigs 1..=4 => |r, c, b| describe_configs::handle(r, c, &b.node, &b.topics, &b.cluster);
    AlterConfigs 0..=2 => |r, _c, b| alter_configs::handle(r, &b.node, &b.topics, &b.cluster);
    DescribeLogDirs 1..=5 => |r, _c, b| describe_log_dirs::handle(r, &b.topics, &b.storage, &b.options);
    CreatePartitions 0..=3 => |r, _c, b| create_partitions::handle(r, &b.topics, &b.cluster);
    IncrementalAlterConfigs 0..=1 => |r, _c, b| incremental_alter_configs::handle(r, &b.node, &b.topics, &b.cluster);
    OffsetDelete 0..=0 => |r, _c, b| offset_delete::handle(r, &b.topics, &b.groups);
    DescribeAcls 1..=3 => |r, _c, _b| acls::describe(r);
    CreateAcls 1..=3 => |r, _c, _b| acls::create(r);
    DeleteAcls 1..=3 => |r, _c, _b| acls::delete(r);
    AlterReplicaLogDirs 1..=2 => |r, _c, b| alter_replica_log_dirs::handle(r, &b.topics, &b.options);
    ElectLeaders 0..=2 => |r, _c, b| elect_leaders::handle(r, &b.topics);
    AlterPartitionReassignments 0..=1 => |r, _c, b| partition_reassignments::alter(r, &b.node, &b.topics);
    ListPartitionReassignments 0..=0 => |r, _c, _b| partition_reassignments::list(r);
    DescribeClientQuotas 0..=1 => |r, _c, _b| describe_client_quotas::handle(r);
    DescribeUserScramCredentials 0..=0 => |r, _c, _b| describe_user_scram_credentials::handle(r);
    DescribeQuorum 0..=2 => |r, c, b| describe_quorum::handle(r, c, &b.node, &b.storage, b.clock.now());
    UpdateFeatures 0..=2 => |r, c, _b| update_features::handle(r, c);
    DescribeCluster 0..=2 => |r, c, b| describe_cluster::handle(r, c, &b.node);
    DescribeProducers 0..=0 => |r, _c, b| describe_producers::handle(r, &b.topics);
    ListTransactions 0..=1 => |r, _c, b| list_transactions::handle(r, &b.transactional_ids, &*b.clock);
    ListConfigResources 0..=1 => |r, c, b| list_config_resources::handle(r, c, &b.node, &b.topics, &b.cluster);
    DescribeTopicPartitions 0..=0 => |r, _c, b| describe_topic_partitions::handle(r, &b.node, &b.topics);
}
