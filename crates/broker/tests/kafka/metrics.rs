use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::harness::*;

/// What OpenMetrics demands of the text, as far as a scraper would stumble over it; gives back the samples.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut families: BTreeMap<String, String> = BTreeMap::new();
    let mut closed = BTreeSet::new();
    let mut current = String::new();
    let mut samples = BTreeMap::new();
    let body = text.strip_suffix("# EOF\n").expect("it ends with # EOF");
    for line in body.lines() {
        assert!(!line.is_empty() && !line.starts_with("# EOF"), "a line that may not be: {line:?}");
        if let Some(rest) = line.strip_prefix("# ") {
            let [what, name, text] = rest.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            if name != current {
                assert!(closed.insert(current.clone()), "the lines of {current} stand together");
                assert!(!closed.contains(name), "the lines of {name} stand together");
                current = name.to_owned();
            }
            match what {
                "TYPE" => assert_eq!(families.insert(name.to_owned(), text.to_owned()), None, "{name}"),
                "UNIT" => {
                    assert!(name.ends_with(&format!("_{text}")), "the name of {name} ends with its unit")
                }
                "HELP" => {}
                _ => panic!("{line}"),
            }
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').expect(line);
        let name = sample.split('{').next().expect(line);
        let suffixes: &[&str] = match families[&current].as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "info" => &["_info"],
            "histogram" => &["_sum", "_count", "_bucket"],
            other => panic!("{current}: {other}"),
        };
        assert!(suffixes.iter().any(|suffix| name == format!("{current}{suffix}")), "{line} under {current}");
        let value: f64 = value.parse().expect(line);
        assert_eq!(samples.insert(sample.to_owned(), value), None, "{sample} stands once");
    }
    let histograms = families.iter().filter(|(_, kind)| *kind == "histogram");
    for (name, _) in histograms {
        let of_all = format!("{name}_count");
        for (sample, count) in samples.iter().filter(|(sample, _)| sample.split('{').next() == Some(&of_all))
        {
            let last = match sample.split_once('{') {
                None => format!("{name}_bucket{{le=\"+Inf\"}}"),
                Some((_, labels)) => format!("{name}_bucket{{le=\"+Inf\",{labels}"),
            };
            assert_eq!(samples.get(&last), Some(count), "{last} holds all");
        }
    }
    samples
}

#[tokio::test(start_paused = true)]
async fn metrics_are_openmetrics_and_tell_traffic_by_topic_errors_by_code_and_who_runs() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("orders", 2, &[]).await;
    let records = batch(&["a", "b", "c"]);
    let size = records.len() as f64;
    client.produce("orders", 1, records).await;
    let read = client.fetch("orders", 1, 1).await;
    assert_eq!(read.error_code, 0);
    client.produce("orders", 7, batch(&["nowhere"])).await;
    client.fetch("orders", 1, 99).await;
    let samples = samples(&server.broker.metrics_text().await);
    let value = |sample: &str| *samples.get(sample).unwrap_or_else(|| panic!("{sample} in {samples:#?}"));
    assert_eq!(value("levada_topic_produced_bytes_total{topic=\"orders\"}"), size);
    assert_eq!(value("levada_topic_produced_records_total{topic=\"orders\"}"), 3.0);
    assert_eq!(value("levada_topic_fetched_bytes_total{topic=\"orders\"}"), size, "whole batches are sent");
    assert_eq!(value("levada_topic_fetched_records_total{topic=\"orders\"}"), 2.0, "from where it was asked");
    assert_eq!(value("levada_errors_total{api=\"Produce\",code=\"UNKNOWN_TOPIC_OR_PARTITION\"}"), 1.0);
    assert_eq!(value("levada_errors_total{api=\"Fetch\",code=\"OFFSET_OUT_OF_RANGE\"}"), 1.0);
    assert_eq!(value(concat!("levada_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}")), 1.0);
    assert_eq!(value("process_start_time_seconds"), NOW.0 as f64 / 1000.0);
    assert!(value("levada_storage_sync_seconds_count") > 0.0);
    assert!(samples.contains_key("levada_storage_sync_seconds_sum"));
}

#[tokio::test(start_paused = true)]
async fn logs_tell_their_bytes_and_where_they_begin_and_end_and_a_topic_that_is_gone_nothing() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("orders", 2, &[]).await;
    let (first, second) = (batch(&["a", "b", "c"]), batch(&["d"]));
    let size = (first.len() + second.len()) as f64;
    client.produce("orders", 1, first).await;
    client.produce("orders", 1, second).await;
    let row =
        wire::delete_records::DeleteRecordsPartition { partition_index: 1, offset: 3, ..Default::default() };
    let topic = wire::delete_records::DeleteRecordsTopic {
        name: "orders".into(),
        partitions: vec![row],
        ..Default::default()
    };
    let request = wire::DeleteRecordsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() };
    assert_eq!(client.ask(2, &request).await.topics[0].partitions[0].error_code, 0);
    let told = samples(&server.broker.metrics_text().await);
    let of = |name: &str, partition: i32| {
        told[&format!("levada_partition_{name}{{topic=\"orders\",partition=\"{partition}\"}}")]
    };
    assert_eq!((of("log_start_offset", 1), of("log_end_offset", 1)), (3.0, 4.0));
    assert_eq!((of("log_start_offset", 0), of("log_end_offset", 0)), (0.0, 0.0));
    assert!(of("log_bytes", 1) > 0.0 && of("log_bytes", 1) <= size, "{}", of("log_bytes", 1));
    assert_eq!(told["levada_topic_log_bytes{topic=\"orders\"}"], of("log_bytes", 0) + of("log_bytes", 1));
    assert_eq!(told["levada_partitions_untold"], 0.0);
    let request = wire::DeleteTopicsRequest { topic_names: vec!["orders".into()], ..Default::default() };
    assert_eq!(client.ask(5, &request).await.responses[0].error_code, 0);
    assert!(!server.broker.metrics_text().await.contains("levada_partition_log_end_offset{topic=\"orders\""));
}

#[tokio::test(start_paused = true)]
async fn of_many_partitions_the_first_two_thousand_tell_their_offsets_and_the_rest_is_counted() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("many", 2001, &[]).await;
    let told = samples(&server.broker.metrics_text().await);
    let ends = told.keys().filter(|sample| sample.starts_with("levada_partition_log_end_offset{"));
    assert_eq!(ends.count(), 2000);
    assert_eq!(told["levada_partitions_untold"], 1.0);
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_records_is_no_latency() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("orders", 1, &[]).await;
    let mut fetch = fetch_request("orders", 0, 0);
    fetch.max_wait_ms = 2000;
    client.send(12, &fetch).await;
    settle().await;
    server.clock.advance(Duration::from_secs(2));
    client.receive::<wire::FetchRequest>(12).await.unwrap();
    let samples = samples(&server.broker.metrics_text().await);
    let wait = samples["levada_request_wait_seconds_sum{api=\"Fetch\"}"];
    let latency = samples["levada_request_latency_seconds_sum{api=\"Fetch\"}"];
    assert!(wait >= Duration::from_secs(2).as_secs_f64() && latency < 0.1, "waited {wait}, took {latency}");
}

#[tokio::test(start_paused = true)]
async fn groups_tell_how_far_they_are_behind_and_how_many_are_in_them() {
    use wire::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("orders", 2, &[]).await;
    client.produce("orders", 1, batch(&["a", "b", "c"])).await;
    let row = |partition_index, committed_offset| OffsetCommitRequestPartition {
        partition_index,
        committed_offset,
        ..Default::default()
    };
    let topic = OffsetCommitRequestTopic {
        name: "orders".into(),
        partitions: vec![row(0, 5), row(1, 1)],
        ..Default::default()
    };
    let group = "bill\"ing\n";
    let request =
        wire::OffsetCommitRequest { group_id: group.into(), topics: vec![topic], ..Default::default() };
    client.ask(9, &request).await;
    let text = server.broker.metrics_text().await;
    let told = samples(&text);
    let lag = |partition| {
        told[&format!(
            "levada_group_lag{{group=\"bill\\\"ing\\n\",topic=\"orders\",partition=\"{partition}\"}}"
        )]
    };
    assert_eq!(lag(1), 2.0);
    assert_eq!(lag(0), 0.0, "it is never negative");
    assert_eq!(told["levada_group_members{group=\"bill\\\"ing\\n\"}"], 0.0);

    // Topics and groups that are gone are told no more.
    let request = wire::DeleteTopicsRequest { topic_names: vec!["orders".into()], ..Default::default() };
    assert_eq!(client.ask(5, &request).await.responses[0].error_code, 0);
    assert!(!server.broker.metrics_text().await.contains("levada_group_lag{"));
}
