//! Source and receivers in the simulated world, and once over real proxies.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Receiver, ReceiverNode, Source, SourceNode, ideal_times};
use crate::machine::Machine;
use crate::rand::Rng;
use crate::sc_model::{Failure, PATIENCE};
use crate::sim::{Faults, LinkConfig, NodeId, World};
use crate::time::{Duration, Instant};
use crate::units::Rate;
use crate::{Error, Fid};

type Outcome = (Instant, Result<Arc<Vec<u8>>, Failure>);

enum Node {
    Source(Box<SourceNode>),
    Receiver(Box<ReceiverNode>, Option<Outcome>),
}

impl Node {
    fn collect(&mut self, now: Instant) {
        if let Node::Receiver(node, outcome) = self
            && let Some(result) = node.poll_result()
        {
            *outcome = Some((now, result));
        }
    }

    fn machine(&mut self) -> &mut dyn Machine {
        match self {
            Node::Source(node) => &mut **node,
            Node::Receiver(node, _) => &mut **node,
        }
    }
}

impl Machine for Node {
    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.machine().handle_datagram(now, from, datagram);
        self.collect(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.machine().handle_timeout(now);
        self.collect(now);
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        self.machine().poll_transmit(now, buf)
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        match self {
            Node::Source(node) => node.poll_timeout(),
            Node::Receiver(node, _) => node.poll_timeout(),
        }
    }
}

/// A source, node 0, and receivers, each at the end of a link of its own, all of one rate.
struct Scene {
    world: World<Node>,
    content: Arc<Vec<u8>>,
    spread: usize,
    source: NodeId,
    receivers: Vec<NodeId>,
}

const RATE: u64 = 100_000;

fn addr(n: usize) -> SocketAddr {
    format!("10.0.0.{}:7000", n + 1).parse().unwrap()
}

fn secs(seconds: f64) -> Instant {
    Instant::ORIGIN + Duration::from_secs_f64(seconds)
}

impl Scene {
    fn new(seed: u64, faults: Faults, len: usize, spread: usize, receivers: usize) -> Scene {
        let mut world = World::new(seed, faults);
        let mut content = vec![0; len];
        Rng::from_seed(seed ^ 0x5eed).fill(&mut content);
        let content = Arc::new(content);
        let latency = Duration::from_millis(1);
        let link =
            LinkConfig { up: Rate::new(RATE), down: Rate::new(RATE), latency, ..LinkConfig::default() };
        let node = SourceNode::new(Arc::clone(&content), spread, world.fork_rng());
        let source = world.add_node(addr(0), Node::Source(Box::new(node)), link);
        let receivers = (1..=receivers)
            .map(|n| {
                let node = ReceiverNode::new(addr(0), world.fork_rng());
                world.add_node(addr(n), Node::Receiver(Box::new(node), None), link)
            })
            .collect();
        Scene { world, content, spread, source, receivers }
    }

    fn command(&mut self, receiver: usize, command: impl FnOnce(&mut ReceiverNode, Instant)) {
        self.world.with_node(self.receivers[receiver], |node, now| {
            let Node::Receiver(receiver, _) = node else { panic!("not a receiver") };
            command(receiver, now);
            node.collect(now);
        });
    }

    fn start_all(&mut self) {
        (0..self.receivers.len()).for_each(|receiver| self.command(receiver, ReceiverNode::start));
    }

    fn receiver(&self, receiver: usize) -> (&ReceiverNode, Option<&Outcome>) {
        let Node::Receiver(node, outcome) = self.world.node(self.receivers[receiver]) else {
            panic!("not a receiver")
        };
        (node, outcome.as_ref())
    }

    /// Goes on until each of `receivers` has an outcome.
    fn finish(&mut self, receivers: &[usize], deadline: f64) {
        let ids: Vec<NodeId> = receivers.iter().map(|&receiver| self.receivers[receiver]).collect();
        let done = self.world.run_while(secs(deadline), |world| {
            ids.iter().any(|&id| matches!(world.node(id), Node::Receiver(_, None)))
        });
        let state: Vec<_> = receivers.iter().map(|&receiver| self.receiver(receiver)).collect();
        assert!(
            done,
            "not all are done by {deadline} s: {:?}",
            state.iter().map(|s| s.1).collect::<Vec<_>>()
        );
    }

    /// When a receiver had all of it, s; all of it verified.
    fn done_at(&self, receiver: usize) -> f64 {
        let (at, result) = self.receiver(receiver).1.expect("an outcome");
        assert!(result.as_ref() == Ok(&self.content), "receiver {receiver} has another file");
        at.as_secs_f64()
    }

    fn crash(&mut self, receiver: usize) {
        self.world.crash(self.receivers[receiver]);
    }
}

#[test]
fn copies_spread_as_fast_as_the_orders_allow() {
    for (receivers, spread, len) in
        [(1, 2, 500_000), (4, 2, 1_000_000), (7, 1, 1_000_000), (10, 2, 1_000_000), (4, 4, 500_000)]
    {
        let mut scene = Scene::new(1, Faults::none(), len, spread, receivers);
        scene.start_all();
        let rates = (RATE as f64, RATE as f64);
        let (_, ideal) = ideal_times(len as u64, receivers as u32, spread, RATE as f64, rates);
        let all: Vec<usize> = (0..receivers).collect();
        scene.finish(&all, 10.0 * ideal);
        let last = all.iter().map(|&receiver| scene.done_at(receiver)).fold(0.0, f64::max);
        println!("{receivers} × {len} B, k = {spread}: {last:.2} s, {:.4} of the ideal", last / ideal);
        assert!(last / ideal <= 1.08 && last / ideal >= 1.0, "{last} {ideal}");
        let Node::Source(source) = scene.world.node(scene.source) else { panic!("not a source") };
        assert_eq!(source.peak(), spread.min(receivers));
        assert!(all.iter().all(|&receiver| scene.receiver(receiver).0.peak() <= scene.spread));
    }
}

#[test]
fn one_seed_is_one_history() {
    let hash = |seed| {
        let mut scene = Scene::new(seed, Faults { loss: 0.05, ..Faults::none() }, 100_000, 2, 5);
        scene.start_all();
        scene.finish(&[0, 1, 2, 3, 4], 100.0);
        scene.world.trace_hash()
    };
    assert_eq!(hash(3), hash(3));
    assert_ne!(hash(3), hash(4));
}

#[test]
fn a_receiver_whose_producer_crashes_goes_on_with_another() {
    // k = 1: 0 is served first and then serves 1 or 2, while the source serves the other.
    let mut scene = Scene::new(1, Faults::none(), 400_000, 1, 3);
    scene.start_all();
    scene.finish(&[0], 20.0);
    scene.world.run_until(secs(6.0));
    let before: Vec<u64> = (1..3).map(|receiver| scene.receiver(receiver).0.progress()).collect();
    assert!(before.iter().all(|&progress| progress > 100_000), "both are being served: {before:?}");
    assert_eq!(scene.receiver(0).0.peak(), 1, "one of them by 0");
    scene.crash(0);
    scene.finish(&[1, 2], 60.0);
    let mut times = [scene.done_at(1), scene.done_at(2)];
    times.sort_by(f64::total_cmp);
    println!("with a producer that crashed at 6 s of 8: {times:?}");
    // The source's own is done in time. The other resumes: what it had by the crash isn't sent again.
    assert!(times[0] < 9.0 && times[1] < 15.0, "{times:?}");
    let sent = scene.world.stats(scene.source).bytes_sent;
    assert!(sent < 1_150_000, "{sent} B from the source, for two copies and the rest of a third");
}

#[test]
fn a_receiver_that_crashes_frees_its_place() {
    let mut scene = Scene::new(1, Faults::none(), 400_000, 1, 3);
    scene.start_all();
    scene.world.run_until(secs(2.0));
    scene.crash(0);
    scene.finish(&[1, 2], 60.0);
    let (one, two) = (scene.done_at(1), scene.done_at(2));
    // rudp may take some seconds to notice.
    assert!(one < 13.0 && two < 17.0, "{one} {two}");
}

#[test]
fn other_bytes_are_not_taken_and_their_producer_is_left() {
    let mut scene = Scene::new(1, Faults::none(), 200_000, 1, 3);
    scene.start_all();
    scene.finish(&[0], 20.0);
    scene.command(0, |receiver, _| receiver.damage());
    scene.finish(&[1, 2], 60.0);
    let last = [1, 2].map(|receiver| scene.done_at(receiver)).into_iter().fold(0.0, f64::max);
    // Two seconds a copy: the second round's from 0 was for nothing, and was made again by an honest producer.
    assert!(scene.receiver(0).0.peak() == 1 && last > 5.9, "0 was asked in vain: {last}");
}

#[test]
fn a_restarted_source_finds_its_producers_again() {
    let mut scene = Scene::new(1, Faults::none(), 400_000, 2, 6);
    scene.start_all();
    scene.finish(&[0], 20.0);
    scene.world.crash(scene.source);
    scene.world.run_until(scene.world.now() + Duration::from_secs(3));
    let node = SourceNode::new(Arc::clone(&scene.content), 2, scene.world.fork_rng());
    scene.world.restart(scene.source, Node::Source(Box::new(node)));
    scene.finish(&[1, 2, 3, 4, 5], 100.0);
    (0..6).for_each(|receiver| {
        scene.done_at(receiver);
    });
}

#[test]
fn a_source_that_is_not_there_is_given_up() {
    let mut scene = Scene::new(1, Faults::none(), 400_000, 2, 2);
    scene.world.crash(scene.source);
    scene.start_all();
    scene.finish(&[0, 1], 30.0);
    for receiver in [0, 1] {
        let (at, result) = scene.receiver(receiver).1.unwrap();
        assert_eq!(result, &Err(Failure::Unreachable));
        assert!(at.since(Instant::ORIGIN) <= PATIENCE + Duration::from_millis(200), "{at:?}");
    }
}

#[test]
fn a_bad_network_damages_no_file() {
    for seed in 0..30 {
        let faults = Faults { corruption_fixes_crc: 0.0, ..Faults::random(&mut Rng::from_seed(seed)) };
        let mut scene = Scene::new(seed, faults, 40_000, 2, 4);
        scene.start_all();
        scene.world.run_until(secs(20.0));
        scene.world.heal();
        scene.finish(&[0, 1, 2, 3], 300.0);
        for receiver in 0..4 {
            let (_, result) = scene.receiver(receiver).1.unwrap();
            assert!(
                result.as_ref() == Ok(&scene.content) || result == &Err(Failure::Unreachable),
                "seed {seed}"
            );
        }
    }
}

#[test]
fn sizes_at_the_edges_arrive_also_where_bytes_are_shared() {
    for len in [0, 1, 5_000] {
        let mut scene = Scene::new(1, Faults::none(), len, 1, 1);
        let node = ReceiverNode::comparing(addr(0), Arc::clone(&scene.content), scene.world.fork_rng());
        let id = scene.world.add_node(addr(9), Node::Receiver(Box::new(node), None), LinkConfig::default());
        scene.receivers.push(id);
        scene.start_all();
        scene.finish(&[0, 1], 10.0);
        scene.done_at(0);
        let shared = &scene.receiver(1).1.unwrap().1;
        assert!(Arc::ptr_eq(shared.as_ref().unwrap(), &scene.content), "{len} B");
    }
}

#[test]
fn real_proxies_carry_it_and_close_ends_all() {
    let mut content = vec![0; 300_000];
    Rng::from_seed(1).fill(&mut content);
    let content = Arc::new(content);
    let source = Source::new(Arc::clone(&content), 1, 0, 0, None).unwrap();
    let receivers: Vec<Receiver> =
        (0..3).map(|_| Receiver::new(source.local_addr(), 0, 0).unwrap()).collect();
    std::thread::scope(|scope| {
        for receiver in &receivers {
            scope.spawn(|| assert!(Fid::of(&receiver.fetch().unwrap()) == Fid::of(&content)));
        }
    });
    // What is there needs no source.
    source.close();
    source.close();
    assert!(receivers[0].fetch().unwrap() == content);
    receivers[1].close();
    assert!(matches!(receivers[1].fetch(), Err(Error::Closed)));
    assert!(matches!(Receiver::new("no port", 0, 0), Err(Error::BadAddress(_))));
}
