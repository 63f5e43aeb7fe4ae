//! The transport alone: how well flows fill their links, how short they keep the queues, how they share.
//!
//! `cargo test --release --test sim transport -- --include-ignored --nocapture` prints the whole table.

use std::cell::Cell;
use std::cmp::Ordering;
use std::net::SocketAddr;
use std::rc::Rc;

use swarmcast::machine::Machine;
use swarmcast::rand::Rng;
use swarmcast::rudp::stats::Stats;
use swarmcast::rudp::{Class, Config, Endpoint, Event, Handle};
use swarmcast::sim::{Faults, LinkConfig, NodeId, World};
use swarmcast::time::{Duration, Instant};
use swarmcast::units::Rate;

/// Sends messages to whoever it dialled as fast as the windows let it, and counts what it gets.
struct Flow {
    endpoint: Endpoint,
    /// Served in turn: whoever was served goes to the end.
    out: Vec<Handle>,
    message: Vec<u8>,
    /// Bytes of messages received from each address.
    received: Vec<(SocketAddr, u64)>,
    inbound: Vec<(Handle, SocketAddr)>,
}

impl Flow {
    fn new(rng: Rng, message: usize) -> Flow {
        let endpoint = Endpoint::new(Config::default(), rng);
        Flow {
            endpoint,
            out: Vec::new(),
            message: vec![7; message],
            received: Vec::new(),
            inbound: Vec::new(),
        }
    }

    fn pump(&mut self) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Connected { handle, inbound: false, .. } => self.out.push(handle),
                Event::Connected { handle, remote, .. } => self.inbound.push((handle, remote)),
                Event::Message { handle, data } => {
                    let Some(&(_, remote)) = self.inbound.iter().find(|(h, _)| *h == handle) else {
                        continue;
                    };
                    match self.received.iter_mut().find(|(from, _)| *from == remote) {
                        Some((_, bytes)) => *bytes += data.len() as u64,
                        None => self.received.push((remote, data.len() as u64)),
                    }
                }
                Event::Answered { .. } | Event::Moved { .. } => {}
                Event::Closed { handle, .. } => self.out.retain(|&out| out != handle),
            }
        }
        let len = self.message.len();
        while let Some(index) = self.out.iter().position(|&handle| self.endpoint.wants_bulk(handle, len)) {
            let handle = self.out.remove(index);
            self.endpoint.send(handle, Class::Bulk, 0, self.message.clone());
            self.out.push(handle);
        }
    }

    fn received_from(&self, addr: SocketAddr) -> u64 {
        self.received.iter().find(|(from, _)| *from == addr).map_or(0, |&(_, bytes)| bytes)
    }
}

impl Machine for Flow {
    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.endpoint.handle_datagram(now, from, datagram);
        self.pump();
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        self.pump();
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        let to = self.endpoint.poll_transmit(now, buf);
        self.pump();
        to.or_else(|| self.endpoint.poll_transmit(now, buf))
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.endpoint.poll_timeout()
    }
}

/// A world of flows: each of `links` is a node, each of `dials` a flow from one to another that begins at a time.
struct Bench {
    world: World<Flow>,
    nodes: Vec<NodeId>,
    flows: Vec<(usize, usize)>,
}

fn addr(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, node as u8 + 1], 7000))
}

fn at(seconds: f64) -> Instant {
    Instant::ORIGIN + Duration::from_secs_f64(seconds)
}

fn link(up: u64, down: u64, latency_ms: f64) -> LinkConfig {
    let latency = Duration::from_secs_f64(latency_ms / 1e3);
    LinkConfig { up: Rate::new(up), down: Rate::new(down), latency, ..LinkConfig::default() }
}

impl Bench {
    fn new(faults: Faults, links: &[LinkConfig], message: usize) -> Bench {
        let _ = env_logger::builder().is_test(true).try_init();
        let mut world = World::new(1, faults);
        let nodes = links
            .iter()
            .enumerate()
            .map(|(n, &link)| {
                let rng = world.fork_rng();
                world.add_node(addr(n), Flow::new(rng, message), link)
            })
            .collect();
        Bench { world, nodes, flows: Vec::new() }
    }

    /// Begins a flow.
    fn dial(&mut self, from: usize, to: usize) {
        self.world.with_node(self.nodes[from], |flow, now| flow.endpoint.connect(now, addr(to)));
        self.flows.push((from, to));
    }

    /// Payload of each flow between two times, B/s.
    fn rates(&mut self, from: f64, until: f64) -> Vec<f64> {
        self.world.run_until(at(from));
        let before = self.payloads();
        self.world.run_until(at(until));
        let after = self.payloads();
        after.iter().zip(&before).map(|(after, before)| (after - before) as f64 / (until - from)).collect()
    }

    /// What the first node counted.
    fn sender_stats(&self) -> Stats {
        self.world.node(self.nodes[0]).endpoint.total_stats(self.world.now())
    }

    fn payloads(&self) -> Vec<u64> {
        let payload =
            |&(from, to): &(usize, usize)| self.world.node(self.nodes[to]).received_from(addr(from));
        self.flows.iter().map(payload).collect()
    }
}

/// Jain's fairness index: 1 if all are equal, 1/n if one has all.
fn jain(rates: &[f64]) -> f64 {
    let sum: f64 = rates.iter().sum();
    sum * sum / (rates.len() as f64 * rates.iter().map(|rate| rate * rate).sum::<f64>())
}

/// What of a link's rate payload can be at most, with datagrams of this size.
fn payload_share(datagram: f64) -> f64 {
    1.0 - 24.0 / datagram
}

#[test]
fn one_flow_alone() {
    for (rate, seconds) in
        [(5_000, 60.0), (20_000, 60.0), (100_000, 60.0), (1_000_000, 60.0), (10_000_000, 60.0)]
    {
        // Messages short enough that an unfinished one at the end doesn't count.
        let message = (rate as usize / 10).clamp(1_000, 16_384);
        let mut bench = Bench::new(Faults::none(), &[link(rate, 0, 0.5), link(0, 0, 0.5)], message);
        bench.dial(0, 1);
        let goodput = bench.rates(0.0, seconds)[0];
        let stats = bench.world.stats(bench.nodes[0]);
        println!(
            "one flow, {rate:>10} B/s: goodput {:.4} of the link, {:.4} of its payload share; longest queue {:?}",
            goodput / rate as f64,
            goodput / rate as f64 / payload_share(1_200.0),
            stats.max_queue_up,
        );
        assert!(goodput >= 0.97 * payload_share(1_200.0) * rate as f64, "{rate} B/s: {goodput}");
        let longest = Duration::from_millis(100).max(Rate::new(rate).time_for(2 * 1_452));
        assert!(stats.max_queue_up <= longest, "{rate} B/s: {:?}", stats.max_queue_up);
    }
}

#[test]
#[ignore = "three seconds of 1 GB/s take their time"]
fn one_flow_at_a_gigabyte() {
    let mut bench = Bench::new(Faults::none(), &[link(1_000_000_000, 0, 0.5), link(0, 0, 0.5)], 16_384);
    bench.dial(0, 1);
    let goodput = bench.rates(0.0, 3.0)[0];
    println!("one flow, 1 GB/s: goodput {:.4} of the link", goodput / 1e9);
    assert!(goodput >= 0.97e9 * payload_share(1_200.0), "{goodput}");
}

#[test]
fn eight_flows_share() {
    for (name, shared_up, rate) in [
        ("uplink", true, 5_000_000),
        ("uplink", true, 1_000_000),
        ("uplink", true, 100_000),
        ("downlink", false, 1_000_000),
        ("downlink", false, 100_000),
    ] {
        let shared = if shared_up { link(rate, 0, 5.0) } else { link(0, rate, 5.0) };
        let mut links = vec![shared];
        links.extend([link(0, 0, 5.0); 8]);
        let mut bench = Bench::new(Faults::none(), &links, 8_192);
        let ends = |n: usize| if shared_up { (0, n) } else { (n, 0) };
        for n in 1..8 {
            bench.dial(ends(n).0, ends(n).1);
        }
        bench.world.run_until(at(20.0));
        bench.dial(ends(8).0, ends(8).1);
        let rates = bench.rates(25.0, 45.0);
        let stats = bench.world.stats(bench.nodes[0]);
        let sum: f64 = rates.iter().sum();
        println!(
            "8 flows, one {name} of {rate:>7} B/s: utilisation {:.3}, Jain {:.3}, the late one has {:.2} of its share; longest queue {:?}",
            sum / rate as f64 / payload_share(1_200.0),
            jain(&rates),
            rates[7] / (sum / 8.0),
            if shared_up { stats.max_queue_up } else { stats.max_queue_down },
        );
        assert!(sum >= 0.95 * payload_share(1_200.0) * rate as f64, "{rates:?}");
        assert!(jain(&rates) >= 0.95, "{rates:?}");
        assert!((0.8..1.25).contains(&(rates[7] / (sum / 8.0))), "{rates:?}");
    }
}

#[test]
fn a_long_lossy_path() {
    for (loss, least) in [(0.0, 0.97), (0.01, 0.90), (0.1, 0.70), (0.3, 0.1)] {
        let faults = Faults { loss, ..Faults::none() };
        let mut bench = Bench::new(faults, &[link(10_000_000, 0, 25.0), link(0, 10_000_000, 25.0)], 16_384);
        bench.dial(0, 1);
        let goodput = bench.rates(5.0, 35.0)[0];
        let stats = bench.world.node(bench.nodes[0]).endpoint.total_stats(bench.world.now());
        println!(
            "100 ms RTT, 10 MB/s, {:>4.1} % loss: {:.3} of the link; lost {}, spurious {} of {} sent",
            loss * 100.0,
            goodput / 10e6 / payload_share(1_200.0),
            stats.lost,
            stats.spurious,
            stats.sent,
        );
        assert!(goodput >= least * 10e6, "{loss}: {goodput}");
    }
    let reordering =
        Faults { reordering: 0.05, delay: Duration::ZERO..=Duration::from_micros(360), ..Faults::none() };
    let mut bench = Bench::new(reordering, &[link(10_000_000, 0, 25.0), link(0, 0, 25.0)], 16_384);
    bench.dial(0, 1);
    let goodput = bench.rates(5.0, 35.0)[0];
    let stats = bench.world.node(bench.nodes[0]).endpoint.total_stats(bench.world.now());
    println!(
        "reordering by up to 3 packets: {:.3} of the link; spurious {:.4} of {} sent",
        goodput / 10e6 / payload_share(1_200.0),
        stats.spurious as f64 / stats.sent as f64,
        stats.sent
    );
    assert!((stats.spurious as f64) < 0.01 * stats.sent as f64, "{}", stats.spurious);
}

#[test]
fn a_rate_that_drops_and_recovers() {
    let mut bench = Bench::new(Faults::none(), &[link(1_000_000, 0, 5.0), link(0, 0, 5.0)], 8_192);
    bench.dial(0, 1);
    bench.world.run_until(at(10.0));
    bench.world.set_rates(bench.nodes[0], Rate::new(100_000), Rate::UNLIMITED);
    for (from, until) in [(10.0, 10.5), (10.5, 11.0), (11.0, 12.0), (12.0, 15.0)] {
        let rate = bench.rates(from, until)[0];
        let node = bench.world.node(bench.nodes[0]);
        let queue = node.endpoint.total_stats(bench.world.now()).queue;
        println!(
            "after the drop to 100 kB/s, {from}–{until} s: {:.3} of the link, queue {queue:?}",
            rate / 100e3
        );
        // What was in flight takes 0.7 s to drain; three such round trips later the queue is short.
        assert!(from < 12.0 || queue < Duration::from_millis(100), "{queue:?}");
    }
    bench.world.set_rates(bench.nodes[0], Rate::new(1_000_000), Rate::UNLIMITED);
    for (from, until) in [(15.0, 16.0), (16.0, 17.0), (17.0, 18.0), (18.0, 21.0)] {
        let rate = bench.rates(from, until)[0];
        println!("back at 1 MB/s, {from}–{until} s: {:.3} of the link", rate / 1e6);
        assert!(from < 17.0 || rate >= 0.95 * 1e6 * payload_share(1_200.0), "{rate}");
    }
}

/// How long a short transfer takes, s, if the `lost`th datagram of all is lost.
fn short_transfer(lost: Option<usize>) -> f64 {
    const MESSAGES: u64 = 120;
    const LEN: usize = 2_000;
    let mut bench = Bench::new(Faults::none(), &[link(1_000_000, 0, 5.0), link(0, 1_000_000, 5.0)], LEN);
    let mut count = 0;
    bench.world.set_filter(move |_, _, _, _| {
        count += 1;
        Some(count) != lost
    });
    bench.dial(0, 1);
    let receiver = bench.nodes[1];
    let done = bench
        .world
        .run_while(at(60.0), |world| world.node(receiver).received_from(addr(0)) < MESSAGES * LEN as u64);
    assert!(done, "lost {lost:?}: never done");
    bench.world.now().as_secs_f64()
}

#[test]
fn any_one_datagram_may_be_lost() {
    // The longest wait that a single loss may cost: the probe time-out while nothing is known of the path, 333 ms + 4·167 ms
    // (RFC 9002 §6.2.2), and the longest delay of an ack.
    const PTO: f64 = 1.0 + 0.025;
    let undisturbed = short_transfer(None);
    let slowest =
        (1..=200).map(|n| (short_transfer(Some(n)), n)).max_by(|a, b| a.0.total_cmp(&b.0)).expect("200 runs");
    println!("undisturbed {undisturbed:.3} s; slowest {:.3} s, with datagram {} lost", slowest.0, slowest.1);
    assert!(
        slowest.0 <= undisturbed + PTO,
        "datagram {}: {:.3} s, undisturbed {undisturbed:.3} s",
        slowest.1,
        slowest.0
    );
}

#[test]
fn acks_take_little_of_the_way_back() {
    for rate in [20_000, 100_000, 1_000_000, 10_000_000] {
        let mut bench = Bench::new(Faults::none(), &[link(rate, 0, 5.0), link(0, rate, 5.0)], 16_384);
        bench.dial(0, 1);
        bench.world.run_until(at(20.0));
        let stats = bench.world.stats(bench.nodes[1]);
        let share = stats.bytes_sent as f64 / stats.bytes_received as f64;
        println!("{rate:>9} B/s: acks are {share:.4} of what they acknowledge");
        assert!(share <= 0.03, "{rate} B/s: {share}");
    }
}

/// A flow at 10 MB/s over 100 ms, of 1,452 B datagrams, of which one in twenty is overtaken by up to `depth` others.
struct Reordered {
    bench: Bench,
    /// The next datagram of 1,452 B is lost.
    loses_next: Rc<Cell<bool>>,
}

impl Reordered {
    const RATE: u64 = 10_000_000;
    const DATAGRAM: usize = 1_452;

    fn new(depth: f64) -> Reordered {
        let longest = Duration::from_secs_f64(depth * Self::DATAGRAM as f64 / Self::RATE as f64);
        let faults = Faults { reordering: 0.05, delay: Duration::ZERO..=longest, ..Faults::none() };
        let mut bench = Bench::new(faults, &[link(Self::RATE, 0, 25.0), link(0, 0, 25.0)], 16_384);
        let loses_next = Rc::new(Cell::new(false));
        let lost = loses_next.clone();
        bench.world.set_filter(move |_, _, _, datagram| match datagram.len().cmp(&Self::DATAGRAM) {
            Ordering::Less => true,
            Ordering::Equal => !lost.take(),
            Ordering::Greater => false,
        });
        bench.dial(0, 1);
        Reordered { bench, loses_next }
    }

    /// The share of the link, and that of spurious retransmissions, between two times.
    fn phase(&mut self, from: f64, until: f64) -> (f64, f64) {
        self.bench.world.run_until(at(from));
        let before = self.bench.sender_stats();
        let goodput = self.bench.rates(from, until)[0];
        let after = self.bench.sender_stats();
        let spurious = (after.spurious - before.spurious) as f64 / (after.sent - before.sent) as f64;
        (goodput / Self::RATE as f64 / payload_share(Self::DATAGRAM as f64), spurious)
    }

    /// How long after its departure a lost datagram is declared lost, in smoothed round trips.
    fn recovery(&mut self) -> f64 {
        self.loses_next.set(true);
        let loses_next = self.loses_next.clone();
        let deadline = self.bench.world.now() + Duration::from_secs(5);
        assert!(self.bench.world.run_while(deadline, |_| loses_next.get()));
        let (departed, before) = (self.bench.world.now(), self.bench.sender_stats());
        let sender = self.bench.nodes[0];
        let declared = self.bench.world.run_while(deadline, |world| {
            world.node(sender).endpoint.total_stats(world.now()).lost == before.lost
        });
        assert!(declared);
        self.bench.world.now().since(departed).as_secs_f64() / before.srtt.as_secs_f64()
    }
}

#[test]
fn a_path_that_reorders() {
    for depth in [2.0, 8.0, 20.0, 100.0, 1_000.0] {
        let mut flow = Reordered::new(depth);
        let first = flow.phase(0.0, 10.0);
        let adapted = flow.phase(10.0, 20.0);
        println!(
            "1 in 20 overtaken by up to {depth:>4}: at first spurious {:.4}; after 10 s {:.4}, {:.3} of the link",
            first.1, adapted.1, adapted.0,
        );
        assert!(first.1 <= 0.01 && adapted.1 <= 0.001 && adapted.0 >= 0.95);
        flow.bench.world.set_faults(Faults::none());
        flow.bench.world.run_until(at(20.2));
        let patient = flow.recovery();
        flow.bench.world.run_until(at(30.0));
        let forgotten = flow.recovery();
        println!(
            "  a loss is found after {patient:.3} round trips, and {forgotten:.3} when the reordering has been over for 10 s"
        );
        assert!(patient <= 2.0 && forgotten <= 1.1);
        flow.bench.world.set_faults(Faults { loss: 0.01, ..Faults::none() });
        let lossy = flow.phase(31.0, 41.0);
        println!("  then, with 1 % loss, {:.3} of the link", lossy.0);
        assert!(lossy.0 >= 0.97);
    }
}
