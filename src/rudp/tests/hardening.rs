//! What attackers do to an endpoint, and how little they get: memory, answers, room on the links.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::super::cookie::Cookie;
use super::super::error::{CloseReason, ProtocolViolation};
use super::super::frame::{Ack, Fragment, Frame};
use super::super::handshake::Hello;
use super::super::packet::{self, ConnectionId, HEADER_LEN, Header, Kind};
use super::super::recv_window::{Violation, credit_unit};
use super::super::seq;
use super::{Chatter, LATENCY, addr, link, secs};
use crate::coding::Reader;
use crate::machine::Machine;
use crate::rand::Rng;
use crate::rudp::{Class, Config, Endpoint, Event, Handle};
use crate::sim::{Faults, World};
use crate::time::{Duration, Instant};

const DATAGRAM: usize = 1_200;

pub(super) fn datagram(kind: Kind, connection: u32, number: u32, body: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    packet::begin(&mut datagram, Header { kind, connection: ConnectionId(connection), number });
    datagram.extend_from_slice(body);
    packet::seal(&mut datagram);
    datagram
}

fn hello(connection: u32, number: u32, cookie: Option<Cookie>) -> Vec<u8> {
    let mut body = Vec::new();
    let hello = Hello { cookie, receive_window: 1 << 20, datagram_size: DATAGRAM as u16, sent: 0 };
    hello.encode(&mut body);
    datagram(Kind::Hello, connection, number, &body)
}

/// Address number `n` of very many.
pub(super) fn stranger(n: usize) -> SocketAddr {
    SocketAddr::from(([172, 16, (n >> 8) as u8, n as u8], 4_000))
}

/// All that an endpoint sends now, by receiver.
pub(super) fn drain(endpoint: &mut Endpoint, now: Instant) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut buf = Vec::new();
    std::iter::from_fn(|| endpoint.poll_transmit(now, &mut buf).map(|to| (to, buf.clone()))).collect()
}

/// A peer that says whatever it likes over a connection that it got in the honest way.
pub(super) struct Liar {
    pub(super) endpoint: Endpoint,
    pub(super) handle: Handle,
    pub(super) addr: SocketAddr,
    pub(super) number: u32,
    pub(super) now: Instant,
}

pub(super) const LIAR_ID: u32 = 77;

impl Liar {
    pub(super) fn new(config: Config) -> Liar {
        let (now, addr) = (secs(5.0), addr(3));
        let mut endpoint = Endpoint::new(config, Rng::from_seed(1));
        assert!(dial(&mut endpoint, now, addr, LIAR_ID));
        let Some(Event::Connected { handle, .. }) = endpoint.poll_event() else { panic!("no connection") };
        Liar { endpoint, handle, addr, number: 7, now }
    }

    /// Sends a frame in a packet of its own.
    pub(super) fn say(&mut self, frame: &Frame<'_>) {
        let mut body = Vec::new();
        frame.encode(&mut body);
        self.number += 1;
        let datagram = datagram(Kind::Data, LIAR_ID, self.number, &body);
        self.endpoint.handle_datagram(self.now, self.addr, &datagram);
    }

    fn ack(&mut self, numbers: std::ops::Range<u64>) {
        self.say(&Frame::Ack(Ack {
            ranges: vec![numbers],
            received: 0,
            delay: Duration::ZERO,
            downlink_queue: Duration::ZERO,
            credit: 255,
        }));
    }

    /// The numbers of the data packets that the endpoint sends now.
    fn numbers(&mut self) -> Vec<u64> {
        let sent = drain(&mut self.endpoint, self.now);
        let numbers = sent.iter().filter_map(|(_, datagram)| {
            let (header, _) = packet::open(datagram).unwrap();
            (header.kind == Kind::Data).then(|| seq::from_wire(header.number))
        });
        numbers.collect()
    }

    fn closed(&mut self) -> Option<CloseReason> {
        std::iter::from_fn(|| self.endpoint.poll_event()).find_map(|event| match event {
            Event::Closed { reason, .. } => Some(reason),
            _ => None,
        })
    }
}

/// The cookie that `from` gets from an endpoint where nobody else waits for an answer.
pub(super) fn cookie_for(endpoint: &mut Endpoint, now: Instant, from: SocketAddr) -> Cookie {
    endpoint.handle_datagram(now, from, &hello(0, 7, None));
    let answers = drain(endpoint, now);
    let (header, body) = packet::open(&answers[0].1).unwrap();
    assert_eq!((answers.len(), header.kind), (1, Kind::Retry));
    Cookie::decode(&mut Reader::new(body)).unwrap()
}

/// Whether `from` is let in when it comes back with its cookie.
pub(super) fn dial(endpoint: &mut Endpoint, now: Instant, from: SocketAddr, id: u32) -> bool {
    let cookie = cookie_for(endpoint, now, from);
    endpoint.handle_datagram(now, from, &hello(id, 7, Some(cookie)));
    let answers = drain(endpoint, now);
    answers.first().is_some_and(|(_, answer)| packet::open(answer).unwrap().0.kind == Kind::Welcome)
}

#[test]
fn forged_hellos_leave_no_connection_and_few_answers() {
    let mut endpoint = Endpoint::new(Config::default(), Rng::from_seed(1));
    let now = secs(5.0);
    for n in 0..10_000 {
        let mut made_up = Rng::from_seed(n as u64).bytes::<{ Cookie::LEN }>();
        // The right time and a wrong tag, so that it isn't for its age that it is refused.
        made_up[..4].copy_from_slice(&5u32.to_be_bytes());
        let cookie = Cookie::decode(&mut Reader::new(&made_up)).ok();
        endpoint.handle_datagram(now, stranger(n), &hello(n as u32, 1, None));
        endpoint.handle_datagram(now, stranger(n), &hello(n as u32, 1, cookie));
    }
    assert_eq!(endpoint.connection_count(), 0);
    assert_eq!(endpoint.poll_timeout(), None);
    assert_eq!(endpoint.poll_event(), None);
    let answers = drain(&mut endpoint, now);
    assert!(answers.len() <= 256, "{} answers waited", answers.len());
    let mut answered: BTreeMap<SocketAddr, usize> = BTreeMap::new();
    for (to, answer) in &answers {
        *answered.entry(*to).or_default() += answer.len();
    }
    assert!(answered.values().all(|&bytes| bytes <= 2 * hello(1, 1, None).len()));
    assert_eq!(endpoint.dropped().refused as usize, 20_000 - answers.len());
    // Whoever comes after the flood is let in.
    assert!(dial(&mut endpoint, now + Duration::from_secs(1), addr(3), 5));
    assert_eq!(endpoint.connection_count(), 1);
}

#[test]
fn a_cookie_is_worth_nothing_at_another_address() {
    let mut endpoint = Endpoint::new(Config::default(), Rng::from_seed(1));
    let now = secs(5.0);
    let cookie = Some(cookie_for(&mut endpoint, now, stranger(1)));
    endpoint.handle_datagram(now, stranger(2), &hello(2, 7, cookie));
    assert_eq!(endpoint.connection_count(), 0);
    endpoint.handle_datagram(now, stranger(1), &hello(1, 7, cookie));
    assert_eq!(endpoint.connection_count(), 1);
}

#[test]
fn connections_are_capped_in_all_and_for_each_ip() {
    let config = Config { max_connections: 10, max_connections_per_ip: 3, ..Config::default() };
    let mut endpoint = Endpoint::new(config, Rng::from_seed(1));
    let now = secs(5.0);
    for ip in 0..5 {
        for port in 0..5 {
            let mut from = stranger(ip);
            from.set_port(4_000 + port);
            let is_in = dial(&mut endpoint, now, from, (ip as u32) << 8 | u32::from(port));
            assert_eq!(is_in, port < 3 && ip < 3 || (ip, port) == (3, 0), "connection {port} of IP {ip}");
        }
        assert_eq!(endpoint.connection_count(), (3 * (ip + 1)).min(10));
    }
    assert_eq!(endpoint.dropped().refused, 25 - 10);
    // Who never speaks again makes room for others.
    let mut later = now;
    while let Some((deadline, _)) = endpoint.poll_timeout() {
        later = deadline;
        endpoint.handle_timeout(later);
        drain(&mut endpoint, later);
    }
    assert_eq!(endpoint.connection_count(), 0);
    assert!(later < now + Duration::from_secs(130), "{later:?}");
}

#[test]
fn an_ack_of_what_was_never_sent_ends_the_connection() {
    let impossible = Some(CloseReason::Violation(ProtocolViolation::ImpossibleAck));
    for ahead in [1, 2, 1_000, 1 << 30] {
        let mut liar = Liar::new(Config::default());
        liar.endpoint.send(liar.handle, Class::Control, 0, vec![1; 100]);
        let last = *liar.numbers().last().unwrap();
        liar.ack(last..last + 1);
        assert_eq!(liar.closed(), None);
        liar.ack(last..last + 1 + ahead);
        assert_eq!(liar.closed(), impossible, "{ahead} ahead");
        assert_eq!(liar.endpoint.connection_count(), 0);
    }
}

#[test]
fn who_acks_what_it_never_got_is_found_out_by_a_number_left_out() {
    let mut liar = Liar::new(Config::default());
    let mut last: Option<u64> = None;
    let mut honest = 0;
    loop {
        liar.now += Duration::from_millis(1);
        liar.endpoint.send(liar.handle, Class::Control, 0, vec![1; 100]);
        let numbers = liar.numbers();
        for number in numbers {
            let skipped = last.is_some_and(|last| number != last + 1);
            if skipped {
                assert_eq!(number, last.unwrap() + 2, "one at a time");
                // Up to here it acked what it got. Now it acks on, as if everything had come.
                liar.ack(last.unwrap() + 1..number + 1);
                assert_eq!(
                    liar.closed(),
                    Some(CloseReason::Violation(ProtocolViolation::ImpossibleAck)),
                    "after {honest} honest acks"
                );
                assert!((32..=512).contains(&honest), "{honest}");
                return;
            }
            liar.ack(number..number + 1);
            assert_eq!(liar.closed(), None);
            (last, honest) = (Some(number), honest + 1);
        }
        assert!(honest < 1_000, "no number was left out");
    }
}

#[test]
fn ids_and_first_numbers_cant_be_guessed() {
    let mut endpoint = Endpoint::new(Config::default(), Rng::from_seed(1));
    (0..256).for_each(|n| _ = endpoint.connect(secs(5.0), stranger(n)));
    let sent = drain(&mut endpoint, secs(5.0));
    let headers: Vec<Header> = sent.iter().map(|(_, hello)| packet::open(hello).unwrap().0).collect();
    // Of 256 draws from 256 values about 162 are different; of what counts on, one or two.
    let is_random = |fields: Vec<u32>| {
        [0, 8, 16, 24].into_iter().all(|shift| {
            let bytes: BTreeSet<u8> = fields.iter().map(|field| (field >> shift) as u8).collect();
            (120..200).contains(&bytes.len())
        })
    };
    assert!(is_random(headers.iter().map(|header| header.connection.0).collect()), "connection ids");
    assert!(is_random(headers.iter().map(|header| header.number).collect()), "first packet numbers");
}

#[test]
fn fragments_with_gaps_never_hold_more_than_the_window() {
    let config = Config { receive_window: 100_000, max_message: 20_000, ..Config::default() };
    let fragment = |message, offset, data| Frame::Fragment(Fragment { message, offset, fin: false, data });
    // One byte at the end of each message makes this side keep room for the whole of it.
    let mut liar = Liar::new(config.clone());
    let most = config.receive_window + credit_unit(config.receive_window);
    let mut highest = 0;
    for message in 0..10 {
        liar.say(&fragment(message, 19_999, b"x"));
        let Some(stats) = liar.endpoint.stats(liar.now, liar.handle) else { break };
        highest = stats.held;
        assert!(highest <= most, "{highest} B held");
    }
    assert!(highest > config.receive_window / 2, "{highest} B held");
    assert_eq!(liar.closed(), Some(CloseReason::Violation(ProtocolViolation::Message(Violation::Credit))));
    // A message in crumbs costs more in bookkeeping than in bytes.
    let mut liar = Liar::new(config);
    for crumb in 0..10_000 {
        liar.say(&fragment(0, 1 + 2 * crumb, b"x"));
    }
    assert_eq!(liar.closed(), Some(CloseReason::Violation(ProtocolViolation::Message(Violation::Gaps))));
}

#[test]
fn a_close_whose_number_is_guessed_ends_nothing() {
    let mut liar = Liar::new(Config::default());
    let close = |liar: &mut Liar, number| {
        liar.endpoint.handle_datagram(liar.now, liar.addr, &datagram(Kind::Close, LIAR_ID, number, &[0]));
        liar.closed()
    };
    for far in [1 << 16, 1 << 24, 1 << 31] {
        let guessed = liar.number.wrapping_add(far);
        assert_eq!(close(&mut liar, guessed), None, "{far} away");
    }
    let next = liar.number + 1;
    assert_eq!(close(&mut liar, next), Some(CloseReason::Remote(0)));
}

#[test]
fn old_packets_to_a_reused_port_are_answered_seldom_and_never_with_more() {
    let mut restarted = Endpoint::new(Config::default(), Rng::from_seed(2));
    let (mut came_in, mut went_out, mut closes) = (0, 0, 0);
    for millis in 0..1_000u64 {
        let now = secs(5.0) + Duration::from_millis(millis);
        // Sources of very many addresses: a victim could be any of them.
        for n in 0..10 {
            let stale = datagram(Kind::Data, millis as u32, 9, &[1; DATAGRAM - HEADER_LEN]);
            restarted.handle_datagram(now, stranger(millis as usize * 10 + n), &stale);
            came_in += stale.len();
        }
        for (_, answer) in drain(&mut restarted, now) {
            assert_eq!(packet::open(&answer).unwrap().0.kind, Kind::Close);
            (went_out, closes) = (went_out + answer.len(), closes + 1);
        }
    }
    assert_eq!(closes, 100, "10,000 stale packets in a second");
    assert!(went_out * 1_000 < came_in, "{went_out} B for {came_in} B");
    assert_eq!((restarted.connection_count(), restarted.poll_event()), (0, None));
}

#[test]
fn stray_handshakes_and_closes_are_never_answered() {
    let mut endpoint = Endpoint::new(Config::default(), Rng::from_seed(2));
    for kind in [Kind::Retry, Kind::Welcome, Kind::Close] {
        for n in 0..1_000 {
            endpoint.handle_datagram(secs(5.0), stranger(n), &datagram(kind, n as u32, 1, &[0; 40]));
        }
    }
    assert_eq!(drain(&mut endpoint, secs(5.0)), []);
    assert_eq!(endpoint.dropped().stray, 3_000);
}

#[test]
fn a_hello_for_a_connection_that_is_being_asked_for_gets_no_welcome() {
    let (mut endpoint, now, peer) = (Endpoint::new(Config::default(), Rng::from_seed(1)), secs(5.0), addr(3));
    endpoint.connect(now, peer);
    let asked = packet::open(&drain(&mut endpoint, now)[0].1).unwrap().0.connection;
    // The peer gets a cookie for another connection, and then turns around the one that it was asked for.
    let cookie = cookie_for(&mut endpoint, now, peer);
    endpoint.handle_datagram(now, peer, &hello(asked.0, 7, Some(cookie)));
    assert_eq!(drain(&mut endpoint, now), []);
}

/// The nodes of a world under attack.
enum Node {
    Honest(Box<Chatter>),
    Flood(Box<Flood>),
}

/// Sends forged hellos, stray data and noise to one address at a steady rate.
///
/// The simulator knows true senders only; that answers come back here rather than to a victim makes no difference to
/// the one that is flooded.
struct Flood {
    target: SocketAddr,
    interval: Duration,
    next: Instant,
    rng: Rng,
}

impl Flood {
    fn write(&mut self, buf: &mut Vec<u8>) {
        let id = self.rng.u32();
        *buf = match self.rng.below(4) {
            0 | 1 => hello(id, 1, None),
            2 => hello(id, 1, Cookie::decode(&mut Reader::new(&self.rng.bytes::<20>())).ok()),
            _ if self.rng.chance(0.5) => datagram(Kind::Data, id, 1, &[1; 30]),
            _ => self.rng.bytes::<48>().to_vec(),
        };
    }
}

impl Machine for Node {
    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        if let Node::Honest(chatter) = self {
            chatter.handle_datagram(now, from, datagram);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if let Node::Honest(chatter) = self {
            chatter.handle_timeout(now);
        }
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        match self {
            Node::Honest(chatter) => chatter.poll_transmit(now, buf),
            Node::Flood(flood) if flood.next <= now => {
                flood.next += flood.interval;
                flood.write(buf);
                Some(flood.target)
            }
            Node::Flood(_) => None,
        }
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        match self {
            Node::Honest(chatter) => chatter.poll_timeout(),
            Node::Flood(flood) => Some((flood.next, "flood")),
        }
    }
}

/// Bytes of messages that a transfer over an uplink of `rate` brings in 8 s while one of its ends is flooded.
fn transfer_under_flood(rate: u64, flooded: Option<usize>) -> usize {
    let mut world = World::new(1, Faults::none());
    let ids: Vec<_> = (0..2)
        .map(|n| {
            let honest = Node::Honest(Box::new(Chatter::new(world.fork_rng())));
            // The way in is wide enough for the flood: what is measured is the endpoint, not the link.
            world.add_node(addr(n), honest, link(rate, 0, LATENCY))
        })
        .collect();
    if let Some(flooded) = flooded {
        let interval = Duration::from_micros(500);
        let rng = world.fork_rng();
        let flood = Flood { target: addr(flooded), interval, next: secs(0.5), rng };
        world.add_node(addr(2), Node::Flood(Box::new(flood)), link(0, 0, LATENCY));
    }
    world.with_node(ids[0], |node, now| {
        let Node::Honest(chatter) = node else { unreachable!("the first node is honest") };
        chatter.dial(now, addr(1), u32::MAX, 4_096);
    });
    let received = |world: &World<Node>| match world.node(ids[1]) {
        Node::Honest(chatter) => chatter.bytes_received(),
        Node::Flood(_) => unreachable!("the second node is honest"),
    };
    world.run_until(secs(2.0));
    let before = received(&world);
    world.run_until(secs(10.0));
    if let Node::Honest(chatter) = world.node(ids[flooded.unwrap_or(0)]) {
        assert_eq!(chatter.endpoint.connection_count(), 1, "no stranger was let in");
    }
    received(&world) - before
}

#[test]
fn a_flood_of_forged_hellos_leaves_a_transfer_its_speed() {
    for rate in [20_000, 100_000, 1_000_000] {
        let alone = transfer_under_flood(rate, None);
        for flooded in [0, 1] {
            let share = transfer_under_flood(rate, Some(flooded)) as f64 / alone as f64;
            println!("{rate:>8} B/s, end {flooded} gets 2,000 forged datagrams/s: {share:.3} of the speed");
            assert!(share >= 0.8, "{rate} B/s, end {flooded}: {share}");
        }
    }
}
