//! A node's two links into the simulated network: rates, latency, and what is counted at them.
//!
//! The bandwidth law itself is [`Shaper`]'s; faults are [`Faults`](super::Faults)'.

use std::collections::VecDeque;

use super::pool::Slot;
use crate::proxy::shaper::Shaper;
use crate::time::{Duration, Instant};
use crate::units::Rate;

/// How many bytes a downlink holds before it drops at the tail, as the real proxy's.
pub(super) const DOWNLINK_CAPACITY: usize = 64 << 20;

/// A node's place in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// Rate of the uplink.
    pub up: Rate,
    /// Rate of the downlink.
    pub down: Rate,
    /// One-way latency of this end; the other end's is added to it.
    pub latency: Duration,
    /// The longest that this end adds by chance to the latency of each datagram. Between two nodes it keeps the order.
    pub jitter: Duration,
}

impl Default for LinkConfig {
    /// Unlimited both ways, a latency of 10 µs, no jitter.
    ///
    /// Not zero: between unshaped nodes an answer to an answer would otherwise never see the clock move.
    fn default() -> LinkConfig {
        LinkConfig {
            up: Rate::UNLIMITED,
            down: Rate::UNLIMITED,
            latency: Duration::from_micros(10),
            jitter: Duration::ZERO,
        }
    }
}

/// What happened at a node's links so far.
///
/// Over all nodes, `datagrams_sent` + `duplicated` = `datagrams_received` + `lost` + `unreachable` + `overflowed` + those
/// under way between an uplink's end and a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Datagrams that left the uplink, whatever became of them.
    pub datagrams_sent: u64,
    /// Their bytes, B.
    pub bytes_sent: u64,
    /// Datagrams that the machine was given.
    pub datagrams_received: u64,
    /// Their bytes, B.
    pub bytes_received: u64,
    /// Of those sent from here: fallen to loss, partition or filter.
    pub lost: u64,
    /// Of those sent from here: came a second time.
    pub duplicated: u64,
    /// Of those sent from here: held back, and perhaps overtaken.
    pub reordered: u64,
    /// Of those sent from here: changed on the way.
    pub corrupted: u64,
    /// Of those sent from here: nobody had the address, or the one who had it had crashed.
    pub unreachable: u64,
    /// Datagrams for here that found the downlink full.
    pub overflowed: u64,
    /// Datagrams in the uplink's queue when the node crashed; not among those sent.
    pub crashed: u64,
    /// The longest that the uplink's queue ever was, in time to send it; the datagram on the link counts.
    pub max_queue_up: Duration,
    /// The same for the downlink.
    pub max_queue_down: Duration,
    /// How long the uplink has been occupied, by datagrams that have left it.
    pub busy_up: Duration,
    /// How long the downlink has been occupied, by datagrams that have left it.
    pub busy_down: Duration,
}

/// One direction of a node's link: the bandwidth law and its figures.
///
/// As nothing overtakes anything here, what is queued can be taken out before its time has come: whatever comes later
/// leaves later. It fills the queue until then all the same.
#[derive(Debug)]
pub(super) struct HalfLink {
    shaper: Shaper<Slot>,
    capacity: usize,
    /// When all that was queued will have left; no later than that, by the rounding of some ns, after a change of the rate.
    free_at: Instant,
    /// What was taken out early: when it leaves, and its length, B.
    early: VecDeque<(Instant, usize)>,
    early_bytes: usize,
    /// When the latest departure was.
    busy_from: Instant,
    pub(super) busy: Duration,
    pub(super) max_queue: Duration,
}

impl HalfLink {
    pub(super) fn new(rate: Rate, capacity: usize) -> HalfLink {
        HalfLink {
            shaper: Shaper::new(rate, capacity),
            capacity,
            free_at: Instant::ORIGIN,
            early: VecDeque::new(),
            early_bytes: 0,
            busy_from: Instant::ORIGIN,
            busy: Duration::ZERO,
            max_queue: Duration::ZERO,
        }
    }

    /// Queues a datagram of `len` B. Gives it back if the queue is full.
    pub(super) fn push(&mut self, now: Instant, len: usize, slot: Slot) -> Result<(), Slot> {
        while let Some((_, len)) = self.early.pop_front_if(|(departure, _)| *departure <= now) {
            self.early_bytes -= len;
        }
        if self.early_bytes > 0 && len > self.capacity - self.early_bytes - self.shaper.queued_bytes() {
            return Err(slot);
        }
        self.shaper.push(now, len, slot)?;
        self.free_at = self.free_at.max(now) + self.shaper.rate().time_for(len as u64);
        self.note_queue(now);
        Ok(())
    }

    /// Takes the next datagram that leaves the link by `until`; it may not have left `now`.
    pub(super) fn pop(&mut self, now: Instant, until: Instant) -> Option<Slot> {
        let (arrival, queued) = (self.shaper.head_arrival()?, self.shaper.queued_bytes());
        let (departure, slot) = self.shaper.pop(until)?;
        self.busy += departure.since(self.busy_from.max(arrival));
        self.busy_from = departure;
        if departure > now {
            let len = queued - self.shaper.queued_bytes();
            self.early.push_back((departure, len));
            self.early_bytes += len;
        }
        Some(slot)
    }

    /// When the next datagram leaves.
    pub(super) fn next_departure(&self) -> Option<Instant> {
        self.shaper.next_departure()
    }

    /// What comes from now on leaves no sooner than that, nor before it has come.
    pub(super) fn free_at(&self) -> Instant {
        self.free_at
    }

    /// Changes the rate, after all that has left by `now` was taken.
    pub(super) fn set_rate(&mut self, now: Instant, rate: Rate) {
        self.shaper.set_rate(now, rate);
        self.free_at = now + self.shaper.standing_queue(now);
        self.note_queue(now);
    }

    /// Empties the queue, as a power cut does.
    pub(super) fn cut(&mut self) -> impl Iterator<Item = Slot> + use<> {
        (self.free_at, self.early_bytes) = (Instant::ORIGIN, 0);
        self.early.clear();
        let fresh = Shaper::new(self.shaper.rate(), self.capacity);
        let mut old = std::mem::replace(&mut self.shaper, fresh);
        std::iter::from_fn(move || old.pop(Instant::from_nanos(u64::MAX)).map(|(_, slot)| slot))
    }

    fn note_queue(&mut self, now: Instant) {
        if !self.shaper.rate().is_unlimited() {
            self.max_queue = self.max_queue.max(self.free_at.since(now));
        }
    }
}
