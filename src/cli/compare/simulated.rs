//! The models in the simulated world: the machines that real proxies drive, in virtual time.
//!
//! Every node sends and receives every byte, but the file is in memory only once: what arrives is compared with it and
//! not kept again. Gigabytes to many receivers fit, and an hour of transfer takes as long as the computer needs to
//! move the bytes.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use swarmcast::machine::{Job, Machine};
use swarmcast::pclient::account::Account;
use swarmcast::pclient::manifest::Manifest;
use swarmcast::pclient::node::{Config, Event, Node};
use swarmcast::pclient::storage::Storage;
use swarmcast::sc_model::relay::{ReceiverNode, SourceNode};
use swarmcast::sc_model::{ClientNode, ServerNode};
use swarmcast::sim::{Faults, LinkConfig, NodeId, World};
use swarmcast::time::{Duration, Instant};
use swarmcast::tracker::{Limits, Server};
use swarmcast::units::Rate;

use super::super::failure::{Code, Failure};
use super::NAME;
use super::scenario::{Model, Outcome, Scenario};

/// The tracker's rates, B/s, as on real proxies.
const TRACKER_RATE: u64 = 10_000;
/// One way, at each end of a path.
const LATENCY: Duration = Duration::from_micros(50);
/// How long a source is there before the receivers come: the tracker knows it by then.
const LEAD: Duration = Duration::from_secs(2);
/// A run that takes this many times what is ideal for the model, and [`SLACK`] besides, won't come to an end.
const TOO_LONG: f64 = 10.0;
/// What hundreds of receivers may need to hear of each other from a tracker of so low a rate, whatever the file's size.
const SLACK: Duration = Duration::from_secs(600);

/// Runs one model with `content`, which for the server lies in `folder` as well. One seed is one history.
///
/// # Errors
/// If a receiver doesn't come to have the file, which is a bug, or the server's folder can't be read.
pub(super) fn run(
    scenario: &Scenario,
    model: Model,
    seed: u64,
    folder: &Path,
    content: &Arc<Vec<u8>>,
) -> Result<Outcome, Failure> {
    let mut world = World::new(seed, Faults::none());
    let source_link = link(scenario.source_rate, 0);
    let source_addr = addr(0);
    match model {
        Model::Swarm => {
            let tracker = Server::new(world.fork_rng(), Rate::new(TRACKER_RATE), Limits::default());
            let tracker_addr = SocketAddr::from(([10, 0, 0, 1], 10_086));
            let machine = Kind::Tracker(Box::new(tracker));
            world.add_node(tracker_addr, Actor::new(machine), link(TRACKER_RATE, TRACKER_RATE));
            let manifest = Manifest::of(content);
            let fid = manifest.fid();
            let new_node = |world: &mut World<Actor>, rate| {
                let config = Config { download_limit: Rate::new(rate), ..Config::default() };
                Node::new(config, tracker_addr, world.fork_rng())
            };
            let node = Kind::Peer(Box::new(new_node(&mut world, 0)));
            let source = world.add_node(source_addr, Actor::new(node), source_link);
            let storage = Box::new(SharedStorage::full(Arc::clone(content)));
            world.with_node(source, |actor, now| {
                if let Kind::Peer(node) = &mut actor.kind {
                    node.share(now, None, manifest, storage);
                }
                actor.collect(now);
            });
            let content = Arc::clone(content);
            race(
                scenario,
                model,
                world,
                move |world| Kind::Peer(Box::new(new_node(world, scenario.rate))),
                move |kind, now| {
                    let content = Arc::clone(&content);
                    let make = move |size| {
                        let storage = SharedStorage::empty(content);
                        if size != storage.content.len() as u64 {
                            return Err(io::Error::new(io::ErrorKind::InvalidData, "another size").into());
                        }
                        Ok(Box::new(storage) as Box<dyn Storage>)
                    };
                    if let Kind::Peer(node) = kind {
                        node.fetch(now, fid, Box::new(make));
                    }
                },
            )
        }
        Model::Server => {
            let server =
                ServerNode::new(folder, world.fork_rng()).map_err(|error| Failure::file(folder, &error))?;
            world.add_node(source_addr, Actor::new(Kind::Server(Box::new(server))), source_link);
            let content = Arc::clone(content);
            let new_client = move |world: &mut World<Actor>| {
                let rng = world.fork_rng();
                Kind::Client(Box::new(ClientNode::comparing(source_addr, Arc::clone(&content), rng)))
            };
            race(scenario, model, world, new_client, |kind, now| {
                if let Kind::Client(client) = kind {
                    client.start(now, NAME);
                }
            })
        }
        Model::Relay => {
            let source = SourceNode::new(Arc::clone(content), scenario.spread as usize, world.fork_rng());
            world.add_node(source_addr, Actor::new(Kind::Source(Box::new(source))), source_link);
            let content = Arc::clone(content);
            let new_receiver = move |world: &mut World<Actor>| {
                let rng = world.fork_rng();
                Kind::Receiver(Box::new(ReceiverNode::comparing(source_addr, Arc::clone(&content), rng)))
            };
            race(scenario, model, world, new_receiver, |kind, now| {
                if let Kind::Receiver(receiver) = kind {
                    receiver.start(now);
                }
            })
        }
    }
}

/// Adds the receivers, has all of them `start` at once, and takes the time of each.
fn race(
    scenario: &Scenario,
    model: Model,
    mut world: World<Actor>,
    new: impl Fn(&mut World<Actor>) -> Kind,
    start: impl Fn(&mut Kind, Instant),
) -> Result<Outcome, Failure> {
    world.run_until(Instant::ORIGIN + LEAD);
    let ids: Vec<NodeId> = (1..=scenario.receivers)
        .map(|n| {
            let receiver = Actor::new(new(&mut world));
            world.add_node(addr(n), receiver, link(scenario.rate, scenario.rate))
        })
        .collect();
    let begin = world.now();
    for &id in &ids {
        world.with_node(id, |actor, now| {
            start(&mut actor.kind, now);
            actor.collect(now);
        });
    }
    let limit = SLACK + Duration::from_secs_f64(TOO_LONG * scenario.ideal(model));
    let mut waiting = ids.len();
    let done = world.run_while(begin + limit, |world| {
        while waiting > 0 && world.node(ids[waiting - 1]).done.is_some() {
            waiting -= 1;
        }
        waiting > 0
    });
    if !done {
        let seconds = limit.as_secs();
        let message = format!("{}: not done after {seconds} s of virtual time, which is a bug", model.id());
        return Err(Failure::new(Code::Other, message));
    }
    let times = ids.iter().map(|&id| match &world.node(id).done {
        Some(Ok(at)) => Ok(at.since(begin).as_secs_f64()),
        Some(Err(message)) => {
            let message = format!("{}: a receiver failed, which is a bug: {message}", model.id());
            Err(Failure::new(Code::Other, message))
        }
        None => unreachable!("all are done"),
    });
    let outcome = Outcome::of(times.collect::<Result<Vec<f64>, Failure>>()?);
    Ok(match model {
        Model::Swarm => outcome.with_accounts(ids.iter().filter_map(|&id| world.node(id).account)),
        Model::Server | Model::Relay => outcome,
    })
}

fn link(up: u64, down: u64) -> LinkConfig {
    LinkConfig { up: Rate::new(up), down: Rate::new(down), latency: LATENCY, ..LinkConfig::default() }
}

/// The address of the source, 0, and of receivers, from 1 on.
fn addr(n: u32) -> SocketAddr {
    let [_, _, high, low] = n.to_be_bytes();
    SocketAddr::from(([10, 1, high, low], 7_000))
}

/// Who takes part, whatever the model.
enum Kind {
    Tracker(Box<Server>),
    Peer(Box<Node>),
    Server(Box<ServerNode>),
    Client(Box<ClientNode>),
    Source(Box<SourceNode>),
    Receiver(Box<ReceiverNode>),
}

/// A machine, and what came of it if it is a receiver's.
struct Actor {
    kind: Kind,
    done: Option<Result<Instant, String>>,
    /// What held it back, if it is a swarm's receiver that is done.
    account: Option<Account>,
}

impl Actor {
    fn new(kind: Kind) -> Actor {
        Actor { kind, done: None, account: None }
    }

    fn machine(&mut self) -> &mut dyn Machine {
        match &mut self.kind {
            Kind::Tracker(machine) => &mut **machine,
            Kind::Peer(machine) => &mut **machine,
            Kind::Server(machine) => &mut **machine,
            Kind::Client(machine) => &mut **machine,
            Kind::Source(machine) => &mut **machine,
            Kind::Receiver(machine) => &mut **machine,
        }
    }

    /// Notes a result, if there is one by now.
    fn collect(&mut self, now: Instant) {
        let result = match &mut self.kind {
            Kind::Tracker(_) | Kind::Server(_) | Kind::Source(_) => return,
            Kind::Peer(node) => {
                while let Some(event) = node.poll_event() {
                    match event {
                        Event::Downloaded(fid) => {
                            self.done = Some(Ok(now));
                            self.account = node.account(now, fid);
                        }
                        Event::Failed(_, failure) => self.done = Some(Err(format!("{failure:?}"))),
                        _ => {}
                    }
                }
                return;
            }
            Kind::Client(client) => client.poll_result().map(|result| result.map(drop)),
            Kind::Receiver(receiver) => receiver.poll_result().map(|result| result.map(drop)),
        };
        if let Some(result) = result {
            self.done = Some(result.map(|()| now).map_err(|failure| format!("{failure:?}")));
        }
    }
}

impl Machine for Actor {
    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.machine().handle_datagram(now, from, datagram);
        self.collect(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.machine().handle_timeout(now);
        self.collect(now);
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        let to = self.machine().poll_transmit(now, buf);
        self.collect(now);
        to
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        match &self.kind {
            Kind::Tracker(machine) => machine.poll_timeout(),
            Kind::Peer(machine) => machine.poll_timeout(),
            Kind::Server(machine) => machine.poll_timeout(),
            Kind::Client(machine) => machine.poll_timeout(),
            Kind::Source(machine) => machine.poll_timeout(),
            Kind::Receiver(machine) => machine.poll_timeout(),
        }
    }

    fn poll_job(&mut self) -> Option<Job<Actor>> {
        let Kind::Peer(node) = &mut self.kind else { return None };
        let job = node.poll_job()?;
        Some(Box::new(move || {
            let outcome = job();
            Box::new(move |actor, now| {
                if let Kind::Peer(node) = &mut actor.kind {
                    outcome(node, now);
                }
                actor.collect(now);
            })
        }))
    }
}

/// One node's copy of a file that the whole process has once: what is written is compared, and only where that was is
/// remembered.
struct SharedStorage {
    content: Arc<Vec<u8>>,
    /// What was written: the end of each stretch by its beginning. No two touch.
    written: Mutex<BTreeMap<usize, usize>>,
}

impl SharedStorage {
    fn empty(content: Arc<Vec<u8>>) -> SharedStorage {
        SharedStorage { content, written: Mutex::default() }
    }

    fn full(content: Arc<Vec<u8>>) -> SharedStorage {
        let written = Mutex::new(BTreeMap::from([(0, content.len())]));
        SharedStorage { content, written }
    }

    /// What lies at `offset`, and where that ends.
    fn find(&self, offset: u64, len: usize) -> Option<(usize, usize, &[u8])> {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(len)?;
        Some((start, end, self.content.get(start..end)?))
    }
}

impl Storage for SharedStorage {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let (start, end, bytes) = self.find(offset, buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.range(..=start).next_back().is_none_or(|(_, &until)| until < end) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buf.copy_from_slice(bytes);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (mut start, mut end, bytes) = self.find(offset, data.len()).ok_or(io::ErrorKind::InvalidInput)?;
        if bytes != data {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "other bytes than the file's"));
        }
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        // All stretches that touch this one become one with it.
        while let Some((&other, &until)) =
            written.range(..=end).next_back().filter(|stretch| *stretch.1 >= start)
        {
            written.remove(&other);
            (start, end) = (start.min(other), end.max(until));
        }
        written.insert(start, end);
        Ok(())
    }

    fn finish(&self) -> io::Result<()> {
        Ok(())
    }

    fn abandon(&self) {}
}

#[cfg(test)]
mod tests {
    use swarmcast::rand::Rng;

    use super::*;

    #[test]
    fn a_shared_storage_gives_what_was_written_and_takes_nothing_else() {
        let storage = SharedStorage::empty(Arc::new(b"0123456789".to_vec()));
        let read = |offset, len| {
            let mut buf = vec![0; len];
            storage.read_at(offset, &mut buf).map(|()| buf).map_err(|error| error.kind())
        };
        storage.write_at(2, b"23").unwrap();
        storage.write_at(6, b"67").unwrap();
        assert_eq!(read(2, 3), Err(io::ErrorKind::UnexpectedEof));
        assert_eq!(storage.write_at(4, b"4x").unwrap_err().kind(), io::ErrorKind::InvalidData);
        storage.write_at(4, b"45").unwrap();
        assert_eq!(read(2, 6), Ok(b"234567".to_vec()));
        assert_eq!(storage.write_at(9, b"9x").unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(storage.written.lock().unwrap().len(), 1, "stretches that touch are one");
    }

    #[test]
    fn each_model_comes_close_to_what_is_ideal() {
        let mut content = vec![0; 4_000_000];
        Rng::from_seed(1).fill(&mut content);
        let content = Arc::new(content);
        let folder = super::super::Folder::new().unwrap();
        std::fs::write(folder.0.join(NAME), &*content).unwrap();
        let size = content.len() as u64;
        let scenario = Scenario { size, receivers: 4, rate: 1_000_000, source_rate: 1_000_000, spread: 2 };
        for model in Model::ALL {
            let outcome = run(&scenario, model, 1, &folder.0, &content).unwrap();
            let ratio = outcome.last / scenario.ideal(model);
            assert!((0.95..1.3).contains(&ratio) && outcome.first <= outcome.last, "{model:?}: {outcome:?}");
            assert_eq!(
                run(&scenario, model, 1, &folder.0, &content).unwrap(),
                outcome,
                "one seed, one history"
            );
        }
    }
}
