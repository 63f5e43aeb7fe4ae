//! What has been sent and not been settled, by packet number.
//!
//! Bookkeeping only: whether a packet is lost is decided in [`super::loss`], what to do about it in
//! [`super::send_window`].

use std::collections::VecDeque;
use std::ops::Range;

use smallvec::SmallVec;

use crate::time::Instant;

/// What a packet carried that has to arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Bytes of a message.
    Fragment {
        /// Which message.
        message: u64,
        /// Which bytes of it.
        range: Range<u64>,
    },
    /// Word that a message will not be completed.
    Abandon {
        /// Which message.
        message: u64,
    },
    /// Nothing but padding, to see whether a datagram of this size passes.
    MtuProbe {
        /// B.
        size: usize,
    },
}

/// A packet that asks for an ack.
#[derive(Clone, Debug)]
pub struct SentPacket {
    /// When it was handed to the network.
    pub sent: Instant,
    /// The whole datagram, B.
    pub size: u64,
    /// What has to be sent again should it be lost.
    pub contents: SmallVec<[Content; 2]>,
}

#[derive(Debug)]
enum Slot {
    InFlight(SentPacket),
    /// Kept for a while, so that a late ack is recognised.
    Lost {
        since: Instant,
    },
    Settled,
}

/// An ack named a packet that was never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeverSent;

/// The packets of one direction from the oldest unsettled to the newest.
///
/// Invariant: the first slot is unsettled, or there is none; `in_flight` is the sum of the sizes in flight.
#[derive(Debug)]
pub struct SentPackets {
    /// The number of the first packet of the connection.
    first: u64,
    /// The number of the first slot.
    base: u64,
    slots: VecDeque<Slot>,
    in_flight: u64,
    in_flight_count: usize,
    /// Below this number nothing is in flight.
    scan_from: u64,
}

impl SentPackets {
    /// Nothing sent yet; the first packet will have the number `first`.
    pub fn new(first: u64) -> SentPackets {
        SentPackets {
            first,
            base: first,
            slots: VecDeque::new(),
            in_flight: 0,
            in_flight_count: 0,
            scan_from: first,
        }
    }

    /// The number of the next packet.
    pub fn next_number(&self) -> u64 {
        self.base + self.slots.len() as u64
    }

    /// Records the next packet; `None` for one that asks for no ack.
    pub fn push(&mut self, packet: Option<SentPacket>) {
        match packet {
            Some(packet) => {
                self.in_flight += packet.size;
                self.in_flight_count += 1;
                self.slots.push_back(Slot::InFlight(packet));
            }
            None => self.slots.push_back(Slot::Settled),
        }
        self.trim();
    }

    /// Bytes in flight: sent, neither acked nor lost.
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Whether any packet waits for its ack.
    pub fn any_in_flight(&self) -> bool {
        self.in_flight_count > 0
    }

    /// The oldest number that still matters here.
    pub fn oldest_unsettled(&self) -> u64 {
        self.base
    }

    /// Settles what `range` acks: calls `acked` for each packet in flight and gives the number of packets that had
    /// wrongly been declared lost.
    pub fn ack(
        &mut self,
        range: Range<u64>,
        mut acked: impl FnMut(u64, SentPacket),
    ) -> Result<u64, NeverSent> {
        if range.start < self.first || range.end > self.next_number() {
            return Err(NeverSent);
        }
        let mut spurious = 0;
        for number in range.start.max(self.base)..range.end {
            let slot = &mut self.slots[(number - self.base) as usize];
            match std::mem::replace(slot, Slot::Settled) {
                Slot::InFlight(packet) => {
                    self.in_flight -= packet.size;
                    self.in_flight_count -= 1;
                    acked(number, packet);
                }
                Slot::Lost { .. } => spurious += 1,
                Slot::Settled => {}
            }
        }
        self.trim();
        Ok(spurious)
    }

    /// The packets in flight below `end`, oldest first.
    pub fn in_flight_below(&self, end: u64) -> impl Iterator<Item = (u64, &SentPacket)> {
        let skip = self.scan_from.saturating_sub(self.base) as usize;
        let numbered = self.slots.iter().enumerate().skip(skip);
        numbered
            .map(|(index, slot)| (self.base + index as u64, slot))
            .take_while(move |&(number, _)| number < end)
            .filter_map(|(number, slot)| match slot {
                Slot::InFlight(packet) => Some((number, packet)),
                Slot::Lost { .. } | Slot::Settled => None,
            })
    }

    /// The oldest packet in flight.
    pub fn oldest_in_flight(&self) -> Option<(u64, &SentPacket)> {
        self.in_flight_below(u64::MAX).next()
    }

    /// The newest packet in flight.
    pub fn newest_in_flight(&self) -> Option<&SentPacket> {
        self.slots.iter().rev().find_map(|slot| match slot {
            Slot::InFlight(packet) => Some(packet),
            Slot::Lost { .. } | Slot::Settled => None,
        })
    }

    /// Takes a packet out of flight as lost. `None` if it isn't in flight.
    pub fn declare_lost(&mut self, number: u64, now: Instant) -> Option<SentPacket> {
        let slot = self.slots.get_mut(number.checked_sub(self.base)? as usize)?;
        if !matches!(slot, Slot::InFlight(_)) {
            return None;
        }
        let Slot::InFlight(packet) = std::mem::replace(slot, Slot::Lost { since: now }) else {
            unreachable!()
        };
        self.in_flight -= packet.size;
        self.in_flight_count -= 1;
        Some(packet)
    }

    /// Moves the start of later scans past what is no longer in flight, and forgets packets lost before `horizon`.
    pub fn forget_lost_before(&mut self, horizon: Instant) {
        for slot in &mut self.slots {
            match slot {
                Slot::Lost { since } if *since < horizon => *slot = Slot::Settled,
                Slot::Lost { .. } | Slot::InFlight(_) => break,
                Slot::Settled => {}
            }
        }
        self.trim();
    }

    fn trim(&mut self) {
        while let Some(Slot::Settled) = self.slots.front() {
            self.slots.pop_front();
            self.base += 1;
        }
        self.scan_from = self.scan_from.max(self.base);
        while let Some(Slot::Lost { .. } | Slot::Settled) =
            self.slots.get((self.scan_from - self.base) as usize)
        {
            self.scan_from += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    fn packet(nanos: u64) -> Option<SentPacket> {
        Some(SentPacket { sent: at(nanos), size: 100, contents: smallvec![] })
    }

    fn acked(sent: &mut SentPackets, range: Range<u64>) -> Vec<u64> {
        let mut numbers = Vec::new();
        sent.ack(range, |number, _| numbers.push(number)).unwrap();
        numbers
    }

    #[test]
    fn a_packet_is_acked_once() {
        let mut sent = SentPackets::new(10);
        for n in 0..5 {
            sent.push(packet(n));
        }
        assert_eq!((sent.in_flight(), sent.next_number()), (500, 15));
        assert_eq!(acked(&mut sent, 11..13), [11, 12]);
        assert_eq!(acked(&mut sent, 10..14), [10, 13]);
        assert_eq!((sent.in_flight(), sent.oldest_unsettled()), (100, 14));
    }

    #[test]
    fn an_ack_of_what_was_never_sent_is_refused() {
        let mut sent = SentPackets::new(10);
        sent.push(packet(0));
        assert_eq!(sent.ack(9..11, |_, _| {}), Err(NeverSent));
        assert_eq!(sent.ack(10..12, |_, _| {}), Err(NeverSent));
        assert_eq!(sent.ack(10..11, |_, _| {}), Ok(0));
    }

    #[test]
    fn packets_without_need_of_an_ack_leave_no_trace() {
        let mut sent = SentPackets::new(0);
        for _ in 0..1_000 {
            sent.push(None);
        }
        assert_eq!((sent.slots.len(), sent.next_number()), (0, 1_000));
    }

    #[test]
    fn a_late_ack_of_a_lost_packet_is_recognised_until_it_is_forgotten() {
        let mut sent = SentPackets::new(0);
        for n in 0..3 {
            sent.push(packet(n));
        }
        assert!(sent.declare_lost(0, at(50)).is_some());
        assert!(sent.declare_lost(0, at(50)).is_none());
        assert!(sent.declare_lost(1, at(60)).is_some());
        assert_eq!(sent.oldest_in_flight().unwrap().0, 2);
        assert_eq!(sent.ack(1..2, |_, _| panic!("not in flight")), Ok(1));
        assert_eq!(sent.oldest_unsettled(), 0);
        sent.forget_lost_before(at(51));
        assert_eq!(sent.oldest_unsettled(), 2);
        assert_eq!(sent.ack(0..1, |_, _| panic!("forgotten")), Ok(0));
    }
}
