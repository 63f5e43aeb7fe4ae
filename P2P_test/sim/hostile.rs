//! Peers that lie: whatever one of two or nine of ten do, the honest receiver gets the file, in at most twice the time that
//! the honest ones alone need, and who can be proved a liar is banned, and nobody else.

mod liar;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use swarmcast::pclient::manifest::Manifest;
use swarmcast::rand::Rng;
use swarmcast::sim::{Faults, LinkConfig, NodeId};
use swarmcast::time::{Duration, Instant};
use swarmcast::units::Rate;

use self::liar::{File, Liar, Tally, Way};
use crate::lab::{Actor, Lab, Rates};

const SIZE: usize = 600_000;
const SOURCE: Rates = (100_000, 400_000);
const RECEIVER: Rates = (100_000, 400_000);
/// The uplink of a liar; of one who floods, so that it isn't the links that are full; and of one who drips, B/s.
const LIAR: u64 = 100_000;
const FLOOD: u64 = 20_000;
const DRIP: u64 = 500;

/// A source, a receiver, and those who lie to both.
struct Court {
    lab: Lab,
    file: File,
    source: NodeId,
    receiver: NodeId,
    liars: Vec<(NodeId, Rc<RefCell<Tally>>)>,
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
    fn new(seed: u64) -> Court {
        let mut lab = Lab::new(seed, SIZE, Faults::none());
        let source = lab.add(SOURCE);
        lab.share(source);
        lab.world.run_until(Instant::ORIGIN + Duration::from_secs(2));
        let receiver = lab.add(RECEIVER);
        let manifest = Arc::new(Manifest::of(&lab.content));
        let file = File { fid: lab.fid, content: lab.content.clone(), manifest };
        Court { lab, file, source, receiver, liars: Vec::new() }
    }

    /// Lets liars in, who dial each of the honest ones `times` times.
    fn summon(&mut self, way: Way, count: usize, is_source: bool, uplink: u64, times: usize) {
        let victims = [self.receiver, self.source].map(|id| self.lab.world.addr(id));
        for n in 0..count {
            let link =
                LinkConfig { up: Rate::new(uplink), down: Rate::new(400_000), ..LinkConfig::default() };
            let place = self.lab.add_linked(link);
            let (rng, now) = (Rng::from_seed(n as u64), self.lab.world.now());
            let (liar, tally) = Liar::new(way, &self.file, is_source, rng, now, (&victims, times));
            self.lab.world.restart(place, Actor::Hostile(Box::new(liar)));
            self.liars.push((place, tally));
        }
    }

    fn is_honest_banned(&self) -> bool {
        let (now, fid) = (self.lab.world.now(), self.lab.fid);
        let pairs = [(self.source, self.receiver), (self.receiver, self.source)];
        pairs.into_iter().any(|(judge, other)| {
            let swarm = self.lab.peer(judge).node.swarm(fid);
            swarm.is_some_and(|swarm| swarm.is_banned(now, self.lab.world.addr(other)))
        })
    }

    fn run(mut self) -> Verdict {
        let (start, mut is_honest_banned) = (self.lab.world.now(), false);
        self.lab.fetch(self.receiver);
        while !self.lab.run_until_done(&[self.receiver], Duration::from_millis(250)) {
            is_honest_banned |= self.is_honest_banned();
            assert!(
                self.lab.world.now().since(start) < Duration::from_secs(200),
                "not done: {:?}; {}",
                self.lab.peer(self.receiver).events,
                self.lab.replay()
            );
        }
        self.lab.assert_content(self.receiver);
        let took = self.lab.done_at(self.receiver).expect("done").since(start).as_secs_f64();
        // Who has been caught just now hears of it a little later.
        self.lab.world.run_until(self.lab.world.now() + Duration::from_millis(500));
        let banned = self.liars.iter().filter(|(_, tally)| !tally.borrow().banned_by.is_empty()).count();
        Verdict { took, banned, is_honest_banned }
    }
}

/// Plays one of two, and nine of ten, who lie as sources and as receivers that have it all.
fn try_all(way: Way, is_provable: bool, uplink: u64) {
    let honest = Court::new(1).run().took;
    for (count, is_source) in [(1, true), (1, false), (9, true), (9, false)] {
        let mut court = Court::new(1);
        court.summon(way, count, is_source, uplink, 1);
        let Verdict { took, banned, is_honest_banned } = court.run();
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
    try_all(Way::Idle, false, DRIP);
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
