//! What consumer groups set themselves (KIP-848, KIP-1142). Answers are Apache Kafka 4.3.1's.

use std::time::Duration;

use wire::describe_configs::{DescribeConfigsResource, DescribeConfigsResourceResult};
use wire::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use wire::{
    AlterConfigsRequest, ConsumerGroupHeartbeatRequest, DescribeConfigsRequest, ErrorCode,
    IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
};

use crate::harness::*;

const GROUP: i8 = 32;
const SESSION: &str = "consumer.session.timeout.ms";
const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;

/// IncrementalAlterConfigs with one change; the error and its text.
async fn alter(
    client: &mut Client,
    group: &str,
    change: (i8, &str, Option<&str>),
    validate_only: bool,
) -> (ErrorCode, String) {
    let (config_operation, name, value) = change;
    let value = value.map(Into::into);
    let config = AlterableConfig { name: name.into(), config_operation, value, ..Default::default() };
    let resource = AlterConfigsResource {
        resource_type: GROUP,
        resource_name: group.into(),
        configs: vec![config],
        ..Default::default()
    };
    let request =
        IncrementalAlterConfigsRequest { resources: vec![resource], validate_only, ..Default::default() };
    let answer = client.ask(1, &request).await.responses.remove(0);
    (error(answer.error_code), answer.error_message.map(|text| text.to_string()).unwrap_or_default())
}

/// AlterConfigs: these and no others.
async fn replace(client: &mut Client, group: &str, configs: &[(&str, Option<&str>)]) -> ErrorCode {
    let config = |(name, value): &(&str, Option<&str>)| wire::alter_configs::AlterableConfig {
        name: (*name).into(),
        value: value.map(Into::into),
        ..Default::default()
    };
    let resource = wire::alter_configs::AlterConfigsResource {
        resource_type: GROUP,
        resource_name: group.into(),
        configs: configs.iter().map(config).collect(),
        ..Default::default()
    };
    let request = AlterConfigsRequest { resources: vec![resource], ..Default::default() };
    error(client.ask(2, &request).await.responses[0].error_code)
}

async fn describe(client: &mut Client, group: &str) -> (ErrorCode, Vec<DescribeConfigsResourceResult>) {
    let resource = DescribeConfigsResource {
        resource_type: GROUP,
        resource_name: group.into(),
        configuration_keys: None,
        ..Default::default()
    };
    let request =
        DescribeConfigsRequest { resources: vec![resource], include_synonyms: true, ..Default::default() };
    let answer = client.ask(4, &request).await.results.remove(0);
    (error(answer.error_code), answer.configs)
}

/// `name=value` and where from, for each name in the chain that gives it.
async fn chain(client: &mut Client, group: &str, name: &str) -> String {
    let (code, configs) = describe(client, group).await;
    assert_eq!(code, ErrorCode::None);
    let config = configs.into_iter().find(|config| config.name == name).expect("it is described");
    assert!(!config.read_only && !config.is_sensitive && config.config_type == 3, "{config:?}");
    assert_eq!(config.value, config.synonyms[0].value);
    assert_eq!(config.config_source, config.synonyms[0].source);
    let link = |synonym: &wire::describe_configs::DescribeConfigsSynonym| {
        format!("{}={} ({})", synonym.name, synonym.value.as_deref().unwrap_or("null"), synonym.source)
    };
    config.synonyms.iter().map(link).collect::<Vec<_>>().join(", ")
}

async fn listed(client: &mut Client) -> Vec<String> {
    let request = ListConfigResourcesRequest { resource_types: vec![GROUP], ..Default::default() };
    let answer = client.ask(1, &request).await;
    assert_eq!(answer.error_code, 0);
    answer.config_resources.iter().map(|resource| resource.resource_name.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_group_sets_described_listed_and_kept_over_a_restart_whether_it_exists_or_not() {
    let server = Server::start().await;
    let mut client = server.connect();
    let (_, configs) = describe(&mut client, "billing").await;
    let names: Vec<&str> = configs.iter().map(|config| &*config.name).collect();
    assert_eq!(names, ["consumer.assignment.interval.ms", HEARTBEAT, SESSION]);
    assert_eq!(chain(&mut client, "billing", SESSION).await, "group.consumer.session.timeout.ms=45000 (5)");
    assert!(listed(&mut client).await.is_empty());

    let set = |name, value| (SET, name, Some(value));
    assert_eq!(alter(&mut client, "billing", set(SESSION, "50000"), true).await.0, ErrorCode::None);
    assert!(listed(&mut client).await.is_empty(), "it was only to be validated");
    assert_eq!(alter(&mut client, "billing", set(SESSION, " 50000 "), false).await.0, ErrorCode::None);
    assert_eq!(alter(&mut client, "audit", set(HEARTBEAT, "6000"), false).await.0, ErrorCode::None);

    let server = server.restart().await;
    let mut client = server.connect();
    assert_eq!(listed(&mut client).await, ["audit", "billing"]);
    assert_eq!(
        chain(&mut client, "billing", SESSION).await,
        "consumer.session.timeout.ms=50000 (8), group.consumer.session.timeout.ms=45000 (5)"
    );
    assert_eq!(alter(&mut client, "audit", (DELETE, HEARTBEAT, None), false).await.0, ErrorCode::None);
    assert_eq!(listed(&mut client).await, ["billing"]);

    assert_eq!(replace(&mut client, "billing", &[(HEARTBEAT, Some("7000"))]).await, ErrorCode::None);
    assert_eq!(chain(&mut client, "billing", SESSION).await, "group.consumer.session.timeout.ms=45000 (5)");
    assert_eq!(replace(&mut client, "billing", &[(SESSION, Some("1"))]).await, ErrorCode::InvalidConfig);
    assert_eq!(replace(&mut client, "billing", &[(SESSION, None)]).await, ErrorCode::InvalidRequest);
    assert_eq!(replace(&mut client, "", &[]).await, ErrorCode::InvalidRequest);
    assert_eq!(replace(&mut client, "billing", &[]).await, ErrorCode::None);
    assert!(listed(&mut client).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_group_cannot_have_is_refused_in_kafkas_words() {
    let server = Server::start().await;
    let mut client = server.connect();
    let mut refused = async |group: &str, change| {
        let (code, text) = alter(&mut client, group, change, false).await;
        format!("{code:?}: {text}")
    };
    assert_eq!(
        refused("g", (SET, SESSION, Some("44999"))).await,
        "InvalidConfig: consumer.session.timeout.ms must be greater than or equal to \
         group.consumer.min.session.timeout.ms"
    );
    assert_eq!(
        refused("g", (SET, "nonsense", Some("1"))).await,
        "InvalidConfig: Unknown group config name: nonsense"
    );
    assert_eq!(
        refused("g", (APPEND, SESSION, Some("1"))).await,
        "InvalidConfig: Can't APPEND to key consumer.session.timeout.ms because its type is not LIST."
    );
    assert_eq!(
        refused("g", (SET, SESSION, None)).await,
        "InvalidRequest: Null value not supported for : consumer.session.timeout.ms"
    );
    assert_eq!(
        refused("", (SET, SESSION, Some("50000"))).await,
        "InvalidRequest: Default group resources are not allowed."
    );
    assert_eq!(refused("g", (DELETE, "nonsense", None)).await, "None: ");
    assert_eq!(describe(&mut client, "").await.0, ErrorCode::InvalidRequest);
    assert!(listed(&mut client).await.is_empty());
}

async fn beat(client: &mut Client, epoch: i32) -> (ErrorCode, i32, i32) {
    let joins = epoch == 0;
    let request = ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: "m".into(),
        member_epoch: epoch,
        rebalance_timeout_ms: if joins { 60_000 } else { -1 },
        subscribed_topic_names: joins.then(|| vec!["t".into()]),
        topic_partitions: joins.then(Vec::new),
        ..Default::default()
    };
    let answer = client.ask(1, &request).await;
    (error(answer.error_code), answer.member_epoch, answer.heartbeat_interval_ms)
}

#[tokio::test(start_paused = true)]
async fn a_groups_configs_count_from_its_next_heartbeat_on_and_after_a_restart_from_the_start() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 1, &[]).await;
    assert_eq!(beat(&mut client, 0).await, (ErrorCode::None, 2, 5000));
    for (name, value) in [(SESSION, "60000"), (HEARTBEAT, "9000")] {
        assert_eq!(alter(&mut client, "g", (SET, name, Some(value)), false).await.0, ErrorCode::None);
    }
    assert_eq!(beat(&mut client, 2).await, (ErrorCode::None, 2, 9000));
    tokio::time::sleep(Duration::from_secs(55)).await;
    assert_eq!(beat(&mut client, 2).await.0, ErrorCode::None, "45 seconds would be over");

    let server = server.restart().await;
    server.broker.load_groups().await;
    let mut client = server.connect();
    tokio::time::sleep(Duration::from_secs(55)).await;
    assert_eq!(beat(&mut client, 2).await, (ErrorCode::None, 2, 9000));

    assert_eq!(alter(&mut client, "g", (DELETE, SESSION, None), false).await.0, ErrorCode::None);
    assert_eq!(beat(&mut client, 2).await.0, ErrorCode::None);
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert_eq!(beat(&mut client, 2).await.0, ErrorCode::UnknownMemberId, "back to 45 seconds");
}
