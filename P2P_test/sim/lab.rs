//! A swarm in the simulated world: a tracker and the very nodes that users run, on shaped links.

use std::net::SocketAddr;
use std::sync::Arc;

use swarmcast::Fid;
use swarmcast::machine::{Job, Machine};
use swarmcast::pclient::manifest::Manifest;
use swarmcast::pclient::node::{Config, Event, Node};
use swarmcast::pclient::storage::{MemoryStorage, Storage};
use swarmcast::rand::Rng;
use swarmcast::sim::{Faults, LinkConfig, NodeId, World};
use swarmcast::time::{Duration, Instant};
use swarmcast::tracker::{Limits, Server};
use swarmcast::units::Rate;

use crate::chaos::witness::Witness;
use crate::exchange::Liar;

/// Who takes part in a world.
pub(crate) enum Actor {
    Tracker(Box<Server>),
    Peer(Box<Peer>),
    Liar(Box<Liar>),
    /// Who means harm, in whatever way.
    Hostile(Box<dyn Machine>),
}

/// A node, and what it told its owner.
pub(crate) struct Peer {
    pub(crate) node: Node,
    /// With the world's time.
    pub(crate) events: Vec<(Instant, Event)>,
    clock: Clock,
    witness: Option<Witness>,
}

impl Peer {
    fn collect(&mut self, now: Instant) {
        while let Some(event) = self.node.poll_event() {
            self.witness.iter_mut().for_each(|witness| witness.on_event(&event));
            self.events.push((now, event));
        }
    }
}

/// What a machine's clock shows, beside the world's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    pub(crate) ahead: Duration,
    /// How much faster it runs, ppm.
    pub(crate) drift_ppm: i32,
}

const MILLION: i128 = 1_000_000;

impl Clock {
    /// What it shows at `now`.
    fn local(self, now: Instant) -> Instant {
        let drifted = i128::from(now.as_nanos()) * (MILLION + i128::from(self.drift_ppm)) / MILLION;
        Instant::from_nanos(drifted as u64) + self.ahead
    }

    /// When it first shows `local`.
    fn world(self, local: Instant) -> Instant {
        let drifted = i128::from(local.since(Instant::ORIGIN + self.ahead).as_nanos() as u64);
        let mut nanos = (drifted * MILLION / (MILLION + i128::from(self.drift_ppm))) as u64;
        while self.local(Instant::from_nanos(nanos)) < local {
            nanos += 1;
        }
        Instant::from_nanos(nanos)
    }
}

impl Machine for Actor {
    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        match self {
            Actor::Tracker(server) => server.handle_datagram(now, from, datagram),
            Actor::Liar(liar) => liar.handle_datagram(now, from, datagram),
            Actor::Hostile(hostile) => hostile.handle_datagram(now, from, datagram),
            Actor::Peer(peer) => {
                peer.node.handle_datagram(peer.clock.local(now), from, datagram);
                peer.collect(now);
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self {
            Actor::Tracker(server) => server.handle_timeout(now),
            Actor::Liar(liar) => liar.handle_timeout(now),
            Actor::Hostile(hostile) => hostile.handle_timeout(now),
            Actor::Peer(peer) => {
                peer.node.handle_timeout(peer.clock.local(now));
                peer.collect(now);
            }
        }
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        match self {
            Actor::Tracker(server) => server.poll_transmit(now, buf),
            Actor::Liar(liar) => liar.poll_transmit(now, buf),
            Actor::Hostile(hostile) => hostile.poll_transmit(now, buf),
            Actor::Peer(peer) => {
                let to = peer.node.poll_transmit(peer.clock.local(now), buf);
                if let Some(witness) = peer.witness.as_mut().filter(|_| to.is_some()) {
                    witness.on_transmit(buf);
                }
                peer.collect(now);
                to
            }
        }
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        match self {
            Actor::Tracker(server) => server.poll_timeout(),
            Actor::Liar(liar) => liar.poll_timeout(),
            Actor::Hostile(hostile) => hostile.poll_timeout(),
            Actor::Peer(peer) => {
                peer.node.poll_timeout().map(|(deadline, reason)| (peer.clock.world(deadline), reason))
            }
        }
    }

    fn poll_job(&mut self) -> Option<Job<Actor>> {
        let Actor::Peer(peer) = self else { return None };
        let job = peer.node.poll_job()?;
        Some(Box::new(move || {
            let outcome = job();
            Box::new(move |actor, now| {
                if let Actor::Peer(peer) = actor {
                    outcome(&mut peer.node, peer.clock.local(now));
                    peer.collect(now);
                }
            })
        }))
    }
}

/// The rate at which the course runs its tracker, B/s.
const TRACKER_RATE: u64 = 10_000;

/// A world with a tracker, and the file that is to be shared in it.
pub(crate) struct Lab {
    pub(crate) world: World<Actor>,
    pub(crate) content: Arc<Vec<u8>>,
    pub(crate) fid: Fid,
    seed: u64,
    tracker: SocketAddr,
    pub(crate) config: Config,
    peers: u8,
}

/// Up and down, B/s.
pub(crate) type Rates = (u64, u64);

impl Lab {
    /// A world of this seed with a file of `size` B.
    pub(crate) fn new(seed: u64, size: usize, faults: Faults) -> Lab {
        // RUST_LOG=debug shows what the nodes think.
        let _ = env_logger::builder().is_test(true).try_init();
        let mut world = World::new(seed, faults);
        let tracker: SocketAddr = "10.0.0.1:10086".parse().expect("an address");
        let server = Server::new(world.fork_rng(), Rate::new(TRACKER_RATE), Limits::default());
        world.add_node(
            tracker,
            Actor::Tracker(Box::new(server)),
            link((TRACKER_RATE, TRACKER_RATE), Lab::LATENCY),
        );
        let mut content = vec![0; size];
        Rng::from_seed(seed ^ 0x5eed).fill(&mut content);
        let fid = Fid::of(&content);
        Lab { world, content: Arc::new(content), fid, seed, tracker, config: Config::default(), peers: 0 }
    }

    /// One way, at each end of a path.
    pub(crate) const LATENCY: Duration = Duration::from_micros(50);

    /// Adds a peer that does nothing yet.
    pub(crate) fn add(&mut self, rates: Rates) -> NodeId {
        self.add_linked(link(rates, Lab::LATENCY))
    }

    /// As [`add`](Lab::add), with all of its link.
    pub(crate) fn add_linked(&mut self, link: LinkConfig) -> NodeId {
        self.peers += 1;
        let addr = SocketAddr::from(([10, 0, 1, self.peers], 7000));
        let peer = self.new_peer();
        self.world.add_node(addr, Actor::Peer(peer), link)
    }

    fn new_peer(&mut self) -> Box<Peer> {
        let node = Node::new(self.config.clone(), self.tracker, self.world.fork_rng());
        Box::new(Peer { node, events: Vec::new(), clock: Clock::default(), witness: None })
    }

    /// Starts a peer anew, without a memory: in the place of the one that crashed, or crashes now.
    pub(crate) fn restart(&mut self, id: NodeId) {
        let mut peer = self.new_peer();
        let before = self.peer(id);
        peer.clock = before.clock;
        peer.witness = before.witness.as_ref().map(|_| Witness::new(Arc::clone(&self.content)));
        self.world.restart(id, Actor::Peer(peer));
    }

    /// The same with the tracker.
    pub(crate) fn restart_tracker(&mut self) {
        let server = Server::new(self.world.fork_rng(), Rate::new(TRACKER_RATE), Limits::default());
        self.world.restart(self.tracker_id(), Actor::Tracker(Box::new(server)));
    }

    /// Has a peer that has done nothing yet go by another clock, and all that it sends looked at.
    pub(crate) fn observe(&mut self, id: NodeId, clock: Clock) {
        let witness = Witness::new(Arc::clone(&self.content));
        self.world.with_node(id, |actor, _| {
            let Actor::Peer(peer) = actor else { panic!("not a peer") };
            (peer.clock, peer.witness) = (clock, Some(witness));
        });
    }

    /// Has a peer share the file.
    pub(crate) fn share(&mut self, id: NodeId) {
        let content = self.content.clone();
        self.with(id, |node, now| {
            let storage = MemoryStorage::from(content.to_vec());
            node.share(now, None, Manifest::of(&content), Box::new(storage));
        });
        self.on_begin(id);
    }

    /// Has a peer fetch the file.
    pub(crate) fn fetch(&mut self, id: NodeId) {
        let fid = self.fid;
        self.with(id, |node, now| {
            let make = |size| {
                let storage = MemoryStorage::with_size(size)?;
                Ok(Box::new(storage) as Box<dyn Storage>)
            };
            node.fetch(now, fid, Box::new(make));
        });
        self.on_begin(id);
    }

    fn on_begin(&mut self, id: NodeId) {
        self.world.with_node(id, |actor, _| {
            if let Actor::Peer(peer) = actor {
                peer.witness.iter_mut().for_each(Witness::on_begin);
            }
        });
    }

    /// Gives a command to a peer.
    pub(crate) fn with<R>(&mut self, id: NodeId, command: impl FnOnce(&mut Node, Instant) -> R) -> R {
        self.world.with_node(id, |actor, now| {
            let Actor::Peer(peer) = actor else { panic!("not a peer") };
            let result = command(&mut peer.node, peer.clock.local(now));
            peer.collect(now);
            result
        })
    }

    /// The tracker's node.
    pub(crate) fn tracker_id(&self) -> NodeId {
        self.world.node_ids().next().expect("the tracker was the first")
    }

    pub(crate) fn peer(&self, id: NodeId) -> &Peer {
        let Actor::Peer(peer) = self.world.node(id) else { panic!("not a peer") };
        peer
    }

    /// When a peer had all of the file.
    pub(crate) fn done_at(&self, id: NodeId) -> Option<Instant> {
        let events = &self.peer(id).events;
        events.iter().find(|(_, event)| matches!(event, Event::Downloaded(_))).map(|&(at, _)| at)
    }

    /// Runs until all of `ids` are done; false if that takes longer than `limit`.
    pub(crate) fn run_until_done(&mut self, ids: &[NodeId], limit: Duration) -> bool {
        let (ids, mut waiting) = (ids.to_vec(), ids.len());
        let deadline = self.world.now() + limit;
        self.world.run_while(deadline, move |world| {
            let done = |id: &NodeId| {
                let Actor::Peer(peer) = world.node(*id) else { return false };
                peer.events.iter().any(|(_, event)| matches!(event, Event::Downloaded(_)))
            };
            while waiting > 0 && done(&ids[waiting - 1]) {
                waiting -= 1;
            }
            waiting > 0
        })
    }

    /// Checks that a peer holds the file byte for byte.
    pub(crate) fn assert_content(&self, id: NodeId) {
        let swarm = self.peer(id).node.swarm(self.fid).expect("a finished peer shares the file");
        let (storage, size) = swarm.stored().expect("a finished peer has all");
        let mut held = vec![0; size as usize];
        storage.read_at(0, &mut held).expect("memory can be read");
        assert!(held == *self.content, "node {} holds other bytes; {}", id.index(), self.replay());
    }

    /// Which world this is.
    pub(crate) fn replay(&self) -> String {
        format!("the world's seed is {}", self.seed)
    }

    /// Of each peer: when it was done, what it sent and received, and what arrived twice.
    pub(crate) fn print(&self, ids: &[NodeId]) {
        for &id in ids {
            let stats = self.world.stats(id);
            let size = self.content.len() as f64;
            let swarm = self.peer(id).node.swarm(self.fid);
            println!(
                "  node {:>3}: done {:>10}  sent {:.3} F  received {:.3} F  twice {:.4} F  queues {:?} up, {:?} down",
                id.index(),
                self.done_at(id).map_or("never".into(), |at| format!("{:.3} s", at.as_secs_f64())),
                stats.bytes_sent as f64 / size,
                stats.bytes_received as f64 / size,
                swarm.map_or(0, swarmcast::pclient::swarm::Swarm::duplicate_bytes) as f64 / size,
                stats.max_queue_up,
                stats.max_queue_down,
            );
            let total = self.peer(id).node.endpoint().total_stats(self.world.now());
            println!("            lost {}, spurious {}, probes {}", total.lost, total.spurious, total.probes);
        }
    }
}

fn link((up, down): Rates, latency: Duration) -> LinkConfig {
    LinkConfig { up: Rate::new(up), down: Rate::new(down), latency, ..LinkConfig::default() }
}
