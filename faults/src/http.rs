//! As much of HTTP/1.1 as a client of the event store needs: one connection, one request at a time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer that is larger is given up.
const ANSWER_BYTES_MAX: usize = 64 << 20;

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub position: Option<String>,
    pub body: Vec<u8>,
}

/// Keeps its connection for as long as it works.
pub struct Door {
    address: SocketAddr,
    patience: Duration,
    stream: Option<BufReader<TcpStream>>,
}

impl Door {
    pub fn new(address: SocketAddr, patience: Duration) -> Door {
        Door { address, patience, stream: None }
    }

    /// Err: there is no answer, and it may have been done.
    pub fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> std::io::Result<Answer> {
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.address);
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            text.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        text.push_str(body);
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.open()?,
        };
        stream.get_mut().write_all(text.as_bytes())?;
        let (answer, is_kept) = read(&mut stream)?;
        if is_kept {
            self.stream = Some(stream);
        }
        Ok(answer)
    }

    fn open(&self) -> std::io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.address, self.patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(self.patience))?;
        Ok(BufReader::new(stream))
    }
}

/// The answer, and whether the connection can be used again.
fn read(stream: &mut BufReader<TcpStream>) -> std::io::Result<(Answer, bool)> {
    let odd = |what: &str| std::io::Error::other(what.to_owned());
    let status = line(stream)?;
    let status =
        status.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(|| odd("no status"))?;
    let (mut length, mut position, mut is_kept) = (None, None, true);
    loop {
        let header = line(stream)?;
        let Some((name, value)) = header.split_once(':') else { break };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse::<usize>().ok(),
            "levada-position" => position = Some(value.to_owned()),
            "connection" if value.eq_ignore_ascii_case("close") => is_kept = false,
            "transfer-encoding" => return Err(odd("an answer without a length")),
            _ => {}
        }
    }
    let length = length.filter(|length| *length <= ANSWER_BYTES_MAX).ok_or_else(|| odd("no length"))?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((Answer { status, position, body }, is_kept))
}

fn line(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut text = String::new();
    if stream.read_line(&mut text)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(text.trim_end().to_owned())
}
