//! Endpoints talking to each other in the simulated world.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::Config;
use super::endpoint::{Endpoint, Event, Handle};
use super::error::CloseReason;
use super::send_window::Class;
use crate::machine::Machine;
use crate::rand::Rng;
use crate::sim::{Faults, LinkConfig, NodeId, World};
use crate::time::{Duration, Instant};
use crate::units::Rate;

mod amplification;
mod early;
mod hardening;
mod mtu;
mod path;
mod wraparound;

/// Sends numbered bulk messages to some peers as fast as the windows let it, and keeps what it gets.
#[derive(Debug)]
struct Chatter {
    endpoint: Endpoint,
    dial: Vec<SocketAddr>,
    /// Messages still to send on each connection, and their length.
    plan: (u32, usize),
    out: Vec<(Handle, u32)>,
    received: Vec<(Handle, Vec<u8>)>,
    closed: Vec<CloseReason>,
    /// Where peers have moved, and when.
    moved: Vec<(Instant, SocketAddr)>,
    redials: bool,
}

impl Chatter {
    fn new(rng: Rng) -> Chatter {
        Chatter {
            endpoint: Endpoint::new(Config::default(), rng),
            dial: Vec::new(),
            plan: (0, 0),
            out: Vec::new(),
            received: Vec::new(),
            closed: Vec::new(),
            moved: Vec::new(),
            redials: false,
        }
    }

    fn dial(&mut self, now: Instant, to: SocketAddr, messages: u32, len: usize) {
        self.plan = (messages, len);
        self.dial.push(to);
        self.endpoint.connect(now, to);
    }

    fn pump(&mut self, now: Instant) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Connected { handle, inbound: false, .. } => self.out.push((handle, 0)),
                Event::Answered { .. } | Event::Connected { .. } => {}
                Event::Moved { remote, .. } => self.moved.push((now, remote)),
                Event::Message { handle, data } => self.received.push((handle, data)),
                Event::Closed { reason, remote, .. } => {
                    self.closed.push(reason);
                    if self.redials {
                        self.endpoint.connect(now, remote);
                    }
                }
            }
        }
        // Whoever was served goes to the end of the line, or the first would get all the room of a shared window.
        let (messages, len) = self.plan;
        let next = |out: &[(Handle, u32)], endpoint: &Endpoint| {
            out.iter().position(|&(handle, sent)| sent < messages && endpoint.wants_bulk(handle, len))
        };
        while let Some(position) = next(&self.out, &self.endpoint) {
            let (handle, sent) = self.out.remove(position);
            self.endpoint.send(handle, Class::Bulk, 0, message(sent, len));
            self.out.push((handle, sent + 1));
        }
    }

    fn bytes_received(&self) -> usize {
        self.received.iter().map(|(_, data)| data.len()).sum()
    }
}

fn message(number: u32, len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    Rng::from_seed(u64::from(number)).fill(&mut data);
    data
}

impl Machine for Chatter {
    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.endpoint.handle_datagram(now, from, datagram);
        self.pump(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        self.pump(now);
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        let to = self.endpoint.poll_transmit(now, buf);
        self.pump(now);
        to.or_else(|| self.endpoint.poll_transmit(now, buf))
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.endpoint.poll_timeout()
    }
}

fn addr(n: usize) -> SocketAddr {
    format!("10.0.0.{}:7000", n + 1).parse().unwrap()
}

fn link(up: u64, down: u64, latency: Duration) -> LinkConfig {
    LinkConfig { up: Rate::new(up), down: Rate::new(down), latency, ..LinkConfig::default() }
}

fn world(seed: u64, faults: Faults, links: &[LinkConfig]) -> (World<Chatter>, Vec<NodeId>) {
    let mut world = World::new(seed, faults);
    let nodes = links
        .iter()
        .enumerate()
        .map(|(n, link)| {
            let rng = world.fork_rng();
            world.add_node(addr(n), Chatter::new(rng), *link)
        })
        .collect();
    (world, nodes)
}

fn secs(seconds: f64) -> Instant {
    Instant::ORIGIN + Duration::from_secs_f64(seconds)
}

const LATENCY: Duration = Duration::from_millis(1);

/// Goodput over a link of `rate` at the sender's uplink, as a share of it, and the longest standing queue.
fn one_flow(rate: u64, latency: Duration, faults: Faults, seconds: f64) -> (f64, Duration) {
    let links = [link(rate, 0, latency), link(0, 0, latency)];
    let (mut world, nodes) = world(1, faults, &links);
    world.with_node(nodes[0], |a, now| a.dial(now, addr(1), u32::MAX, 4_096));
    let half = secs(seconds / 2.0);
    world.run_until(half);
    let before = world.node(nodes[1]).bytes_received();
    world.run_until(secs(seconds));
    let got = world.node(nodes[1]).bytes_received() - before;
    (got as f64 / (rate as f64 * seconds / 2.0), world.stats(nodes[0]).max_queue_up)
}

#[test]
fn one_flow_fills_its_link_and_keeps_the_queue_short() {
    for (rate, seconds, least) in [(5_000, 60.0, 0.93), (100_000, 20.0, 0.94), (10_000_000, 4.0, 0.94)] {
        let (share, queue) = one_flow(rate, LATENCY, Faults::none(), seconds);
        println!("{rate:>9} B/s: goodput {share:.4}, longest queue {queue:?}");
        assert!(share >= least, "{rate} B/s: {share}");
        let longest = Duration::from_millis(120).max(Rate::new(rate).time_for(5 * 1_200));
        assert!(queue <= longest, "{rate} B/s: {queue:?}");
    }
}

#[test]
fn random_loss_alone_does_not_slow_a_flow() {
    for (loss, least) in [(0.01, 0.85), (0.10, 0.6)] {
        let faults = Faults { loss, ..Faults::none() };
        let (share, queue) = one_flow(1_000_000, Duration::from_millis(25), faults, 20.0);
        println!("loss {loss}: goodput {share:.4}, longest queue {queue:?}");
        assert!(share >= least, "loss {loss}: {share}");
    }
}

/// Where the rate changes every second, a probe time-out is a multiple of the round trip.
#[test]
fn acks_that_got_lost_are_asked_for() {
    let (mut world, nodes) = world(1, Faults::none(), &[link(5_000, 0, LATENCY), link(0, 0, LATENCY)]);
    world.with_node(nodes[0], |a, now| a.dial(now, addr(1), u32::MAX, 4_096));
    let (mut rng, mut carried) = (Rng::from_seed(2), 0);
    for second in 0..120 {
        let rate = 1_500 + rng.below(7_000);
        carried += rate;
        world.set_rates(nodes[0], Rate::new(rate), Rate::UNLIMITED);
        if second % 4 == 3 {
            world.partition(nodes[1], nodes[0], secs(f64::from(second) + 0.4));
        }
        world.run_until(secs(f64::from(second + 1)));
    }
    let share = world.node(nodes[1]).bytes_received() as f64 / carried as f64;
    println!("{share:.3} of what the link carries");
    assert!(share > 0.88, "{share}");
}

#[test]
fn after_a_long_silence_a_flow_begins_anew_with_a_small_window() {
    let links = [link(1_000_000, 0, Duration::from_millis(25)), link(0, 0, LATENCY)];
    let (mut world, nodes) = world(1, Faults::none(), &links);
    world.with_node(nodes[0], |a, now| a.dial(now, addr(1), u32::MAX, 4_096));
    let window = |world: &mut World<Chatter>| {
        world.with_node(nodes[0], |a, now| a.endpoint.stats(now, a.out[0].0).expect("it is open").window)
    };
    world.run_until(secs(3.0));
    let before = window(&mut world);
    // Long enough for three probe time-outs, too short to be given up.
    world.set_filter(|_, _, _, _| false);
    world.run_until(secs(5.5));
    let after = window(&mut world);
    assert!(after < before / 4, "{before} B, then {after} B");
}

#[test]
fn flows_share_one_uplink() {
    let mut links = vec![link(400_000, 0, LATENCY)];
    links.extend(vec![link(0, 0, LATENCY); 4]);
    let (mut world, nodes) = world(2, Faults::none(), &links);
    for n in 1..=4 {
        world.with_node(nodes[0], |a, now| a.dial(now, addr(n), u32::MAX, 4_096));
    }
    world.run_until(secs(10.0));
    let got: Vec<usize> = nodes[1..].iter().map(|&n| world.node(n).bytes_received()).collect();
    let sum: usize = got.iter().sum();
    println!("{got:?}, sum {:.3}, queue {:?}", sum as f64 / 4e6, world.stats(nodes[0]).max_queue_up);
    assert!(sum as f64 / 4e6 > 0.92, "{got:?}");
    assert!(*got.iter().min().unwrap() as f64 / *got.iter().max().unwrap() as f64 > 0.7, "{got:?}");
}

#[test]
fn a_queue_at_the_uplinks_is_not_taken_for_one_at_a_downlink_that_is_not_full() {
    // Each hears two that have queued as much, and none has queued anything at its downlink.
    let (mut world, nodes) = world(2, Faults::none(), &[link(100_000, 250_000, LATENCY); 3]);
    for (n, &node) in nodes.iter().enumerate() {
        for other in (0..3).filter(|&other| other != n) {
            world.with_node(node, |a, now| a.dial(now, addr(other), u32::MAX, 4_096));
        }
    }
    world.run_until(secs(20.0));
    for &node in &nodes {
        let windows = world.with_node(node, |a, now| {
            a.out
                .iter()
                .map(|(handle, ..)| a.endpoint.stats(now, *handle).expect("it is open").window)
                .sum::<u64>()
        });
        println!("{windows} B may be under way to all");
        assert!(windows > 25_000, "the uplink's own window decides");
    }
}

/// One with an uplink of 20 kB/s sends to three; the way becomes 300 ms longer at 5 s.
fn three_take_a_longer_way() -> (World<Chatter>, Vec<NodeId>) {
    let mut links = vec![link(20_000, 0, LATENCY)];
    links.extend(vec![link(0, 0, LATENCY); 3]);
    let (mut world, nodes) = world(2, Faults::none(), &links);
    for n in 1..=3 {
        world.with_node(nodes[0], |a, now| a.dial(now, addr(n), u32::MAX, 4_096));
    }
    world.run_until(secs(5.0));
    world.set_latency(nodes[0], Duration::from_millis(300), Duration::ZERO);
    (world, nodes)
}

#[test]
fn flows_that_all_take_a_longer_way_for_a_queue_find_out() {
    let (mut world, nodes) = three_take_a_longer_way();
    let received = |world: &World<Chatter>| nodes[1..].iter().map(|&n| world.node(n).bytes_received()).sum();
    world.run_until(secs(60.0));
    let before: usize = received(&world);
    world.run_until(secs(80.0));
    let share = (received(&world) - before) as f64 / (20.0 * 20_000.0);
    println!("{share:.3} of the link");
    assert!(share > 0.9, "{share}");
}

#[test]
fn that_one_falls_silent_does_not_keep_the_others_from_finding_out() {
    // The uplink is to run empty at 15 s.
    for cut in [14.0, 14.6, 15.0, 15.4, 16.0] {
        let (mut world, nodes) = three_take_a_longer_way();
        let received =
            |world: &World<Chatter>| nodes[1..3].iter().map(|&n| world.node(n).bytes_received()).sum();
        world.run_until(secs(cut));
        let before: usize = received(&world);
        let silent = nodes[3];
        world.set_filter(move |_, from, to, _| ![from, to].contains(&silent));
        world.run_until(secs(cut + 20.0));
        let share = (received(&world) - before) as f64 / (20.0 * 20_000.0);
        println!("silent from {cut} s: {share:.3} of the link for the others");
        assert!(share > 0.4, "{share}");
    }
}

#[test]
fn flows_share_one_downlink() {
    let mut links = vec![link(0, 400_000, LATENCY)];
    links.extend(vec![link(0, 0, LATENCY); 4]);
    let (mut world, nodes) = world(3, Faults::none(), &links);
    for &node in &nodes[1..] {
        world.with_node(node, |a, now| a.dial(now, addr(0), u32::MAX, 4_096));
    }
    world.run_until(secs(10.0));
    let sum = world.node(nodes[0]).bytes_received();
    println!("sum {:.3}, queue {:?}", sum as f64 / 4e6, world.stats(nodes[0]).max_queue_down);
    assert!(sum as f64 / 4e6 > 0.90, "{sum}");
    assert!(world.stats(nodes[0]).max_queue_down < Duration::from_millis(400));
}

#[test]
fn every_message_arrives_once_whatever_the_network_does() {
    for seed in 0..150 {
        let faults = Faults { corruption_fixes_crc: 0.0, ..Faults::random(&mut Rng::from_seed(seed)) };
        let links = [link(200_000, 0, LATENCY), link(0, 200_000, LATENCY)];
        let (mut world, nodes) = world(seed, faults, &links);
        world.with_node(nodes[0], |a, now| {
            a.redials = true;
            a.dial(now, addr(1), 40, 3_000);
        });
        let expected: BTreeSet<Vec<u8>> = (0..40).map(|n| message(n, 3_000)).collect();
        let mut seen = 0;
        let mut got = BTreeSet::new();
        let done = world.run_while(secs(120.0), |world| {
            // A connection that was given up begins again with the first message; within one nothing comes twice.
            for (handle, data) in &world.node(nodes[1]).received[seen..] {
                assert!(expected.contains(data), "seed {seed}: a message that was never sent");
                assert!(got.insert((*handle, data.clone())), "seed {seed}: a message came twice");
            }
            seen = world.node(nodes[1]).received.len();
            got.iter().map(|(_, data)| data).collect::<BTreeSet<_>>().len() < 40
        });
        let (a, b) = (world.node(nodes[0]), world.node(nodes[1]));
        assert!(done, "seed {seed}: {} messages; {:?} {:?}", b.received.len(), a.closed, b.closed);
    }
}

#[test]
fn one_seed_is_one_history() {
    let run = |seed| {
        let links = [link(200_000, 0, LATENCY), link(0, 200_000, LATENCY)];
        let (mut world, nodes) = world(seed, Faults::random(&mut Rng::from_seed(seed)), &links);
        world.with_node(nodes[0], |a, now| a.dial(now, addr(1), 40, 3_000));
        world.run_until(secs(10.0));
        world.trace_hash()
    };
    assert_eq!(run(4), run(4));
    assert_ne!(run(4), run(5));
}

#[test]
fn a_peer_that_falls_silent_is_given_up() {
    let (mut world, nodes) = world(1, Faults::none(), &[link(50_000, 0, LATENCY), link(0, 0, LATENCY)]);
    world.with_node(nodes[0], |a, now| a.dial(now, addr(1), u32::MAX, 4_096));
    world.run_until(secs(2.0));
    world.crash(nodes[1]);
    let noticed = world.run_while(secs(12.0), |world| world.node(nodes[0]).closed.is_empty());
    assert!(noticed);
    assert_eq!(world.node(nodes[0]).closed, [CloseReason::Silent]);
    assert!(world.now() < secs(8.0), "{:?}", world.now());
}

#[test]
fn dead_peers_take_no_room_from_the_living() {
    let mut links = vec![link(100_000, 0, LATENCY)];
    links.extend([link(100_000, 100_000, LATENCY); 3]);
    let (mut world, nodes) = world(1, Faults::none(), &links);
    for n in 1..=3 {
        world.with_node(nodes[0], |a, now| a.dial(now, addr(n), u32::MAX, 4_096));
    }
    world.run_until(secs(2.0));
    world.crash(nodes[2]);
    world.crash(nodes[3]);
    world.run_until(secs(3.0));
    let before = world.node(nodes[1]).bytes_received();
    world.run_until(secs(5.0));
    let got = world.node(nodes[1]).bytes_received() - before;
    assert!(got > 150_000, "{got} B in 2 s");
}

#[test]
fn a_handshake_without_an_answer_ends() {
    let (mut world, nodes) = world(1, Faults::none(), &[link(0, 0, LATENCY)]);
    world.with_node(nodes[0], |a, now| a.dial(now, addr(9), 1, 1));
    world.run_until(secs(20.0));
    assert_eq!(world.node(nodes[0]).closed, [CloseReason::HandshakeTimeout]);
}

#[test]
fn a_restarted_peer_says_that_it_knows_nothing() {
    let (mut world, nodes) = world(1, Faults::none(), &[link(50_000, 0, LATENCY), link(0, 0, LATENCY)]);
    world.with_node(nodes[0], |a, now| a.dial(now, addr(1), u32::MAX, 4_096));
    world.run_until(secs(1.0));
    let rng = world.fork_rng();
    world.crash(nodes[1]);
    world.restart(nodes[1], Chatter::new(rng));
    world.run_until(secs(3.0));
    assert_eq!(world.node(nodes[0]).closed, [CloseReason::Unknown]);
}

#[test]
fn a_close_is_told() {
    let (mut world, nodes) = world(1, Faults::none(), &[link(50_000, 0, LATENCY), link(0, 0, LATENCY)]);
    world.with_node(nodes[0], |a, now| a.dial(now, addr(1), 3, 100));
    world.run_until(secs(1.0));
    world.with_node(nodes[0], |a, _| a.endpoint.close(a.out[0].0, 42));
    world.run_until(secs(2.0));
    assert_eq!(world.node(nodes[1]).closed, [CloseReason::Remote(42)]);
    assert_eq!(world.node(nodes[0]).closed, [CloseReason::Local]);
}

#[test]
fn an_idle_connection_ends_and_a_kept_one_stays() {
    let (mut world, nodes) = world(1, Faults::none(), &[link(50_000, 0, LATENCY); 3]);
    for n in 1..3 {
        world.with_node(nodes[0], |a, now| a.dial(now, addr(n), 1, 100));
    }
    world.run_until(secs(1.0));
    world.with_node(nodes[0], |a, _| a.endpoint.set_keep_alive(a.out[0].0, true));
    world.run_until(secs(200.0));
    assert_eq!(world.node(nodes[0]).closed, [CloseReason::Silent]);
    assert_eq!(world.node(nodes[0]).endpoint.connection_count(), 1);
}

#[test]
fn what_is_abandoned_stops_and_the_rest_goes_on() {
    let (mut world, nodes) =
        world(1, Faults { loss: 0.1, ..Faults::none() }, &[link(20_000, 0, LATENCY), link(0, 0, LATENCY)]);
    world.with_node(nodes[0], |a, now| a.dial(now, addr(1), 0, 0));
    world.run_until(secs(1.0));
    world.with_node(nodes[0], |a, _| {
        let handle = a.out[0].0;
        a.endpoint.send(handle, Class::Bulk, 7, vec![7; 30_000]);
        a.endpoint.send(handle, Class::Bulk, 8, vec![8; 10_000]);
    });
    world.run_until(secs(1.5));
    world.with_node(nodes[0], |a, _| {
        let handle = a.out[0].0;
        assert!(a.endpoint.is_in_flight(handle, 7) && !a.endpoint.is_in_flight(handle, 8));
        a.endpoint.abandon(handle, 7);
    });
    world.run_until(secs(4.0));
    let got = &world.node(nodes[1]).received;
    assert!(got.len() == 1 && got[0].1 == [8; 10_000], "{} messages", got.len());
    assert!(!world.node(nodes[0]).endpoint.is_in_flight(world.node(nodes[0]).out[0].0, 7));
}

/// One machine alone, fed by hand.
fn alone() -> (Endpoint, Instant, SocketAddr) {
    (Endpoint::new(Config::default(), Rng::from_seed(1)), secs(5.0), addr(3))
}

#[test]
fn random_bytes_get_silence() {
    let (mut endpoint, now, stranger) = alone();
    let mut rng = Rng::from_seed(9);
    for len in 0..1_500 {
        let mut datagram = vec![0; len];
        rng.fill(&mut datagram);
        assert_eq!(endpoint.handle_datagram(now, stranger, &datagram), None);
    }
    assert_eq!(endpoint.poll_transmit(now, &mut Vec::new()), None);
    assert_eq!(endpoint.dropped().undecodable, 1_500);
}

#[test]
fn a_stranger_gets_no_state_and_no_more_bytes_than_it_sent() {
    use super::cookie::Cookie;
    use super::handshake::Hello;
    use super::packet::{self, ConnectionId, Header, Kind};

    let (mut endpoint, now, stranger) = alone();
    for kind in [Kind::Hello, Kind::Retry, Kind::Welcome, Kind::Data, Kind::Close] {
        for len in [0, 1, 40, 1_000] {
            let mut datagram = Vec::new();
            packet::begin(&mut datagram, Header { kind, connection: ConnectionId(len as u32), number: 7 });
            if kind == Kind::Hello {
                Hello { cookie: None, receive_window: 0, datagram_size: 0, sent: 0 }.encode(&mut datagram);
            }
            datagram.resize(datagram.len() + len, 0);
            packet::seal(&mut datagram);
            endpoint.handle_datagram(now, stranger, &datagram);
            let mut answer = Vec::new();
            let mut answered = 0;
            while endpoint.poll_transmit(now, &mut answer).is_some() {
                answered += answer.len();
            }
            assert!(answered <= datagram.len(), "{kind:?} of {} B: {answered} B", datagram.len());
            assert_eq!((answered > 0) && kind == Kind::Hello, kind == Kind::Hello);
        }
    }
    assert_eq!(endpoint.connection_count(), 0);
    // A cookie made up by the stranger is no better than none.
    let cookie = Cookie::decode(&mut crate::coding::Reader::new(&[5; 20])).ok();
    let mut datagram = Vec::new();
    packet::begin(&mut datagram, Header { kind: Kind::Hello, connection: ConnectionId(9), number: 7 });
    Hello { cookie, receive_window: 0, datagram_size: 0, sent: 0 }.encode(&mut datagram);
    packet::seal(&mut datagram);
    endpoint.handle_datagram(now, stranger, &datagram);
    assert_eq!(endpoint.connection_count(), 0);
}
