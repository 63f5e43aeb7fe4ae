//! How one node stood with its peers while a scenario ran. Nothing is run here.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::pclient::status::PeerStatus;

/// One node's peers over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    /// What the node is called.
    pub name: String,
    /// Its peers, in the order of the scenario.
    pub peers: Vec<WatchedPeer>,
}

/// One peer of it.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchedPeer {
    /// What the peer is called.
    pub name: String,
    /// In the order of time, while both took part.
    pub moments: Vec<Moment>,
}

/// How the two stood with each other at some time.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// When, s.
    pub time: f64,
    /// See there.
    pub status: PeerStatus,
}

/// What is noted of the node while it runs.
#[derive(Debug)]
pub(super) struct Watch {
    /// Its place in the scenario.
    pub(super) index: usize,
    notes: BTreeMap<SocketAddr, Vec<Moment>>,
}

impl Watch {
    /// Of the node in this place.
    pub(super) fn new(index: usize) -> Watch {
        Watch { index, notes: BTreeMap::new() }
    }

    /// Notes how things are.
    pub(super) fn note(&mut self, time: f64, statuses: impl Iterator<Item = PeerStatus>) {
        for status in statuses {
            self.notes.entry(status.addr).or_default().push(Moment { time, status });
        }
    }

    /// What was noted; `name_of` knows who is where.
    pub(super) fn into_watched(self, name: &str, name_of: impl Fn(SocketAddr) -> String) -> Watched {
        let peer = |(addr, moments)| WatchedPeer { name: name_of(addr), moments };
        Watched { name: name.to_owned(), peers: self.notes.into_iter().map(peer).collect() }
    }
}
