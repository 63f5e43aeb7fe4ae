//! Who takes part in a simulated swarm: the tracker or a peer, as one type of machine that keeps what its node tells.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::machine::{Job, Machine};
use crate::pclient::node::{Event, Node};
use crate::time::Instant;
use crate::tracker::Server;

/// A machine of the simulated world.
pub(super) enum Actor {
    Tracker(Box<Server>),
    Peer(Box<Peer>),
}

/// A node, and what it has told its owner.
pub(super) struct Peer {
    pub(super) node: Node,
    /// Since when the tracker lists it.
    pub(super) registered: Option<Instant>,
    pub(super) done: Option<Instant>,
    /// Why it isn't and won't be done.
    pub(super) failed: Option<String>,
    /// Counts what the runner waits for, in all peers together, so that it needn't look at each after each event.
    news: Rc<Cell<u64>>,
}

impl Peer {
    pub(super) fn new(node: Node, news: Rc<Cell<u64>>) -> Peer {
        Peer { node, registered: None, done: None, failed: None, news }
    }

    /// Takes in the node's events. To be called after each command.
    pub(super) fn collect(&mut self, now: Instant) {
        while let Some(event) = self.node.poll_event() {
            match event {
                Event::Registered(_) => _ = self.registered.get_or_insert(now),
                Event::Downloaded(_) => _ = self.done.get_or_insert(now),
                Event::Failed(_, error) => _ = self.failed.get_or_insert(error.to_string()),
                Event::Cancelled(_) | Event::Left => {}
            }
            self.news.set(self.news.get() + 1);
        }
    }
}

impl Machine for Actor {
    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        match self {
            Actor::Tracker(server) => server.handle_datagram(now, from, datagram),
            Actor::Peer(peer) => {
                peer.node.handle_datagram(now, from, datagram);
                peer.collect(now);
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self {
            Actor::Tracker(server) => server.handle_timeout(now),
            Actor::Peer(peer) => {
                peer.node.handle_timeout(now);
                peer.collect(now);
            }
        }
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        match self {
            Actor::Tracker(server) => server.poll_transmit(now, buf),
            Actor::Peer(peer) => {
                let to = peer.node.poll_transmit(now, buf);
                peer.collect(now);
                to
            }
        }
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        match self {
            Actor::Tracker(server) => server.poll_timeout(),
            Actor::Peer(peer) => peer.node.poll_timeout(),
        }
    }

    fn poll_job(&mut self) -> Option<Job<Actor>> {
        let Actor::Peer(peer) = self else { return None };
        let job = peer.node.poll_job()?;
        Some(Box::new(move || {
            let outcome = job();
            Box::new(move |actor, now| {
                if let Actor::Peer(peer) = actor {
                    outcome(&mut peer.node, now);
                    peer.collect(now);
                }
            })
        }))
    }
}
