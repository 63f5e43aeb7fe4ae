//! A peer that lies in one way or another: the real messages over the real transport, said by somebody without shame.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use swarmcast::Fid;
use swarmcast::machine::Machine;
use swarmcast::pclient::manifest::Manifest;
use swarmcast::pclient::message::Message;
use swarmcast::pclient::pieces::{Bitfield, PieceIndex};
use swarmcast::pclient::upload::MAX_BLOCK_MESSAGE;
use swarmcast::rand::Rng;
use swarmcast::rudp::{Class, CloseReason, Config, Endpoint, Event, Handle};
use swarmcast::time::{Duration, Instant};

/// How it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// All content is false.
    WrongData,
    /// One block of a piece is false, and others have to give the rest.
    OneWrongBlock,
    /// The same, each time that it is asked for a piece, but it never says that the rest won't come.
    TaintAndKeep,
    /// It says so after a while, and then that it has the piece all the same.
    TaintAndReject,
    /// Content comes when it is no longer waited for.
    LateData,
    /// Content comes three times.
    DuplicateData,
    /// Content comes that nobody asked for.
    UnrequestedData,
    /// Claims to have everything, and gives nothing.
    FalseHaves,
    /// The same, and rejects what it is asked for, and claims to have it again.
    Rejects,
    /// The outline of the manifest is false: its size, its proof or its joints, in turn.
    FalseOutline,
    /// The hashes are false.
    FalseHashes,
    /// Claims to have the manifest, and gives nothing of it.
    NoManifest,
    /// Connects and opens no file.
    NoOpen,
    /// Asks for more pieces than may wait.
    Requests,
    /// Asks for 2⁶⁰ pieces at once.
    Credits,
    /// Asks for pieces that don't exist.
    Nonsense,
    /// Asks for the manifest over and over.
    Manifests,
    /// Opens a file that isn't there over and over.
    Opens,
    /// Gives the truth, but a few bytes now and then: its link is that slow.
    Drip,
    /// Says to each that it is the other.
    Impostor,
    /// Takes a place, has nothing, and asks for nothing.
    Idle,
}

/// What became of a liar.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Whose connection it lost as one banned.
    pub(crate) banned_by: BTreeSet<SocketAddr>,
    /// How many connections it lost so, and how many times anybody said anything to it.
    pub(crate) bans: usize,
    pub(crate) heard: usize,
    /// Most connections that it had at a time.
    pub(crate) connections: usize,
    /// Who has opened the file for it.
    pub(crate) opened_by: BTreeSet<SocketAddr>,
}

/// The file that it lies about.
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) fid: Fid,
    pub(crate) content: Arc<Vec<u8>>,
    pub(crate) manifest: Arc<Manifest>,
}

/// See [`Way`]. Dials its victims again whenever it has lost them.
pub(crate) struct Liar {
    way: Way,
    file: File,
    /// Whether it claims to have begun with the whole file.
    is_source: bool,
    node: u64,
    endpoint: Endpoint,
    rng: Rng,
    connections: BTreeMap<Handle, SocketAddr>,
    redial: BTreeMap<Instant, SocketAddr>,
    later: BTreeMap<(Instant, u64), (Handle, Vec<u8>)>,
    tick: Instant,
    said: u64,
    tally: Rc<RefCell<Tally>>,
}

/// Its own number for the file.
const CHANNEL: u64 = 1;
/// A content request is given up before.
const LATE: Duration = Duration::from_millis(10_500);
const TICK: Duration = Duration::from_millis(20);
/// So long it leaves open whether the rest of a piece will come.
const LOITER: Duration = Duration::from_millis(300);
const REDIAL: Duration = Duration::from_millis(200);

impl Liar {
    /// A liar that dials each of `victims` `times` times.
    pub(crate) fn new(
        way: Way,
        file: &File,
        is_source: bool,
        mut rng: Rng,
        now: Instant,
        (victims, times): (&[SocketAddr], usize),
    ) -> (Liar, Rc<RefCell<Tally>>) {
        let tally = Rc::new(RefCell::new(Tally::default()));
        let mut liar = Liar {
            way,
            file: file.clone(),
            is_source,
            node: rng.u64(),
            endpoint: Endpoint::new(Config::default(), rng.fork()),
            rng,
            connections: BTreeMap::new(),
            redial: BTreeMap::new(),
            later: BTreeMap::new(),
            tick: now + TICK,
            said: 0,
            tally: Rc::clone(&tally),
        };
        for (n, &victim) in victims.iter().cycle().take(victims.len() * times).enumerate() {
            liar.redial.insert(now + Duration::from_micros(n as u64 + 1), victim);
        }
        (liar, tally)
    }

    fn say(&mut self, to: Handle, message: &Message<'_>) {
        let class = if matches!(message, Message::Block { .. }) { Class::Bulk } else { Class::Control };
        self.endpoint.send(to, class, 0, message.encode());
    }

    fn content(&self, piece: PieceIndex, block: u32) -> &[u8] {
        let lengths = self.file.manifest.lengths();
        let range = lengths.block_range(piece, &(block..block + 1));
        &self.file.content[range.start as usize..range.end as usize]
    }

    fn block(&self, id: u64, piece: PieceIndex, block: u32, is_true: bool) -> Vec<u8> {
        let mut data = self.content(piece, block).to_vec();
        data[0] ^= u8::from(!is_true);
        let (piece, block) = (piece.get().into(), block.into());
        Message::Block { channel: CHANNEL, id, piece, block, data: &data }.encode()
    }

    fn introduce(&mut self, to: Handle) {
        if self.way == Way::NoOpen {
            // Always another, lest the connections be taken for one that was made twice.
            let node = self.rng.u64();
            return self.say(to, &Message::Hello { node });
        }
        self.say(to, &Message::Hello { node: self.node });
        let (fid, is_complete) = (self.file.fid, self.is_source);
        self.say(to, &Message::Open { channel: CHANNEL, fid, has_manifest: true, is_complete });
        if !is_complete && self.way != Way::Idle {
            let bytes = Bitfield::full(&self.file.manifest.lengths()).to_bytes();
            self.say(to, &Message::Bitfield { channel: CHANNEL, bytes: &bytes });
        }
    }

    /// What it says unasked, over and over, as fast as its link carries it.
    fn pester(&mut self, now: Instant, to: Handle) {
        self.tick = now + TICK;
        if self.endpoint.stats(now, to).is_none_or(|stats| stats.in_flight > 0) {
            return;
        }
        let (channel, pieces) = (CHANNEL, self.file.manifest.lengths().piece_count());
        self.said += 1;
        match self.way {
            Way::UnrequestedData => {
                let id = 1 << 40;
                let index = self.rng.below(pieces.into());
                let piece = self.file.manifest.lengths().piece(index).expect("it exists");
                while self.endpoint.wants_bulk(to, MAX_BLOCK_MESSAGE) {
                    let block = self.block(id, piece, 0, true);
                    self.endpoint.send(to, Class::Bulk, 0, block);
                }
            }
            Way::Requests => {
                for n in 0..2_100 {
                    let (id, piece) = (self.said << 20 | n, n % u64::from(pieces));
                    self.say(to, &Message::Request { channel, id, piece, first: 0, count: 1 });
                }
            }
            Way::Credits => {
                let (id, credits) = (self.said << 20, 1 << 60);
                self.say(to, &Message::Any { channel, id, credits, residue: 0, modulus: 1 });
            }
            Way::Nonsense => {
                for n in 0..100 {
                    let piece = u64::from(pieces) + n;
                    self.say(to, &Message::Request { channel, id: n, piece, first: 0, count: 1 });
                }
            }
            Way::Manifests => (0..10).for_each(|_| {
                self.say(to, &Message::AskManifest { channel, part: Some(1) });
            }),
            Way::Opens => (0..100).for_each(|n| {
                let fid = Fid::from_bytes([n; 32]);
                let channel = 2 + u64::from(n);
                self.say(to, &Message::Open { channel, fid, has_manifest: true, is_complete: true });
            }),
            _ => {}
        }
    }

    fn on_message(&mut self, now: Instant, from: Handle, message: &Message<'_>) {
        let lengths = self.file.manifest.lengths();
        match *message {
            Message::Hello { node } if self.way == Way::Impostor => {
                let others: Vec<Handle> =
                    self.connections.keys().copied().filter(|&other| other != from).collect();
                others.into_iter().for_each(|other| self.say(other, &Message::Hello { node }));
            }
            Message::Open { .. } => {
                let addr = self.connections[&from];
                self.tally.borrow_mut().opened_by.insert(addr);
            }
            Message::AskManifest { part: Some(part), .. } => self.give_manifest(from, part),
            Message::Request { id, piece, first, count, .. } => {
                let Some(piece) = lengths.piece(piece) else { return };
                (first..first + count).for_each(|block| self.serve(now, from, id, piece, block as u32));
            }
            Message::Any { id, credits, residue, modulus, .. } => {
                for id in id..id + credits {
                    let class = u64::from(lengths.piece_count()).saturating_sub(residue).div_ceil(modulus);
                    let Some(index) = (class > 0).then(|| residue + modulus * self.rng.below(class)) else {
                        continue;
                    };
                    let piece = lengths.piece(index).expect("within the class");
                    (0..lengths.block_count(piece)).for_each(|block| self.serve(now, from, id, piece, block));
                }
            }
            _ => {}
        }
    }

    fn serve(&mut self, now: Instant, to: Handle, id: u64, piece: PieceIndex, block: u32) {
        let (is_true, times) = match self.way {
            Way::WrongData => (false, 1),
            Way::OneWrongBlock if block == 0 => (false, 1),
            Way::OneWrongBlock => {
                // Not before the false block has come.
                let reject = Message::Reject { channel: CHANNEL, id }.encode();
                self.said += 1;
                self.later.insert((now + Duration::from_millis(100), self.said), (to, reject));
                return;
            }
            Way::TaintAndKeep | Way::TaintAndReject if block == 0 => (false, 1),
            Way::TaintAndReject => {
                let reject = Message::Reject { channel: CHANNEL, id };
                let have = Message::Have { channel: CHANNEL, pieces: vec![piece.get().into()] };
                for message in [reject, have] {
                    self.said += 1;
                    self.later.insert((now + LOITER, self.said), (to, message.encode()));
                }
                return;
            }
            Way::LateData => {
                let late = self.block(id, piece, block, true);
                self.said += 1;
                self.later.insert((now + LATE, self.said), (to, late));
                return;
            }
            Way::DuplicateData => (true, 3),
            Way::Rejects => {
                self.say(to, &Message::Reject { channel: CHANNEL, id });
                return self.say(to, &Message::Have { channel: CHANNEL, pieces: vec![piece.get().into()] });
            }
            Way::Drip => (true, 1),
            _ => return,
        };
        for _ in 0..times {
            let block = self.block(id, piece, block, is_true);
            self.endpoint.send(to, Class::Bulk, 0, block);
        }
    }

    fn give_manifest(&mut self, to: Handle, part: u64) {
        if self.way == Way::NoManifest {
            return;
        }
        let manifest = Arc::clone(&self.file.manifest);
        let outline = manifest.outline();
        let (mut size, mut proof) = (outline.lengths().size(), outline.size_proof().to_bytes());
        let (mut joints, mut hashes) = (outline.joints().to_vec(), manifest.hashes().to_vec());
        self.said += 1;
        match self.way {
            Way::FalseOutline if self.said.is_multiple_of(3) => size += 1,
            Way::FalseOutline if self.said % 3 == 1 => _ = proof.pop(),
            Way::FalseOutline => joints[0][0] ^= 1,
            Way::FalseHashes => hashes.iter_mut().for_each(|hash| hash[0] ^= 1),
            _ => {}
        }
        if part == 0 {
            self.say(to, &Message::Outline { channel: CHANNEL, size, proof: &proof, joints: &joints });
        }
        for part in part.max(1)..=outline.part_count().into() {
            let range = outline.range(part as u32 - 1);
            self.say(to, &Message::Hashes { channel: CHANNEL, part, hashes: &hashes[range] });
        }
    }

    fn pump(&mut self, now: Instant) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Connected { handle, remote, .. } => {
                    self.connections.insert(handle, remote);
                    let mut tally = self.tally.borrow_mut();
                    tally.connections = tally.connections.max(self.connections.len());
                    drop(tally);
                    self.introduce(handle);
                }
                Event::Message { handle, data } => {
                    self.tally.borrow_mut().heard += 1;
                    if let Ok(message) = Message::decode(&data) {
                        self.on_message(now, handle, &message);
                    }
                }
                Event::Closed { handle, remote, reason } => {
                    self.connections.remove(&handle);
                    if reason == CloseReason::Remote(3) {
                        let mut tally = self.tally.borrow_mut();
                        tally.banned_by.insert(remote);
                        tally.bans += 1;
                    }
                    if self.way == Way::NoOpen {
                        continue;
                    }
                    let mut at = now + REDIAL;
                    while self.redial.contains_key(&at) {
                        at += Duration::from_micros(1);
                    }
                    self.redial.insert(at, remote);
                }
                Event::Answered { .. } | Event::Moved { .. } => {}
            }
        }
    }
}

impl Machine for Liar {
    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.endpoint.handle_datagram(now, from, datagram);
        self.pump(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        while let Some(entry) = self.redial.first_entry().filter(|entry| *entry.key() <= now) {
            let addr = entry.remove();
            self.endpoint.connect(now, addr);
        }
        while let Some(entry) = self.later.first_entry().filter(|entry| entry.key().0 <= now) {
            let (to, message) = entry.remove();
            self.endpoint.send(to, Class::Bulk, 0, message);
        }
        if self.tick <= now {
            self.tick = now + TICK;
            let all: Vec<Handle> = self.connections.keys().copied().collect();
            all.into_iter().for_each(|to| self.pester(now, to));
        }
        self.pump(now);
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        self.endpoint.poll_transmit(now, buf)
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let redial = self.redial.first_key_value().map(|(&at, _)| (at, "dial again"));
        let later = self.later.first_key_value().map(|(&(at, _), _)| (at, "late data"));
        let tick = Some((self.tick, "pester")).filter(|_| !self.connections.is_empty());
        [self.endpoint.poll_timeout(), redial, later, tick].into_iter().flatten().min()
    }
}
