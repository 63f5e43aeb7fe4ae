//! Peers that lie: whatever one of two or nine of ten do, the honest receiver gets the file, in at most twice the time that
//! the honest ones alone need, and who can be proved a liar is banned, and nobody else.

mod bans;
mod forger;
mod liar;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use swarmcast::pclient::manifest::Manifest;
use swarmcast::rand::Rng;
use swarmcast::rudp::packet::{self, Kind};
use swarmcast::sim::{Faults, LinkConfig, NodeId};
use swarmcast::time::Duration;
use swarmcast::tracker::{Limits, Server};
use swarmcast::units::Rate;

use self::forger::{Bystander, Forger, Gossip};
use self::liar::{File, Liar, Tally, Way};
use crate::lab::{Actor, Lab, Rates};

const SIZE: usize = 600_000;
const SOURCE: Rates = (100_000, 400_000);
const RECEIVER: Rates = (100_000, 400_000);
/// The uplink of a liar; of one who floods, so that it isn't the links that are full; and of one who drips, B/s.
const LIAR: u64 = 100_000;
const FLOOD: u64 = 20_000;
const DRIP: u64 = 500;

/// A source, those who receive, and those who lie to all of them.
struct Court {
    lab: Lab,
    file: File,
    source: NodeId,
    receivers: Vec<NodeId>,
    liars: Vec<Rc<RefCell<Tally>>>,
}

/// How a download went.
#[derive(Debug)]
struct Verdict {
    /// s.
    took: f64,
    /// How many of the liars were banned by the receiver or the source.
    banned: usize,
    is_honest_banned: bool,
}

impl Court {
    fn new(size: usize, source: Rates, receiver: Rates, receivers: usize) -> Court {
        let lab = Lab::new(1, size, Faults::none());
        Court::of(lab, source, receiver, receivers)
    }

    fn of(mut lab: Lab, source: Rates, receiver: Rates, receivers: usize) -> Court {
        let source = lab.add(source);
        lab.share(source);
        lab.world.run_until(lab.world.now() + Duration::from_secs(2));
        let receivers = (0..receivers).map(|_| lab.add(receiver)).collect();
        let manifest = Arc::new(Manifest::of(&lab.content));
        let file = File { fid: lab.fid, content: lab.content.clone(), manifest };
        Court { lab, file, source, receivers, liars: Vec::new() }
    }

    /// Lets `count` liars in, who dial each of `victims` `times` times.
    fn summon(
        &mut self,
        way: Way,
        (count, times): (usize, usize),
        is_source: bool,
        uplink: u64,
        victims: &[NodeId],
    ) {
        let victims: Vec<SocketAddr> = victims.iter().map(|&id| self.lab.world.addr(id)).collect();
        for n in 0..count {
            let link = LinkConfig {
                up: Rate::new(uplink),
                down: Rate::new(uplink.max(400_000)),
                ..LinkConfig::default()
            };
            let place = self.lab.add_linked(link);
            let (rng, now) = (Rng::from_seed(n as u64), self.lab.world.now());
            let (liar, tally) = Liar::new(way, &self.file, is_source, rng, now, (&victims, times));
            self.lab.world.restart(place, Actor::Hostile(Box::new(liar)));
            self.liars.push(tally);
        }
    }

    fn honest(&self) -> Vec<NodeId> {
        [&[self.source][..], &self.receivers].concat()
    }

    fn is_honest_banned(&self) -> bool {
        let (now, fid, honest) = (self.lab.world.now(), self.lab.fid, self.honest());
        honest.iter().any(|&judge| {
            let swarm = self.lab.peer(judge).node.swarm(fid);
            let is_banned =
                |&other: &NodeId| swarm.is_some_and(|swarm| swarm.is_banned(now, self.lab.world.addr(other)));
            honest.iter().any(is_banned)
        })
    }

    /// Runs until all receivers are done.
    fn run(&mut self) -> Verdict {
        let (start, mut is_honest_banned) = (self.lab.world.now(), false);
        let receivers = self.receivers.clone();
        receivers.iter().for_each(|&id| self.lab.fetch(id));
        // The shortest ban is a second.
        while !self.lab.run_until_done(&receivers, Duration::from_millis(500)) {
            is_honest_banned |= self.is_honest_banned();
            assert!(
                self.lab.world.now().since(start) < Duration::from_secs(200),
                "not done: {:?}; {}",
                self.lab.peer(receivers[0]).events,
                self.lab.replay()
            );
        }
        receivers.iter().for_each(|&id| self.lab.assert_content(id));
        let last = receivers.iter().filter_map(|&id| self.lab.done_at(id)).max().expect("done");
        // Who has been caught just now hears of it a little later.
        self.lab.world.run_until(self.lab.world.now() + Duration::from_millis(500));
        let banned = self.liars.iter().filter(|tally| !tally.borrow().banned_by.is_empty()).count();
        Verdict { took: last.since(start).as_secs_f64(), banned, is_honest_banned }
    }
}

/// Plays one of two, and nine of ten, who lie as sources and as receivers that have it all, to one receiver and to two.
fn try_all(way: Way, is_provable: bool, uplink: u64) {
    for receivers in [1, 2] {
        let court = || Court::new(SIZE, SOURCE, RECEIVER, receivers);
        let honest = court().run().took;
        for (count, is_source) in [(1, true), (1, false), (9, true), (9, false)] {
            let mut court = court();
            let victims = court.honest();
            court.summon(way, (count, 1), is_source, uplink, &victims);
            judge(way, count, is_source, is_provable, honest, &court.run());
        }
    }
}

fn judge(way: Way, count: usize, is_source: bool, is_provable: bool, honest: f64, verdict: &Verdict) {
    let Verdict { took, banned, is_honest_banned } = *verdict;
    let whom = if is_source { "sources" } else { "receivers" };
    println!(
        "{way:?}, {count} of {} {whom}: {took:.2} s, the honest alone {honest:.2} s; {banned} banned",
        count + 1
    );
    assert!(took <= 2.0 * honest, "{way:?}, {count} {whom}: {took:.2} s, {honest:.2} s");
    assert!(!is_honest_banned, "{way:?}: an honest peer was banned");
    // Of those who lie about the manifest, only who is asked for it.
    let is_asked = !matches!(way, Way::FalseOutline | Way::FalseHashes);
    if is_provable {
        assert!(banned == count || (!is_asked && banned > 0), "{way:?}, {whom}: {banned} banned");
    }
}

#[test]
fn wrong_data() {
    try_all(Way::WrongData, true, LIAR);
}

#[test]
fn late_data() {
    try_all(Way::LateData, false, LIAR);
}

#[test]
fn duplicate_data() {
    try_all(Way::DuplicateData, true, LIAR);
}

#[test]
fn unrequested_data() {
    try_all(Way::UnrequestedData, true, LIAR);
}

#[test]
fn false_haves() {
    try_all(Way::FalseHaves, false, LIAR);
}

#[test]
fn rejections_of_what_was_claimed() {
    try_all(Way::Rejects, false, LIAR);
}

#[test]
fn false_outlines() {
    try_all(Way::FalseOutline, true, LIAR);
}

#[test]
fn false_hashes() {
    try_all(Way::FalseHashes, true, LIAR);
}

#[test]
fn manifests_that_never_come() {
    try_all(Way::NoManifest, false, LIAR);
}

#[test]
fn a_slow_drip() {
    try_all(Way::Drip, false, DRIP);
}

#[test]
fn floods_of_requests() {
    try_all(Way::Requests, true, FLOOD);
}

#[test]
fn floods_of_credits() {
    try_all(Way::Credits, true, FLOOD);
}

#[test]
fn floods_of_requests_for_what_is_not_there() {
    try_all(Way::Nonsense, true, FLOOD);
}

#[test]
fn floods_of_questions_for_the_manifest() {
    try_all(Way::Manifests, true, FLOOD);
}

#[test]
fn floods_of_opens() {
    try_all(Way::Opens, true, FLOOD);
}

#[test]
fn a_false_block_among_true_ones() {
    // Only long files have pieces whose blocks come in several messages.
    const LONG: usize = 120_000_000;
    const FAST: Rates = (20_000_000, 80_000_000);
    let court = || Court::new(LONG, FAST, FAST, 1);
    let honest = court().run().took;
    for count in [1, 9] {
        let mut court = court();
        let victims = court.receivers.clone();
        court.summon(Way::OneWrongBlock, (count, 1), false, FAST.0, &victims);
        judge(Way::OneWrongBlock, count, false, true, honest, &court.run());
    }
}

#[test]
fn connections_that_open_nothing_are_few_and_short() {
    let mut lab = Lab::new(1, SIZE, Faults::none());
    lab.config.rudp.max_connections_per_ip = 50;
    let honest = Court::of(lab, SOURCE, RECEIVER, 1).run().took;
    let mut lab = Lab::new(1, SIZE, Faults::none());
    lab.config.rudp.max_connections_per_ip = 50;
    let mut court = Court::of(lab, SOURCE, RECEIVER, 1);
    let victims = court.honest();
    court.summon(Way::NoOpen, (1, 300), false, LIAR, &victims);
    let start = court.lab.world.now();
    let took = court.run().took;
    let count = |court: &Court| {
        victims.iter().map(|&id| court.lab.peer(id).node.endpoint().connection_count()).collect::<Vec<_>>()
    };
    let during = count(&court);
    court.lab.world.run_until(start + Duration::from_secs(25));
    let after = count(&court);
    println!("{took:.2} s, alone {honest:.2} s; connections {during:?}, later {after:?}");
    assert!(took <= 2.0 * honest, "{took:.2} s, {honest:.2} s");
    assert_eq!(during, [51, 51], "50 of the one who dials 300 times, and the honest one");
    assert_eq!(after, [1, 1]);
}

#[test]
fn who_holds_a_place_and_wants_nothing_makes_room() {
    let honest = Court::new(SIZE, SOURCE, RECEIVER, 1).run().took;
    let mut court = Court::new(SIZE, SOURCE, RECEIVER, 1);
    let source = [court.source];
    court.summon(Way::Idle, (120, 1), false, LIAR, &source);
    court.lab.world.run_until(court.lab.world.now() + Duration::from_secs(15));
    let opened = court.liars.iter().filter(|tally| !tally.borrow().opened_by.is_empty()).count();
    assert_eq!(opened, 100, "all places are taken");
    court.lab.world.run_until(court.lab.world.now() + Duration::from_secs(6));
    let Verdict { took, .. } = court.run();
    println!("{took:.2} s, alone {honest:.2} s");
    assert!(took <= 2.0 * honest, "{took:.2} s, {honest:.2} s");
}

#[test]
fn who_says_to_be_somebody_else_takes_nobodys_place() {
    const SEEDS: u64 = 5;
    let court = |seed| Court::of(Lab::new(seed, SIZE, Faults::none()), SOURCE, RECEIVER, 1);
    let honest: f64 = (1..=SEEDS).map(|seed| court(seed).run().took).sum();
    let took = (1..=SEEDS).map(|seed| {
        let mut court = court(seed);
        let victims = court.honest();
        // A second and a third time, so that it comes while the two are connected.
        court.summon(Way::Impostor, (1, 3), false, LIAR, &victims);
        let took = court.run().took;
        let connected = victims.iter().map(|&id| court.lab.peer(id).node.endpoint().connection_count());
        println!("seed {seed}: {took:.2} s; connections {:?}", connected.collect::<Vec<_>>());
        took
    });
    let took: f64 = took.sum();
    // What it claims to have is asked of it now and then, and waited for.
    assert!(took <= 1.1 * honest, "{took:.2} s, {honest:.2} s");
}

#[test]
fn forged_closes_cancels_and_leaves_change_nothing() {
    let honest = Court::new(SIZE, SOURCE, RECEIVER, 2).run().took;
    let mut court = Court::new(SIZE, SOURCE, RECEIVER, 2);
    let (world, tracker) = (&court.lab.world, court.lab.tracker_id());
    let (tracker, addrs) =
        (world.addr(tracker), world.node_ids().map(|id| world.addr(id)).collect::<Vec<SocketAddr>>());
    let overheard = forger::Overheard::default();
    let (fid, now, heard) = (court.lab.fid, world.now(), Rc::clone(&overheard));
    court.lab.world.set_filter(move |_, _, to, datagram| {
        if let Ok((header, _)) = packet::open(datagram)
            && header.kind == Kind::Data
            && let Some(&to) = addrs.get(to.index())
        {
            let mut heard = heard.borrow_mut();
            heard.retain(|&(of, _)| of != to);
            heard.push((to, header));
        }
        true
    });
    let (forger, granted) = Forger::new(overheard, tracker, fid, now);
    let place = court.lab.add_linked(LinkConfig::default());
    court.lab.world.restart(place, Actor::Hostile(Box::new(forger)));
    let Verdict { took, .. } = court.run();
    let stray: u64 =
        court.honest().iter().map(|&id| court.lab.peer(id).node.endpoint().dropped().stray).sum();
    println!(
        "{took:.2} s, alone {honest:.2} s; {stray} forged closes, {} forged withdrawals",
        granted.borrow()
    );
    assert!(stray > 100 && *granted.borrow() > 20, "it was tried");
    assert!(took <= 1.05 * honest, "{took:.2} s, {honest:.2} s");
    let Actor::Tracker(server) = court.lab.world.node(court.lab.tracker_id()) else {
        panic!("it is the first")
    };
    assert_eq!(server.registry().holdings(), 3, "all are listed still");
}

#[test]
fn a_tracker_that_names_whom_it_likes_harms_nobody() {
    const SLOW: Rates = (10_000, 10_000);
    let honest = Court::new(SIZE, SLOW, RECEIVER, 1).run().took;
    let mut lab = Lab::new(1, SIZE, Faults::none());
    let victim = lab.add(RECEIVER);
    lab.world.restart(victim, Actor::Hostile(Box::new(Bystander)));
    let own: SocketAddr = ([10, 0, 1, 3], 7000).into();
    let dead = (0..20).map(|n| SocketAddr::from(([10, 9, 0, n], 7000)));
    let names: Vec<SocketAddr> = [own, lab.world.addr(victim)].into_iter().chain(dead).collect();
    let server = Server::new(Rng::from_seed(9), Rate::new(10_000), Limits::default());
    lab.world.restart(lab.tracker_id(), Actor::Hostile(Box::new(Gossip { server, names })));
    let mut court = Court::of(lab, SLOW, RECEIVER, 1);
    assert_eq!(court.lab.world.addr(court.receivers[0]), own, "it is named itself");
    let Verdict { took, .. } = court.run();
    let at_victim = court.lab.world.stats(victim);
    println!(
        "{took:.2} s, alone {honest:.2} s; {} datagrams, {} B to the victim",
        at_victim.datagrams_received, at_victim.bytes_received
    );
    assert!(took <= 2.0 * honest, "{took:.2} s, {honest:.2} s");
    // Not even what keeps a connection alive.
    let rate = at_victim.bytes_received as f64 / took;
    assert!(at_victim.datagrams_received > 0 && rate < 60.0, "{rate:.0} B/s to the victim");
}
