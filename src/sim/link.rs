//! A node's two links into the simulated network: rates, latency, and what is counted at them.
//!
//! The bandwidth law itself is [`Shaper`]'s; faults are [`Faults`](super::Faults)'.

use super::pool::Slot;
use super::queue::Alarm;
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

/// One direction of a node's link: the bandwidth law, its alarm and its figures.
#[derive(Debug)]
pub(super) struct HalfLink {
    shaper: Shaper<Slot>,
    capacity: usize,
    pub(super) alarm: Alarm,
    /// Up to when the time on the link is counted.
    busy_from: Instant,
    pub(super) busy: Duration,
    pub(super) max_queue: Duration,
}

impl HalfLink {
    pub(super) fn new(rate: Rate, capacity: usize) -> HalfLink {
        HalfLink {
            shaper: Shaper::new(rate, capacity),
            capacity,
            alarm: Alarm::default(),
            busy_from: Instant::ORIGIN,
            busy: Duration::ZERO,
            max_queue: Duration::ZERO,
        }
    }

    /// Queues a datagram of `len` B. Gives it back if the queue is full.
    pub(super) fn push(&mut self, now: Instant, len: usize, slot: Slot) -> Result<(), Slot> {
        if self.shaper.next_departure().is_none() {
            self.busy_from = now;
        }
        self.shaper.push(now, len, slot)?;
        self.note_queue(now);
        Ok(())
    }

    /// Takes the next datagram that has left the link by `now`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Slot> {
        let (departure, slot) = self.shaper.pop(now)?;
        self.busy += departure.since(self.busy_from);
        self.busy_from = departure;
        Some(slot)
    }

    /// When the next datagram leaves, if the event queue needs a new entry for that.
    pub(super) fn arm(&mut self) -> Option<Instant> {
        self.shaper.next_departure().filter(|&departure| self.alarm.arm(departure))
    }

    /// Changes the rate, after all that has left by `now` was taken.
    pub(super) fn set_rate(&mut self, now: Instant, rate: Rate) {
        self.shaper.set_rate(now, rate);
        self.note_queue(now);
    }

    /// Empties the queue, as a power cut does. The alarm stays, for its entries stay in the event queue.
    pub(super) fn cut(&mut self) -> impl Iterator<Item = Slot> + use<> {
        let fresh = Shaper::new(self.shaper.rate(), self.capacity);
        let mut old = std::mem::replace(&mut self.shaper, fresh);
        std::iter::from_fn(move || old.pop(Instant::from_nanos(u64::MAX)).map(|(_, slot)| slot))
    }

    fn note_queue(&mut self, now: Instant) {
        if !self.shaper.rate().is_unlimited() {
            self.max_queue = self.max_queue.max(self.shaper.standing_queue(now));
        }
    }
}
