//! What has been sent and not been settled, by packet number.
//!
//! Bookkeeping only: whether a packet is lost is decided in [`super::loss`], what to do about it in
//! [`super::send_window`].

use std::collections::VecDeque;
use std::ops::Range;

use smallvec::SmallVec;

use crate::rand::Rng;
use crate::time::Instant;

/// At least this many packets lie between two numbers that are left out.
const MIN_SKIP_INTERVAL: u64 = 64;
/// So many more are drawn at random, and as many again as are in flight: a window always holds a few such numbers, but
/// not so many that they fill the ranges of an ack.
const SKIP_SPREAD: u64 = 448;
/// An ack of one of this many numbers left out last is recognised.
const SKIPS_REMEMBERED: usize = 64;

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
    /// The packet is of this size, perhaps padded, to see whether such ones pass.
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
        sent: Instant,
        since: Instant,
    },
    Settled,
}

/// A packet that an ack names for the first time.
#[derive(Clone, Debug)]
pub enum Acked {
    /// It was in flight.
    InFlight(SentPacket),
    /// It had wrongly been declared lost.
    Lost {
        /// When it was handed to the network.
        sent: Instant,
    },
}

/// An ack named a packet that was never sent: beyond the newest, or one whose number was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeverSent;

/// The packets of one direction from the oldest unsettled to the newest.
///
/// Now and then a number is left out at random. Who acks it acks what can't have arrived, to be sent more than the path
/// carries (RFC 9000 §21.4).
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
    /// Decides which numbers are left out: who could guess them could ack around them.
    rng: Rng,
    next_skip: u64,
    skipped: VecDeque<u64>,
}

impl SentPackets {
    /// Nothing sent yet; the first packet will have the number `first`.
    pub fn new(first: u64, mut rng: Rng) -> SentPackets {
        SentPackets {
            next_skip: first + MIN_SKIP_INTERVAL + rng.below(SKIP_SPREAD),
            rng,
            skipped: VecDeque::new(),
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
        if self.next_number() == self.next_skip {
            self.skip();
        }
        self.trim();
    }

    /// Leaves out the next number, and draws the one to be left out after it.
    fn skip(&mut self) {
        self.slots.push_back(Slot::Settled);
        self.skipped.push_back(self.next_skip);
        if self.skipped.len() > SKIPS_REMEMBERED {
            self.skipped.pop_front();
        }
        let spread = SKIP_SPREAD + self.in_flight_count as u64;
        self.next_skip += MIN_SKIP_INTERVAL + self.rng.below(spread);
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

    /// Settles what `range` acks: calls `acked` for each packet that it names for the first time.
    pub fn ack(&mut self, range: Range<u64>, mut acked: impl FnMut(u64, Acked)) -> Result<(), NeverSent> {
        let skipped = self.skipped.partition_point(|&number| number < range.start);
        let has_skipped = self.skipped.get(skipped).is_some_and(|&number| number < range.end);
        if range.start < self.first || range.end > self.next_number() || has_skipped {
            return Err(NeverSent);
        }
        for number in range.start.max(self.base)..range.end {
            let slot = &mut self.slots[(number - self.base) as usize];
            match std::mem::replace(slot, Slot::Settled) {
                Slot::InFlight(packet) => {
                    self.in_flight -= packet.size;
                    self.in_flight_count -= 1;
                    acked(number, Acked::InFlight(packet));
                }
                Slot::Lost { sent, .. } => acked(number, Acked::Lost { sent }),
                Slot::Settled => {}
            }
        }
        self.trim();
        Ok(())
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

    /// Takes all packets out of flight, oldest first, as if they had been acked: what they carried has gone where nobody
    /// is.
    pub fn forget_in_flight(&mut self) -> Vec<SentPacket> {
        let mut forgotten = Vec::with_capacity(self.in_flight_count);
        for slot in &mut self.slots {
            if let Slot::InFlight(_) = slot
                && let Slot::InFlight(packet) = std::mem::replace(slot, Slot::Settled)
            {
                forgotten.push(packet);
            }
        }
        (self.in_flight, self.in_flight_count) = (0, 0);
        self.trim();
        forgotten
    }

    /// Takes a packet out of flight as lost. `None` if it isn't in flight.
    pub fn declare_lost(&mut self, number: u64, now: Instant) -> Option<SentPacket> {
        let slot = self.slots.get_mut(number.checked_sub(self.base)? as usize)?;
        let Slot::InFlight(SentPacket { sent, .. }) = *slot else { return None };
        let Slot::InFlight(packet) = std::mem::replace(slot, Slot::Lost { sent, since: now }) else {
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
                Slot::Lost { since, .. } if *since < horizon => *slot = Slot::Settled,
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

    fn starting_at(first: u64) -> SentPackets {
        SentPackets::new(first, Rng::from_seed(first))
    }

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
        let mut sent = starting_at(10);
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
        let mut sent = starting_at(10);
        sent.push(packet(0));
        assert_eq!(sent.ack(9..11, |_, _| {}), Err(NeverSent));
        assert_eq!(sent.ack(10..12, |_, _| {}), Err(NeverSent));
        assert_eq!(sent.ack(10..11, |_, _| {}), Ok(()));
    }

    #[test]
    fn packets_without_need_of_an_ack_leave_no_trace() {
        let mut sent = starting_at(0);
        for _ in 0..1_000 {
            sent.push(None);
        }
        assert_eq!(sent.slots.len(), 0);
        assert!(sent.next_number() >= 1_000);
    }

    #[test]
    fn a_number_now_and_then_is_left_out_and_whoever_acks_it_is_found() {
        let mut sent = starting_at(0);
        let mut numbers = Vec::new();
        for n in 0..20_000 {
            numbers.push(sent.next_number());
            sent.push(packet(n));
            // An honest peer acks each packet that it got, here 100 later, and no other.
            if let Some(&late) = numbers.len().checked_sub(100).and_then(|index| numbers.get(index)) {
                sent.ack(late..late + 1, |_, _| {}).unwrap();
            }
        }
        let gaps: Vec<u64> = numbers.windows(2).filter(|w| w[1] == w[0] + 2).map(|w| w[0] + 1).collect();
        assert!(numbers.windows(2).all(|w| w[1] - w[0] <= 2));
        assert!((20_000 / 1_000..20_000 / 64).contains(&gaps.len()), "{} of 20,000 left out", gaps.len());
        let distances: std::collections::BTreeSet<u64> = gaps.windows(2).map(|w| w[1] - w[0]).collect();
        assert!(distances.len() > gaps.len() / 2, "the gaps lie where nobody can guess: {distances:?}");
        for gap in &gaps[gaps.len().saturating_sub(SKIPS_REMEMBERED)..] {
            assert_eq!(sent.ack(*gap..gap + 1, |_, _| {}), Err(NeverSent), "{gap}");
            assert_eq!(sent.ack(gap - 1..gap + 2, |_, _| {}), Err(NeverSent), "{gap}");
        }
        assert_eq!(numbers.iter().filter(|&&n| sent.ack(n..n + 1, |_, _| {}).is_err()).count(), 0);
    }

    #[test]
    fn what_is_forgotten_is_neither_in_flight_nor_lost() {
        let mut sent = starting_at(0);
        for n in 0..3 {
            sent.push(packet(n));
        }
        assert!(sent.declare_lost(0, at(5)).is_some());
        assert_eq!(sent.forget_in_flight().len(), 2);
        assert_eq!((sent.in_flight(), sent.any_in_flight(), sent.next_number()), (0, false, 3));
        assert_eq!(sent.ack(1..3, |_, _| panic!("not in flight")), Ok(()));
    }

    #[test]
    fn a_late_ack_of_a_lost_packet_is_recognised_until_it_is_forgotten() {
        let mut sent = starting_at(0);
        for n in 0..3 {
            sent.push(packet(n));
        }
        assert!(sent.declare_lost(0, at(50)).is_some());
        assert!(sent.declare_lost(0, at(50)).is_none());
        assert!(sent.declare_lost(1, at(60)).is_some());
        assert_eq!(sent.oldest_in_flight().unwrap().0, 2);
        let mut late = None;
        let is_late =
            |number, acked| late = Some((number, matches!(acked, Acked::Lost { sent } if sent == at(1))));
        assert_eq!(sent.ack(1..2, is_late), Ok(()));
        assert_eq!(late, Some((1, true)));
        assert_eq!(sent.oldest_unsettled(), 0);
        sent.forget_lost_before(at(51));
        assert_eq!(sent.oldest_unsettled(), 2);
        assert_eq!(sent.ack(0..1, |_, _| panic!("forgotten")), Ok(()));
    }
}
