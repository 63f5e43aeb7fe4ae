//! Frames: what the body of a [`Kind::Data`](super::packet::Kind) datagram is made of.
//!
//! The diagrams stand in [`crate::rudp`]. Decoding borrows from the datagram and fails on anything that the format
//! doesn't allow; encoding can't fail.

use std::ops::Range;

use super::clock::{self, Ticks};
use super::path::Token;
use super::ranges::RangeSet;
use super::seq;
use crate::coding::{Malformed, Reader, VARINT_MAX, Writer, varint_len};
use crate::time::Duration;

/// The first byte of each frame.
mod kind {
    pub(super) const PADDING: u8 = 0x00;
    pub(super) const PING: u8 = 0x01;
    pub(super) const ACK: u8 = 0x02;
    pub(super) const ACK_WITH_GAPS: u8 = 0x03;
    pub(super) const IMMEDIATE_ACK: u8 = 0x04;
    pub(super) const TIMESTAMP: u8 = 0x05;
    pub(super) const ABANDON: u8 = 0x06;
    /// Plus the three flags below.
    pub(super) const FRAGMENT: u8 = 0x08;
    pub(super) const FRAGMENT_LAST: u8 = 0x0f;
    pub(super) const PATH_CHALLENGE: u8 = 0x10;
    pub(super) const PATH_RESPONSE: u8 = 0x11;
}

/// The message ends with this fragment.
const FLAG_FIN: u8 = 0b001;
/// A length follows; without it the fragment fills the datagram.
const FLAG_LEN: u8 = 0b010;
/// An offset follows; without it the fragment begins the message.
const FLAG_OFFSET: u8 = 0b100;

/// Most ranges that one ack carries; older ones were told before.
pub const MAX_ACK_RANGES: usize = 32;

/// The unit in which ack delays are told.
const DELAY_UNIT_MICROS: u64 = 64;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Asks for nothing but an ack.
    Ping,
    /// What has arrived.
    Ack(Ack),
    /// Asks for an ack of this datagram at once: the sender's window is full.
    ImmediateAck,
    /// When this datagram was sent, by the sender's clock.
    Timestamp {
        /// Its lower 8 bits are not told.
        sent: Ticks,
        /// Datagrams with numbers below this one's minus `unsettled` concern the sender no longer.
        unsettled: u64,
    },
    /// The message will not be completed: forget its parts.
    Abandon {
        /// Which message.
        message: u64,
        /// Its whole length, B: that much credit comes back.
        len: u64,
    },
    /// Asks for a response with the same token, to see whether the peer receives at the address it speaks from
    /// (RFC 9000 §8.2).
    PathChallenge(Token),
    /// Answers a challenge.
    PathResponse(Token),
    /// Part of a message.
    Fragment(Fragment<'a>),
}

/// Part of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// Which message, counted from 0 in the order in which their transmission began.
    pub message: u64,
    /// Where in the message `data` begins, B.
    pub offset: u64,
    /// Whether the message ends here.
    pub fin: bool,
    /// The bytes.
    pub data: &'a [u8],
}

/// What has arrived, and what the receiver knows that the sender can't.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Received packet numbers, highest range first, half-open, disjoint.
    pub ranges: Vec<Range<u64>>,
    /// When the highest of them arrived, by the receiver's clock; the lower 8 bits are not told.
    pub received: Ticks,
    /// How long it waited for this ack.
    pub delay: Duration,
    /// The receiver's estimate of the standing queue on its own downlink, in whole ms up to 255.
    pub downlink_queue: Duration,
    /// How much the sender may have sent in all, by the accounting of [`super::recv_window`]: in its units, modulo 256.
    pub credit: u8,
}

impl Ack {
    /// The ranges of `received` that one ack carries: the highest [`MAX_ACK_RANGES`], highest first.
    pub fn ranges_of(received: &RangeSet) -> Vec<Range<u64>> {
        received.iter().rev().take(MAX_ACK_RANGES).collect()
    }

    /// Appends the frame. `ranges` must not be empty.
    pub fn encode(&self, buf: &mut Vec<u8>) {
        let first = &self.ranges[0];
        let has_gaps = self.ranges.len() > 1;
        buf.u8(if has_gaps { kind::ACK_WITH_GAPS } else { kind::ACK });
        // The receiver of the ack expands the number against what it has sent.
        buf.u24(first.end.wrapping_sub(1) as u32);
        buf.u24(clock::to_wire(self.received));
        buf.varint(delay_units(self.delay));
        buf.u8(u8::try_from(self.downlink_queue.as_millis()).unwrap_or(u8::MAX));
        buf.u8(self.credit);
        buf.varint(first.end - first.start - 1);
        if has_gaps {
            buf.varint(self.ranges.len() as u64 - 1);
        }
        for pair in self.ranges.windows(2) {
            buf.varint(pair[0].start - pair[1].end - 1);
            buf.varint(pair[1].end - pair[1].start - 1);
        }
    }

    /// Reads what follows the kind. `expected` is the highest number that can have been acked.
    fn decode(reader: &mut Reader<'_>, expected: u64, has_gaps: bool) -> Result<Ack, Malformed> {
        let largest = seq::expand_u24(reader.u24()?, expected);
        let received = clock::from_wire(reader.u24()?);
        let delay = decode_delay(reader)?;
        let downlink_queue = Duration::from_millis(reader.u8()?.into());
        let credit = reader.u8()?;
        let mut end = largest + 1;
        let mut start = end.checked_sub(reader.varint()? + 1).ok_or(Malformed)?;
        let more = if has_gaps { reader.varint()? } else { 0 };
        if more >= MAX_ACK_RANGES as u64 {
            return Err(Malformed);
        }
        let mut ranges = Vec::with_capacity(more as usize + 1);
        ranges.push(start..end);
        for _ in 0..more {
            end = start.checked_sub(reader.varint()? + 1).ok_or(Malformed)?;
            start = end.checked_sub(reader.varint()? + 1).ok_or(Malformed)?;
            ranges.push(start..end);
        }
        Ok(Ack { ranges, received, delay, downlink_queue, credit })
    }
}

impl Fragment<'_> {
    /// How many bytes the frame takes beside its data if it ends the datagram (no length is written then).
    pub fn header_len(message: u64, offset: u64) -> usize {
        1 + varint_len(message) + if offset > 0 { varint_len(offset) } else { 0 }
    }

    /// Appends the frame; `fills_datagram` says that nothing follows it.
    pub fn encode(&self, buf: &mut Vec<u8>, fills_datagram: bool) {
        let mut flags = 0;
        if self.fin {
            flags |= FLAG_FIN;
        }
        if !fills_datagram {
            flags |= FLAG_LEN;
        }
        if self.offset > 0 {
            flags |= FLAG_OFFSET;
        }
        buf.u8(kind::FRAGMENT | flags);
        buf.varint(self.message);
        if self.offset > 0 {
            buf.varint(self.offset);
        }
        if !fills_datagram {
            buf.varint(self.data.len() as u64);
        }
        buf.bytes(self.data);
    }
}

impl<'a> Frame<'a> {
    /// Appends any frame but a fragment or an ack, which have encoders of their own.
    pub fn encode(&self, buf: &mut Vec<u8>) {
        match self {
            Frame::Ping => buf.u8(kind::PING),
            Frame::ImmediateAck => buf.u8(kind::IMMEDIATE_ACK),
            Frame::Timestamp { sent, unsettled } => {
                buf.u8(kind::TIMESTAMP);
                buf.u24(clock::to_wire(*sent));
                buf.varint(*unsettled);
            }
            Frame::Abandon { message, len } => {
                buf.u8(kind::ABANDON);
                buf.varint(*message);
                buf.varint(*len);
            }
            Frame::PathChallenge(token) => {
                buf.u8(kind::PATH_CHALLENGE);
                buf.bytes(token);
            }
            Frame::PathResponse(token) => {
                buf.u8(kind::PATH_RESPONSE);
                buf.bytes(token);
            }
            Frame::Ack(ack) => ack.encode(buf),
            Frame::Fragment(fragment) => fragment.encode(buf, false),
        }
    }

    /// Reads the next frame, or `None` at the end of the datagram. `highest_sent` is the highest packet number that
    /// the reader of this frame has sent.
    pub fn decode(reader: &mut Reader<'a>, highest_sent: u64) -> Result<Option<Frame<'a>>, Malformed> {
        loop {
            if reader.is_empty() {
                return Ok(None);
            }
            let frame = match reader.u8()? {
                kind::PADDING => continue,
                kind::PING => Frame::Ping,
                kind::IMMEDIATE_ACK => Frame::ImmediateAck,
                kind::ACK => Frame::Ack(Ack::decode(reader, highest_sent, false)?),
                kind::ACK_WITH_GAPS => Frame::Ack(Ack::decode(reader, highest_sent, true)?),
                kind::TIMESTAMP => {
                    Frame::Timestamp { sent: clock::from_wire(reader.u24()?), unsettled: reader.varint()? }
                }
                kind::ABANDON => Frame::Abandon { message: reader.varint()?, len: reader.varint()? },
                kind::PATH_CHALLENGE => Frame::PathChallenge(reader.array()?),
                kind::PATH_RESPONSE => Frame::PathResponse(reader.array()?),
                first @ kind::FRAGMENT..=kind::FRAGMENT_LAST => {
                    let message = reader.varint()?;
                    let offset = if first & FLAG_OFFSET != 0 { reader.varint()? } else { 0 };
                    let data = if first & FLAG_LEN != 0 {
                        let len = reader.varint_as()?;
                        reader.bytes(len)?
                    } else {
                        reader.rest()
                    };
                    Frame::Fragment(Fragment { message, offset, fin: first & FLAG_FIN != 0, data })
                }
                _ => return Err(Malformed),
            };
            return Ok(Some(frame));
        }
    }
}

fn delay_units(delay: Duration) -> u64 {
    (delay.as_micros() as u64 / DELAY_UNIT_MICROS).min(VARINT_MAX)
}

fn decode_delay(reader: &mut Reader<'_>) -> Result<Duration, Malformed> {
    Ok(Duration::from_micros(reader.varint()?.saturating_mul(DELAY_UNIT_MICROS)))
}

/// Checks that all frames of a body can be read, and says whether one of them asks for an ack.
pub fn scan(body: &[u8], highest_sent: u64) -> Result<bool, Malformed> {
    let mut reader = Reader::new(body);
    let mut eliciting = false;
    while let Some(frame) = Frame::decode(&mut reader, highest_sent)? {
        eliciting |= !matches!(frame, Frame::Ack(_));
    }
    Ok(eliciting)
}

/// The path response in a body, if there is one and all frames can be read.
pub fn find_response(body: &[u8], highest_sent: u64) -> Result<Option<Token>, Malformed> {
    let mut reader = Reader::new(body);
    let mut response = None;
    while let Some(frame) = Frame::decode(&mut reader, highest_sent)? {
        if let Frame::PathResponse(token) = frame {
            response = Some(token);
        }
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rand::Rng;

    const HIGHEST_SENT: u64 = (5 << 32) + 1_000;

    fn frames() -> Vec<Frame<'static>> {
        vec![
            Frame::Ping,
            Frame::ImmediateAck,
            Frame::Timestamp { sent: 0xffff_ff00, unsettled: 70 },
            Frame::Abandon { message: 16_384, len: 700 },
            Frame::PathChallenge([0xff; 8]),
            Frame::PathResponse([1, 2, 3, 4, 5, 6, 7, 8]),
            Frame::Ack(Ack {
                ranges: vec![HIGHEST_SENT - 3..HIGHEST_SENT + 1, HIGHEST_SENT - 90..HIGHEST_SENT - 4],
                received: 17 << 8,
                delay: Duration::from_micros(6_400),
                downlink_queue: Duration::from_millis(64),
                credit: 200,
            }),
            Frame::Ack(Ack {
                ranges: vec![HIGHEST_SENT - 300..HIGHEST_SENT - 200; 1],
                received: 0,
                delay: Duration::ZERO,
                downlink_queue: Duration::from_millis(255),
                credit: 0,
            }),
            Frame::Fragment(Fragment { message: 1, offset: 0, fin: true, data: b"whole" }),
            Frame::Fragment(Fragment { message: 1 << 30, offset: 16_000, fin: false, data: b"part" }),
            Frame::Fragment(Fragment { message: 0, offset: 9, fin: true, data: b"" }),
        ]
    }

    fn decode_all(mut body: &[u8]) -> Result<Vec<Frame<'_>>, Malformed> {
        let mut reader = Reader::new(std::mem::take(&mut body));
        std::iter::from_fn(|| Frame::decode(&mut reader, HIGHEST_SENT).transpose()).collect()
    }

    #[test]
    fn frames_share_a_datagram_and_come_back() {
        let mut buf = vec![0, 0];
        for frame in frames() {
            frame.encode(&mut buf);
        }
        Fragment { message: 3, offset: 4, fin: false, data: b"to the end" }.encode(&mut buf, true);
        let mut expected = frames();
        expected.push(Frame::Fragment(Fragment { message: 3, offset: 4, fin: false, data: b"to the end" }));
        assert_eq!(decode_all(&buf), Ok(expected));
    }

    #[test]
    fn a_cut_frame_is_malformed() {
        for frame in frames() {
            let mut buf = Vec::new();
            frame.encode(&mut buf);
            for len in 1..buf.len() {
                assert_eq!(decode_all(&buf[..len]), Err(Malformed), "{frame:?} cut to {len}");
            }
        }
    }

    #[test]
    fn a_data_datagram_carries_at_most_24_bytes_of_header() {
        for (message, offset) in [(0, 0), (16_383, 0), ((1 << 30) - 1, 16_383)] {
            assert!(super::super::packet::HEADER_LEN + Fragment::header_len(message, offset) <= 24);
        }
    }

    #[test]
    fn ack_ranges_below_zero_are_malformed() {
        let mut buf = Vec::new();
        buf.u8(kind::ACK);
        buf.u24(HIGHEST_SENT as u32);
        buf.u24(0);
        for value in [0, 0, 0, VARINT_MAX] {
            buf.varint(value);
        }
        assert_eq!(decode_all(&buf), Err(Malformed));
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut rng = Rng::from_seed(11);
        for _ in 0..20_000 {
            let mut body = vec![0; rng.index(64)];
            rng.fill(&mut body);
            if let Some(first) = body.first_mut() {
                *first %= 0x13;
            }
            let _ = decode_all(&body);
        }
    }
}
