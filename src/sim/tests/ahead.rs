//! Nodes that are called ahead of the others, against the plain way: one event after the other, in the order of time.

use super::*;

const NODES: u16 = 80;

/// Sends at random times to random others, and notes when its clock goes back.
struct Gossip {
    rng: Rng,
    outbox: VecDeque<(SocketAddr, usize)>,
    wakes: Instant,
    seen: Instant,
}

impl Gossip {
    fn new(rng: Rng) -> Gossip {
        Gossip { rng, outbox: VecDeque::new(), wakes: Instant::ORIGIN, seen: Instant::ORIGIN }
    }

    fn look_at(&mut self, now: Instant) {
        assert!(now >= self.seen, "it was {:?}, and now it is {now:?}", self.seen);
        self.seen = now;
    }

    fn send(&mut self) {
        let to = addr(self.rng.below(u64::from(NODES) + 1) as u16);
        self.outbox.push_back((to, 1 + self.rng.index(1_200)));
    }
}

impl Machine for Gossip {
    fn handle_datagram(&mut self, now: Instant, _from: SocketAddr, datagram: &[u8]) {
        self.look_at(now);
        // What comes changes when this node wakes and what it sends.
        self.wakes =
            self.wakes.min(now + Duration::from_micros(self.rng.below(10_000) + datagram.len() as u64));
        if self.rng.chance(0.7) {
            self.send();
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.look_at(now);
        if self.wakes <= now {
            self.wakes = now + Duration::from_nanos(1 + self.rng.below(40_000_000));
            self.send();
        }
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        self.look_at(now);
        let (to, len) = self.outbox.pop_front()?;
        buf.clear();
        buf.resize(len, 7);
        Some(to)
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        Some((self.wakes, "gossip"))
    }
}

/// The hash and the figures of a swarm of gossips, of which some crash, move, stand still and change their rates.
fn history(seed: u64, run: impl Fn(&mut World<Gossip>, Instant)) -> (u64, Vec<LinkStats>) {
    let faults = Faults { loss: 0.01, duplication: 0.01, reordering: 0.05, ..Faults::none() };
    let mut world = World::new(seed, faults);
    let mut rng = Rng::from_seed(seed);
    for port in 0..NODES {
        let machine = Gossip::new(world.fork_rng());
        // Some queues overflow the time between two looks, some never stand, some links are unlimited.
        let mut rate = || if rng.below(8) == 0 { 0 } else { 20_000 + rng.below(80_000) };
        let (up, down) = (rate(), rate());
        world.add_node(
            addr(port),
            machine,
            link(up, down, Duration::from_nanos(50_000 + rng.below(3_000_000))),
        );
    }
    let ids: Vec<NodeId> = world.node_ids().collect();
    for _ in 0..40 {
        let (id, what) = (ids[rng.index(ids.len())], rng.below(5));
        let at = Instant::from_nanos(rng.below(2_000_000_000));
        let (draw, fresh) = (rng.below(100_000), rng.fork());
        world.schedule(at, move |world| match what {
            0 => world.crash(id),
            1 => {
                let mut gossip = Gossip::new(fresh);
                gossip.wakes = world.now();
                world.restart(id, gossip);
            }
            2 => world.clog(id, world.now() + Duration::from_micros(draw)),
            3 => world.set_rates(id, Rate::new(10_000 + draw), Rate::new(110_000 - draw)),
            _ if world.is_alive(id) => world.with_node(id, |gossip, _| gossip.send()),
            _ => {}
        });
    }
    for millis in [3, 500, 501, 1_200, 2_500] {
        run(&mut world, at(millis));
        assert_eq!(world.now(), at(millis));
    }
    let delivered: u64 = ids.iter().map(|&id| world.stats(id).datagrams_received).sum();
    assert!(delivered > 10_000, "{delivered}");
    (world.trace_hash(), ids.iter().map(|&id| world.stats(id)).collect())
}

#[test]
fn the_history_is_that_of_one_event_after_the_other() {
    for seed in 0..4 {
        let plain = history(seed, |world, until| _ = world.run_while(until, |_| true));
        assert!(history(seed, World::run_until) == plain, "seed {seed}: by itself");
        for threads in [1, 3] {
            let ahead = history(seed, |world, until| world.run_until_on(threads, until));
            assert!(ahead == plain, "seed {seed}: all together, on {threads} threads");
        }
    }
}

#[test]
fn what_was_delivered_ahead_fills_the_downlink_until_its_time() {
    // Some 67 s of a downlink's capacity, which takes as long to empty.
    let lost = |run: fn(&mut World<Probe>, Instant)| {
        let (mut world, a, b) = pair(Faults::none(), link(0, 0, ms(1)), link(0, 1_000_000, ms(1)));
        for second in 0..30 {
            let send = move |probe: &mut Probe, _| (0..100).for_each(|n| probe.send(addr(2), 60_000, n));
            world.schedule(at(second * 1_000), move |world| world.with_node(a, send));
            world.schedule(at(second * 1_000 + 500), |_| {});
        }
        run(&mut world, at(20_000));
        run(&mut world, at(60_000));
        assert!(world.stats(b).overflowed > 100);
        (world.trace_hash(), world.stats(b))
    };
    let plain = lost(|world, until| _ = world.run_while(until, |_| true));
    assert_eq!(lost(World::run_until), plain);
    assert_eq!(lost(|world, until| world.run_until_on(1, until)), plain);
}
