//! Connections that delay what they carry and break at a bad moment.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, net};
use bytes::Bytes;
use env::{Random, SeededRandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::watch;
use wire::{Message, Request};

/// One connection in so many breaks by itself, after up to so many bytes.
const BREAKS_ONE_IN: u64 = 4;
const BREAKS_AFTER_BYTES: u64 = 20_000;

/// What the network holds of one direction.
const BUFFER_BYTES: usize = 16 * 1024;

#[derive(Clone)]
pub struct Network {
    broker: Broker,
    random: Arc<SeededRandom>,
    stop: watch::Receiver<bool>,
}

pub struct Connection {
    stream: DuplexStream,
    correlation_id: i32,
}

/// The connection broke: whether the request was carried out is unknown.
#[derive(Debug)]
pub struct Broken;

impl Network {
    pub fn new(broker: Broker, random: Arc<SeededRandom>, stop: watch::Receiver<bool>) -> Network {
        Network { broker, random, stop }
    }

    pub fn connect(&self) -> Connection {
        let (client, near) = duplex(BUFFER_BYTES);
        let (far, server) = duplex(BUFFER_BYTES);
        let (near_read, near_write) = tokio::io::split(near);
        let (far_read, far_write) = tokio::io::split(far);
        let random = self.random.clone();
        // When one direction breaks, so does the other.
        env::spawn(async move {
            tokio::select! {
                biased;
                () = carry(near_read, far_write, &random) => {}
                () = carry(far_read, near_write, &random) => {}
            }
        });
        let address = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let ends = net::Ends { local: address(9092), peer: address(40_000) };
        let service = self.broker.service(ends);
        let (options, budget) = (self.broker.net_options(), self.broker.request_budget());
        let stop = self.stop.clone();
        env::spawn(async move { net::serve_connection(server, service, &options, budget, stop).await });
        Connection { stream: client, correlation_id: 0 }
    }
}

async fn carry(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    random: &SeededRandom,
) {
    let mut left = match random.chance(BREAKS_ONE_IN) {
        true => random.below(BREAKS_AFTER_BYTES),
        false => u64::MAX,
    };
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
        tokio::time::sleep(Duration::from_micros(random.below(3000))).await;
        let count = count.min(left as usize);
        left -= count as u64;
        if to.write_all(&buffer[..count]).await.is_err() || left == 0 {
            return;
        }
    }
}

impl Connection {
    pub async fn ask<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response, Broken> {
        self.correlation_id += 1;
        let frame = wire::encode_request(self.correlation_id, Some("sim"), version, request)
            .expect("our own requests can be said");
        self.stream.write_all(&frame.to_bytes()).await.map_err(|_| Broken)?;
        let length = self.stream.read_i32().await.map_err(|_| Broken)?;
        let mut bytes = vec![0; length as usize];
        self.stream.read_exact(&mut bytes).await.map_err(|_| Broken)?;
        let (correlation_id, mut body) =
            wire::decode_response_header(R::KEY, version, Bytes::from(bytes)).map_err(|_| Broken)?;
        assert_eq!(correlation_id, self.correlation_id, "answers come in the order of requests");
        Ok(R::Response::decode(&mut body, version).expect("the broker's answers can be read"))
    }
}
