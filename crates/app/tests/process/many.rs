use std::io::{Read, Write};
use std::net::TcpStream;

use crate::client::Client;
use crate::server::Server;

const IDLE_CONNECTIONS: usize = 5_000;

/// What one idle connection may take of the broker's memory.
const BYTES_PER_CONNECTION_MAX: usize = 16 * 1024;

#[test]
fn five_thousand_idle_connections_cost_little_and_disturb_nobody() {
    // Both ends of every connection need a file descriptor; the child has its own limit.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();

    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]);
    let mut client = Client::connect(&server.kafka).unwrap();
    client.use_topic("t").unwrap();
    let before = server.resident_bytes();
    let mut idle: Vec<TcpStream> =
        (0..IDLE_CONNECTIONS).map(|_| TcpStream::connect(&server.kafka).unwrap()).collect();
    // Half of them stop in the middle of a request.
    for stream in idle.iter_mut().step_by(2) {
        stream.write_all(&[0, 0, 100, 0, 0, 3, 0, 12]).unwrap();
    }
    let id = client.producer_id().unwrap();
    for sequence in 0..200 {
        let answer = client.produce(("t", 0), (id, sequence), &["x".to_string()]).unwrap();
        assert_eq!(answer.error_code, 0);
    }
    // Each of the whole ones is really served.
    let api_versions = [0, 0, 0, 11, 0, 18, 0, 0, 0, 0, 0, 1, 0, 1, b'x'];
    for stream in idle.iter_mut().skip(1).step_by(500) {
        stream.write_all(&api_versions).unwrap();
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
    }
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(
        grown < IDLE_CONNECTIONS * BYTES_PER_CONNECTION_MAX,
        "{grown} bytes for {IDLE_CONNECTIONS} connections"
    );
}
