//! Who takes part in a simulated swarm: the tracker or a peer, as one type of machine that keeps what its node tells.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::machine::{Job, Machine};
use crate::pclient::node::{Event, Node};
use crate::time::{Duration, Instant};
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
    disk: Disk,
}

/// Where the node's jobs are done: one after the other, in the order in which they come.
struct Disk {
    /// How long each takes. Without that they take no time, and the world does them itself.
    time: Duration,
    /// Those that wait, with the times at which they will have been done.
    jobs: VecDeque<(Instant, Job<Node>)>,
    /// The latest that was seen of the clock.
    now: Instant,
}

impl Disk {
    /// Takes a job in; gives it back if it is to be done at once.
    fn take(&mut self, job: Job<Node>) -> Option<Job<Node>> {
        if self.time.is_zero() {
            return Some(job);
        }
        let free = self.jobs.back().map_or(self.now, |&(done, _)| done);
        self.jobs.push_back((free.max(self.now) + self.time, job));
        None
    }
}

impl Peer {
    /// A peer whose disk takes `disk` for each job.
    pub(super) fn new(node: Node, disk: Duration) -> Peer {
        let disk = Disk { time: disk, jobs: VecDeque::new(), now: Instant::ORIGIN };
        Peer { node, registered: None, done: None, failed: None, disk }
    }

    /// Does the jobs whose time has come.
    fn work(&mut self, now: Instant) {
        while let Some((_, job)) = self.disk.jobs.pop_front_if(|(done, _)| *done <= now) {
            job()(&mut self.node, now);
        }
    }

    /// Takes in the node's events. To be called after each command.
    pub(super) fn collect(&mut self, now: Instant) {
        self.disk.now = now;
        while let Some(event) = self.node.poll_event() {
            match event {
                Event::Registered(_) => _ = self.registered.get_or_insert(now),
                Event::Downloaded(_) => _ = self.done.get_or_insert(now),
                Event::Failed(_, error) => _ = self.failed.get_or_insert(error.to_string()),
                Event::Cancelled(_) | Event::Left => {}
            }
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
                peer.work(now);
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
            Actor::Peer(peer) => {
                let disk = peer.disk.jobs.front().map(|&(done, _)| (done, "do a job"));
                disk.into_iter().chain(peer.node.poll_timeout()).min()
            }
        }
    }

    fn poll_job(&mut self) -> Option<Job<Actor>> {
        let Actor::Peer(peer) = self else { return None };
        let job = loop {
            let job = peer.node.poll_job()?;
            if let Some(job) = peer.disk.take(job) {
                break job;
            }
        };
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
