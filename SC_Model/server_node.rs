//! The server as a machine: answers who asks, and shares its uplink among all who wait, block by block.
//!
//! No socket, no clock and no thread here. Files are read in place, one block at a time, and never held whole.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use super::files::{Files, OpenError, Served};
use super::protocol::{BLOCK, Get, Reply};
use crate::Fid;
use crate::machine::Machine;
use crate::rand::Rng;
use crate::rudp::{Class, Config, Endpoint, Event, Handle, Tag};
use crate::time::{Duration, Instant};

/// The label of blocks; all other messages are [`CONTROL`].
const CONTENT: Tag = 1;
const CONTROL: Tag = 0;
/// The code of the close that answers a message which can't be read.
const CODE_MALFORMED: u64 = 3;
/// What a client had before it asked has to be hashed too: this much at a time, B, so that nobody else waits for it …
const HASH_STEP: usize = 1 << 20;
/// … and so often. Makes 1 GB/s, about what a core hashes.
const HASH_INTERVAL: Duration = Duration::from_millis(1);

/// One file on its way to one client.
///
/// Invariant: `hashed` ≤ `next` ≤ size, and `hasher` has taken in the first `hashed` bytes as they were read.
#[derive(Debug)]
struct Transfer {
    file: Served,
    /// The first byte that is in no block yet.
    next: u64,
    hashed: u64,
    hasher: blake3::Hasher,
}

impl Transfer {
    /// How long the next block is, B; 0 if all have been sent.
    fn next_len(&self) -> usize {
        (self.file.size() - self.next).min(BLOCK as u64) as usize
    }

    /// Whether what was hashed falls short of what was sent, which it does after a resumption.
    fn hash_lags(&self) -> bool {
        self.hashed < self.next
    }

    /// Reads the next block.
    fn read_block(&mut self) -> io::Result<Vec<u8>> {
        let mut block = [0; BLOCK];
        let data = &mut block[..self.next_len()];
        self.file.read_at(self.next, data)?;
        if !self.hash_lags() {
            self.hasher.update(data);
            self.hashed += data.len() as u64;
        }
        let message = Reply::Block { offset: self.next, data }.encode();
        self.next += data.len() as u64;
        Ok(message)
    }

    /// Hashes some of what it lags behind.
    fn catch_up(&mut self) -> io::Result<()> {
        let mut buf = vec![0; (self.next - self.hashed).min(HASH_STEP as u64) as usize];
        self.file.read_at(self.hashed, &mut buf)?;
        self.hasher.update(&buf);
        self.hashed += buf.len() as u64;
        Ok(())
    }

    /// The hash of the whole, once all of it has been sent and hashed.
    fn finished(&self) -> Option<Fid> {
        (self.hashed == self.file.size()).then(|| Fid::from_bytes(*self.hasher.finalize().as_bytes()))
    }
}

/// What a server has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerStats {
    /// Requests for files, those for files that aren't there included.
    pub requests: u64,
    /// Transfers of which the last byte was handed to the network.
    pub finished: u64,
    /// Bytes of files handed to the network, B.
    pub bytes: u64,
}

/// The server's machine.
///
/// Invariant: a handle is in `line` if and only if its transfer has blocks left, and in `hashing` if and only if its
/// hash lags; in each at most once.
#[derive(Debug)]
pub struct ServerNode {
    endpoint: Endpoint,
    files: Files,
    transfers: BTreeMap<Handle, Transfer>,
    /// Who waits for blocks, the one served least recently first.
    line: VecDeque<Handle>,
    /// Whose hash lags, each getting one step in turn.
    hashing: VecDeque<Handle>,
    hash_due: Option<Instant>,
    stats: ServerStats,
}

impl ServerNode {
    /// A server of the regular files below `root`.
    ///
    /// # Errors
    /// `NotADirectory`, and whatever keeps the system from finding it.
    pub fn new(root: &Path, rng: Rng) -> io::Result<ServerNode> {
        Ok(ServerNode {
            endpoint: Endpoint::new(Config::default(), rng),
            files: Files::new(root)?,
            transfers: BTreeMap::new(),
            line: VecDeque::new(),
            hashing: VecDeque::new(),
            hash_due: None,
            stats: ServerStats::default(),
        })
    }

    /// What was done so far.
    pub fn stats(&self) -> ServerStats {
        self.stats
    }

    /// How many transfers are under way.
    pub fn transfers(&self) -> usize {
        self.transfers.len()
    }

    fn handle_events(&mut self, now: Instant) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Answered { .. } | Event::Connected { .. } | Event::Moved { .. } => {}
                Event::Message { handle, data } => match Get::decode(&data) {
                    Ok(get) => self.on_get(now, handle, &get),
                    Err(_) => self.endpoint.close(handle, CODE_MALFORMED),
                },
                Event::Closed { handle, .. } => self.forget(handle),
            }
        }
    }

    fn on_get(&mut self, now: Instant, handle: Handle, get: &Get) {
        self.stats.requests += 1;
        // A connection carries one download: whoever asks anew has given up the one before.
        self.endpoint.abandon(handle, CONTENT);
        self.forget(handle);
        let file = match self.files.open(&get.name) {
            Ok(file) => file,
            Err(OpenError::NotFound) => return self.reply(handle, Reply::NotFound),
            Err(OpenError::Io(error)) => {
                log::warn!("can't open a file that was asked for: {error}");
                return self.reply(handle, Reply::Failed);
            }
        };
        let (size, stamp) = (file.size(), file.stamp());
        let offset = if get.stamp == stamp && get.offset <= size { get.offset } else { 0 };
        self.reply(handle, Reply::Found { size, stamp, offset });
        let transfer = Transfer { file, next: offset, hashed: 0, hasher: blake3::Hasher::new() };
        if transfer.next_len() > 0 {
            self.line.push_back(handle);
        }
        if transfer.hash_lags() {
            self.hashing.push_back(handle);
            self.hash_due = self.hash_due.or(Some(now));
        }
        self.transfers.insert(handle, transfer);
        self.finish_if_done(handle);
    }

    /// Gives one block to each who can send it at once, and again until nobody can. Whoever was served goes to the end
    /// of the line: so all get the same share of the uplink, and none holds up another. Whether any was given.
    fn serve(&mut self) -> bool {
        let mut any = false;
        while let Some(position) = self.line.iter().position(|&handle| {
            let len = self.transfers.get(&handle).map_or(0, Transfer::next_len);
            self.endpoint.wants_bulk(handle, len + Reply::BLOCK_OVERHEAD)
        }) {
            let Some(handle) = self.line.remove(position) else { break };
            self.send_block(handle);
            any = true;
        }
        any
    }

    /// Sends a block to the one who was taken out of the line, and puts it at the end if more are to come.
    fn send_block(&mut self, handle: Handle) {
        let Some(transfer) = self.transfers.get_mut(&handle) else { return };
        let before = transfer.next;
        match transfer.read_block() {
            Ok(block) => {
                self.stats.bytes += transfer.next - before;
                if transfer.next_len() > 0 {
                    self.line.push_back(handle);
                }
                self.endpoint.send(handle, Class::Bulk, CONTENT, block);
                self.finish_if_done(handle);
            }
            Err(error) => self.fail(handle, &error),
        }
    }

    /// One step of the hash of whoever waits longest for one.
    fn hash_step(&mut self, now: Instant) {
        let Some(handle) = self.hashing.pop_front() else { return };
        if let Some(transfer) = self.transfers.get_mut(&handle) {
            match transfer.catch_up() {
                Ok(()) if transfer.hash_lags() => self.hashing.push_back(handle),
                Ok(()) => self.finish_if_done(handle),
                Err(error) => self.fail(handle, &error),
            }
        }
        self.hash_due = (!self.hashing.is_empty()).then(|| now + HASH_INTERVAL);
    }

    fn finish_if_done(&mut self, handle: Handle) {
        if let Some(hash) = self.transfers.get(&handle).and_then(Transfer::finished) {
            self.stats.finished += 1;
            self.forget(handle);
            self.reply(handle, Reply::Done { hash });
        }
    }

    fn fail(&mut self, handle: Handle, error: &io::Error) {
        log::warn!("can't read a file to its end: {error}");
        self.endpoint.abandon(handle, CONTENT);
        self.forget(handle);
        self.reply(handle, Reply::Failed);
    }

    fn reply(&mut self, handle: Handle, reply: Reply<'_>) {
        self.endpoint.send(handle, Class::Control, CONTROL, reply.encode());
    }

    fn forget(&mut self, handle: Handle) {
        if self.transfers.remove(&handle).is_some() {
            self.line.retain(|&other| other != handle);
            self.hashing.retain(|&other| other != handle);
        }
    }
}

impl Machine for ServerNode {
    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.endpoint.handle_datagram(now, from, datagram);
        self.handle_events(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        if self.hash_due.is_some_and(|due| due <= now) {
            self.hash_due = None;
            self.hash_step(now);
        }
        self.handle_events(now);
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        loop {
            if let Some(to) = self.endpoint.poll_transmit(now, buf) {
                return Some(to);
            }
            // Blocks are chosen as late as can be: when there is nothing else to send.
            if !self.serve() {
                return None;
            }
        }
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let hash = self.hash_due.map(|due| (due, "hash"));
        self.endpoint.poll_timeout().into_iter().chain(hash).min()
    }
}
