//! One node of the simulated world: its machine, its two links, and the calls of the one as the other delivers.
//!
//! What becomes of a datagram between an uplink and a downlink, and what else happens, is [`World`](super::World)'s
//! business. A call touches nothing but the node and its [`Context`], so that several nodes can be called at once.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::link::{DOWNLINK_CAPACITY, HalfLink, LinkConfig, LinkStats};
use super::pool::{Pool, Slot};
use super::queue::Alarm;
use super::trace::{Outcome, Trace};
use crate::machine::Machine;
use crate::time::{Duration, Instant};

/// A machine whose timer is due this often at one instant spins.
const MAX_TIMEOUTS_AT_ONCE: u32 = 10_000;

/// A machine that sends this many datagrams in one go doesn't stop.
const MAX_TRANSMITS_AT_ONCE: u32 = 10_000_000;

/// Names a node of one [`World`](super::World).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(super) u32);

impl NodeId {
    /// Stands for the receiver of a datagram whose address nobody has.
    pub(super) const NOBODY: NodeId = NodeId(u32::MAX);

    /// Nodes are numbered from 0 in the order in which they were added.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What calls of nodes need beside the node.
#[derive(Default)]
pub(super) struct Context {
    pub(super) pool: Pool,
    pub(super) trace: Trace,
    /// Where a machine writes its next datagram.
    spare: Vec<u8>,
}

pub(super) struct Node<M> {
    id: NodeId,
    pub(super) machine: M,
    pub(super) alive: bool,
    pub(super) addr: SocketAddr,
    pub(super) latency: Duration,
    pub(super) jitter: Duration,
    pub(super) up: HalfLink,
    pub(super) down: HalfLink,
    /// What the machine has said since it was last called.
    deadline: Option<Instant>,
    /// For [`Event::Call`](super::queue::Event::Call) and [`Event::Uplink`](super::queue::Event::Uplink).
    pub(super) calls: Alarm,
    pub(super) departures: Alarm,
    pub(super) clogged_until: Instant,
    /// What left the uplink during a clog, and what waits behind that.
    pub(super) held_out: VecDeque<Slot>,
    /// What left the downlink during a clog, and what waits behind that.
    pub(super) held_in: VecDeque<Slot>,
    /// The instant of the latest timeout and how many there were at it.
    timeouts: (Instant, u32),
    pub(super) stats: LinkStats,
}

impl<M: Machine> Node<M> {
    pub(super) fn new(id: NodeId, addr: SocketAddr, machine: M, link: LinkConfig) -> Node<M> {
        Node {
            id,
            machine,
            alive: true,
            addr,
            latency: link.latency,
            jitter: link.jitter,
            up: HalfLink::new(link.up, usize::MAX),
            down: HalfLink::new(link.down, DOWNLINK_CAPACITY),
            deadline: None,
            calls: Alarm::default(),
            departures: Alarm::default(),
            clogged_until: Instant::ORIGIN,
            held_out: VecDeque::new(),
            held_in: VecDeque::new(),
            timeouts: (Instant::ORIGIN, 0),
            stats: LinkStats::default(),
        }
    }

    /// When the machine has to be called next, as far as it is known.
    pub(super) fn next_call(&self) -> Option<Instant> {
        [self.down.next_departure(), self.deadline].into_iter().flatten().min().filter(|_| self.alive)
    }

    /// Up to when it is known what will come: nothing overtakes what is queued in the downlink.
    pub(super) fn is_known_until(&self) -> Instant {
        self.down.free_at()
    }

    /// Calls the machine for all that comes to it and all that is due, up to `until`; it is `now`. What it sends leaves its
    /// uplink when the time has come.
    pub(super) fn call(&mut self, now: Instant, until: Instant, context: &mut Context) {
        while self.alive {
            let arrival = self.down.next_departure().filter(|&at| at <= until);
            let due = self.deadline.filter(|&at| at <= until);
            match (arrival, due) {
                (Some(at), due) if due.is_none_or(|due| at <= due) => {
                    let Some(slot) = self.down.pop(now, at) else { return };
                    let at = at.max(now);
                    if at < self.clogged_until || !self.held_in.is_empty() {
                        self.held_in.push_back(slot);
                    } else {
                        self.deliver(at, slot, context);
                    }
                }
                (_, Some(due)) => self.on_timer(due.max(now), context),
                _ => return,
            }
        }
    }

    /// Gives the machine what leaves the downlink at `at`.
    pub(super) fn deliver(&mut self, at: Instant, slot: Slot, context: &mut Context) {
        self.stats.datagrams_received += 1;
        self.stats.bytes_received += slot.bytes.len() as u64;
        context.trace.record(at, &slot, Outcome::Delivered);
        self.machine.handle_datagram(at, slot.from, &slot.bytes);
        context.pool.release(slot);
        self.settle(at, context);
    }

    fn on_timer(&mut self, at: Instant, context: &mut Context) {
        if let Some((deadline, reason)) = self.machine.poll_timeout()
            && deadline <= at
        {
            self.timeouts = if self.timeouts.0 == at { (at, self.timeouts.1 + 1) } else { (at, 1) };
            let spins = self.timeouts.1 > MAX_TIMEOUTS_AT_ONCE;
            assert!(
                !spins,
                "{:?} ({}) spins at {at:?}: its timer for `{reason}` stays due",
                self.id, self.addr
            );
            self.machine.handle_timeout(at);
        }
        self.settle(at, context);
    }

    /// What the polling contract asks for after a call at `at` that may have changed the machine's state.
    pub(super) fn settle(&mut self, at: Instant, context: &mut Context) {
        let mut sent = 0;
        loop {
            while let Some(to) = self.machine.poll_transmit(at, &mut context.spare) {
                sent += 1;
                assert!(
                    sent <= MAX_TRANSMITS_AT_ONCE,
                    "{:?} ({}) doesn't stop sending at {at:?}",
                    self.id,
                    self.addr
                );
                let slot = context.pool.insert(self.id, to, &context.spare);
                self.up.push(at, context.spare.len(), slot).expect("an uplink is endless");
            }
            // Jobs take no time here.
            let Some(job) = self.machine.poll_job() else { break };
            job()(&mut self.machine, at);
        }
        self.deadline = self.machine.poll_timeout().map(|(deadline, _)| deadline.max(at));
    }
}
