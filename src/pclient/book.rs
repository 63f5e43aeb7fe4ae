//! The addresses that may hold a file, and when to try each.
//!
//! Remembers failures; opens nothing itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::time::{Duration, Instant};

/// The first wait after a failure; each further one doubles it.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(15);
/// An address that failed this often in a row is forgotten, until somebody names it again.
const MAX_FAILURES: u32 = 6;
/// Most addresses kept for one file.
const MAX_ADDRESSES: usize = 500;

#[derive(Clone, Copy, Debug)]
struct Candidate {
    failures: u32,
    not_before: Instant,
}

/// Where to look for one file.
#[derive(Debug, Default)]
pub struct AddressBook {
    candidates: BTreeMap<SocketAddr, Candidate>,
}

impl AddressBook {
    /// Somebody says that `addr` holds the file.
    pub fn add(&mut self, addr: SocketAddr, now: Instant) {
        if self.candidates.len() < MAX_ADDRESSES {
            self.candidates.entry(addr).or_insert(Candidate { failures: 0, not_before: now });
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

    /// The addresses that may be tried now.
    pub fn due(&self, now: Instant) -> impl Iterator<Item = SocketAddr> + '_ {
        self.candidates
            .iter()
            .filter(move |(_, candidate)| candidate.not_before <= now)
            .map(|(&addr, _)| addr)
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
    fn failures_space_the_attempts_and_end_them() {
        let addr: SocketAddr = "10.0.0.1:1".parse().unwrap();
        let mut now = Instant::ORIGIN;
        let mut book = AddressBook::default();
        book.add(addr, now);
        let mut waits = Vec::new();
        while book.due(now).next().is_some() {
            book.failed(addr, now);
            let Some(due) = book.next_due(now) else { break };
            assert_eq!(book.due(due - Duration::from_nanos(1)).next(), None);
            waits.push(due.since(now).as_millis());
            now = due;
        }
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000]);
        assert!(book.is_empty());
    }
}
