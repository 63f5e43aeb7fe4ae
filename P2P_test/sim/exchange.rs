//! Peer exchange: a swarm goes on and heals without its tracker, and a liar who names peers harms nobody.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;

use swarmcast::Fid;
use swarmcast::machine::Machine;
use swarmcast::pclient::message::{MAX_PEERS, Message};
use swarmcast::rand::Rng;
use swarmcast::rudp::{Class, Config, Endpoint, Event, Handle};
use swarmcast::sim::{Faults, LinkConfig, NodeId};
use swarmcast::time::{Duration, Instant};

use crate::lab::{Actor, Lab, Rates};

const SIZE: usize = 2_000_000;
const SLOW: Rates = (50_000, 50_000);
const FAST: Rates = (200_000, 200_000);

fn neighbours(lab: &Lab, id: NodeId) -> BTreeSet<SocketAddr> {
    let swarm = lab.peer(id).node.swarm(lab.fid).expect("it takes part");
    swarm.peers().values().map(|peer| peer.remote).collect()
}

fn run(lab: &mut Lab, seconds: f64) {
    lab.world.run_until(lab.world.now() + Duration::from_secs_f64(seconds));
}

/// Who was and is connected to whom in a swarm that loses its tracker.
struct Loss {
    before: BTreeSet<SocketAddr>,
    /// Whom the receiver dialled after the loss, of those who came when it no longer asked the tracker.
    dialled: BTreeSet<SocketAddr>,
    /// 20 s after the loss.
    after: BTreeSet<SocketAddr>,
    /// How long the download took after the loss, s.
    took: f64,
}

/// A receiver has enough neighbours, and so asks the tracker no more; later others come that it doesn't hear of.
/// Then the tracker dies, and all neighbours but the source.
fn lose_all_but_the_source(seed: u64) -> Loss {
    let mut lab = Lab::new(seed, SIZE, Faults::none());
    let source = lab.add(SLOW);
    lab.share(source);
    run(&mut lab, 2.0);
    lab.config.neighbours = 8;
    let first: Vec<NodeId> = (0..4).map(|_| lab.add(FAST)).collect();
    first.iter().for_each(|&id| lab.fetch(id));
    run(&mut lab, 4.0);
    lab.config.neighbours = 1;
    let strangers: Vec<NodeId> = (0..6).map(|_| lab.add(FAST)).collect();
    // They try some of those whom the tracker names, but the first receiver they don't reach.
    let healed = lab.world.now() + Duration::from_secs(11);
    for &id in &strangers {
        lab.world.partition(id, first[0], healed);
        lab.fetch(id);
    }
    run(&mut lab, 12.0);
    let before = neighbours(&lab, first[0]);
    lab.world.crash(lab.tracker_id());
    first[1..].iter().for_each(|&id| lab.world.crash(id));
    // Whom it speaks to before they speak to it.
    let (spoken, dialled) = (RefCell::new(BTreeSet::new()), Rc::new(RefCell::new(BTreeSet::new())));
    let (bereaved, others, dials) = (first[0], strangers.clone(), Rc::clone(&dialled));
    lab.world.set_filter(move |_, from, to, _| {
        if from == bereaved && others.contains(&to) && spoken.borrow_mut().insert(to) {
            dials.borrow_mut().insert(to);
        } else if to == bereaved {
            spoken.borrow_mut().insert(from);
        }
        true
    });
    let start = lab.world.now();
    run(&mut lab, 20.0);
    let after = neighbours(&lab, first[0]);
    let stay = [&first[..1], &strangers].concat();
    assert!(lab.run_until_done(&stay, Duration::from_secs(600)), "{}", lab.replay());
    stay.iter().for_each(|&id| lab.assert_content(id));
    Loss {
        before,
        dialled: dialled.borrow().iter().map(|&id| lab.world.addr(id)).collect(),
        after,
        took: lab.done_at(first[0]).expect("done").since(start).as_secs_f64(),
    }
}

#[test]
fn without_a_tracker_new_neighbours_are_found_through_others() {
    for seed in 0..3 {
        let Loss { before, dialled, after, took } = lose_all_but_the_source(seed);
        let found = after.intersection(&dialled).count();
        println!(
            "seed {seed}: {} neighbours, then 1, then {} ({found} new); {took:.1} s",
            before.len(),
            after.len()
        );
        assert!(before.len() == 4 && before.is_disjoint(&dialled), "{before:?}");
        assert!(found >= 3, "{after:?}");
    }
}

#[test]
fn a_swarm_in_which_all_know_each_other_names_nobody() {
    let mut lab = Lab::new(1, SIZE, Faults::none());
    let source = lab.add(SLOW);
    lab.share(source);
    run(&mut lab, 2.0);
    let receivers: Vec<NodeId> = (0..4).map(|_| lab.add(FAST)).collect();
    receivers.iter().for_each(|&id| lab.fetch(id));
    run(&mut lab, 10.0);
    let listener = lab.add_linked(LinkConfig::default());
    let addrs: Vec<SocketAddr> = receivers.iter().map(|&id| lab.world.addr(id)).collect();
    let mut liar = Liar::new(Rng::from_seed(1), lab.fid, Vec::new());
    addrs.iter().for_each(|&addr| liar.dial(lab.world.now(), addr));
    lab.world.restart(listener, Actor::Liar(Box::new(liar)));
    assert!(lab.run_until_done(&receivers, Duration::from_secs(100)), "{}", lab.replay());
    let Actor::Liar(listener) = lab.world.node(listener) else { panic!("it is a liar") };
    assert_eq!((listener.met.len(), listener.asked), (4, 0));
}

/// Takes part in a file, has nothing of it, and names those who aren't there.
pub(crate) struct Liar {
    endpoint: Endpoint,
    fid: Fid,
    /// What it names, over and over again.
    names: Vec<SocketAddr>,
    next: usize,
    /// Who has opened the file.
    pub(crate) met: BTreeSet<Handle>,
    /// How often it was asked for peers.
    pub(crate) asked: u32,
}

impl Liar {
    fn new(rng: Rng, fid: Fid, names: Vec<SocketAddr>) -> Liar {
        let endpoint = Endpoint::new(Config::default(), rng);
        Liar { endpoint, fid, names, next: 0, met: BTreeSet::new(), asked: 0 }
    }

    fn dial(&mut self, now: Instant, addr: SocketAddr) {
        self.endpoint.connect(now, addr);
    }

    fn say(&mut self, to: Handle, message: &Message<'_>) {
        self.endpoint.send(to, Class::Control, 0, message.encode());
    }

    fn lie(&mut self, to: Handle) {
        if self.names.is_empty() {
            return;
        }
        let peers = (0..MAX_PEERS).map(|n| self.names[(self.next + n) % self.names.len()]).collect();
        self.next += MAX_PEERS;
        self.say(to, &Message::Peers { channel: 1, peers });
    }

    fn pump(&mut self) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Connected { handle, .. } => {
                    self.say(handle, &Message::Hello { node: 1 });
                    let (fid, channel) = (self.fid, 1);
                    let open = Message::Open { channel, fid, has_manifest: false, is_complete: false };
                    self.say(handle, &open);
                }
                Event::Message { handle, data } => match Message::decode(&data) {
                    Ok(Message::Open { .. }) if self.met.insert(handle) => {
                        // Unasked, all of it.
                        (0..self.names.len() / MAX_PEERS).for_each(|_| self.lie(handle));
                    }
                    Ok(Message::AskPeers { .. }) => {
                        self.asked += 1;
                        // Once too often.
                        (0..2).for_each(|_| self.lie(handle));
                    }
                    _ => {}
                },
                Event::Answered { .. } | Event::Moved { .. } | Event::Closed { .. } => {}
            }
        }
    }
}

impl Machine for Liar {
    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.endpoint.handle_datagram(now, from, datagram);
        self.pump();
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        self.pump();
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        self.endpoint.poll_transmit(now, buf)
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.endpoint.poll_timeout()
    }
}

/// What became of a swarm with a liar that names `names` peers.
struct Outcome {
    /// When the last receiver was done, s.
    last: f64,
    /// What arrived at an address that the liar names, datagrams.
    at_victim: u64,
    /// What the receivers sent to nobody, datagrams.
    to_nobody: u64,
    asked: u32,
}

/// A source, four receivers, and eight that the tracker still lists but that are gone: so the receivers ask.
fn with_liar(seed: u64, names: u16) -> Outcome {
    let mut lab = Lab::new(seed, SIZE, Faults::none());
    let source = lab.add(SLOW);
    lab.share(source);
    let gone: Vec<NodeId> = (0..8).map(|_| lab.add(FAST)).collect();
    gone.iter().for_each(|&id| lab.share(id));
    run(&mut lab, 2.0);
    gone.iter().for_each(|&id| lab.world.crash(id));
    let victim = lab.add(FAST);
    let receivers: Vec<NodeId> = (0..4).map(|_| lab.add(FAST)).collect();
    let start = lab.world.now();
    receivers.iter().for_each(|&id| lab.fetch(id));
    let dead = |n: u16| SocketAddr::from(([10, 9, (n >> 8) as u8, n as u8], 7000));
    let names: Vec<SocketAddr> =
        (0..names).map(|n| if n % 4 == 0 { lab.world.addr(victim) } else { dead(n) }).collect();
    let mut liar = Liar::new(Rng::from_seed(seed), lab.fid, names);
    receivers.iter().for_each(|&id| liar.dial(start, lab.world.addr(id)));
    let place = lab.add_linked(LinkConfig::default());
    lab.world.restart(place, Actor::Liar(Box::new(liar)));
    assert!(lab.run_until_done(&receivers, Duration::from_secs(600)), "{}", lab.replay());
    receivers.iter().for_each(|&id| lab.assert_content(id));
    let last = receivers.iter().filter_map(|&id| lab.done_at(id)).max().expect("done");
    let Actor::Liar(liar) = lab.world.node(place) else { panic!("it is a liar") };
    assert_eq!(liar.met.len(), receivers.len());
    Outcome {
        last: last.since(start).as_secs_f64(),
        at_victim: lab.world.stats(victim).datagrams_received,
        to_nobody: receivers.iter().map(|&id| lab.world.stats(id).unreachable).sum(),
        asked: liar.asked,
    }
}

#[test]
fn a_liar_harms_nobody() {
    for seed in 0..3 {
        let (without, with) = (with_liar(seed, 0), with_liar(seed, 1_000));
        let extra = with.to_nobody.saturating_sub(without.to_nobody);
        println!(
            "seed {seed}: {:.2} s, with the liar {:.2} s; asked {} times; {extra} more datagrams to nobody, {} to the victim",
            without.last, with.last, with.asked, with.at_victim,
        );
        assert!(with.asked > 0 && without.at_victim == 0);
        assert!(with.last <= 1.03 * without.last + 0.5, "{} s, {} s", with.last, without.last);
        // Eight addresses at most from each of four receivers, each dialled once: some hellos.
        assert!(extra <= 4 * 8 * 8 && with.at_victim <= 4 * 2 * 8, "{extra}, {}", with.at_victim);
    }
}
