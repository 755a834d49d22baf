//! Who this broker says it is.

use settings::{BrokerOptions, Listener};
use wire::Str;

use crate::net::Ends;

pub struct Node {
    pub id: i32,
    pub cluster_id: Str,
    pub rack: Option<Str>,
    /// Where clients are sent; by default the address at which they reached us.
    advertised: Option<Listener>,
}

impl Node {
    pub fn new(options: &BrokerOptions, cluster_id: &str) -> Node {
        let advertised = options.advertised_listener.clone();
        Node { id: options.node_id, cluster_id: cluster_id.into(), rack: None, advertised }
    }

    /// The host and port to give to a client of this connection.
    pub fn address(&self, ends: &Ends) -> (Str, i32) {
        match &self.advertised {
            Some(listener) => (listener.host.as_str().into(), i32::from(listener.port)),
            None => (ends.local.ip().to_canonical().to_string().into(), i32::from(ends.local.port())),
        }
    }
}
