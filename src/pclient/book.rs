//! The addresses that may hold a file, and when to try each.
//!
//! Remembers failures; opens nothing itself.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::time::{Duration, Instant};

/// The first wait after a failure; each further one doubles it.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(15);
/// An address that failed this often in a row is forgotten, until somebody names it again.
const MAX_FAILURES: u32 = 6;
/// Addresses that one peer has named and where nobody who takes part has been found: so many are tried, ever.
const MAX_TOLD: usize = 8;
/// Most addresses kept for one file.
const MAX_ADDRESSES: usize = 500;

#[derive(Clone, Copy, Debug)]
struct Candidate {
    /// The tracker's last answer goes first, each in its own order, and what peers have named comes last.
    turn: (Reverse<u64>, usize),
    failures: u32,
    not_before: Instant,
    /// The peer that named it, until somebody who takes part has been found there.
    told_by: Option<SocketAddr>,
}

/// Where to look for one file.
#[derive(Debug, Default)]
pub struct AddressBook {
    candidates: BTreeMap<SocketAddr, Candidate>,
    /// How many of the addresses that a peer named led nowhere.
    vain: BTreeMap<SocketAddr, usize>,
    /// How many answers of the tracker there were, and how many names from peers.
    answers: u64,
    told: usize,
}

impl AddressBook {
    /// The tracker says that these hold the file.
    pub fn add(&mut self, addrs: impl IntoIterator<Item = SocketAddr>, now: Instant) {
        self.answers += 1;
        for (place, addr) in addrs.into_iter().enumerate() {
            let turn = (Reverse(self.answers), place);
            self.enter(addr, None, turn, now);
            if let Some(candidate) = self.candidates.get_mut(&addr) {
                candidate.turn = turn;
            }
            self.proved(addr);
        }
    }

    /// The peer `teller` says so: that counts for less.
    pub fn add_told(&mut self, addr: SocketAddr, teller: SocketAddr, now: Instant) {
        if self.trusts(teller) {
            self.told += 1;
            self.enter(addr, Some(teller), (Reverse(0), self.told), now);
        }
    }

    /// Whether a peer may name another address.
    pub fn trusts(&self, teller: SocketAddr) -> bool {
        let open = self.candidates.values().filter(|candidate| candidate.told_by == Some(teller)).count();
        open + self.vain.get(&teller).copied().unwrap_or(0) < MAX_TOLD
    }

    fn enter(
        &mut self,
        addr: SocketAddr,
        told_by: Option<SocketAddr>,
        turn: (Reverse<u64>, usize),
        now: Instant,
    ) {
        if self.candidates.len() < MAX_ADDRESSES {
            let candidate = Candidate { turn, failures: 0, not_before: now, told_by };
            self.candidates.entry(addr).or_insert(candidate);
        }
    }

    /// It is known that `addr` is of no use.
    pub fn remove(&mut self, addr: SocketAddr) {
        self.candidates.remove(&addr);
    }

    /// An attempt failed, or a connection broke.
    pub fn failed(&mut self, addr: SocketAddr, now: Instant) {
        let Some(candidate) = self.candidates.get_mut(&addr) else { return };
        candidate.failures += 1;
        if candidate.told_by.is_some() {
            return self.refused(addr);
        }
        let wait = (FIRST_RETRY * (1 << (candidate.failures - 1).min(10))).min(MAX_RETRY);
        candidate.not_before = candidate.not_before.max(now + wait);
        if candidate.failures >= MAX_FAILURES {
            self.candidates.remove(&addr);
        }
    }

    /// `addr` is not to be tried before `until`.
    pub fn wait(&mut self, addr: SocketAddr, until: Instant) {
        if let Some(candidate) = self.candidates.get_mut(&addr) {
            candidate.not_before = candidate.not_before.max(until);
        }
    }

    /// An attempt succeeded.
    pub fn succeeded(&mut self, addr: SocketAddr) {
        if let Some(candidate) = self.candidates.get_mut(&addr) {
            candidate.failures = 0;
        }
    }

    /// Somebody who takes part is at `addr`: it counts as if the tracker had named it.
    pub fn proved(&mut self, addr: SocketAddr) {
        if let Some(candidate) = self.candidates.get_mut(&addr) {
            candidate.told_by = None;
        }
    }

    /// Nobody who takes part is at `addr`.
    pub fn refused(&mut self, addr: SocketAddr) {
        if let Some(teller) = self.candidates.remove(&addr).and_then(|candidate| candidate.told_by) {
            *self.vain.entry(teller).or_default() += 1;
        }
    }

    /// The addresses that may be tried now, those of the tracker's last answer first, as it has put them: a complete holder
    /// leads, and the others stand as chance has it, so that no address is crowded.
    pub fn due(&self, now: Instant) -> Vec<SocketAddr> {
        let due = self.candidates.iter().filter(|(_, candidate)| candidate.not_before <= now);
        let mut due: Vec<_> = due.map(|(&addr, candidate)| (candidate.turn, addr)).collect();
        due.sort_unstable();
        due.into_iter().map(|(_, addr)| addr).collect()
    }

    /// Whether `addr` is thought to hold the file.
    pub fn contains(&self, addr: SocketAddr) -> bool {
        self.candidates.contains_key(&addr)
    }

    /// How many addresses there are.
    pub fn len(&self) -> usize {
        self.candidates.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// When the next address may be tried, of those that must wait.
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        self.candidates.values().map(|candidate| candidate.not_before).filter(|&due| due > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_names_is_tried_once_and_a_liar_is_found_out() {
        let (now, mut book) = (Instant::ORIGIN, AddressBook::default());
        let [liar, honest]: [SocketAddr; 2] = ["10.0.0.1:1", "10.0.0.2:1"].map(|addr| addr.parse().unwrap());
        let addrs: Vec<SocketAddr> = (0..1_000u16).map(|n| ([10, 1, 0, 0], n + 1).into()).collect();
        for &addr in &addrs {
            book.add_told(addr, liar, now);
        }
        let tried: Vec<SocketAddr> = book.due(now);
        assert_eq!(tried, addrs[..MAX_TOLD]);
        book.add_told(addrs[20], honest, now);
        book.proved(addrs[20]);
        tried[1..].iter().for_each(|&addr| book.failed(addr, now));
        book.refused(tried[0]);
        assert!(book.trusts(honest) && !book.trusts(liar));
        addrs.iter().for_each(|&addr| book.add_told(addr, liar, now));
        assert_eq!(book.due(now), [addrs[20]]);
        book.failed(addrs[20], now);
        assert_eq!(book.len(), 1, "somebody took part there");
    }

    #[test]
    fn the_last_answer_goes_first_and_hearsay_last() {
        let (now, mut book) = (Instant::ORIGIN, AddressBook::default());
        let addr = |port: u16| SocketAddr::from(([10, 0, 0, 1], port));
        let due = |book: &AddressBook| book.due(now).iter().map(SocketAddr::port).collect::<Vec<_>>();
        book.add([4, 3, 9].map(addr), now);
        [7, 1, 9].into_iter().for_each(|port| book.add_told(addr(port), addr(4), now));
        assert_eq!(due(&book), [4, 3, 9, 7, 1]);
        book.add([8, 3, 1].map(addr), now);
        assert_eq!(due(&book), [8, 3, 1, 4, 9, 7]);
    }

    #[test]
    fn failures_space_the_attempts_and_end_them() {
        let addr: SocketAddr = "10.0.0.1:1".parse().unwrap();
        let mut now = Instant::ORIGIN;
        let mut book = AddressBook::default();
        book.add([addr], now);
        let mut waits = Vec::new();
        while !book.due(now).is_empty() {
            book.failed(addr, now);
            let Some(due) = book.next_due(now) else { break };
            assert!(book.due(due - Duration::from_nanos(1)).is_empty());
            waits.push(due.since(now).as_millis());
            now = due;
        }
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000]);
        assert!(book.is_empty());
    }

    #[test]
    fn who_was_reached_begins_with_the_first_pause_again() {
        let (addr, mut now): (SocketAddr, _) = ("10.0.0.1:1".parse().unwrap(), Instant::ORIGIN);
        let mut book = AddressBook::default();
        book.add([addr], now);
        for _ in 0..2 * MAX_FAILURES {
            book.failed(addr, now);
            now += FIRST_RETRY;
            assert_eq!(book.due(now), [addr]);
            book.succeeded(addr);
        }
    }

    #[test]
    fn only_so_many_addresses_are_kept() {
        let mut book = AddressBook::default();
        book.add((1..=u16::MAX).map(|port| ([10, 0, 0, 1], port).into()), Instant::ORIGIN);
        assert_eq!(book.len(), MAX_ADDRESSES);
    }
}
