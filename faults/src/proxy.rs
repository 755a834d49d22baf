//! Cuts processes off: everything that pattern processes say to the broker and to each other goes through here.
//!
//! ```text
//! pattern process ──▶ proxy of the broker (its advertised address) ──▶ broker
//! pattern process ──▶ proxy of each peer's door                    ──▶ peer
//! ```
//!
//! Who opened a connection is found by its port, in the list of open sockets of each process: so one address can be cut
//! for one process and open for the others, which needs no privileges. What is held back while a way is blocked goes on
//! when it is open again, late, as packets do that a network sends again.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
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
}

#[derive(Default)]
struct State {
    /// The process ids of the pattern processes, by their number.
    processes: BTreeMap<usize, u32>,
    /// By the number of the process and of whom it is cut off from; [`BROKER`] for the broker.
    cuts: BTreeMap<(usize, usize), Cut>,
    is_over: bool,
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
    }

    /// Nothing is held back any more.
    pub fn end(&self) {
        let mut state = self.state.lock();
        state.cuts.clear();
        state.is_over = true;
        self.changed.notify_all();
    }

    fn cut_between(&self, from: Option<usize>, to: usize) -> Option<Cut> {
        let state = self.state.lock();
        from.and_then(|from| state.cuts.get(&(from, to)).copied())
    }

    /// Waits until something may pass. False: the connection is to break.
    fn pass(&self, from: Option<usize>, to: usize, is_answer: bool) -> bool {
        let mut state = self.state.lock();
        loop {
            match from.and_then(|from| state.cuts.get(&(from, to)).copied()) {
                Some(Cut::Broken) => return false,
                Some(Cut::Blocked) => self.changed.wait(&mut state),
                Some(Cut::Deaf) if is_answer => self.changed.wait(&mut state),
                _ => return !state.is_over,
            }
        }
    }

    /// Breaks what is open when a way becomes [`Cut::Broken`].
    fn wait_until_broken(&self, from: Option<usize>, to: usize, is_open: impl Fn() -> bool) -> bool {
        let mut state = self.state.lock();
        loop {
            if state.is_over || from.and_then(|from| state.cuts.get(&(from, to))) == Some(&Cut::Broken) {
                return true;
            }
            if !is_open() {
                return false;
            }
            self.changed.wait_for(&mut state, Duration::from_millis(200));
        }
    }

    fn whose(&self, port: u16, to: u16) -> Option<usize> {
        let socket = format!("socket:[{}]", inode(port, to)?);
        let processes = self.state.lock().processes.clone();
        processes.into_iter().find(|(_, process)| has(*process, &socket)).map(|(number, _)| number)
    }
}

/// The kernel's number of the socket that is connected from one local port to another.
fn inode(from: u16, to: u16) -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let local = u32::from_le_bytes(Ipv4Addr::LOCALHOST.octets());
    let (from, to) = (format!("{local:08X}:{from:04X}"), format!("{local:08X}:{to:04X}"));
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(1) == Some(&from.as_str()) && fields.get(2) == Some(&to.as_str()))
            .then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    })
}

fn has(process: u32, socket: &str) -> bool {
    let Ok(open) = std::fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    open.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|link| link.to_str() == Some(socket)))
}

/// Where the connections of a proxy go; it may be known only later.
pub type Target = Arc<Mutex<Option<SocketAddr>>>;

/// Listens on a free port of this machine and passes on to the target. `to`: as whom the switchboard knows it.
pub fn start(board: Arc<Switchboard>, to: usize, target: Target) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (board, target) = (board.clone(), target.clone());
            std::thread::spawn(move || {
                let _ = connect(&board, to, stream, address.port(), &target);
            });
        }
    });
    Ok(address)
}

fn connect(
    board: &Arc<Switchboard>,
    to: usize,
    client: TcpStream,
    port: u16,
    target: &Target,
) -> std::io::Result<()> {
    let from = board.whose(client.peer_addr()?.port(), port);
    // Whoever cannot be reached does not accept, as far as a proxy can show that.
    if board.cut_between(from, to) == Some(Cut::Broken) || !board.pass(from, to, false) {
        return Ok(());
    }
    let address = *target.lock();
    let address = address.ok_or(std::io::ErrorKind::NotConnected)?;
    let server = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_to, server_to) = (client.try_clone()?, server.try_clone()?);
    let (board_there, board_back) = (board.clone(), board.clone());
    let there = std::thread::spawn(move || pump(&board_there, from, to, client, server_to, false));
    let back = {
        let (client, server) = (client_to.try_clone()?, server.try_clone()?);
        std::thread::spawn(move || pump(&board_back, from, to, server, client, true))
    };
    let is_open = || !there.is_finished() || !back.is_finished();
    if board.wait_until_broken(from, to, is_open) {
        let _ = client_to.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    }
    Ok(())
}

fn pump(
    board: &Switchboard,
    from: Option<usize>,
    to: usize,
    mut source: TcpStream,
    mut sink: TcpStream,
    is_answer: bool,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = match source.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        if !board.pass(from, to, is_answer) || sink.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // A connection that is closed while its way is blocked is not seen to close either.
    board.pass(from, to, is_answer);
    let _ = sink.shutdown(Shutdown::Both);
    let _ = source.shutdown(Shutdown::Both);
}
