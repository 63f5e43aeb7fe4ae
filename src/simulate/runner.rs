//! Lets a scenario happen, and gathers what came of it.
//!
//! All that a scenario does at some time stands in an agenda; between two entries the world runs by itself. Times of a
//! scenario count from its start, when its first sources are known to the tracker.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use super::actor::{Actor, Peer};
use super::bound::{Bound, Flow};
use super::report::{LEFT, ReceiverReport, Report, Sample};
use super::scenario::{Change, Group, LeaveBy, Noise, Role, Scenario};
use super::storage::SharedStorage;
use super::watch::Watch;
use crate::Fid;
use crate::pclient::manifest::Manifest;
use crate::pclient::node::{Config, Node};
use crate::pclient::storage::Storage;
use crate::pclient::swarm::Swarm;
use crate::rand::Rng;
use crate::sim::{Faults, LinkConfig, NodeId, World};
use crate::time::{Duration, Instant};
use crate::tracker::{Limits, Server};
use crate::units::Rate;

/// The shortest time before the start, in which sources introduce themselves to the tracker.
const PRELUDE: Duration = Duration::from_secs(2);
/// The longest. Who isn't known by then won't be.
const LONGEST_PRELUDE: Duration = Duration::from_secs(120);
/// How many times until the bound it is noted who has how much.
const SAMPLES_TO_BOUND: f64 = 150.0;
/// At so many samples every other is dropped, and from then on it is noted half as often: a bound that nobody comes near must
/// not fill the memory.
const MOST_SAMPLES: usize = 600;
/// Without a bound, this often.
const SAMPLE_WITHOUT_BOUND: Duration = Duration::from_secs(1);
/// Past this many times the bound, and the minute after it, nobody is waited for.
const PATIENCE: f64 = 20.0;
/// For how long a scenario is waited for that has no bound: not all can be done, but some may.
const PATIENCE_WITHOUT_BOUND: Duration = Duration::from_secs(600);

/// Lets `scenario` happen. One scenario is one history: whoever runs it again gets the same report.
pub fn run(scenario: &Scenario) -> Report {
    run_watching(scenario, None)
}

/// As [`run`], and notes how the node in the place `watched` among those of the scenario stands with its peers.
pub fn run_watching(scenario: &Scenario, watched: Option<usize>) -> Report {
    let mut stage = Stage::new(scenario);
    stage.watch = watched.map(Watch::new);
    stage.open();
    stage.play();
    stage.report()
}

/// Where the node in this place of the scenario is.
fn address(index: usize) -> SocketAddr {
    let number = (index as u32 + (1 << 16)).to_be_bytes();
    SocketAddr::from(([10, number[1], number[2], number[3]], 7_000))
}

/// Something that a scenario does.
#[derive(Clone, Copy, Debug)]
enum Cue {
    Join(usize),
    Leave(usize, LeaveBy),
    Change(usize, Change),
    Noise(usize, Noise),
    Sample,
}

/// One node of the scenario.
struct Cast {
    name: String,
    role: Role,
    link: LinkConfig,
    /// What its disk takes for a piece.
    disk: Duration,
    choking: bool,
    gives: bool,
    /// Its rates but for the noise.
    rates: (Rate, Rate),
    /// The noise, up and down.
    factors: (f64, f64),
    join: Duration,
    /// Since it joined.
    id: Option<NodeId>,
    has_left: bool,
    storage: SharedStorage,
    flow: Flow,
    /// What it had received twice when it left, B.
    duplicates: u64,
}

/// The world of a scenario, while it runs.
struct Stage {
    world: World<Actor>,
    tracker: SocketAddr,
    fid: Fid,
    size: u64,
    seed: u64,
    manifest: Manifest,
    cast: Vec<Cast>,
    rng: Rng,
    /// Time 0 of the scenario.
    start: Instant,
    give_up: Option<Duration>,
    /// By time, and at one time in the order of entry.
    agenda: BTreeMap<(Duration, u64), Cue>,
    entries: u64,
    sample_every: Duration,
    samples: Vec<Sample>,
    watch: Option<Watch>,
    /// On how many threads the world runs.
    threads: usize,
    /// The receivers that may still have to be waited for.
    waiting: Vec<usize>,
}

impl Stage {
    fn new(scenario: &Scenario) -> Stage {
        let Scenario { seed, network, .. } = scenario;
        let mut world = World::new(*seed, faults(scenario));
        let tracker = SocketAddr::from(([10, 0, 0, 1], 10_086));
        let nodes = scenario.count(Role::Source) + scenario.count(Role::Receiver);
        let limits = Limits { per_file: Limits::default().per_file.max(nodes as usize), ..Limits::default() };
        let server = Server::new(world.fork_rng(), scenario.tracker, limits);
        let link = |up, down, latency: Duration| LinkConfig {
            up,
            down,
            // Half of a path is at each of its ends.
            latency: latency / 2,
            jitter: network.jitter.0 / 2,
        };
        let at = link(scenario.tracker, scenario.tracker, network.latency.0);
        world.add_node(tracker, Actor::Tracker(Box::new(server)), at);
        if let Some(max) = network.max_datagram {
            world.set_filter(move |_, _, _, datagram| datagram.len() <= max);
        }
        // Filled in place: a copy, however short-lived, would double what a large file takes.
        let mut content: Arc<[u8]> = std::iter::repeat_n(0, scenario.size.0 as usize).collect();
        let fresh = Arc::get_mut(&mut content).expect("nobody else has it yet");
        Rng::from_seed(seed ^ 0x5eed).fill(fresh);
        let manifest = Manifest::of(&content);
        let lengths = manifest.lengths();
        let mut stage = Stage {
            tracker,
            fid: manifest.fid(),
            size: lengths.size(),
            seed: *seed,
            manifest,
            cast: Vec::new(),
            rng: world.fork_rng(),
            world,
            start: Instant::ORIGIN,
            give_up: scenario.give_up.map(|seconds| seconds.0),
            agenda: BTreeMap::new(),
            entries: 0,
            sample_every: SAMPLE_WITHOUT_BOUND,
            samples: Vec::new(),
            watch: None,
            threads: thread::available_parallelism().map_or(1, usize::from),
            waiting: Vec::new(),
        };
        for group in &scenario.nodes {
            for number in 0..group.count {
                let content = Arc::clone(&content);
                let storage = match group.role {
                    Role::Source => SharedStorage::full(content, lengths),
                    Role::Receiver => SharedStorage::empty(content, lengths),
                };
                let latency = group.latency.unwrap_or(network.latency).0;
                stage.cast(group, number, link(group.up, group.down, latency), storage);
            }
        }
        stage
    }

    /// Gives a node its part in the scenario.
    fn cast(&mut self, group: &Group, number: u64, link: LinkConfig, storage: SharedStorage) {
        let index = self.cast.len();
        let join = group.join.0 + group.join_every.0 * number as u32;
        if group.role == Role::Receiver {
            self.waiting.push(index);
        }
        self.enter(join, Cue::Join(index));
        for change in &group.changes {
            self.enter(change.at.0, Cue::Change(index, *change));
        }
        if let Some(noise) = group.noise {
            self.enter(join, Cue::Noise(index, noise));
        }
        if let Some(leave) = group.leave {
            self.enter(leave.0, Cue::Leave(index, group.leave_by));
        }
        self.cast.push(Cast {
            name: group.name_of(number),
            role: group.role,
            link,
            disk: group.disk.0,
            choking: group.choking,
            gives: group.gives,
            rates: (link.up, link.down),
            factors: (1.0, 1.0),
            join,
            id: None,
            has_left: false,
            storage,
            flow: Flow { is_source: group.role == Role::Source, join: join.as_secs_f64(), ..Flow::default() },
            duplicates: 0,
        });
    }

    fn enter(&mut self, at: Duration, cue: Cue) {
        self.entries += 1;
        self.agenda.insert((at, self.entries), cue);
    }

    /// Has the first sources introduce themselves; then the scenario starts.
    fn open(&mut self) {
        let first: Vec<usize> = (0..self.cast.len())
            .filter(|&index| self.cast[index].role == Role::Source && self.cast[index].join.is_zero())
            .collect();
        for &index in &first {
            self.join(index);
        }
        self.world.run_until(Instant::ORIGIN + PRELUDE);
        let (ids, mut waiting) =
            (first.iter().filter_map(|&index| self.cast[index].id).collect::<Vec<_>>(), 0);
        self.world.run_while(Instant::ORIGIN + LONGEST_PRELUDE, |world| {
            while waiting < ids.len() && is_settled(world, ids[waiting]) {
                waiting += 1;
            }
            waiting < ids.len()
        });
        self.start = self.world.now();
    }

    /// Lets happen what is on the agenda until all receivers are done or given up.
    fn play(&mut self) {
        let plan = self.planned_bound();
        self.sample_every = match plan.is_finite() && plan > 0.0 {
            true => Duration::from_secs_f64(plan / SAMPLES_TO_BOUND).max(Duration::from_micros(1)),
            false => SAMPLE_WITHOUT_BOUND,
        };
        let limit = self.give_up.unwrap_or_else(|| match plan.is_finite() {
            true => Duration::from_secs_f64(plan * PATIENCE) + Duration::from_secs(60),
            false => self.agenda.keys().last().map_or(Duration::ZERO, |key| key.0) + PATIENCE_WITHOUT_BOUND,
        });
        self.enter(Duration::ZERO, Cue::Sample);
        while let Some(((at, _), cue)) = self.agenda.pop_first() {
            self.world.run_until_on(self.threads, self.start + at.min(limit));
            if self.is_over() || at > limit {
                break;
            }
            self.act(at, cue);
        }
        self.sample();
    }

    /// Whether all receivers are done, or won't be.
    fn is_over(&mut self) -> bool {
        // What is so once stays so: each is looked at until then only.
        while let Some(&index) = self.waiting.last() {
            let cast = &self.cast[index];
            let is_settled = cast.id.is_some_and(|id| {
                let peer = peer(&self.world, id);
                peer.done.is_some() || peer.failed.is_some()
            });
            if !cast.has_left && !is_settled {
                return false;
            }
            self.waiting.pop();
        }
        true
    }

    fn act(&mut self, at: Duration, cue: Cue) {
        match cue {
            Cue::Join(index) if self.cast[index].id.is_none() => self.join(index),
            // It was there before the start.
            Cue::Join(index) => self.set_rates(index),
            Cue::Leave(index, by) => self.leave(index, by),
            Cue::Change(index, change) => {
                let rates = &mut self.cast[index].rates;
                *rates = (change.up.unwrap_or(rates.0), change.down.unwrap_or(rates.1));
                self.set_rates(index);
            }
            Cue::Noise(index, noise) => {
                let mut draw = || noise.from + (noise.to - noise.from) * self.rng.unit();
                self.cast[index].factors = (draw(), draw());
                self.set_rates(index);
                self.enter(at + noise.every.0, cue);
            }
            Cue::Sample => {
                self.sample();
                self.enter(at + self.sample_every, cue);
            }
        }
    }

    fn join(&mut self, index: usize) {
        // Each knows its own downlink, as one who set its limit does.
        let Cast { link, choking, gives, .. } = self.cast[index];
        let config = Config { download_limit: link.down, choking, gives, ..Config::default() };
        let node = Node::new(config, self.tracker, self.world.fork_rng());
        let peer = Peer::new(node, self.cast[index].disk);
        let actor = Actor::Peer(Box::new(peer));
        let addr = address(index);
        let cast = &mut self.cast[index];
        let id = self.world.add_node(addr, actor, cast.link);
        cast.id = Some(id);
        let (role, storage, fid) = (cast.role, cast.storage.clone(), self.fid);
        let manifest = (role == Role::Source).then(|| self.manifest.clone());
        command(&mut self.world, id, |node, now| match manifest {
            Some(manifest) => node.share(now, None, manifest, Box::new(storage)),
            None => node.fetch(now, fid, Box::new(|_| Ok(Box::new(storage) as Box<dyn Storage>))),
        });
        self.set_rates(index);
    }

    fn leave(&mut self, index: usize, by: LeaveBy) {
        let time = self.time();
        let cast = &mut self.cast[index];
        let (Some(id), fid) = (cast.id, self.fid) else { return };
        cast.duplicates = duplicates(&self.world, id, fid);
        cast.has_left = true;
        cast.flow.up.set(time, 0.0);
        cast.flow.down.set(time, 0.0);
        match by {
            LeaveBy::Cancel => command(&mut self.world, id, |node, now| _ = node.cancel(now, fid)),
            LeaveBy::Close => command(&mut self.world, id, Node::leave),
            LeaveBy::Crash => self.world.crash(id),
        }
    }

    /// Gives a node that is there the rates that it should have by now.
    fn set_rates(&mut self, index: usize) {
        let time = self.time();
        let cast = &mut self.cast[index];
        let Some(id) = cast.id.filter(|_| !cast.has_left) else { return };
        let up = noisy(cast.rates.0, cast.factors.0);
        let down = noisy(cast.rates.1, cast.factors.1);
        cast.flow.up.set(time, as_flow(up));
        cast.flow.down.set(time, as_flow(down));
        self.world.set_rates(id, up, down);
        command(&mut self.world, id, |node, _| node.set_download_limit(down));
    }

    /// Seconds since the start; 0 before it.
    fn time(&self) -> f64 {
        self.world.now().since(self.start).as_secs_f64()
    }

    /// The bound of all that stay, by what the scenario says, noise aside; before it starts.
    fn planned_bound(&self) -> f64 {
        let mut flows: Vec<Flow> = self.cast.iter().map(|cast| cast.flow.clone()).collect();
        let mut rates: Vec<(Rate, Rate)> = self.cast.iter().map(|cast| cast.rates).collect();
        let mut leaves = vec![false; flows.len()];
        for (&(at, _), cue) in &self.agenda {
            let (index, up, down) = match *cue {
                Cue::Join(index) => (index, as_flow(rates[index].0), as_flow(rates[index].1)),
                Cue::Leave(index, _) => {
                    leaves[index] = true;
                    (index, 0.0, 0.0)
                }
                Cue::Change(index, change) => {
                    rates[index] =
                        (change.up.unwrap_or(rates[index].0), change.down.unwrap_or(rates[index].1));
                    if at < self.cast[index].join || leaves[index] {
                        continue;
                    }
                    (index, as_flow(rates[index].0), as_flow(rates[index].1))
                }
                Cue::Noise(..) | Cue::Sample => continue,
            };
            flows[index].up.set(at.as_secs_f64(), up);
            flows[index].down.set(at.as_secs_f64(), down);
        }
        let stay = flows.iter().zip(&leaves).filter(|(flow, leaves)| !flow.is_source && !**leaves);
        Bound::new(self.size, &flows).of_last(stay.map(|(flow, _)| flow))
    }

    /// Notes who has how much.
    fn sample(&mut self) {
        let time = self.time();
        if self.samples.last().is_some_and(|last| last.time >= time) {
            return;
        }
        if let Some(watch) = &mut self.watch
            && let Some(cast) = self.cast.get(watch.index)
            && let Some(id) = cast.id.filter(|_| !cast.has_left)
        {
            watch.note(time, peer(&self.world, id).node.peers(self.world.now()));
        }
        let shares = self.receivers().map(|cast| match cast.id {
            Some(id) if !cast.has_left => {
                let verified =
                    peer(&self.world, id).node.progress(self.fid).map_or(0, |progress| progress.verified);
                (verified as f64 / self.size as f64) as f32
            }
            _ => -1.0,
        });
        let shares = shares.collect();
        self.samples.push(Sample { time, shares, bound: 0.0 });
        if self.samples.len() >= MOST_SAMPLES {
            let mut place = 0;
            self.samples.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.sample_every *= 2;
        }
    }

    fn receivers(&self) -> impl Iterator<Item = &Cast> {
        self.cast.iter().filter(|cast| cast.role == Role::Receiver)
    }

    fn report(mut self) -> Report {
        let mut samples = std::mem::take(&mut self.samples);
        let watched = self.watch.take().and_then(|watch| {
            let name_of = |addr| {
                let known = (0..self.cast.len()).find(|&index| address(index) == addr);
                known.map_or_else(|| addr.to_string(), |index| self.cast[index].name.clone())
            };
            let name = self.cast.get(watch.index)?.name.clone();
            Some(watch.into_watched(&name, name_of))
        });
        let flows: Vec<Flow> = self.cast.iter().map(|cast| cast.flow.clone()).collect();
        let bound = Bound::new(self.size, &flows);
        let copies = |bytes: u64| bytes as f64 / self.size as f64;
        let mut receivers = Vec::new();
        let mut done_flows = Vec::new();
        for cast in self.receivers() {
            let peer = cast.id.map(|id| peer(&self.world, id));
            let done = peer.and_then(|peer| peer.done).map(|at| at.since(self.start).as_secs_f64());
            let failed = match (&peer, done) {
                (_, Some(_)) => None,
                _ if cast.has_left => Some(LEFT.to_owned()),
                (Some(peer), None) if peer.failed.is_some() => peer.failed.clone(),
                _ => Some("not done in time".to_owned()),
            };
            if done.is_some() {
                let whole = cast.storage.is_complete();
                assert!(
                    whole,
                    "{} says that it is done, but pieces are missing; seed {}",
                    cast.name, self.seed
                );
                done_flows.push(&cast.flow);
            }
            let account = peer.and_then(|peer| peer.node.account(self.world.now(), self.fid));
            let stats = cast.id.map(|id| self.world.stats(id)).unwrap_or_default();
            let duplicates = match cast.id {
                Some(id) if !cast.has_left => duplicates(&self.world, id, self.fid),
                _ => cast.duplicates,
            };
            receivers.push(ReceiverReport {
                name: cast.name.clone(),
                joined: cast.flow.join,
                done,
                bound: bound.of(&cast.flow),
                sent: copies(stats.bytes_sent),
                received: copies(stats.bytes_received),
                duplicates: copies(duplicates),
                held_back: account.map(|account| account.spent),
                failed,
            });
        }
        let staying: Vec<&Flow> =
            self.receivers().filter(|cast| !cast.has_left).map(|cast| &cast.flow).collect();
        for sample in &mut samples {
            sample.bound = bound.share_at(staying.iter().copied(), sample.time);
        }
        let sources = self.cast.iter().filter(|cast| cast.role == Role::Source).filter_map(|cast| cast.id);
        Report {
            seed: self.seed,
            bound: if done_flows.is_empty() { bound.of_last(staying) } else { bound.of_last(done_flows) },
            last: receivers.iter().filter_map(|receiver| receiver.done).reduce(f64::max),
            receivers,
            source_copies: copies(sources.map(|id| self.world.stats(id).bytes_sent).sum()),
            trace_hash: self.world.trace_hash(),
            samples,
            ended: self.time(),
            watched,
        }
    }
}

fn faults(scenario: &Scenario) -> Faults {
    let network = &scenario.network;
    Faults {
        loss: network.loss,
        duplication: network.duplicate,
        reordering: network.reordering,
        delay: Duration::ZERO..=network.reordering_delay.0,
        ..Faults::none()
    }
}

fn peer(world: &World<Actor>, id: NodeId) -> &Peer {
    match world.node(id) {
        Actor::Peer(peer) => peer,
        Actor::Tracker(_) => unreachable!("the tracker has no part in the cast"),
    }
}

/// Whether it is known if the tracker lists a source.
fn is_settled(world: &World<Actor>, id: NodeId) -> bool {
    let peer = peer(world, id);
    peer.registered.is_some() || peer.failed.is_some()
}

fn duplicates(world: &World<Actor>, id: NodeId, fid: Fid) -> u64 {
    peer(world, id).node.swarm(fid).map_or(0, Swarm::duplicate_bytes)
}

/// Gives a command to the node of a peer.
fn command(world: &mut World<Actor>, id: NodeId, command: impl FnOnce(&mut Node, Instant)) {
    world.with_node(id, |actor, now| {
        if let Actor::Peer(peer) = actor {
            command(&mut peer.node, now);
            peer.collect(now);
        }
    });
}

/// `rate` times `factor`, 1 B/s at least: 0 would be no limit at all.
fn noisy(rate: Rate, factor: f64) -> Rate {
    match rate.is_unlimited() {
        true => rate,
        false => Rate::new(((rate.bytes_per_sec() as f64 * factor).round() as u64).max(1)),
    }
}

/// B/s; infinite if unlimited.
fn as_flow(rate: Rate) -> f64 {
    if rate.is_unlimited() { f64::INFINITY } else { rate.bytes_per_sec() as f64 }
}
