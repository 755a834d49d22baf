//! Starts the binary on free ports and ends it by its id.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

pub struct Server {
    child: Child,
    pub kafka: String,
}

/// Runs a command of the binary to its end.
pub fn levada(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_levada")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

impl Server {
    /// Waits until the process says that it is ready. What it logs afterwards is read and thrown away.
    pub fn start(data: &Path, settings: &[&str]) -> Server {
        Server::start_at("127.0.0.1:0", data, settings)
    }

    pub fn start_at(address: &str, data: &Path, settings: &[&str]) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_levada"));
        command.args(["serve", "--kafka-addr", address, "--http-addr", "", "--log-format", "json"]);
        command.arg("--data-dir").arg(data);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let kafka = loop {
            let line = lines.next().expect("the process ended while starting").unwrap();
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            let fields = line.get("fields").unwrap_or(&line);
            if fields["message"] == "ready" {
                break fields["kafka"].as_str().unwrap().to_string();
            }
        };
        drop(std::thread::Builder::new().spawn(move || lines.for_each(drop)));
        Server { child, kafka }
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
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
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
