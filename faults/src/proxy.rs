//! Cuts processes off: everything that pattern processes say to the broker and to each other goes through here.
//!
//! ```text
//! pattern process ──▶ its own proxy of the broker ──▶ broker
//! pattern process ──▶ proxy of a peer's door      ──▶ peer
//! ```
//!
//! A broker tells its clients where it is to be reached; a proxy of it puts its own port there instead, so that nobody
//! finds a way round. Who opened a connection to a peer's proxy is found by its port, in the list of open sockets of each
//! process, when it matters. None of this needs privileges.
//!
//! What is held back while a way is blocked goes on when it is open again, late, as packets do that a network sends again.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// What happens to what a process says and is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cut {
    /// Nothing passes, and nobody is told.
    Blocked,
    /// What it says arrives, what it is answered does not.
    Deaf,
    /// Connections break, new ones too.
    Broken,
}

/// Who is cut off from what; shared by all proxies.
#[derive(Default)]
pub struct Switchboard {
    state: Mutex<State>,
    changed: Condvar,
    open: Mutex<Vec<Weak<Way>>>,
}

#[derive(Default)]
struct State {
    /// The process ids of the pattern processes, by their number.
    processes: BTreeMap<usize, u32>,
    /// By the number of the process and of whom it is cut off from; [`BROKER`] for the broker.
    cuts: BTreeMap<(usize, usize), Cut>,
}

pub const BROKER: usize = usize::MAX;

impl Switchboard {
    pub fn register(&self, number: usize, process: u32) {
        self.state.lock().processes.insert(number, process);
    }

    pub fn cut(&self, from: usize, to: usize, cut: Option<Cut>) {
        let mut state = self.state.lock();
        match cut {
            Some(cut) => state.cuts.insert((from, to), cut),
            None => state.cuts.remove(&(from, to)),
        };
        self.changed.notify_all();
        drop(state);
        if cut == Some(Cut::Broken) {
            let open: Vec<Arc<Way>> = self.open.lock().iter().filter_map(Weak::upgrade).collect();
            open.iter().filter(|way| way.cut() == Some(Cut::Broken)).for_each(|way| way.close());
        }
    }

    fn remember(&self, way: &Arc<Way>) {
        let mut open = self.open.lock();
        open.retain(|way| way.strong_count() > 0);
        open.push(Arc::downgrade(way));
    }
}

/// Where the connections of a proxy go; it may be known only later.
pub type Target = Arc<Mutex<Option<SocketAddr>>>;

/// Listens on a free port of this machine and passes on to the target, as which the switchboard knows `to`. `from`: the
/// only process that uses it, where there is one.
pub fn start(
    board: Arc<Switchboard>,
    from: Option<usize>,
    to: usize,
    target: Target,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (board, target) = (board.clone(), target.clone());
            std::thread::spawn(move || {
                let _ = connect(board, from, to, stream, address.port(), &target);
            });
        }
    });
    Ok(address)
}

/// A connection, and between whom it is.
struct Way {
    board: Arc<Switchboard>,
    /// None: not looked for yet; of none of the pattern processes where it was.
    from: Mutex<Option<Option<usize>>>,
    to: usize,
    /// The client's port, and the proxy's.
    ports: (u16, u16),
    client: TcpStream,
    /// Once it is connected.
    server: OnceLock<TcpStream>,
}

impl Way {
    fn cut(&self) -> Option<Cut> {
        let processes = {
            let state = self.board.state.lock();
            if !state.cuts.keys().any(|(_, to)| *to == self.to) {
                return None;
            }
            state.processes.clone()
        };
        let from = *self.from.lock().get_or_insert_with(|| whose(&processes, self.ports));
        self.board.state.lock().cuts.get(&(from?, self.to)).copied()
    }

    /// Waits until something may pass. False: the connection is to break.
    fn pass(&self, is_answer: bool) -> bool {
        loop {
            match self.cut() {
                Some(Cut::Broken) => return false,
                Some(Cut::Blocked) => {}
                Some(Cut::Deaf) if is_answer => {}
                _ => return true,
            }
            self.wait();
        }
    }

    /// Until something changes, or a while: a change just before is not missed for long.
    fn wait(&self) {
        let mut state = self.board.state.lock();
        self.board.changed.wait_for(&mut state, Duration::from_millis(250));
    }

    fn close(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        if let Some(server) = self.server.get() {
            let _ = server.shutdown(Shutdown::Both);
        }
    }
}

fn whose(processes: &BTreeMap<usize, u32>, ports: (u16, u16)) -> Option<usize> {
    let socket = format!("socket:[{}]", inode(ports)?);
    processes.iter().find(|(_, process)| has(**process, &socket)).map(|(number, _)| *number)
}

/// The kernel's number of the socket that is connected from one local port to another.
fn inode((from, to): (u16, u16)) -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let local = u32::from_le_bytes(Ipv4Addr::LOCALHOST.octets());
    let (from, to) = (format!("{local:08X}:{from:04X}"), format!("{local:08X}:{to:04X}"));
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = fields.get(1) == Some(&from.as_str()) && fields.get(2) == Some(&to.as_str());
        is_it.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    })
}

fn has(process: u32, socket: &str) -> bool {
    let Ok(open) = std::fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    open.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|link| link.to_str() == Some(socket)))
}

fn connect(
    board: Arc<Switchboard>,
    from: Option<usize>,
    to: usize,
    client: TcpStream,
    port: u16,
    target: &Target,
) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let ports = (client.peer_addr()?.port(), port);
    let (from, server) = (Mutex::new(from.map(Some)), OnceLock::new());
    let way = Arc::new(Way { board, from, to, ports, client, server });
    way.board.remember(&way);
    if !way.pass(false) {
        return Ok(());
    }
    let address = *target.lock();
    let address = address.ok_or(std::io::ErrorKind::NotConnected)?;
    let server = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    server.set_nodelay(true)?;
    let server = way.server.get_or_init(|| server);
    let rewriting = (to == BROKER).then(|| Rewriting::new(address.port(), port));
    let (source, sink) = (way.client.try_clone()?, server.try_clone()?);
    let there = way.clone();
    std::thread::spawn(move || pump(&there, source, sink, false, None));
    let (source, sink) = (server.try_clone()?, way.client.try_clone()?);
    pump(&way, source, sink, true, rewriting);
    Ok(())
}

fn pump(
    way: &Way,
    mut source: TcpStream,
    mut sink: TcpStream,
    is_answer: bool,
    mut rewriting: Option<Rewriting>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = match source.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        let rewritten = rewriting.as_mut().map(|rewriting| rewriting.pass(&buffer[..count]));
        let bytes = rewritten.as_deref().unwrap_or(&buffer[..count]);
        if !way.pass(is_answer) || sink.write_all(bytes).is_err() {
            break;
        }
    }
    // A connection that is closed while its way is blocked is not seen to close either.
    way.pass(is_answer);
    way.close();
}

/// Puts another port where a broker names its address: the host as text, and four bytes.
struct Rewriting {
    wanted: Vec<u8>,
    instead: Vec<u8>,
    /// What may be the beginning of it.
    held: Vec<u8>,
}

impl Rewriting {
    fn new(port: u16, instead: u16) -> Rewriting {
        let address = |port: u16| [b"127.0.0.1".as_slice(), &i32::from(port).to_be_bytes()].concat();
        Rewriting { wanted: address(port), instead: address(instead), held: Vec::new() }
    }

    fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        let length = self.wanted.len();
        let mut at = 0;
        while let Some(found) = all[at..].windows(length).position(|window| window == self.wanted) {
            all[at + found..at + found + length].copy_from_slice(&self.instead);
            at += found + length;
        }
        let longest = (1..length).rev().find(|held| all.ends_with(&self.wanted[..*held]));
        self.held = all.split_off(all.len() - longest.unwrap_or(0));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_a_broker_is_replaced_wherever_the_answer_is_cut() {
        let answer = |port: i32| [b"xx127.0.0.1".as_slice(), &port.to_be_bytes(), b"127.0.0.1yy"].concat();
        let (before, after) = (answer(40_000), answer(50_000));
        for cut in 0..=before.len() {
            let mut rewriting = Rewriting::new(40_000, 50_000);
            let mut passed = rewriting.pass(&before[..cut]);
            passed.extend(rewriting.pass(&before[cut..]));
            assert_eq!(passed, after, "cut at {cut}");
        }
    }
}
