use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

/// Listens on an address; port 0 takes a free one.
#[expect(clippy::disallowed_methods, reason = "this is the wrapper around the original")]
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}
