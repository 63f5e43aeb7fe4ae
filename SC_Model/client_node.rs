//! The client as a machine: one download at a time, put together in memory and verified.
//!
//! No socket, no clock and no thread here, and no disk. A lost connection is made again and the download goes on from
//! the first missing byte; [`PATIENCE`] without a sign of the server ends it.

use std::net::SocketAddr;
use std::sync::Arc;

use super::assembly::{Assembly, Flaw};
use super::held::Held;
use super::protocol::{Get, MAX_NAME, Reply};
use crate::Fid;
use crate::machine::Machine;
use crate::rand::Rng;
use crate::rudp::{Class, Config, Endpoint, Event, Handle};
use crate::time::{Duration, Instant};

/// A server of which nothing is heard for so long is given up.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// So many connections in a row that end without a new byte are enough: this server won't do better.
const MAX_FRUITLESS: u32 = 8;
/// The pause before the first reconnection; each one that follows without a new byte in between is twice as long.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// The code of a close that says "I have what I want, or want it no more".
const CODE_DONE: u64 = 0;
/// The code of the close that answers a message which can't be read, or makes no sense.
const CODE_MALFORMED: u64 = 3;

/// Why a download came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing came from the server for [`PATIENCE`], or no connection to it bore fruit.
    Unreachable,
    /// The server has no such file, or doesn't let it be read.
    NotFound,
    /// The server can't read the file to its end.
    ServerFailed,
    /// What arrived doesn't have the hash that the server gave, and was thrown away.
    Integrity(Fid),
    /// The file, so many bytes long, doesn't fit in memory.
    TooLarge(u64),
}

/// The client's machine.
#[derive(Debug)]
pub struct ClientNode {
    endpoint: Endpoint,
    server: SocketAddr,
    /// The connection to the server, being made or made; kept from one download to the next.
    connection: Option<Handle>,
    download: Option<Download>,
    result: Option<Result<Vec<u8>, Failure>>,
    /// What every download is known to be, if it isn't to be held a second time.
    shared: Option<Arc<Vec<u8>>>,
}

/// What is under way.
#[derive(Debug)]
struct Download {
    name: String,
    assembly: Assembly,
    /// When anything that belongs to the connection last came from the server, or the download began.
    last_heard: Instant,
    /// Datagrams of the present connection that were counted as heard.
    datagrams: u64,
    /// When to connect again.
    retry_at: Option<Instant>,
    /// Connections in a row that ended without a new byte.
    fruitless: u32,
}

impl ClientNode {
    /// A client of the server at `server`.
    pub fn new(server: SocketAddr, rng: Rng) -> ClientNode {
        // Nobody has a reason to connect to a client.
        let config = Config { max_connections: 0, ..Config::default() };
        ClientNode {
            endpoint: Endpoint::new(config, rng),
            server,
            connection: None,
            download: None,
            result: None,
            shared: None,
        }
    }

    /// As [`new`](ClientNode::new), for many clients in one process that all download `content`: what arrives is
    /// compared with it and verified as ever, but not held again, and the result of a download that went well is empty.
    pub fn comparing(server: SocketAddr, content: Arc<Vec<u8>>, rng: Rng) -> ClientNode {
        ClientNode { shared: Some(content), ..ClientNode::new(server, rng) }
    }

    /// Begins to download the file that the server calls `name`. A download that is under way is given up for it.
    pub fn start(&mut self, now: Instant, name: &str) {
        if self.download.is_some() {
            // What is on its way for the one must not be taken for the other.
            self.close();
        }
        self.result = None;
        if name.is_empty() || name.len() > MAX_NAME {
            self.result = Some(Err(Failure::NotFound));
            return;
        }
        let heard = self.connection.and_then(|handle| self.endpoint.stats(now, handle));
        let held = match &self.shared {
            Some(content) => Held::Shared { content: Arc::clone(content), len: 0 },
            None => Held::Memory(Vec::new()),
        };
        self.download = Some(Download {
            name: name.to_owned(),
            assembly: Assembly::new(held),
            last_heard: now,
            datagrams: heard.map_or(0, |stats| stats.received),
            retry_at: None,
            fruitless: 0,
        });
        self.ask(now);
    }

    /// The result of the download, once.
    pub fn poll_result(&mut self) -> Option<Result<Vec<u8>, Failure>> {
        self.result.take()
    }

    /// How much of the file has arrived without a gap, and how long it is if that is known yet, B.
    pub fn progress(&self) -> Option<(u64, Option<u64>)> {
        self.download.as_ref().map(|download| (download.assembly.len(), download.assembly.size()))
    }

    /// Gives up what is under way, without a result, and tells the server.
    pub fn close(&mut self) {
        self.download = None;
        if let Some(handle) = self.connection.take() {
            self.endpoint.close(handle, CODE_DONE);
        }
    }

    /// Asks for what is missing, over the connection there is or a new one.
    fn ask(&mut self, now: Instant) {
        let Some(download) = &mut self.download else { return };
        download.retry_at = None;
        let handle = *self.connection.get_or_insert_with(|| {
            download.datagrams = 0;
            self.endpoint.connect(now, self.server)
        });
        self.endpoint.set_keep_alive(handle, true);
        let (offset, stamp) = download.assembly.resume();
        let get = Get { name: download.name.clone(), offset, stamp };
        self.endpoint.send(handle, Class::Control, 0, get.encode());
    }

    fn handle_events(&mut self, now: Instant) {
        self.note_signs_of_life(now);
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Message { handle, data } if self.connection == Some(handle) => self.on_message(&data),
                Event::Closed { handle, reason, .. } if self.connection == Some(handle) => {
                    log::debug!("the connection with {} is over: {reason}", self.server);
                    self.connection = None;
                    self.on_connection_lost(now);
                }
                Event::Connected { .. }
                | Event::Message { .. }
                | Event::Answered { .. }
                | Event::Moved { .. }
                | Event::Closed { .. } => {}
            }
        }
    }

    /// Only fresh datagrams of the connection count, not whatever comes from that address.
    fn note_signs_of_life(&mut self, now: Instant) {
        if let (Some(handle), Some(download)) = (self.connection, &mut self.download)
            && let Some(stats) = self.endpoint.stats(now, handle)
            && stats.received > download.datagrams
        {
            download.datagrams = stats.received;
            download.last_heard = now;
        }
    }

    fn on_message(&mut self, message: &[u8]) {
        let Some(download) = &mut self.download else { return };
        let assembly = &mut download.assembly;
        let before = assembly.len();
        let taken = match Reply::decode(message) {
            Ok(Reply::Found { size, stamp, offset }) => assembly.on_found(size, stamp, offset),
            Ok(Reply::Block { offset, data }) => assembly.on_block(offset, data),
            Ok(Reply::Done { hash }) => assembly.on_done(hash),
            Ok(Reply::NotFound) => return self.finish(Err(Failure::NotFound)),
            Ok(Reply::Failed) => return self.give_up(Failure::ServerFailed),
            Err(_) => Err(Flaw::Nonsense),
        };
        if assembly.len() > before {
            download.fruitless = 0;
        }
        match taken {
            Ok(None) => {}
            Ok(Some(whole)) => self.finish(Ok(whole.into_vec())),
            Err(Flaw::Nonsense) => {
                // Its closing makes an event, and that another try.
                if let Some(handle) = self.connection {
                    self.endpoint.close(handle, CODE_MALFORMED);
                }
            }
            Err(Flaw::Integrity(hash)) => self.give_up(Failure::Integrity(hash)),
            Err(Flaw::TooLarge(size)) => self.give_up(Failure::TooLarge(size)),
        }
    }

    /// Ends the download and the connection, as blocks may still be on their way.
    fn give_up(&mut self, failure: Failure) {
        self.close();
        self.finish(Err(failure));
    }

    fn finish(&mut self, result: Result<Vec<u8>, Failure>) {
        self.download = None;
        self.result = Some(result);
        if let Some(handle) = self.connection {
            // It stays for the next download, for as long as rudp keeps one that nobody uses.
            self.endpoint.set_keep_alive(handle, false);
        }
    }

    fn on_connection_lost(&mut self, now: Instant) {
        let Some(download) = &mut self.download else { return };
        download.assembly.on_connection_lost();
        download.fruitless += 1;
        if download.fruitless >= MAX_FRUITLESS {
            self.finish(Err(Failure::Unreachable));
        } else {
            download.retry_at = Some(now + RETRY_DELAY * (1 << (download.fruitless - 1)));
        }
    }
}

impl Machine for ClientNode {
    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.endpoint.handle_datagram(now, from, datagram);
        self.handle_events(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        self.handle_events(now);
        let Some(download) = &self.download else { return };
        if now >= download.last_heard + PATIENCE {
            self.give_up(Failure::Unreachable);
        } else if download.retry_at.is_some_and(|at| at <= now) {
            self.ask(now);
        }
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        self.endpoint.poll_transmit(now, buf)
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let own = self.download.iter().flat_map(|download| {
            let patience = (download.last_heard + PATIENCE, "patience");
            [Some(patience), download.retry_at.map(|at| (at, "retry"))]
        });
        self.endpoint.poll_timeout().into_iter().chain(own.flatten()).min()
    }
}
