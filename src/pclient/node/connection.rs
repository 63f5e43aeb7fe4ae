//! What a node knows of a connection: who is at its other end, and which files the two have opened to each other.
//!
//! Messages have no order, so that one may overtake the opening of its file: it is kept until then. Windows and packets are
//! [`rudp`](crate::rudp)'s.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::Fid;
use crate::small::SmallMap;
use crate::time::Instant;

/// Most messages, and their longest, that are kept on a connection until their channel is opened.
const MAX_EARLY: usize = 64;
const MAX_EARLY_LEN: usize = 16 << 10;

/// A connection, as a node sees it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) remote: SocketAddr,
    pub(super) inbound: bool,
    pub(super) established: bool,
    /// Whether this side, which has dialled, has said who it is.
    pub(super) introduced: bool,
    /// The node at the other end, once it has said so.
    pub(super) node: Option<u64>,
    /// The other side's numbers for files.
    pub(super) channels: SmallMap<u64, Fid>,
    /// Messages of channels that have not been opened yet, in the order of their arrival.
    early: Vec<(u64, Vec<u8>)>,
    /// When it last said anything.
    pub(super) heard: Instant,
    /// The files that this side has introduced.
    pub(super) opened: BTreeSet<Fid>,
    /// How many times the other side has opened a file in vain.
    pub(super) refused: u32,
    /// What had been asked for and had not come when the two ceased to take part in a file together, B: it may still come.
    pub(super) debts: SmallMap<Fid, u64>,
    pub(super) keeps_alive: bool,
}

impl Connection {
    /// With `remote`, not established yet.
    pub(super) fn new(now: Instant, remote: SocketAddr, inbound: bool) -> Connection {
        Connection {
            remote,
            inbound,
            established: false,
            introduced: false,
            node: None,
            channels: SmallMap::new(),
            early: Vec::new(),
            heard: now,
            opened: BTreeSet::new(),
            refused: 0,
            debts: SmallMap::new(),
            keeps_alive: false,
        }
    }

    /// So much that had been asked for may still come, though neither side takes part in the file with the other.
    pub(super) fn note_debt(&mut self, fid: Fid, owed: u64) {
        *self.debts.get_or_insert_with(fid, || 0) += owed;
    }

    /// Keeps a message for when its channel is opened, if there is room for it.
    pub(super) fn keep_early(&mut self, channel: u64, bytes: &[u8]) {
        if self.early.len() < MAX_EARLY && bytes.len() <= MAX_EARLY_LEN {
            self.early.push((channel, bytes.to_vec()));
        }
    }

    /// Takes the messages that came before their channel was opened.
    pub(super) fn take_early(&mut self, channel: u64) -> Vec<Vec<u8>> {
        let (taken, kept) = std::mem::take(&mut self.early).into_iter().partition(|(of, _)| *of == channel);
        self.early = kept;
        let taken: Vec<(u64, Vec<u8>)> = taken;
        taken.into_iter().map(|(_, message)| message).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_early_is_kept_within_limits_and_in_order() {
        let mut connection = Connection::new(Instant::ORIGIN, "10.0.0.1:1".parse().unwrap(), true);
        connection.keep_early(7, &[0; MAX_EARLY_LEN + 1]);
        (0..1_000).for_each(|n: u32| connection.keep_early(u64::from(n % 2), &n.to_be_bytes()));
        let odd: Vec<Vec<u8>> = (1..MAX_EARLY as u32).step_by(2).map(|n| n.to_be_bytes().to_vec()).collect();
        assert_eq!(connection.take_early(1), odd);
        assert_eq!(connection.take_early(7), Vec::<Vec<u8>>::new());
        assert_eq!(connection.take_early(0).len(), MAX_EARLY / 2);
    }
}
