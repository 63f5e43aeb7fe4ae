//! Taking requests over: from sources that are slow, or have fallen silent, by those that have nothing to do.

use super::{Ask, Download, MANY_PEERS, MAX_REFUSALS, Peers};
use crate::pclient::peer::{Announced, Peer, Request, Source, Target};
use crate::rudp::Handle;
use crate::time::{Duration, Instant};

/// Most requests that a block is under way in, where those who were asked before have fallen silent.
const MAX_COPIES: u32 = 4;
/// A steal has to promise the block in this share of the time; at the end, where nothing else is left to ask for, in that of the
/// other. What is stolen of a source that is little slower has often left already, and comes twice.
const STEAL_GAIN: f64 = 0.25;
const STEAL_GAIN_AT_END: f64 = 0.5;

/// At the end, a request that would take a source longer than this, s, goes to another: taken away if it has not begun to send, else
/// doubled, where few give anything. Of many, most are slow only because they serve each other.
const LONG_AT_END: f64 = 1.0;
/// But first it has that long, and two round trips, to begin.
const SOON: Duration = Duration::from_millis(250);

impl Download {
    /// For a source that has nothing to do for us: takes over the last request of the slowest one, if that brings it
    /// much sooner. A request that another source is in the middle of is doubled instead, and only after silence; at the end after
    /// a shorter one, or if it takes long.
    pub fn steal(&mut self, now: Instant, peers: &mut Peers, thief: Handle) -> Vec<(Handle, Ask)> {
        let Some((victim, index, mut target)) = self.find_prey(now, peers, thief) else { return Vec::new() };
        let may_take_first = self.may_take_first(now, &peers[&victim].source);
        let is_missed = may_take_first || peers[&victim].source.is_silent(now);
        let source = &mut peers.get_mut(&victim).expect("just seen").source;
        let needs_one_giver = self.blocks.needs_one_giver(target.piece);
        if needs_one_giver {
            target = self.blocks.whole(target.piece);
        }
        let mut asks = Vec::new();
        // The first may be on its way: then it is doubled. Where it has but stopped coming, or takes long, only what comes together is.
        if index == 0 && is_missed {
            source.on_missed(now);
        } else if index == 0 {
            target.blocks.end = target.blocks.end.min(target.blocks.start + self.lengths.blocks_together());
        }
        if index > 0 || may_take_first || needs_one_giver {
            let request = source.take(index);
            self.release(&request);
            asks.push((victim, Ask::Cancel { id: request.id }));
        }
        let id = self.request(now, peers, thief, Some(target.clone()));
        asks.push((thief, Ask::Blocks { id, target }));
        asks
    }

    /// Whether the first request of a source most likely comes too late to be waited for, and has not left yet.
    fn may_take_first(&self, now: Instant, source: &Source) -> bool {
        let is_at_end = self.blocks.are_all_asked_for();
        // Whoever has just been asked is given a moment.
        let may_be_judged = || now.since(source.active) >= SOON + 2 * source.min_rtt;
        let is_slow = || source.rate_when_busy > 0.0 && source.time_to_deliver(now) > LONG_AT_END;
        source.keeps_waiting(now) || is_at_end && !source.has_begun() && may_be_judged() && is_slow()
    }

    /// The request that `thief` had best take over: of the slowest source, and the last of those that it has itself. With it what is missing
    /// of it.
    fn find_prey(&self, now: Instant, peers: &Peers, thief: Handle) -> Option<(Handle, usize, Target)> {
        let source = &peers[&thief].source;
        let Announced::Known(offered) = &peers[&thief].pieces else { return None };
        // Most have nothing that is under way: there is no need to look at what others are asked for then.
        if !source.requests().is_empty() || !source.is_trusted(now) || !offered.meets(self.blocks.begun()) {
            return None;
        }
        // Of those that have nothing to do, the one that keeps its word takes over.
        let better =
            |peer: &Peer| peer.source.requests().is_empty() && peer.source.misses() < source.misses();
        let others: Vec<&Peer> =
            if source.misses() == 0 { Vec::new() } else { peers.values().filter(|p| better(p)).collect() };
        let is_at_end = self.blocks.are_all_asked_for();
        let gain = if is_at_end { STEAL_GAIN_AT_END } else { STEAL_GAIN };
        let are_few = peers.len() <= MANY_PEERS;
        let mut thief_rate = None;
        let mut best: Option<(f64, Handle, usize, Target)> = None;
        for (&key, peer) in peers.iter().filter(|(key, _)| **key != thief) {
            let requests = peer.source.requests();
            let prey = |request: &Request, most: u32| {
                let target = request.target.as_ref()?;
                let may_go = offered.get(target.piece) && !others.iter().any(|other| other.has(target.piece));
                self.blocks.rare_part(target, most).filter(|_| may_go)
            };
            let last = (1..requests.len()).rev().find_map(|index| Some((index, prey(&requests[index], 1)?)));
            let most = if peer.source.is_silent(now) { MAX_COPIES - 1 } else { 1 };
            let first = || Some((0, prey(requests.front()?, most)?));
            let Some((index, target)) = last.or_else(first) else { continue };
            // Of what one has to give as a whole nothing is left if it is taken away: only silence is a reason for that.
            let may_double = is_at_end && !self.blocks.needs_one_giver(target.piece);
            let is_stuck = may_double && peer.source.is_stuck(now);
            let eta = peer.source.time_to_deliver(now);
            let takes_long = may_double && are_few && peer.source.has_begun() && eta > LONG_AT_END;
            let may_go_first = || {
                is_stuck || takes_long || peer.source.is_silent(now) || self.may_take_first(now, &peer.source)
            };
            if index == 0 && !may_go_first() {
                continue;
            }
            if best.as_ref().is_some_and(|&(longest, ..)| eta < longest) {
                continue;
            }
            let thief_rate = *thief_rate.get_or_insert_with(|| match source.rate_when_busy {
                // Nothing is known of it: give it the benefit of the doubt.
                rate if rate < 1.0 => {
                    peers.values().map(|peer| peer.source.meter.rate(now)).fold(0.0, f64::max).max(1.0)
                }
                rate => rate,
            });
            // What is stuck comes when the loss is noticed, whatever the rate.
            if is_stuck || self.blocks.len_of(&target) as f64 / thief_rate < gain * eta {
                best = Some((eta, key, index, target));
            }
        }
        best.map(|(_, key, index, target)| (key, index, target))
    }

    /// Gives up all requests to a source that has been silent for so long that something must have gone wrong. When somebody
    /// last announced anything, `spread` tells: as long as that goes on, a source that others get it from needn't hurry.
    pub fn unstall(&mut self, now: Instant, peers: &mut Peers, key: Handle, spread: Instant) -> Vec<Ask> {
        let peer = peers.get_mut(&key).expect("only peers stall");
        let spread = if peer.began_complete { spread } else { Instant::ORIGIN };
        let source = &mut peer.source;
        let requests = source.take_stalled(now, spread);
        if requests.is_empty() {
            return Vec::new();
        }
        source.on_missed(now);
        // What it was to choose by itself may be asked of others now.
        source.refusals = MAX_REFUSALS;
        requests.iter().for_each(|request| self.release(request));
        requests.into_iter().map(|request| Ask::Cancel { id: request.id }).collect()
    }
}
