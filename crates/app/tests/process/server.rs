//! Starts the binary on free ports and ends it by its id.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

pub struct Server {
    child: Child,
    pub kafka: String,
    /// Empty where there is none.
    pub http: String,
    /// What it has logged, once it has ended.
    log: Option<JoinHandle<String>>,
}

/// Runs a command of the binary to its end.
pub fn levada(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_levada")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Starts it on this data, ends it in order; all that it has logged.
pub fn said(data: &Path, settings: &[&str]) -> String {
    let mut server = Server::start(data, settings);
    server.terminate();
    assert!(server.child.wait().unwrap().success());
    server.log.take().expect("nobody has waited for it").join().unwrap()
}

impl Server {
    /// Waits until the process says that it is ready.
    pub fn start(data: &Path, settings: &[&str]) -> Server {
        Server::start_at("127.0.0.1:0", data, settings)
    }

    pub fn start_at(address: &str, data: &Path, settings: &[&str]) -> Server {
        Server::start_on(address, "", data, settings)
    }

    /// With its HTTP door, and the event store.
    pub fn start_with_http(data: &Path) -> Server {
        Server::start_on("127.0.0.1:0", "127.0.0.1:0", data, &[])
    }

    fn start_on(address: &str, http: &str, data: &Path, settings: &[&str]) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_levada"));
        command.args(["serve", "--kafka-addr", address, "--http-addr", http, "--log-format", "json"]);
        command.arg("--data-dir").arg(data);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut text = String::new();
        let (kafka, http) = loop {
            let line = lines.next().expect("the process ended while starting").unwrap();
            text.extend([line.as_str(), "\n"]);
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            let fields = line.get("fields").unwrap_or(&line);
            if fields["message"] == "ready" {
                let address = |door: &str| fields[door].as_str().unwrap_or_default().to_string();
                break (address("kafka"), address("http"));
            }
        };
        // Read to its end, so that the process never waits for somebody who reads.
        let reading = std::thread::Builder::new().spawn(move || {
            lines.map_while(Result::ok).for_each(|line| text.extend([line.as_str(), "\n"]));
            text
        });
        Server { child, kafka, http, log: reading.ok() }
    }

    /// What the HTTP door answers.
    pub async fn get(&self, path: &str) -> String {
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let uri = format!("http://{}{path}", self.http).parse().unwrap();
        let answer = client.get(uri).await.unwrap().map(Body::new);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    /// Waits until the event store answers.
    pub fn wait_for_events(&self, runtime: &tokio::runtime::Runtime) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !runtime.block_on(self.get("/v1/categories")).starts_with('[') {
            assert!(Instant::now() < deadline, "the event store is not open after 30 s");
            std::thread::yield_now();
        }
    }

    /// Tries to start; what it says when it cannot.
    pub fn refusal(data: &Path) -> String {
        let data = data.to_str().unwrap();
        let output = levada(&["serve", "--kafka-addr", "127.0.0.1:0", "--http-addr", "", "--data-dir", data]);
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }

    /// Ends it in order.
    pub fn stop(mut self) {
        self.terminate();
        assert!(self.child.wait().unwrap().success());
    }

    fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn resident_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
