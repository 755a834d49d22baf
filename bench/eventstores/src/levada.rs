use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use tonic::transport::{Channel, Endpoint};

use crate::{Client, data, print};

mod api {
    #![allow(clippy::all, reason = "generated")]
    tonic::include_proto!("levada.events.v1");
}

pub struct Levada(api::events_client::EventsClient<Channel>);

impl Client for Levada {
    type Seen = ();

    async fn connect(address: &str) -> anyhow::Result<Levada> {
        let channel = Endpoint::new(format!("http://{address}"))?.tcp_nodelay(true).connect().await?;
        Ok(Levada(api::events_client::EventsClient::new(channel)))
    }

    async fn append(
        &mut self,
        name: &str,
        stream: &str,
        version: usize,
        data: &[u8],
        _: &mut (),
    ) -> anyhow::Result<()> {
        use api::stream_append::Expected;
        let event = api::NewEvent {
            id: format!("{stream}:{version}"),
            r#type: "Happened".to_owned(),
            data: Bytes::copy_from_slice(data),
            ..api::NewEvent::default()
        };
        let expected = match version - 1 {
            0 => Expected::None(true),
            before => Expected::Version(before as u64),
        };
        let request = api::AppendRequest {
            category: name.to_owned(),
            streams: vec![api::StreamAppend {
                stream: stream.to_owned(),
                expected: Some(expected),
                events: vec![event],
            }],
            ..api::AppendRequest::default()
        };
        let answer = self.0.append(request).await?.into_inner();
        ensure!(answer.streams.first().is_some_and(|it| it.version == version as u64), "another version");
        Ok(())
    }

    async fn read(&mut self, name: &str, stream: &str) -> anyhow::Result<usize> {
        let request = api::ReadStreamRequest {
            category: name.to_owned(),
            stream: stream.to_owned(),
            ..api::ReadStreamRequest::default()
        };
        let mut events = self.0.read_stream(request).await?.into_inner();
        let mut count = 0;
        while events.message().await?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    async fn catch_up(&mut self, name: &str, events: usize) -> anyhow::Result<()> {
        let request = api::SubscribeRequest { category: name.to_owned(), ..api::SubscribeRequest::default() };
        let mut answers = self.0.subscribe(request).await?.into_inner();
        let mut count = 0;
        while count < events {
            let Some(answer) = answers.message().await? else { anyhow::bail!("it ended after {count} events") };
            count += answer.events.len();
        }
        Ok(())
    }
}

/// Events of one request, and of one stream.
const FILL_EVENTS: usize = 500;

/// Appends many events, a whole stream with each request.
pub async fn fill(address: &str, name: &str, clients: usize, events: usize) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut tasks = Vec::new();
    for client in 0..clients {
        let Levada(mut store) = Levada::connect(address).await?;
        let (name, requests) = (name.to_owned(), events / clients / FILL_EVENTS);
        tasks.push(tokio::spawn(async move {
            let data = Bytes::from(data());
            for request in 0..requests {
                let stream = format!("{name}-{client}-{request}");
                let event = |number| api::NewEvent {
                    id: format!("{stream}:{number}"),
                    r#type: "Happened".to_owned(),
                    data: data.clone(),
                    ..api::NewEvent::default()
                };
                let events = (0..FILL_EVENTS).map(event).collect();
                let part = api::StreamAppend { stream: stream.clone(), expected: None, events };
                let request = api::AppendRequest {
                    category: name.clone(),
                    streams: vec![part],
                    ..api::AppendRequest::default()
                };
                store.append(request).await?;
            }
            Ok::<_, tonic::Status>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    print(events as f64 / began.elapsed().as_secs_f64(), 0.0, 0.0);
    Ok(())
}

/// Waits until a read that is as fresh as the log is answered.
pub async fn strong(address: &str, name: &str) -> anyhow::Result<()> {
    let began = Instant::now();
    let Levada(mut store) = Levada::connect(address).await?;
    loop {
        let freshness = api::Freshness { strong: true, wait_ms: 60_000, ..api::Freshness::default() };
        let request = api::ReadCategoryRequest {
            category: name.to_owned(),
            correlation_id: "nobody".to_owned(),
            freshness: Some(freshness),
            ..api::ReadCategoryRequest::default()
        };
        let mut answers = store.read_category(request).await?.into_inner();
        match answers.message().await {
            Ok(_) => break,
            Err(status) if status.code() == tonic::Code::Unavailable => {}
            Err(status) => return Err(status.into()),
        }
    }
    print(0.0, began.elapsed().as_secs_f64() * 1000.0, 0.0);
    Ok(())
}

/// Asks until a stream is read and an event appended.
pub async fn first(address: &str, name: &str) -> anyhow::Result<()> {
    let began = Instant::now();
    let patience = Duration::from_secs(300);
    let mut is_read = false;
    loop {
        ensure!(began.elapsed() < patience, "it does not serve within {patience:?}");
        if let Ok(mut client) = Levada::connect(address).await {
            let stream = format!("{name}-0-0");
            is_read = is_read || client.read(name, &stream).await.is_ok_and(|count| count >= FILL_EVENTS);
            let id = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
            if is_read && client.append(name, &format!("first-{id}"), 1, b"1", &mut ()).await.is_ok() {
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    print(0.0, began.elapsed().as_secs_f64() * 1000.0, 0.0);
    Ok(())
}
