//! Peer exchange: who is short of neighbours asks one that it has for others, so that a swarm goes on without a tracker.
//!
//! Nobody is told of anybody unasked, and only peers that the teller itself is connected to are named, never hearsay. What is
//! heard is a candidate to dial, no more: given up after one attempt, and a teller of whose names a handful lead nowhere is
//! not asked again. A swarm in which everybody is connected to everybody says nothing.

use std::net::SocketAddr;

use super::{Node, Role, say};
use crate::Fid;
use crate::coding::on_link_of;
use crate::pclient::message::{MAX_PEERS, Message};
use crate::rudp::Handle;
use crate::time::{Duration, Instant};

/// Between two questions about one file; twice as long each time that nobody has come of it.
const ASK_GAP_MIN: Duration = Duration::from_secs(5);
const ASK_GAP_MAX: Duration = Duration::from_secs(60);
/// Answers about one file take at most this share of what is sent of it, within these gaps.
const SHARE: f64 = 0.005;
const TELL_GAP_MIN: Duration = Duration::from_millis(500);
const TELL_GAP_MAX: Duration = Duration::from_secs(10);
/// What an answer costs on the wire, with its acknowledgement, B.
const COST: f64 = 150.0;
/// Who was not heard for longer may be gone, and isn't named.
const RECENT: Duration = Duration::from_secs(60);

/// When to ask and when to answer, for one file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange {
    /// How many take part, this node included: as the tracker last said, or as many as there have been since.
    known: usize,
    ask_at: Instant,
    gap: Duration,
    /// How many neighbours there were when somebody was last asked.
    peers_before: usize,
    /// Who was asked and has not answered.
    asked: Option<Handle>,
    tell_at: Instant,
}

impl Exchange {
    pub(super) fn new(now: Instant) -> Exchange {
        let (ask_at, gap) = (now + ASK_GAP_MIN, ASK_GAP_MIN);
        Exchange { known: 0, ask_at, gap, peers_before: 0, asked: None, tell_at: now }
    }

    /// How many take part, as far as is known.
    pub(super) fn known(&self) -> usize {
        self.known
    }

    /// The tracker says how many take part.
    pub(super) fn on_total(&mut self, total: u32) {
        self.known = total as usize;
    }

    /// There are `peers` neighbours, one of them new.
    pub(super) fn on_peers(&mut self, peers: usize) {
        self.known = self.known.max(peers + 1);
    }

    /// When to ask, with `peers` neighbours of the `wanted`; `None` if there is no need or nobody else to be known.
    pub(super) fn due(&self, peers: usize, wanted: usize) -> Option<Instant> {
        (peers > 0 && peers < wanted && peers + 1 < self.known).then_some(self.ask_at)
    }

    /// Asks `whom`, one of `peers` neighbours, or nobody this time.
    fn ask(&mut self, now: Instant, peers: usize, whom: Option<Handle>) {
        self.gap = if peers > self.peers_before { ASK_GAP_MIN } else { (self.gap * 2).min(ASK_GAP_MAX) };
        self.peers_before = peers;
        self.ask_at = now + self.gap;
        self.asked = whom;
    }

    /// Whether `from` was asked. It has answered then, and what it says further wasn't asked for.
    fn accept(&mut self, from: Handle) -> bool {
        self.asked.take_if(|asked| *asked == from).is_some()
    }

    /// Whether to answer, at `rate` B/s sent of the file.
    fn may_tell(&mut self, now: Instant, rate: f64) -> bool {
        if now < self.tell_at {
            return false;
        }
        let affordable = Duration::from_secs_f64(COST / (SHARE * rate.max(1.0)));
        self.tell_at = now + affordable.clamp(TELL_GAP_MIN, TELL_GAP_MAX);
        true
    }
}

impl Node {
    /// Asks a neighbour for others where that is due.
    pub(super) fn ask_for_peers(&mut self, now: Instant) {
        for member in self.members.values_mut() {
            let peers = member.swarm.peers();
            let least = self.config.least_peers(member.exchange.known());
            let due = member.exchange.due(peers.len(), least).filter(|&due| due <= now);
            if due.is_none() || member.role != Role::Downloading || member.swarm.is_done() {
                continue;
            }
            let is_connected = |addr| self.connections.values().any(|c| c.remote == addr);
            let has_candidates = member.book.due(now).into_iter().any(|addr| !is_connected(addr));
            let trusted = peers.iter().filter(|(_, peer)| !has_candidates && member.book.trusts(peer.remote));
            let trusted: Vec<Handle> = trusted.map(|(&key, _)| key).collect();
            let whom = (!trusted.is_empty()).then(|| trusted[self.rng.index(trusted.len())]);
            member.exchange.ask(now, peers.len(), whom);
            if let Some(whom) = whom {
                say(&mut self.endpoint, whom, &Message::AskPeers { channel: member.swarm.number().into() });
            }
        }
    }

    /// A peer asks for others: names some, at random.
    pub(super) fn tell_peers(&mut self, now: Instant, to: Handle, fid: Fid) {
        let (Some(asker), Some(member)) = (self.remote(to), self.members.get_mut(&fid)) else { return };
        let named = member.swarm.peers().keys().filter(|&&key| key != to).filter_map(|key| {
            let connection = self.connections.get(key)?;
            let addr = connection.remote;
            let is_good = connection.established
                && now.since(connection.heard) <= RECENT
                && addr != asker
                && addr.ip().is_loopback() == asker.ip().is_loopback();
            is_good.then_some(addr)
        });
        let mut peers: Vec<SocketAddr> = named.collect();
        if peers.is_empty() || !member.exchange.may_tell(now, member.swarm.sending_rate(now)) {
            return;
        }
        self.rng.shuffle(&mut peers);
        peers.truncate(MAX_PEERS);
        let channel = member.swarm.number().into();
        say(&mut self.endpoint, to, &Message::Peers { channel, peers });
    }

    /// A peer names others: candidates to dial, if it was asked.
    pub(super) fn hear_of_peers(&mut self, now: Instant, from: Handle, fid: Fid, peers: &[SocketAddr]) {
        let (Some(teller), Some(member)) = (self.remote(from), self.members.get_mut(&fid)) else { return };
        if member.role != Role::Downloading || !member.exchange.accept(from) {
            return;
        }
        for addr in peers.iter().map(|&addr| on_link_of(teller, addr)) {
            let is_sensible = addr.port() != 0
                && !addr.ip().is_unspecified()
                && !addr.ip().is_multicast()
                && addr.ip().is_loopback() == teller.ip().is_loopback();
            let is_connected = self.connections.values().any(|connection| connection.remote == addr);
            if is_sensible && !is_connected {
                member.book.add_told(addr, teller, now);
                self.dials.stir();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    #[test]
    fn nobody_is_asked_where_all_are_connected_or_enough_are() {
        let mut exchange = Exchange::new(at(0));
        assert_eq!(exchange.due(3, 20), None, "the tracker has not said how many there are");
        exchange.on_total(5);
        for (peers, wanted, due) in [(4, 20, None), (3, 20, Some(at(5_000))), (3, 3, None), (0, 20, None)] {
            assert_eq!(exchange.due(peers, wanted), due, "{peers} of {wanted}");
        }
        exchange.on_peers(7);
        assert_eq!(exchange.due(6, 20), Some(at(5_000)), "there has been one more");
        for (peers, asked, due) in [(6, 6, 11), (6, 11, 21), (7, 21, 26), (6, 30, 40), (5, 40, 60)] {
            exchange.ask(at(asked * 1_000), peers, None);
            assert_eq!(exchange.due(3, 20), Some(at(due * 1_000)), "asked at {asked} s");
        }
    }

    #[test]
    fn only_who_was_asked_is_heard_and_only_once() {
        let [asked, other] = [1, 2].map(Handle::for_test);
        let mut exchange = Exchange::new(at(0));
        exchange.ask(at(0), 1, Some(asked));
        assert!(!exchange.accept(other));
        assert!(exchange.accept(asked));
        assert!(!exchange.accept(asked));
    }

    #[test]
    fn answers_cost_half_a_percent_at_most() {
        for (rate, gap) in [(0.0, 10_000), (5_000.0, 6_000), (30_000.0, 1_000), (1e9, 500)] {
            let mut exchange = Exchange::new(at(0));
            assert!(exchange.may_tell(at(0), rate));
            assert!(!exchange.may_tell(at(gap - 1), rate), "{rate}");
            assert!(exchange.may_tell(at(gap), rate), "{rate}");
        }
    }
}
