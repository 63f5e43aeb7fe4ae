//! Peers whose address changes while they talk, and others who pretend so.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use super::super::frame::Frame;
use super::super::packet::{self, Kind};
use super::super::path::{CHALLENGE_DATAGRAM, Token};
use super::hardening::{LIAR_ID, Liar, datagram, drain, stranger};
use super::{Chatter, addr, link, message, secs, world};
use crate::coding::Reader;
use crate::machine::Machine;
use crate::rudp::{Class, Config, Event};
use crate::sim::{Faults, NodeId, World};
use crate::time::{Duration, Instant};

const RATE: u64 = 200_000;
const LEN: usize = 3_000;

/// The frames of a data datagram that `found` picks out.
fn tokens(datagram: &[u8], found: impl Fn(&Frame<'_>) -> Option<Token>) -> Vec<Token> {
    let Ok((header, body)) = packet::open(datagram) else { return Vec::new() };
    let mut reader = Reader::new(if header.kind == Kind::Data { body } else { &[] });
    std::iter::from_fn(|| Frame::decode(&mut reader, 1 << 60).unwrap())
        .filter_map(|frame| found(&frame))
        .collect()
}

fn challenges(datagram: &[u8]) -> Vec<Token> {
    tokens(datagram, |frame| if let Frame::PathChallenge(token) = frame { Some(*token) } else { None })
}

fn responses(datagram: &[u8]) -> Vec<Token> {
    tokens(datagram, |frame| if let Frame::PathResponse(token) = frame { Some(*token) } else { None })
}

/// A transfer from node 0 to node 1, of which one moves.
struct Mover {
    mover: usize,
    moves_at: &'static [f64],
    messages: u32,
    latency_ms: u64,
    /// So many challenges, and so many responses, are lost.
    lost: (u32, u32),
    faults: Faults,
}

impl Mover {
    const PLAIN: Mover = Mover {
        mover: 0,
        moves_at: &[2.0],
        messages: 300,
        latency_ms: 10,
        lost: (0, 0),
        faults: Faults::none(),
    };

    /// When each move was found out, and when all had arrived, s.
    fn play(self) -> (Vec<f64>, f64) {
        let latency = Duration::from_millis(self.latency_ms);
        let links = [link(RATE, 0, latency), link(0, RATE, latency)];
        let (mut world, nodes) = world(1, Faults::none(), &links);
        let (mut challenges_lost, mut responses_lost) = self.lost;
        world.set_filter(move |_, _, _, datagram| {
            let left = match (challenges(datagram).is_empty(), responses(datagram).is_empty()) {
                (false, _) => &mut challenges_lost,
                (_, false) => &mut responses_lost,
                _ => return true,
            };
            let passes = *left == 0;
            *left = left.saturating_sub(1);
            passes
        });
        world.with_node(nodes[0], |a, now| a.dial(now, addr(1), self.messages, LEN));
        world.run_while(secs(60.0), |world| world.node(nodes[1]).received.is_empty());
        world.set_faults(self.faults);
        // Who waits for the rest asks for signs of life.
        world.with_node(nodes[1], |b, _| {
            let handle = b.received.first().expect("a beginning").0;
            b.endpoint.set_keep_alive(handle, true);
        });
        for (n, &at) in self.moves_at.iter().enumerate() {
            world.run_until(secs(at));
            world.set_addr(nodes[self.mover], addr(10 + n));
        }
        let expected = self.messages as usize;
        let done = world.run_while(secs(600.0), |world| world.node(nodes[1]).received.len() < expected);
        let (a, b) = (world.node(nodes[0]), world.node(nodes[1]));
        assert!(done, "{} messages; {:?} {:?}", b.received.len(), a.closed, b.closed);
        let mut got: Vec<&Vec<u8>> = b.received.iter().map(|(_, data)| data).collect();
        let mut sent: Vec<Vec<u8>> = (0..self.messages).map(|n| message(n, LEN)).collect();
        got.sort();
        sent.sort();
        assert!(got.into_iter().eq(&sent), "each message once");
        assert_eq!((a.closed.len(), b.closed.len()), (0, 0));
        let fixed = world.node(nodes[1 - self.mover]);
        assert!(world.node(nodes[self.mover]).moved.is_empty(), "who stays is where it was");
        let places: Vec<SocketAddr> = fixed.moved.iter().map(|&(_, to)| to).collect();
        assert_eq!(places, (0..self.moves_at.len()).map(|n| addr(10 + n)).collect::<Vec<_>>());
        (fixed.moved.iter().map(|(at, _)| at.as_secs_f64()).collect(), world.now().as_secs_f64())
    }
}

#[test]
fn whoever_moves_finishes_what_was_begun() {
    let at_rest = Mover { moves_at: &[], ..Mover::PLAIN }.play().1;
    println!("nobody moves: {at_rest:.3} s");
    for (name, mover, longest_wait, longest_delay) in
        [("the sender", 0, 0.1, 0.5), ("the receiver", 1, 1.5, 2.5)]
    {
        let (moved, done) = Mover { mover, ..Mover::PLAIN }.play();
        println!("{name} moves at 2 s: found out after {:.3} s, done at {done:.3} s", moved[0] - 2.0);
        assert!(moved[0] - 2.0 <= longest_wait, "{moved:?}");
        assert!(done - at_rest <= longest_delay, "{done}");
    }
}

#[test]
fn a_nomad_is_followed() {
    for mover in [0, 1] {
        let (moved, done) =
            Mover { mover, moves_at: &[1.5, 3.0, 4.5, 6.0], messages: 600, ..Mover::PLAIN }.play();
        println!("node {mover} moves four times: found out at {moved:.3?}, done at {done:.3} s");
    }
}

#[test]
fn questions_and_answers_may_be_lost() {
    for mover in [0, 1] {
        for lost in [(1, 0), (2, 0), (0, 2), (2, 2)] {
            let (moved, done) = Mover { mover, lost, ..Mover::PLAIN }.play();
            println!("node {mover} moves, {lost:?} lost: {:.3} s, done at {done:.3} s", moved[0] - 2.0);
        }
        let faults = Faults { loss: 0.3, reordering: 0.1, duplication: 0.05, ..Faults::none() };
        let (moved, done) = Mover { mover, messages: 100, faults, ..Mover::PLAIN }.play();
        println!("node {mover} moves, 30 % lost: {:.3} s, done at {done:.3} s", moved[0] - 2.0);
    }
}

/// What of the link a flow has from 8 s to 18 s after it began, or after `mover` moved further away.
fn share_on_a_long_path(mover: Option<usize>) -> f64 {
    let (near, far) = (Duration::from_millis(1), Duration::from_millis(150));
    let at_first = if mover.is_some() { near } else { far };
    let (mut world, nodes) = world(1, Faults::none(), &[link(RATE, 0, at_first), link(0, RATE, near)]);
    world.with_node(nodes[0], |a, now| a.dial(now, addr(1), u32::MAX, LEN));
    let begins = if let Some(mover) = mover {
        world.run_until(secs(2.0));
        world.with_node(nodes[1], |b, _| {
            let handle = b.received[0].0;
            b.endpoint.set_keep_alive(handle, true);
        });
        world.set_addr(nodes[mover], addr(10));
        world.set_latency(nodes[mover], far, Duration::ZERO);
        2.0
    } else {
        0.0
    };
    world.run_until(secs(begins + 8.0));
    let before = world.node(nodes[1]).bytes_received();
    world.run_until(secs(begins + 18.0));
    (world.node(nodes[1]).bytes_received() - before) as f64 / (10.0 * RATE as f64)
}

#[test]
fn a_longer_path_is_measured_anew() {
    // It is longer by more than the queue that is aimed at: measured against the old path it would stall the flow.
    let fresh = share_on_a_long_path(None);
    println!("a fresh flow over 150 ms: {fresh:.3} of the link");
    for mover in [0, 1] {
        let share = share_on_a_long_path(Some(mover));
        println!("node {mover} moves 149 ms further: {share:.3} of the link");
        assert!(share > 0.9 * fresh, "{share}");
    }
}

/// The nodes of a world with an eavesdropper.
enum Node {
    Honest(Box<Chatter>),
    Replayer(Replayer),
}

/// For whom it is, and what.
type Overheard = Rc<RefCell<VecDeque<(SocketAddr, Vec<u8>)>>>;

/// Overhears what others send, and sends it on from its own address at once: ahead of them, for its own way is shorter.
/// What it gets itself it passes on too.
struct Replayer {
    overheard: Overheard,
    others: [SocketAddr; 2],
    next: Instant,
}

impl Machine for Node {
    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        match self {
            Node::Honest(chatter) => chatter.handle_datagram(now, from, datagram),
            Node::Replayer(replayer) => {
                let mut overheard = replayer.overheard.borrow_mut();
                overheard.extend(replayer.others.map(|to| (to, datagram.to_vec())));
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self {
            Node::Honest(chatter) => chatter.handle_timeout(now),
            Node::Replayer(replayer) => replayer.next = now + Duration::from_micros(100),
        }
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        match self {
            Node::Honest(chatter) => chatter.poll_transmit(now, buf),
            Node::Replayer(replayer) => {
                let (to, datagram) = replayer.overheard.borrow_mut().pop_front()?;
                *buf = datagram;
                Some(to)
            }
        }
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        match self {
            Node::Honest(chatter) => chatter.poll_timeout(),
            Node::Replayer(replayer) => Some((replayer.next, "look")),
        }
    }
}

fn honest(world: &World<Node>, id: NodeId) -> &Chatter {
    let Node::Honest(chatter) = world.node(id) else { panic!("not honest") };
    chatter
}

/// Bytes of messages that arrive in 10 s, with an eavesdropper or without.
fn transfer_overheard(is_overheard: bool) -> usize {
    let mut world = World::new(1, Faults::none());
    let nodes = [0, 1].map(|n| {
        let chatter = Chatter::new(world.fork_rng());
        world.add_node(
            addr(n),
            Node::Honest(Box::new(chatter)),
            link(RATE, 2 * RATE, Duration::from_millis(10)),
        )
    });
    let overheard = Overheard::default();
    let others = [addr(0), addr(1)];
    let replayer = Replayer { overheard: overheard.clone(), others, next: Instant::ORIGIN };
    let spy = world.add_node(addr(9), Node::Replayer(replayer), link(0, 0, Duration::from_micros(10)));
    if is_overheard {
        world.set_filter(move |now, from, to, datagram| {
            // The handshake is left alone: this is about connections that stand.
            if from != spy && to != spy && now >= secs(1.0) {
                overheard.borrow_mut().push_back((others[to.index()], datagram.to_vec()));
            }
            true
        });
    }
    world.with_node(nodes[0], |node, now| {
        let Node::Honest(chatter) = node else { unreachable!("the first node is honest") };
        chatter.dial(now, addr(1), u32::MAX, LEN);
    });
    world.run_until(secs(10.0));
    for id in nodes {
        assert_eq!((honest(&world, id).moved.len(), honest(&world, id).closed.len()), (0, 0));
    }
    let stats = world.stats(spy);
    println!("the eavesdropper sent {} B and got {} B", stats.bytes_sent, stats.bytes_received);
    assert_eq!(is_overheard, stats.bytes_received > 0, "it was asked, for its copies came first");
    assert!(stats.bytes_received <= stats.bytes_sent / 10);
    honest(&world, nodes[1]).bytes_received()
}

#[test]
fn an_eavesdropper_that_repeats_all_at_once_moves_nothing_and_gets_little() {
    let (alone, overheard) = (transfer_overheard(false), transfer_overheard(true));
    let share = overheard as f64 / alone as f64;
    println!("overheard, the transfer has {share:.3} of its speed");
    assert!(share > 0.9, "{share}");
}

impl Liar {
    /// Sends a frame from `from`, in a packet `ahead` of the last one. What the endpoint sends there at once.
    fn says_from(&mut self, from: SocketAddr, ahead: u32, frame: &Frame<'_>) -> Vec<Vec<u8>> {
        let mut body = Vec::new();
        frame.encode(&mut body);
        body.resize(body.len().max(CHALLENGE_DATAGRAM - packet::HEADER_LEN), 0);
        let number = self.number.wrapping_add(ahead);
        let datagram = datagram(Kind::Data, LIAR_ID, number, &body);
        self.endpoint.handle_datagram(self.now, from, &datagram);
        let sent = drain(&mut self.endpoint, self.now);
        sent.into_iter().filter(|(to, _)| *to == from).map(|(_, datagram)| datagram).collect()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.endpoint.poll_event()).collect()
    }

    /// Begins a claim from `from` and gives what it is asked for.
    fn is_asked_at(&mut self, from: SocketAddr, ahead: u32) -> Token {
        let sent = self.says_from(from, ahead, &Frame::Ping);
        assert_eq!((sent.len(), sent[0].len()), (1, CHALLENGE_DATAGRAM));
        challenges(&sent[0])[0]
    }
}

#[test]
fn a_connection_moves_on_the_true_answer_from_the_asked_address_only() {
    let mut liar = Liar::new(Config::default());
    let (home, new, third) = (liar.addr, stranger(1), stranger(2));
    liar.say(&Frame::Ping);
    assert_eq!(liar.says_from(new, 0, &Frame::Ping), Vec::<Vec<u8>>::new(), "an old number");
    let token = liar.is_asked_at(new, 2);
    assert!(liar.says_from(new, 3, &Frame::PathResponse([0; 8])).is_empty(), "another answer");
    assert!(liar.says_from(third, 2, &Frame::PathResponse(token)).is_empty(), "from elsewhere");
    assert!(liar.says_from(new, 0, &Frame::PathResponse(token)).is_empty(), "an old number");
    assert_eq!(liar.events(), []);
    let handle = liar.handle;
    // What was said before the proof is forgotten; the packet with the answer counts like any other.
    assert!(!liar.says_from(new, 4, &Frame::PathResponse(token)).is_empty());
    assert_eq!(liar.events(), [Event::Moved { handle, remote: new }]);
    liar.endpoint.send(handle, Class::Control, 0, vec![1; 10]);
    assert!(drain(&mut liar.endpoint, liar.now).iter().all(|(to, _)| *to == new));
    assert_eq!(
        liar.says_from(home, 1, &Frame::Ping),
        Vec::<Vec<u8>>::new(),
        "overtaken from the old address"
    );
    // The answer is worth nothing a second time.
    assert!(challenges(&liar.says_from(home, 5, &Frame::PathResponse(token))[0]).len() == 1);
    assert_eq!(liar.events(), []);
}

#[test]
fn nothing_from_an_unproved_address_counts() {
    let mut liar = Liar::new(Config::default());
    let close = datagram(Kind::Close, LIAR_ID, 99, &[0]);
    liar.endpoint.handle_datagram(liar.now, stranger(1), &close);
    let before = liar.endpoint.stats(liar.now, liar.handle).unwrap();
    for ahead in 1..100 {
        liar.says_from(stranger(1), ahead, &Frame::Abandon { message: 0, len: 10 });
        liar.says_from(stranger(1), ahead, &Frame::PathChallenge([3; 8]));
    }
    let after = liar.endpoint.stats(liar.now, liar.handle).unwrap();
    assert_eq!(
        (after.received, after.duplicates, after.held),
        (before.received, before.duplicates, before.held)
    );
    assert_eq!(liar.events(), []);
}

#[test]
fn many_addresses_get_no_more_than_they_bring_and_less_than_the_uplink_has_to_spare() {
    let mut liar = Liar::new(Config::default());
    let mut out = 0;
    for n in 0..10_000 {
        let sent: usize = liar.says_from(stranger(n), 1 + n as u32, &Frame::Ping).iter().map(Vec::len).sum();
        assert!(sent <= CHALLENGE_DATAGRAM);
        out += sent;
    }
    assert!(out <= 16_100, "{out} B of questions at one instant");
    assert_eq!(liar.endpoint.connection_count(), 1);
}

#[test]
fn nobody_moves_into_a_crowd() {
    let mut liar = Liar::new(Config { max_connections_per_ip: 1, ..Config::default() });
    let crowded = stranger(1);
    assert!(super::hardening::dial(&mut liar.endpoint, liar.now, crowded, 5));
    liar.events();
    let mut new = crowded;
    new.set_port(9);
    let token = liar.is_asked_at(new, 1);
    liar.says_from(new, 2, &Frame::PathResponse(token));
    assert_eq!(liar.events(), []);
    // Another port of the same machine is no newcomer.
    let mut port = liar.addr;
    port.set_port(9);
    let token = liar.is_asked_at(port, 3);
    liar.says_from(port, 4, &Frame::PathResponse(token));
    assert_eq!(liar.events(), [Event::Moved { handle: liar.handle, remote: port }]);
}
