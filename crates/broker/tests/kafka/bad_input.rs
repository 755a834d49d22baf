use tokio::io::AsyncWriteExt;
use wire::{ApiKey, MetadataRequest, OffsetFetchRequest};

use crate::harness::*;

/// The broker closes this connection, and serves the next one.
async fn closes(server: &Server, bytes: &[u8]) {
    let mut client = server.connect();
    client.stream.write_all(bytes).await.unwrap();
    assert!(client.frame().await.is_none(), "{bytes:?} was answered");
    assert_eq!(server.connect().ask(4, &api_versions()).await.error_code, 0);
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes(), body].concat()
}

#[tokio::test(start_paused = true)]
async fn lengths_keys_and_versions_that_cannot_be() {
    let server = Server::start().await;
    closes(&server, &[0xff; 4]).await;
    closes(&server, &(200_u32 << 20).to_be_bytes()).await;
    closes(&server, &framed(&[])).await;
    closes(&server, &framed(&[0, 3])).await;
    // Unknown key; a broker's own key; a version beyond the newest.
    for (key, version) in [(1000_i16, 0_i16), (-1, 0), (4, 0), (27, 1), (3, 14), (3, -1)] {
        let header = [&key.to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 1, 255, 255, 0]].concat();
        closes(&server, &framed(&header)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn every_request_cut_short_anywhere_closes_and_harms_nobody() {
    let server = Server::start().await;
    server.connect().create_topic("t", 1, &[]).await;
    let request = produce_request("t", 0, batch(&["a"]), -1);
    let whole = wire::encode_request(1, Some("test"), 9, &request).unwrap().to_bytes();
    for length in 0..whole.len() - 4 {
        let cut = &whole[4..4 + length];
        closes(&server, &framed(cut)).await;
    }
    assert_eq!(server.connect().fetch("t", 0, 0).await.high_watermark, 0);
}

#[tokio::test(start_paused = true)]
async fn array_lengths_that_the_bytes_cannot_hold() {
    let server = Server::start().await;
    let header = |key: ApiKey, version: i16| {
        [&key.code().to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 1]].concat()
    };
    for count in [i32::MAX, 1_000_001, 2] {
        let body = [&header(ApiKey::Metadata, 1)[..], &[255, 255], &count.to_be_bytes()].concat();
        closes(&server, &framed(&body)).await;
    }
    // The compact form: header tags, then a varint length.
    let body = [&header(ApiKey::Metadata, 12)[..], &[255, 255, 0, 255, 255, 255, 255, 15]].concat();
    closes(&server, &framed(&body)).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_cut_off_and_the_others_are_served() {
    let server = Server::start().await;
    let mut stuck = server.connect();
    let request = MetadataRequest { topics: None, ..Default::default() };
    let flood = env::spawn(async move {
        let mut sent = 0;
        while sent < 1_000_000 && stuck.is_open_after(12, &request).await {
            sent += 1;
        }
        sent
    });
    for _ in 0..100 {
        assert_eq!(server.connect().ask(4, &api_versions()).await.error_code, 0);
    }
    let sent = flood.await.unwrap();
    assert!(sent < 1_000_000, "cut off after {sent} requests");
}

#[tokio::test(start_paused = true)]
async fn half_open_connections_end_and_idle_ones_stay_for_ten_minutes() {
    let server = Server::start().await;
    let mut half = server.connect();
    half.stream.write_all(&[0, 0, 1, 0, 0, 18]).await.unwrap();
    let mut idle = server.connect();
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert!(half.frame().await.is_none());
    tokio::time::sleep(std::time::Duration::from_secs(500)).await;
    assert_eq!(idle.ask(4, &api_versions()).await.error_code, 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_decodes_to_too_much_is_refused_and_a_large_one_served() {
    let server = Server::start().await;
    // A little more than the limit has room for: three bytes each, and no more than an array may have.
    let count = (64 << 20) / size_of::<wire::offset_fetch::OffsetFetchRequestGroup>() + 1;
    assert!(count < wire::ARRAY_ELEMENTS_MAX);
    let request = OffsetFetchRequest { groups: vec![Default::default(); count], ..Default::default() };
    let mut client = server.connect();
    client.is_open_after(8, &request).await;
    assert!(client.frame().await.is_none());
    let name = "x".repeat(32_000);
    let topic =
        wire::metadata::MetadataRequestTopic { name: Some(name.as_str().into()), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![topic; 150]), ..Default::default() };
    assert!(!server.connect().ask(1, &request).await.topics.is_empty());
}
