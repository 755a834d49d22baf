//! Accepting connections, up to a limit.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::memory::MemoryBudget;
use super::{Ends, Service, serve_connection};

/// Limits of the network side. Settings of the same meaning carry Kafka's names.
#[derive(Clone, Debug)]
pub struct Options {
    /// `socket.request.max.bytes`
    pub frame_bytes_max: usize,
    /// `max.connections`
    pub connections_max: usize,
    /// `max.connections.per.ip`
    pub connections_per_ip_max: usize,
    /// `connections.max.idle.ms`
    pub idle: Duration,
    /// How long a peer may pause in the middle of a request or leave a response unread: `levada.socket.stall.ms`
    pub stall: Duration,
}

/// Accepts until `shutdown` says true, then waits until the connections have answered what they had begun.
pub async fn serve<S: Service>(
    listener: TcpListener,
    options: Options,
    budget: MemoryBudget,
    service: impl Fn(Ends) -> S + Send + Sync + 'static,
    shutdown: watch::Receiver<bool>,
) {
    let options = Arc::new(options);
    let open = Arc::new(Mutex::new(BTreeMap::<IpAddr, usize>::new()));
    let mut connections = tokio::task::JoinSet::new();
    let mut stop = shutdown.clone();
    let mut refusals = Refusals { connections_max: options.connections_max, told: None, since: 0 };
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            // Out of file descriptors, or the peer went away again: others may still be served.
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let ip = peer.ip();
        let admitted = {
            let mut open = open.lock();
            let total: usize = open.values().sum();
            let from_ip = open.entry(ip).or_default();
            let admitted = total < options.connections_max && *from_ip < options.connections_per_ip_max;
            if admitted {
                *from_ip += 1;
            }
            admitted
        };
        if !admitted {
            refusals.add(peer);
            continue;
        }
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%peer, %error, "cannot set TCP_NODELAY");
        }
        let Ok(local) = stream.local_addr() else { continue };
        let service = service(Ends { local, peer });
        let (options, budget, shutdown, open) =
            (options.clone(), budget.clone(), shutdown.clone(), open.clone());
        connections.spawn(async move {
            let ended = serve_connection(stream, service, &options, budget, shutdown).await;
            if ended.is_ordinary() {
                debug!(%peer, reason = %ended, "connection ended");
            } else {
                info!(%peer, reason = %ended, "connection closed");
            }
            let mut open = open.lock();
            if let Some(count) = open.get_mut(&ip) {
                *count -= 1;
                if *count == 0 {
                    open.remove(&ip);
                }
            }
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Connections that were not let in, told now and then.
struct Refusals {
    connections_max: usize,
    told: Option<Instant>,
    since: u64,
}

/// How often refused connections are told.
const REFUSALS_INTERVAL: Duration = Duration::from_secs(5);

impl Refusals {
    fn add(&mut self, peer: SocketAddr) {
        self.since += 1;
        if self.told.is_some_and(|told| told.elapsed() < REFUSALS_INTERVAL) {
            return;
        }
        warn!(
            %peer,
            refused = self.since,
            connections_max = self.connections_max,
            "connections refused: max.connections, max.connections.per.ip or the limit of open files is reached"
        );
        (self.told, self.since) = (Some(Instant::now()), 0);
    }
}
