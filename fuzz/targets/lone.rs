//! One endpoint alone: a script of commands, time and datagrams from six addresses, none of which can be trusted.
//!
//! After each step: no connection more than is allowed, no event that makes no sense, no memory beyond the window, no
//! number used twice, no stranger that gets more bytes than it sent, no endless polling. At the end nobody speaks any
//! more, and every connection has to come to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use swarmcast::coding::{Reader, Writer as _};
use swarmcast::rand::Rng;
use swarmcast::rudp::cookie::Cookie;
use swarmcast::rudp::frame::{Ack, Fragment, Frame};
use swarmcast::rudp::handshake::{Hello, Welcome};
use swarmcast::rudp::packet::{self, ConnectionId, Header, Kind};
use swarmcast::rudp::path::Token;
use swarmcast::rudp::recv_window::credit_unit;
use swarmcast::rudp::{Class, CloseReason, Config, Endpoint, Event, Handle, seq};
use swarmcast::time::{Duration, Instant};

use crate::notes::{magnitude, reached};
use crate::script::Script;

const ADDRS: usize = 6;
const MAX_CONNECTIONS: usize = 5;
const MAX_CONNECTIONS_PER_IP: usize = 2;
const RECEIVE_WINDOW: u64 = 6_000;
const MAX_MESSAGE: u64 = 4_096;
const DATAGRAM: usize = 1_200;
/// The script asks for at most this much in all.
const MAX_DIALS: usize = 12;
const MAX_SENDS: usize = 200;
const MAX_TIME: Duration = Duration::from_secs(60);
/// An endpoint that has so much to say at one instant never ends.
const MAX_AT_ONCE: usize = 3_000;
/// After so many time-outs at one instant the clock ought to have moved.
const MAX_SPINS: usize = 50;
/// By now a connection to the dead is over: three probes of at most a minute each, or one and a half of the longest
/// silence.
const MAX_SILENCE: Duration = Duration::from_secs(400);

/// Two ports on each of three machines.
fn addr(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, (n / 2) as u8], 4_000 + (n % 2) as u16))
}

/// What the world knows of an address.
#[derive(Default)]
struct Place {
    /// Cookies that were sent there.
    cookies: Vec<Cookie>,
    /// Path challenges that were sent there.
    tokens: Vec<Token>,
    came_in: usize,
    went_out: usize,
    /// Whether it was dialled, or has brought a cookie or a challenge's token back.
    is_proved: bool,
}

/// What the world knows of a connection by its name on the wire.
struct Wire {
    /// Where the endpoint takes the peer to be.
    place: usize,
    /// The last path challenge, and where it went.
    asked: Option<(usize, Token)>,
    /// The timestamp of the endpoint's last hello.
    hello_sent: u32,
    /// The endpoint's last packet.
    last: Option<u32>,
    used: BTreeSet<u32>,
    /// The last packet to the endpoint.
    number: u32,
}

struct Open {
    remote: SocketAddr,
    is_connected: bool,
    is_inbound: bool,
}

struct World {
    endpoint: Endpoint,
    now: Instant,
    places: [Place; ADDRS],
    wires: BTreeMap<ConnectionId, Wire>,
    open: BTreeMap<Handle, Open>,
    /// The last datagrams that the endpoint sent.
    overheard: Vec<Vec<u8>>,
    dials: usize,
    sends: usize,
}

/// Runs the script.
pub(crate) fn lone(data: &[u8]) {
    let mut script = Script::new(data);
    let mut world = World::new(u64::from(script.u8()));
    while !script.is_over() {
        let op = script.u8();
        world.step(op & 0x1f, &mut script);
        world.take_events();
        // Most callers poll at once, as they should.
        if op < 0xe0 {
            world.drain();
        }
        world.check();
    }
    world.fall_silent();
}

impl World {
    fn new(seed: u64) -> World {
        let config = Config {
            max_datagram_size: DATAGRAM,
            max_message: MAX_MESSAGE,
            receive_window: RECEIVE_WINDOW,
            max_connections: MAX_CONNECTIONS,
            max_connections_per_ip: MAX_CONNECTIONS_PER_IP,
            ..Config::default()
        };
        World {
            endpoint: Endpoint::new(config, Rng::from_seed(seed)),
            now: Instant::ORIGIN + Duration::from_secs(1),
            places: Default::default(),
            wires: BTreeMap::new(),
            open: BTreeMap::new(),
            overheard: Vec::new(),
            dials: 0,
            sends: 0,
        }
    }

    fn step(&mut self, op: u8, script: &mut Script<'_>) {
        match op {
            0 => self.dial(script),
            1..=3 => self.hello(op, script),
            4 | 5 => self.come_in(script),
            6..=11 => self.data(script),
            12 => self.welcome(script),
            13 => self.other_kind(script),
            14 => {
                let place = script.index(ADDRS);
                let len = usize::from(script.u8());
                self.deliver(place, script.bytes(len));
            }
            15 | 16 => self.bounce(script),
            17..=20 => self.wait(op, script),
            21..=25 => self.send(script),
            26 => self.with_handle(script, |world, handle, script| {
                world.endpoint.abandon(handle, u32::from(script.u8() % 4));
            }),
            27 => self.with_handle(script, |world, handle, script| {
                world.endpoint.close(handle, script.number());
            }),
            28 => self.with_handle(script, |world, handle, script| {
                world.endpoint.set_keep_alive(handle, script.u8() < 128);
            }),
            29 => self.with_handle(script, |world, handle, script| {
                let wanted = world.endpoint.wants_bulk(handle, usize::from(script.u16()));
                reached(1, u64::from(wanted));
                world.endpoint.is_in_flight(handle, 1);
            }),
            _ => self.endpoint.handle_timeout(self.now),
        }
    }

    fn with_handle(&mut self, script: &mut Script<'_>, f: impl FnOnce(&mut World, Handle, &mut Script<'_>)) {
        if let Some(&handle) = self.open.keys().nth(script.index(self.open.len().max(1))) {
            f(self, handle, script);
        }
    }

    fn dial(&mut self, script: &mut Script<'_>) {
        if self.dials < MAX_DIALS {
            self.dials += 1;
            let place = script.index(ADDRS);
            self.places[place].is_proved = true;
            let handle = self.endpoint.connect(self.now, addr(place));
            let open = Open { remote: addr(place), is_connected: false, is_inbound: false };
            assert!(self.open.insert(handle, open).is_none(), "a handle is used twice");
        }
    }

    /// The name of a connection: one of those that there are, or a new one.
    fn id(&self, script: &mut Script<'_>) -> ConnectionId {
        let choice = usize::from(script.u8());
        let known = self.wires.keys().nth(choice % self.wires.len().max(1)).copied();
        known.filter(|_| choice >= 8).unwrap_or(ConnectionId(choice as u32))
    }

    fn hello(&mut self, op: u8, script: &mut Script<'_>) {
        let (place, id) = (script.index(ADDRS), self.id(script));
        let cookie = match op {
            1 => None,
            // A made-up one, or that of another address.
            2 => match script.u8() {
                n if n < 128 => self.places[usize::from(n) % ADDRS].cookies.last().copied(),
                _ => Cookie::decode(&mut Reader::new(&[1; Cookie::LEN])).ok(),
            },
            _ => self.places[place].cookies.last().copied(),
        };
        let (receive_window, datagram_size) = (script.number() as u32, script.number() as u16);
        let mut body = Vec::new();
        Hello { cookie, receive_window, datagram_size, sent: script.u16().into() }.encode(&mut body);
        let number = script.u32();
        self.wires.entry(id).or_insert(Wire::new(place)).number = number;
        self.deliver_sealed(place, Header { kind: Kind::Hello, connection: id, number }, &body);
    }

    /// A whole handshake, as it should be.
    fn come_in(&mut self, script: &mut Script<'_>) {
        let (place, id, number) = (script.index(ADDRS), self.id(script), u32::from(script.u8()));
        self.wires.entry(id).or_insert(Wire::new(place)).number = number;
        let header = Header { kind: Kind::Hello, connection: id, number };
        for _ in 0..2 {
            let cookie = self.places[place].cookies.last().copied();
            let mut body = Vec::new();
            Hello { cookie, receive_window: 1 << 14, datagram_size: DATAGRAM as u16, sent: 0 }
                .encode(&mut body);
            self.deliver_sealed(place, header, &body);
            self.drain();
        }
    }

    fn welcome(&mut self, script: &mut Script<'_>) {
        let id = self.id(script);
        let Some(wire) = self.wires.get_mut(&id) else { return };
        let hello_sent = wire.hello_sent.wrapping_sub(script.number() as u32);
        let (receive_window, datagram_size) = (script.number() as u32, script.number() as u16);
        let (hello_received, sent) = (script.u16().into(), script.u16().into());
        wire.number = script.u32();
        let (place, number) = (wire.place, wire.number);
        let mut body = Vec::new();
        Welcome { receive_window, datagram_size, hello_sent, hello_received, sent, downlink_queue: 0 }
            .encode(&mut body);
        self.deliver_sealed(place, Header { kind: Kind::Welcome, connection: id, number }, &body);
    }

    fn data(&mut self, script: &mut Script<'_>) {
        let id = self.id(script);
        let Some(wire) = self.wires.get_mut(&id) else { return };
        let shape = script.u8();
        let number = match shape >> 5 {
            0 => wire.number,
            1 => wire.number.wrapping_sub(script.u16().into()),
            2 => wire.number.wrapping_add(script.u16().into()),
            3 => wire.number.wrapping_add(script.u32()),
            _ => wire.number.wrapping_add(1),
        };
        wire.number = number;
        let (mut place, last, asked) = (wire.place, wire.last.unwrap_or(0), wire.asked);
        let mut body = Vec::new();
        // The peer speaks from elsewhere, or where it was asked whether it is there.
        match shape >> 2 & 7 {
            6 => place = script.index(ADDRS),
            7 => {
                let (asked_at, token) = asked.unwrap_or((place, [0; 8]));
                place = asked_at;
                Frame::PathResponse(token).encode(&mut body);
            }
            _ => {}
        }
        for _ in 0..1 + shape % 4 {
            write_frame(script, last, &mut body);
        }
        self.deliver_sealed(place, Header { kind: Kind::Data, connection: id, number }, &body);
    }

    fn other_kind(&mut self, script: &mut Script<'_>) {
        let (place, id) = (script.index(ADDRS), self.id(script));
        let kind = [Kind::Retry, Kind::Close, Kind::Oneshot, Kind::Data, Kind::Welcome][script.index(5)];
        let number = script.u32();
        let len = usize::from(script.u8());
        self.deliver_sealed(place, Header { kind, connection: id, number }, script.bytes(len));
    }

    /// Turns one of the endpoint's own datagrams around, perhaps damaged, perhaps from elsewhere.
    fn bounce(&mut self, script: &mut Script<'_>) {
        let Some(mut datagram) = self.overheard.get(script.index(self.overheard.len().max(1))).cloned()
        else {
            return;
        };
        let (place, at) = (script.index(ADDRS), usize::from(script.u16()) % datagram.len());
        datagram[at] ^= script.u8();
        packet::seal(&mut datagram);
        self.deliver(place, &datagram);
    }

    fn wait(&mut self, op: u8, script: &mut Script<'_>) {
        let wanted = match op {
            17 => Duration::from_millis(script.number()),
            18 => Duration::from_secs(u64::from(script.u8() % 8)),
            _ => self.endpoint.poll_timeout().map_or(Duration::ZERO, |(at, _)| at.since(self.now)),
        };
        if self.now + wanted <= Instant::ORIGIN + MAX_TIME {
            self.now += wanted;
            self.endpoint.handle_timeout(self.now);
        }
    }

    fn send(&mut self, script: &mut Script<'_>) {
        if self.sends < MAX_SENDS {
            self.sends += 1;
            self.with_handle(script, |world, handle, script| {
                let shape = script.u8();
                let class = if shape % 4 == 0 { Class::Control } else { Class::Bulk };
                let len = script.number().min(MAX_MESSAGE) as usize;
                world.endpoint.send(handle, class, u32::from(shape >> 6), vec![shape; len]);
            });
        }
    }

    fn deliver_sealed(&mut self, place: usize, header: Header, body: &[u8]) {
        let mut datagram = Vec::new();
        packet::begin(&mut datagram, header);
        datagram.bytes(body);
        packet::seal(&mut datagram);
        self.deliver(place, &datagram);
    }

    fn deliver(&mut self, place: usize, datagram: &[u8]) {
        let opened = packet::open(datagram).ok();
        let here = &mut self.places[place];
        here.came_in += datagram.len();
        if let Some((Header { kind: Kind::Hello, .. }, body)) = opened {
            let cookie = Hello::decode(body).ok().and_then(|(hello, _)| hello.cookie);
            here.is_proved |= cookie.is_some_and(|cookie| here.cookies.contains(&cookie));
        }
        if let Some((Header { kind: Kind::Data, .. }, body)) = opened {
            here.is_proved |= frames(body).any(|frame| match frame {
                Frame::PathResponse(token) => here.tokens.contains(&token),
                _ => false,
            });
        }
        let back = self.endpoint.handle_datagram(self.now, addr(place), datagram);
        let is_oneshot = opened.is_some_and(|(header, _)| header.kind == Kind::Oneshot);
        assert_eq!(back.is_some(), is_oneshot);
    }

    /// Takes out all that the endpoint has to send now.
    fn drain(&mut self) {
        let mut buf = Vec::new();
        for n in 0.. {
            assert!(n < MAX_AT_ONCE, "the endpoint has something to send for ever");
            let Some(to) = self.endpoint.poll_transmit(self.now, &mut buf) else { break };
            self.overhear(to, &buf);
        }
        self.take_events();
    }

    fn overhear(&mut self, to: SocketAddr, datagram: &[u8]) {
        let index = (0..ADDRS).find(|&n| addr(n) == to).expect("only known addresses are spoken to");
        assert!(datagram.len() <= DATAGRAM, "{} B", datagram.len());
        let (header, body) = packet::open(datagram).expect("what is sent opens");
        reached(2, header.kind as u64);
        let place = &mut self.places[index];
        place.went_out += datagram.len();
        let wire = self.wires.entry(header.connection).or_insert(Wire::new(index));
        match header.kind {
            Kind::Retry => {
                let cookie = Cookie::decode(&mut Reader::new(body)).expect("a retry brings a cookie");
                if !place.cookies.contains(&cookie) {
                    place.cookies.push(cookie);
                }
            }
            Kind::Hello => wire.hello_sent = Hello::decode(body).expect("a whole hello").0.sent,
            Kind::Welcome | Kind::Data => {
                assert!(wire.used.insert(header.number), "a packet number is used twice");
                wire.last = Some(header.number);
            }
            Kind::Close => {}
            Kind::Oneshot => panic!("an endpoint sends no oneshots of its own"),
        }
        if header.kind == Kind::Data {
            let mut asks = false;
            for frame in frames(body) {
                reached(3, frame_kind(&frame));
                if let Frame::PathChallenge(token) = frame {
                    asks = true;
                    wire.asked = Some((index, token));
                    place.tokens.push(token);
                }
            }
            if !asks {
                assert!(place.is_proved, "data goes to an address that isn't proved");
                wire.place = index;
            }
        }
        if self.overheard.len() >= 32 {
            self.overheard.remove(0);
        }
        self.overheard.push(datagram.to_vec());
    }

    fn take_events(&mut self) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Answered { handle } => {
                    assert!(!self.open.get(&handle).expect("it was dialled").is_connected);
                }
                Event::Connected { handle, remote, inbound: true } => {
                    reached(4, 0);
                    let open = Open { remote, is_connected: true, is_inbound: true };
                    assert!(self.open.insert(handle, open).is_none(), "a handle is used twice");
                }
                Event::Connected { handle, remote, inbound: false } => {
                    reached(4, 1);
                    let open = self.open.get_mut(&handle).expect("it was dialled");
                    assert!(!open.is_connected && open.remote == remote);
                    open.is_connected = true;
                }
                Event::Message { handle, data } => {
                    reached(5, magnitude(data.len() as u64));
                    assert!(data.len() as u64 <= MAX_MESSAGE);
                    assert!(self.open.get(&handle).is_some_and(|open| open.is_connected));
                }
                Event::Moved { handle, remote } => {
                    reached(4, 2);
                    let open = self.open.get_mut(&handle).expect("only what is open moves");
                    assert!(open.is_connected && open.remote != remote);
                    open.remote = remote;
                    let place = (0..ADDRS).find(|&n| addr(n) == remote).expect("a known address");
                    assert!(self.places[place].is_proved, "a connection moved without a proof");
                }
                Event::Closed { handle, remote, reason } => {
                    let open = self.open.remove(&handle).expect("a connection ends once");
                    assert_eq!(open.remote, remote);
                    reached(6, reason_number(reason) << 1 | u64::from(open.is_inbound));
                }
            }
        }
    }

    fn check(&self) {
        assert_eq!(self.endpoint.connection_count(), self.open.len());
        let inbound = || self.open.values().filter(|open| open.is_inbound);
        assert!(inbound().count() <= MAX_CONNECTIONS);
        for n in (0..ADDRS).step_by(2) {
            let from_ip = inbound().filter(|open| open.remote.ip() == addr(n).ip());
            assert!(from_ip.count() <= MAX_CONNECTIONS_PER_IP);
        }
        for &handle in self.open.keys() {
            let stats = self.endpoint.stats(self.now, handle).expect("an open connection has stats");
            let most = RECEIVE_WINDOW + credit_unit(RECEIVE_WINDOW);
            assert!(stats.held <= most, "{} B are held", stats.held);
            reached(7, magnitude(stats.held));
            reached(
                8,
                magnitude(stats.lost) << 16 | magnitude(stats.spurious) << 8 | magnitude(stats.probes),
            );
            reached(9, magnitude(stats.window) << 8 | magnitude(stats.in_flight));
            reached(10, magnitude(stats.duplicates) << 8 | magnitude(stats.malformed));
        }
        for place in self.places.iter().filter(|place| !place.is_proved) {
            assert!(place.went_out <= place.came_in, "{} B for {} B", place.went_out, place.came_in);
        }
    }

    /// Nobody speaks any more.
    fn fall_silent(&mut self) {
        self.endpoint.handle_timeout(self.now);
        self.drain();
        let deadline = self.now + MAX_SILENCE;
        let mut spins = 0;
        while let Some((at, reason)) = self.endpoint.poll_timeout() {
            spins = if at <= self.now { spins + 1 } else { 0 };
            assert!(spins < MAX_SPINS, "the timer {reason} is due again and again");
            self.now = self.now.max(at);
            assert!(self.now <= deadline, "{} connections to the dead", self.open.len());
            self.endpoint.handle_timeout(self.now);
            self.drain();
            self.check();
        }
        assert!(self.open.is_empty(), "a connection without a deadline: {}", self.open.len());
    }
}

impl Wire {
    fn new(place: usize) -> Wire {
        Wire { place, asked: None, hello_sent: 0, last: None, used: BTreeSet::new(), number: 0 }
    }
}

/// Writes a frame to an endpoint whose last packet was `last`.
fn write_frame(script: &mut Script<'_>, last: u32, body: &mut Vec<u8>) {
    const BYTES: [u8; 1_024] = [0x5a; 1_024];
    match script.u8() % 16 {
        0..=5 => {
            let largest = seq::from_wire(last) + (1 << 33);
            let mut start = match script.u8() {
                n if n < 200 => largest - u64::from(n % 32),
                n if n < 220 => largest + u64::from(n - 199),
                _ => largest.wrapping_add(u64::from(script.u32())),
            };
            let mut ranges = Vec::new();
            for _ in 0..1 + script.u8() % 8 {
                let end = start + 1;
                start = end - 1 - u64::from(script.u8() % 64);
                ranges.push(start..end);
                start -= 2 + u64::from(script.u8() % 8);
            }
            let micros = |script: &mut Script<'_>| Duration::from_micros(script.number());
            let (delay, downlink_queue) = (micros(script), micros(script));
            Ack {
                ranges,
                received: u32::from(script.u16()) << 8,
                delay,
                downlink_queue,
                credit: script.u8(),
            }
            .encode(body);
        }
        6..=10 => {
            let (message, offset, shape) = (script.number(), script.number(), script.u8());
            let data = &BYTES[..usize::from(shape >> 1) * 8];
            Fragment { message, offset, fin: shape % 2 == 1, data }.encode(body, false);
        }
        11 => Frame::Abandon { message: script.number(), len: script.number() }.encode(body),
        12 => Frame::Timestamp { sent: script.u32(), unsettled: script.number() }.encode(body),
        13 => Frame::ImmediateAck.encode(body),
        14 => match script.u8() % 4 {
            0 => Frame::PathChallenge(*script.bytes(8).first_chunk().unwrap_or(&[7; 8])).encode(body),
            1 => Frame::PathResponse(*script.bytes(8).first_chunk().unwrap_or(&[7; 8])).encode(body),
            _ => Frame::Ping.encode(body),
        },
        _ => body.bytes(script.bytes(8)),
    }
}

/// The frames of a body up to the first that can't be read.
fn frames(body: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    let mut reader = Reader::new(body);
    // So high that no range of an ack reaches below zero, however far the numbers of this side lie apart.
    std::iter::from_fn(move || Frame::decode(&mut reader, 1 << 60).ok().flatten())
}

fn frame_kind(frame: &Frame<'_>) -> u64 {
    match frame {
        Frame::Ping => 0,
        Frame::Ack(ack) => 100 + ack.ranges.len() as u64,
        Frame::ImmediateAck => 1,
        Frame::Timestamp { unsettled, .. } => 200 + magnitude(*unsettled),
        Frame::Abandon { .. } => 2,
        Frame::PathChallenge(_) => 3,
        Frame::PathResponse(_) => 4,
        Frame::Fragment(fragment) => 300 + magnitude(fragment.offset),
    }
}

fn reason_number(reason: CloseReason) -> u64 {
    match reason {
        CloseReason::Local => 0,
        CloseReason::Remote(_) => 1,
        CloseReason::Unknown => 2,
        CloseReason::HandshakeTimeout => 3,
        CloseReason::Silent => 4,
        CloseReason::Violation(violation) => 5 + violation.to_string().len() as u64,
    }
}

/// Scripts that shake hands on either side, talk, and end.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    // From address 1: a hello without a cookie and one with it, under the name 5.
    let inbound: &[u8] = &[1, 1, 5, 0xc0, 0, 0, 0, 0, 1, 0, 0, 0x44, 0xb0, 0, 0, 0, 0, 0, 7];
    let with_cookie: &[u8] = &[3, 1, 5, 0x80, 1, 0, 0, 0x44, 0xb0, 0, 0, 0, 0, 0, 7];
    // A whole message, an ack of the last packet, a gap, an end.
    let talk: &[u8] = &[6, 8, 0x80, 6, 0, 0, 9, 6, 8, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 1, 0, 0];
    let gap: &[u8] = &[6, 8, 0x82, 6, 1, 0x44, 0, 8, 11, 2, 9, 14, 3];
    // One byte near the end of each of two messages: room for both is more than the window.
    let far: &[u8] = &[6, 8, 0x81, 6, 0, 0x4f, 0xa0, 2, 6, 1, 0x4f, 0xa0, 2];
    let send: &[u8] = &[21, 0, 1, 0x4f, 0xa0, 22, 0, 0, 32, 19, 19, 17, 40, 19];
    let dial: &[u8] = &[0, 2, 17, 20];
    let welcome: &[u8] = &[12, 8, 0, 0x80, 1, 0, 0, 0x44, 0xb0, 0, 0, 0, 0, 0, 0, 0, 9];
    // A ping from address 4, then the answer to the challenge that it led to, and a word from the old address.
    let moved: &[u8] = &[6, 8, 0x98, 4, 14, 3, 6, 8, 0x9c, 14, 3, 22, 0, 0, 32, 6, 8, 0x98, 1, 14, 0];
    let end: &[u8] = &[26, 0, 1, 28, 0, 0, 18, 3, 27, 0, 5];
    vec![
        [&[0], inbound, with_cookie, talk, end].concat(),
        [&[1], inbound, with_cookie, send, talk, gap, talk].concat(),
        [&[2], dial, welcome, send, talk, end].concat(),
        [&[3], inbound, with_cookie, dial, welcome, send, talk, gap, send, &[15, 0, 0, 0, 9, 1], end]
            .concat(),
        [&[4], dial, dial, &[18, 7, 18, 7]].concat(),
        [&[5, 4, 1, 1, 9, 4, 2, 2, 9, 4, 3, 3, 9, 4, 4, 4, 9], talk, gap, &[4, 1, 5, 9, 4, 4, 6, 9]].concat(),
        [&[7, 4, 1, 1, 9], far].concat(),
        [&[8], inbound, with_cookie, talk, send, moved, talk, send, gap, end].concat(),
        // The shortest datagram for a connection that is unknown.
        vec![6, 13, 3, 5, 3, 0, 0, 0, 9, 0],
    ]
}
