//! Two endpoints, joined by a channel that does to each datagram what a script says, and of which one may change its
//! address. Then the channel heals.
//!
//! Every message that was sent and not abandoned arrives exactly once and intact, no connection breaks, and in the end
//! neither side holds anything back.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use swarmcast::rand::Rng;
use swarmcast::rudp::{Class, Config, Endpoint, Event, Handle};
use swarmcast::time::{Duration, Instant};

use crate::notes::{magnitude, reached};
use crate::script::Script;

const MAX_MESSAGE: usize = 4_096;
/// Room for four long messages or so, or for just one: credit that isn't given back is soon missed.
const RECEIVE_WINDOWS: [u64; 2] = [20_000, 4_400];
const MAX_SENDS: u32 = 120;
/// The faults end by now: connections must not be given up by right.
const MAX_FAULTY_TIME: Duration = Duration::from_secs(8);
const PATIENCE: Duration = Duration::from_secs(3_600);
/// All has arrived this long after the channel has healed.
const MAX_HEALED_TIME: Duration = Duration::from_secs(600);
const MAX_EVENTS: usize = 60_000;
const MAX_AT_ONCE: usize = 3_000;

/// What was sent one way over a connection, by content.
#[derive(Default)]
struct Book {
    entries: BTreeMap<Vec<u8>, Entry>,
}

#[derive(Default)]
struct Entry {
    sent: u32,
    abandoned: u32,
    received: u32,
    /// The tags of those that are not abandoned.
    tags: Vec<u32>,
}

struct Side {
    endpoint: Endpoint,
    addr: SocketAddr,
    /// The connection that side 0 dialled and the one that side 1 dialled, once they are up.
    handles: [Option<Handle>; 2],
    /// How often it has moved.
    moves: u16,
    /// What comes for this side: when, in which order, and from where.
    coming: BTreeMap<(Instant, u64), (SocketAddr, Vec<u8>)>,
}

struct World {
    now: Instant,
    sides: [Side; 2],
    /// What each side sent over each connection.
    books: [[Book; 2]; 2],
    latency: Duration,
    /// What happens to datagrams, one after the other, again and again.
    fates: Vec<u8>,
    datagrams: u64,
    sends: u32,
    /// How many there will be.
    connections: u8,
}

/// Where a side is after so many moves.
fn place(side: u8, moves: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, side], 7_000 + moves))
}

/// Runs the script.
pub(crate) fn pair(data: &[u8]) {
    let mut script = Script::new(data);
    let mut world = World::new(script.u8(), Duration::from_micros(u64::from(script.u8()) * 500));
    let end_of_faults = world.now + MAX_FAULTY_TIME;
    while !script.is_over() {
        world.step(&mut script, end_of_faults);
    }
    world.heal();
}

impl World {
    fn new(seed: u8, latency: Duration) -> World {
        let config = Config {
            max_message: MAX_MESSAGE as u64,
            receive_window: RECEIVE_WINDOWS[usize::from(seed >> 2 & 1)],
            handshake_timeout: PATIENCE,
            idle_timeout: PATIENCE,
            dead_after: PATIENCE,
            ..Config::default()
        };
        let side = |n: u8| Side {
            endpoint: Endpoint::new(config.clone(), Rng::from_seed(u64::from(seed) << 8 | u64::from(n))),
            addr: place(n, 0),
            moves: 0,
            handles: [None; 2],
            coming: BTreeMap::new(),
        };
        let now = Instant::ORIGIN + Duration::from_secs(1);
        let mut world = World {
            now,
            sides: [side(0), side(1)],
            books: Default::default(),
            latency,
            fates: vec![0],
            datagrams: 0,
            sends: 0,
            connections: 1 + u8::from(seed % 4 == 3),
        };
        // The second connection, if there is one, is the other side's.
        for dialling in 0..usize::from(world.connections) {
            let to = world.sides[1 - dialling].addr;
            world.sides[dialling].endpoint.connect(now, to);
        }
        world.flush();
        world
    }

    fn step(&mut self, script: &mut Script<'_>, end_of_faults: Instant) {
        let op = script.u8();
        let (side, connection) = (usize::from(op >> 7), usize::from(op >> 6 & 1));
        match op & 0x0f {
            0..=5 => self.send(side, connection, script),
            6 => self.abandon(side, connection, u32::from(script.u8() % 4)),
            7 | 8 => {
                let len = 1 + usize::from(script.u8() % 8);
                self.fates = script.bytes(len).to_vec();
                if self.fates.is_empty() {
                    self.fates.push(0);
                }
            }
            9 => {
                let on = script.u8() < 128;
                if let Some(handle) = self.sides[side].handles[connection] {
                    // Who has moved has to be heard.
                    self.sides[side].endpoint.set_keep_alive(handle, on || self.sides[side].moves > 0);
                }
            }
            15 => self.move_away(),
            _ => {
                let millis = if op & 1 == 0 { u64::from(script.u8()) } else { u64::from(script.u8()) * 8 };
                let until = (self.now + Duration::from_millis(millis)).min(end_of_faults);
                self.run(until, |_| false);
                return;
            }
        }
        self.flush();
    }

    /// Side 1 is elsewhere from now on. Only that one: two that move at the same time lose each other. A handshake doesn't
    /// survive it.
    fn move_away(&mut self) {
        let wanted = usize::from(self.connections);
        if self.sides.iter().any(|side| side.handles.iter().flatten().count() < wanted) {
            return;
        }
        let mover = &mut self.sides[1];
        mover.moves += 1;
        mover.addr = place(1, mover.moves);
        mover.coming.clear();
        mover.handles.iter().flatten().for_each(|&handle| mover.endpoint.set_keep_alive(handle, true));
        reached(5, u64::from(mover.moves).min(8));
    }

    fn send(&mut self, side: usize, connection: usize, script: &mut Script<'_>) {
        let (shape, len) = (script.u8(), script.number() as usize % (MAX_MESSAGE + 1));
        let Some(handle) = self.sides[side].handles[connection] else { return };
        if self.sends < MAX_SENDS {
            self.sends += 1;
            let class = if shape % 4 == 0 { Class::Control } else { Class::Bulk };
            let tag = u32::from(shape >> 6);
            let mut content = vec![0; len];
            Rng::from_seed(u64::from(self.sends)).fill(&mut content);
            let entry = self.books[side][connection].entries.entry(content.clone()).or_default();
            entry.sent += 1;
            entry.tags.push(tag);
            self.sides[side].endpoint.send(handle, class, tag, content);
        }
    }

    fn abandon(&mut self, side: usize, connection: usize, tag: u32) {
        let Some(handle) = self.sides[side].handles[connection] else { return };
        self.sides[side].endpoint.abandon(handle, tag);
        for entry in self.books[side][connection].entries.values_mut() {
            let before = entry.tags.len();
            entry.tags.retain(|&kept| kept != tag);
            entry.abandoned += (before - entry.tags.len()) as u32;
        }
    }

    /// Moves all that the sides have to say into the channel, and takes their events.
    fn flush(&mut self) {
        let mut buf = Vec::new();
        for side in 0..2 {
            for n in 0.. {
                assert!(n < MAX_AT_ONCE, "an endpoint has something to send for ever");
                let Some(to) = self.sides[side].endpoint.poll_transmit(self.now, &mut buf) else { break };
                let other = &self.sides[1 - side];
                assert!((0..=other.moves).any(|n| place(1 - side as u8, n) == to), "nobody was at {to}");
                if to == other.addr {
                    self.carry(1 - side, &buf);
                }
            }
            self.take_events(side);
        }
    }

    fn carry(&mut self, to: usize, datagram: &[u8]) {
        let fate = self.fates[self.datagrams as usize % self.fates.len()];
        self.datagrams += 1;
        let (kind, strength) = (fate & 7, u64::from(fate >> 3));
        let (on_time, from) = (self.now + self.latency, self.sides[1 - to].addr);
        let mut arrive = |at: Instant, datagram: Vec<u8>| {
            let order = self.sides[to].coming.len() as u64 + self.datagrams * 2;
            self.sides[to].coming.insert((at, order), (from, datagram));
        };
        match kind {
            4 => {}
            5 => {
                arrive(on_time, datagram.to_vec());
                arrive(on_time + Duration::from_millis(strength * strength), datagram.to_vec());
            }
            6 => {
                let mut damaged = datagram.to_vec();
                let at = (strength as usize * 37) % damaged.len();
                damaged[at] ^= 1 << (strength % 8);
                arrive(on_time, damaged);
            }
            7 => arrive(on_time + Duration::from_millis(strength * strength), datagram.to_vec()),
            _ => arrive(on_time, datagram.to_vec()),
        }
    }

    fn take_events(&mut self, side: usize) {
        while let Some(event) = self.sides[side].endpoint.poll_event() {
            match event {
                Event::Answered { .. } => {}
                Event::Connected { handle, inbound, .. } => {
                    let dialler = if inbound { 1 - side } else { side };
                    assert_eq!(self.sides[side].handles[dialler].replace(handle), None, "it came up twice");
                }
                Event::Message { handle, data } => {
                    let connection = self.connection(side, handle);
                    let entry = self.books[1 - side][connection].entries.get_mut(&data);
                    let entry = entry.expect("a message that was never sent");
                    entry.received += 1;
                    assert!(entry.received <= entry.sent, "a message came twice");
                }
                Event::Moved { remote, .. } => {
                    let other = &self.sides[1 - side];
                    assert!((0..=other.moves).any(|n| place(1 - side as u8, n) == remote));
                    reached(6, u64::from(other.addr == remote));
                }
                Event::Closed { reason, .. } => panic!("a connection broke: {reason}"),
            }
        }
    }

    fn connection(&self, side: usize, handle: Handle) -> usize {
        self.sides[side]
            .handles
            .iter()
            .position(|&known| known == Some(handle))
            .expect("messages follow the handshake")
    }

    /// Lets time pass until `until`, or until `done`. Tells whether it was `done`.
    fn run(&mut self, until: Instant, done: impl Fn(&World) -> bool) -> bool {
        for _ in 0..MAX_EVENTS {
            if done(self) {
                return true;
            }
            let arrivals = self.sides.iter().filter_map(|side| side.coming.keys().next()).map(|&(at, _)| at);
            let timers = self.sides.iter().filter_map(|side| side.endpoint.poll_timeout()).map(|(at, _)| at);
            let Some(next) = arrivals.chain(timers).min().filter(|&next| next <= until) else {
                self.now = self.now.max(until);
                return false;
            };
            self.now = self.now.max(next);
            for side in 0..2 {
                while let Some(first) = self.sides[side].coming.first_entry()
                    && first.key().0 <= self.now
                {
                    let (from, datagram) = first.remove();
                    self.sides[side].endpoint.handle_datagram(self.now, from, &datagram);
                }
                self.sides[side].endpoint.handle_timeout(self.now);
            }
            self.flush();
        }
        panic!("{MAX_EVENTS} events and no end at {:?}", self.now);
    }

    fn is_complete(&self) -> bool {
        let books = self.books.as_flattened().iter();
        books
            .flat_map(|book| book.entries.values())
            .all(|entry| entry.received + entry.abandoned >= entry.sent)
    }

    fn heal(&mut self) {
        self.fates = vec![0];
        let complete = self.run(self.now + MAX_HEALED_TIME, World::is_complete);
        assert!(complete, "not all has arrived {MAX_HEALED_TIME:?} after the channel healed");
        if self.sides[1].moves > 0 {
            // Who has all and has moved is found when it asks for a sign of life.
            self.run(self.now + Duration::from_secs(200), |_| false);
        }
        for side in &mut self.sides {
            for handle in side.handles.into_iter().flatten() {
                side.endpoint.set_keep_alive(handle, false);
            }
        }
        // Last words, late copies, and what was abandoned while it was under way.
        self.run(self.now + Duration::from_secs(200), |_| false);
        assert!(self.sides[0].handles[0].is_some(), "the handshake never ended");
        for side in &self.sides {
            let stats = side.endpoint.total_stats(self.now);
            assert_eq!((stats.held, stats.in_flight), (0, 0));
            reached(0, magnitude(stats.lost) << 8 | magnitude(stats.spurious));
            reached(1, magnitude(stats.probes) << 8 | magnitude(stats.duplicates));
            reached(2, magnitude(stats.sent) << 8 | magnitude(stats.received));
            reached(3, magnitude(side.endpoint.dropped().undecodable));
        }
        let sum = |f: fn(&Entry) -> u32| {
            let books = self.books.as_flattened().iter();
            books.flat_map(|book| book.entries.values()).map(f).sum::<u32>()
        };
        reached(
            4,
            magnitude(u64::from(sum(|entry| entry.sent))) << 8
                | magnitude(u64::from(sum(|entry| entry.abandoned))),
        );
    }
}

/// Scripts with each kind of fault, of both sides, over one and two connections.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let connect: &[u8] = &[10, 100, 10, 100];
    let talk: &[u8] = &[0, 1, 0x4f, 0xa0, 1, 0x40, 0x43, 0, 0x80, 0, 20, 0x81, 0x41, 0x50, 0, 10, 30];
    let faults: &[&[u8]] = &[
        &[7, 0, 0],
        &[7, 2, 0, 0, 4],
        &[7, 2, 0, 5, 0x4d],
        &[7, 1, 6, 0x3e],
        &[7, 4, 0, 0x47, 0, 0x27, 4],
        &[8, 7, 0, 4, 5, 6, 7, 0xff, 0, 0xfc],
    ];
    let abandon: &[u8] = &[6, 1, 0x86, 0, 11, 60];
    let with = |seed: u8, fault: &&[u8]| [&[seed, 10], connect, fault, talk, talk, abandon, talk].concat();
    let mut seeds: Vec<Vec<u8>> = faults.iter().map(|fault| with(0, fault)).collect();
    seeds.push([&[3, 40][..], connect, faults[5], talk, &[0x40, 1, 60, 0xc0, 1, 70], talk, abandon].concat());
    seeds.extend(faults.iter().map(|fault| with(4, fault)));
    let moves: &[u8] = &[15, 11, 60, 15];
    seeds.extend(faults.iter().map(|fault| [&[0, 10], connect, fault, talk, moves, talk, talk].concat()));
    seeds.push([&[3, 10], connect, faults[5], talk, moves, talk, &[0x89, 0xff], moves].concat());
    seeds.push([&[7, 1][..], faults[1], connect, talk, &[11, 255], talk].concat());
    seeds
}
