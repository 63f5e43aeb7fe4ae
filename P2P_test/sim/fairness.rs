//! Tit for tat: who gives most goes first, who stops giving loses its place, and who recovers regains it, at next to no cost.
//!
//! `SEEDS=20 cargo test --release --test sim -- --nocapture fairness` plays the worlds of as many seeds, from 1 on.

use std::env;

use swarmcast::pclient::choker::Standing;
use swarmcast::pclient::status::PeerStatus;
use swarmcast::sim::{Faults, NodeId};
use swarmcast::time::{Duration, Instant};
use swarmcast::units::Rate;

use crate::lab::{Lab, Rates};

const SIZE: usize = 6_219_177;
const FAST: Rates = (200_000, 200_000);
const SLOW: Rates = (40_000, 200_000);

pub(crate) fn seeds() -> std::ops::RangeInclusive<u64> {
    1..=env::var("SEEDS").map_or(1, |seeds| seeds.parse().expect("SEEDS is a number"))
}

/// Peers that fetch a file from one source.
struct Swarm {
    lab: Lab,
    begin: Instant,
    source: NodeId,
    receivers: Vec<NodeId>,
}

/// What somebody is like.
#[derive(Clone, Copy)]
struct Kind {
    rates: Rates,
    gives: bool,
}

const HONEST: Kind = Kind { rates: FAST, gives: true };
const LAME: Kind = Kind { rates: SLOW, gives: true };
const RIDER: Kind = Kind { rates: FAST, gives: false };

impl Swarm {
    fn new(seed: u64, size: usize, kinds: &[Kind], choking: bool) -> Swarm {
        let mut lab = Lab::new(seed, size, Faults::none());
        lab.config.choking = choking;
        let source = lab.add(FAST);
        lab.share(source);
        lab.world.run_until(Instant::ORIGIN + Duration::from_secs(2));
        let mut receivers = Vec::new();
        for kind in kinds {
            lab.config.gives = kind.gives;
            receivers.push(lab.add(kind.rates));
        }
        receivers.iter().for_each(|&id| lab.fetch(id));
        Swarm { begin: lab.world.now(), lab, source, receivers }
    }

    fn run_for(&mut self, seconds: f64) {
        let until = self.lab.world.now() + Duration::from_secs_f64(seconds);
        self.lab.world.run_until(until);
    }

    /// Runs until all are done. When the first and the last of some were, s after the begin.
    fn finish(&mut self) {
        assert!(self.lab.run_until_done(&self.receivers, Duration::from_secs(300)), "{}", self.lab.replay());
        self.receivers.iter().for_each(|&id| self.lab.assert_content(id));
    }

    /// When the first and the last of these were done, s after the begin.
    fn done(&self, ids: &[NodeId]) -> (f64, f64) {
        let done = ids.iter().map(|&id| self.lab.done_at(id).expect("all are done"));
        let seconds = done.map(|at| at.since(self.begin).as_secs_f64());
        seconds.fold((f64::MAX, 0.0), |(first, last), at| (at.min(first), at.max(last)))
    }

    /// How `of` stands with `with`.
    fn status(&self, of: NodeId, with: NodeId) -> Option<PeerStatus> {
        let addr = self.lab.world.addr(with);
        self.lab.peer(of).node.peers(self.lab.world.now()).find(|status| status.addr == addr)
    }

    /// How many receivers give `id` a place because it gives most.
    fn places_of(&self, id: NodeId) -> usize {
        let others = self.receivers.iter().filter(|&&other| other != id);
        let gives = |&&other: &&NodeId| {
            self.status(other, id).is_some_and(|status| status.standing == Standing::Merit)
        };
        others.filter(gives).count()
    }

    /// Runs until `holds`, s from now on.
    fn time_until(&mut self, holds: impl Fn(&Swarm) -> bool) -> f64 {
        let from = self.lab.world.now();
        while !holds(self) {
            self.run_for(0.1);
            let waited = self.lab.world.now().since(from);
            assert!(waited < Duration::from_secs(60), "after {waited:?} still not; {}", self.lab.replay());
        }
        self.lab.world.now().since(from).as_secs_f64()
    }
}

pub(crate) fn worst(figures: &[f64]) -> f64 {
    figures.iter().copied().fold(0.0, f64::max)
}

#[test]
fn who_slows_down_to_a_tenth_loses_its_places_and_regains_them() {
    let (mut lost, mut regained) = (Vec::new(), Vec::new());
    for seed in seeds() {
        // Ten of whom five give the lead to the better ones: places are fought for.
        let kinds = [[HONEST; 6], [LAME; 6]].concat();
        let mut swarm = Swarm::new(seed, 2 * SIZE, &kinds, true);
        let id = swarm.receivers[0];
        swarm.run_for(15.0);
        let before = swarm.places_of(id);
        assert!(before >= 4, "it has {before} places; {}", swarm.lab.replay());

        swarm.lab.world.set_rates(id, Rate::new(20_000), Rate::new(200_000));
        lost.push(swarm.time_until(|swarm| swarm.places_of(id) <= before / 4));
        swarm.run_for(10.0);
        assert!(swarm.places_of(id) <= before / 2, "{}", swarm.lab.replay());

        swarm.lab.world.set_rates(id, Rate::new(200_000), Rate::new(200_000));
        regained.push(swarm.time_until(|swarm| swarm.places_of(id) >= before - before / 4));
    }
    println!(
        "its places are lost after {:.1} s at worst, regained after {:.1} s",
        worst(&lost),
        worst(&regained)
    );
    println!("lost {lost:.1?}\nregained {regained:.1?}");
    assert!(worst(&lost) <= 3.0);
    assert!(worst(&regained) <= 15.0);
}

#[test]
fn the_fast_are_done_before_the_slow_and_nobody_pays_for_it() {
    // What the fluid model allows at best.
    let bound = 8.0 * SIZE as f64 / (5.0 * 200_000.0 + 4.0 * 40_000.0);
    let mut ratios = Vec::new();
    for seed in seeds() {
        let kinds = [[HONEST; 4], [LAME; 4]].concat();
        let last = |choking| {
            let mut swarm = Swarm::new(seed, SIZE, &kinds, choking);
            swarm.finish();
            let (fast, slow) = swarm.receivers.split_at(4);
            (swarm.done(fast), swarm.done(slow))
        };
        let (fast, slow) = last(true);
        let (fast_without, slow_without) = last(false);
        let without = fast_without.1.max(slow_without.1);
        println!(
            "seed {seed}: fast {:.1}–{:.1} s, slow {:.1}–{:.1} s, last {:.3} D; without a choker {:.3} D",
            fast.0,
            fast.1,
            slow.0,
            slow.1,
            slow.1 / bound,
            without / bound
        );
        assert!(fast.1 < slow.1, "the last of the fast is done before the last of the slow");
        assert!(fast.0 + fast.1 < slow.0 + slow.1);
        assert!(slow.1 <= 1.05 * without, "choking costs at most a twentieth");
        ratios.push(slow.1 / bound);
    }
    println!("last ÷ D: {:.3} at worst", worst(&ratios));
    assert!(worst(&ratios) <= 1.10);
}

#[test]
fn who_gives_nothing_comes_last_and_is_not_starved() {
    let mut losses = Vec::new();
    for seed in seeds() {
        let mut alone = Swarm::new(seed, SIZE, &[HONEST; 8], true);
        alone.finish();
        let (_, without) = alone.done(&alone.receivers);
        let mut swarm = Swarm::new(seed, SIZE, &[&[HONEST; 8][..], &[RIDER; 2]].concat(), true);
        swarm.finish();
        let (honest, riders) = swarm.receivers.split_at(8);
        let ((_, last), (first_rider, last_rider)) = (swarm.done(honest), swarm.done(riders));
        println!(
            "seed {seed}: honest {last:.2} s, {without:.2} s among themselves; riders {first_rider:.1} s, {last_rider:.1} s"
        );
        assert!(first_rider > last, "they come last");
        // While the honest receive at full rate, a tenth of the uplinks is to spare.
        assert!(last_rider < 2.0 * last, "they aren't starved");
        losses.push(last / without - 1.0);
    }
    println!("the honest lose {:.1} % at worst", 100.0 * worst(&losses));
    assert!(worst(&losses) <= 0.05);
}

#[test]
fn who_gives_gets_as_much_and_keeps_its_place() {
    for seed in seeds() {
        let kinds = [[HONEST; 8], [LAME; 8]].concat();
        let mut swarm = Swarm::new(seed, 2 * SIZE, &kinds, true);
        let all: Vec<NodeId> = [&[swarm.source][..], &swarm.receivers].concat();
        let mut choked = vec![vec![None; swarm.receivers.len()]; all.len()];
        let mut flaps = vec![vec![0; swarm.receivers.len()]; all.len()];
        swarm.run_for(10.0);
        for _ in 0..600 {
            swarm.run_for(0.1);
            for (i, &of) in all.iter().enumerate() {
                for (j, &with) in swarm.receivers.iter().enumerate() {
                    let Some(status) = swarm.status(of, with) else { continue };
                    let is_choked = status.standing.is_choked();
                    flaps[i][j] +=
                        u32::from(choked[i][j].replace(is_choked).is_some_and(|was| was != is_choked));
                }
            }
        }
        let most = flaps.iter().flatten().max().copied().unwrap_or_default();
        let total: u32 = flaps.iter().flatten().sum();
        println!("seed {seed}: {total} changes in a minute, of one peer at one node {most}");
        assert!(most <= 4, "it flaps; {}", swarm.lab.replay());
    }
    // Given ÷ received of those who are alike.
    for seed in seeds() {
        let mut swarm = Swarm::new(seed, SIZE, &[&[HONEST; 8][..], &[RIDER; 2]].concat(), true);
        swarm.finish();
        let shares: Vec<f64> = swarm.receivers[..8]
            .iter()
            .map(|&id| {
                let stats = swarm.lab.world.stats(id);
                stats.bytes_sent as f64 / stats.bytes_received as f64
            })
            .collect();
        let sum: f64 = shares.iter().sum();
        let jain = sum * sum / (shares.len() as f64 * shares.iter().map(|share| share * share).sum::<f64>());
        println!("seed {seed}: given ÷ received: Jain's index {jain:.3}");
        assert!(jain >= 0.9);
    }
}
