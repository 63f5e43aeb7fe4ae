//! The header that every datagram of the project begins with, and the check that stands over the whole of it.
//!
//! No frame and no connection is known here. [`seal`] and [`open`] are also the seam for packet protection: in a swarm
//! with a key an AEAD tag can take the place of the crc without another module noticing.

use std::fmt;

use crate::coding::Writer;

/// Byte ranges of the header; the diagram stands in [`crate::rudp`].
mod field {
    use std::ops::Range;

    pub(super) const VERSION_AND_KIND: usize = 0;
    pub(super) const CONNECTION: Range<usize> = 1..5;
    pub(super) const NUMBER: Range<usize> = 5..9;
    pub(super) const CRC: Range<usize> = 9..13;
}

/// Length of the header, B.
pub const HEADER_LEN: usize = field::CRC.end;

/// The version of the wire format, in the upper half of the first byte.
pub const VERSION: u8 = 0xD;

/// What a datagram is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Asks for a connection; carries a cookie once it has one.
    Hello,
    /// Answers a hello that carries no valid cookie, with the cookie to carry. Leaves no state behind.
    Retry,
    /// Accepts a hello that carries a valid cookie.
    Welcome,
    /// Frames of an established connection.
    Data,
    /// Ends a connection. Is not answered.
    Close,
    /// A question or an answer outside any connection; see [`Transaction`].
    Oneshot,
}

impl Kind {
    const ALL: [Kind; 6] = [Kind::Hello, Kind::Retry, Kind::Welcome, Kind::Data, Kind::Close, Kind::Oneshot];

    fn from_nibble(nibble: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|&kind| kind as u8 == nibble)
    }
}

/// Names a connection, for both ends alike; chosen at random by the one that asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u32);

/// For traces.
impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// Names a question and its answer where there is no connection: takes the place of the connection id, the upper half, and
/// of the packet number. Chosen at random by the one that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Transaction(pub u64);

/// The header of a datagram, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the datagram is for.
    pub kind: Kind,
    /// The connection.
    pub connection: ConnectionId,
    /// The packet number on the wire (32 bits, wrapping).
    pub number: u32,
}

impl Header {
    /// The header of a [`Kind::Oneshot`].
    pub const fn oneshot(Transaction(number): Transaction) -> Header {
        Header { kind: Kind::Oneshot, connection: ConnectionId((number >> 32) as u32), number: number as u32 }
    }

    /// The transaction of a [`Kind::Oneshot`].
    pub const fn transaction(&self) -> Transaction {
        Transaction((self.connection.0 as u64) << 32 | self.number as u64)
    }
}

/// Why a datagram was dropped before anyone looked into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than the header.
    #[error("shorter than the header")]
    Length,
    /// Another protocol, or another version of this one.
    #[error("unknown version")]
    Version,
    /// A kind that this version doesn't know.
    #[error("unknown kind")]
    Kind,
    /// Damaged on the way.
    #[error("crc32 mismatch")]
    Crc,
}

/// Clears `buf` and writes `header`; the body follows by appending, then [`seal`].
pub fn begin(buf: &mut Vec<u8>, header: Header) {
    buf.clear();
    buf.u8(VERSION << 4 | header.kind as u8);
    buf.u32(header.connection.0);
    buf.u32(header.number);
    buf.u32(0);
}

/// Writes the crc over the finished datagram. Panics if `buf` was not begun with [`begin`].
pub fn seal(buf: &mut [u8]) {
    let crc = checksum(buf);
    buf[field::CRC].copy_from_slice(&crc.to_be_bytes());
}

/// Checks a datagram as a whole and splits it into header and body.
pub fn open(datagram: &[u8]) -> Result<(Header, &[u8]), DecodeError> {
    let (header, body) = datagram.split_at_checked(HEADER_LEN).ok_or(DecodeError::Length)?;
    let first = header[field::VERSION_AND_KIND];
    if first >> 4 != VERSION {
        return Err(DecodeError::Version);
    }
    let kind = Kind::from_nibble(first & 0xf).ok_or(DecodeError::Kind)?;
    let word = |range| u32::from_be_bytes(array(&header[range]));
    if word(field::CRC) != checksum(datagram) {
        return Err(DecodeError::Crc);
    }
    let connection = ConnectionId(word(field::CONNECTION));
    Ok((Header { kind, connection, number: word(field::NUMBER) }, body))
}

/// The crc32 of all but the crc field.
fn checksum(datagram: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&datagram[..field::CRC.start]);
    hasher.update(&datagram[field::CRC.end..]);
    hasher.finalize()
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("a field's range has its type's length")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header =
        Header { kind: Kind::Data, connection: ConnectionId(0x89ab_cdef), number: 0xffff_fff0 };

    fn datagram(body: &[u8]) -> Vec<u8> {
        let mut buf = vec![9; 3];
        begin(&mut buf, HEADER);
        buf.bytes(body);
        seal(&mut buf);
        buf
    }

    #[test]
    fn what_is_sealed_opens() {
        for body in [&b""[..], b"x", &[7; 1400]] {
            assert_eq!(open(&datagram(body)), Ok((HEADER, body)));
        }
    }

    #[test]
    fn a_transaction_takes_the_place_of_connection_and_number() {
        let transaction = Transaction(0x0123_4567_89ab_cdef);
        let header = Header::oneshot(transaction);
        assert_eq!((header.transaction(), header.number), (transaction, 0x89ab_cdef));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = datagram(b"some body");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_cut_is_noticed() {
        let good = datagram(b"some body");
        for len in 0..good.len() {
            assert!(open(&good[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn each_kind_comes_back() {
        for kind in Kind::ALL {
            let mut buf = Vec::new();
            begin(&mut buf, Header { kind, ..HEADER });
            seal(&mut buf);
            assert_eq!(open(&buf).unwrap().0.kind, kind);
        }
        let mut unknown = datagram(b"");
        unknown[0] = VERSION << 4 | 0xf;
        assert_eq!(open(&unknown), Err(DecodeError::Kind));
        unknown[0] = 0;
        assert_eq!(open(&unknown), Err(DecodeError::Version));
    }
}
