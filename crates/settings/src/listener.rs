//! `PLAINTEXT://host:port`, Kafka's way of writing an address.

use std::fmt;

use crate::typed::Typed;

/// Where to listen, or what to tell clients to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub host: String,
    pub port: u16,
}

impl Listener {
    /// Reads `PLAINTEXT://host:port` or the short form `host:port`; IPv6 addresses stand in brackets.
    pub fn parse(text: &str) -> Result<Listener, String> {
        let address = match text.split_once("://") {
            None => text,
            Some((protocol, address)) if protocol.eq_ignore_ascii_case("PLAINTEXT") => address,
            Some((protocol, _)) => {
                return Err(format!("`{text}`: {protocol} is not available yet, only PLAINTEXT"));
            }
        };
        let (host, port) =
            address.rsplit_once(':').ok_or_else(|| format!("`{text}` has no port; write host:port"))?;
        let port = port.parse().map_err(|_| format!("`{text}`: `{port}` is not a port (0 to 65535)"))?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let host = if host.is_empty() { "0.0.0.0" } else { host };
        Ok(Listener { host: host.to_owned(), port })
    }

    /// Whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<std::net::IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => self.host == "localhost",
        }
    }

    /// `host:port`, as sockets and clients take it.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PLAINTEXT://{}", self.address())
    }
}

/// The table lets nothing else through.
impl Typed for Listener {
    fn read(name: &str, text: &str) -> Self {
        Listener::parse(text).unwrap_or_else(|why| panic!("{name}: {why}"))
    }
}
