//! What client and server say to each other, over [`rudp`](crate::rudp)'s messages. No state and no file here.
//!
//! `varint` is QUIC's (RFC 9000 §16). A connection carries one download at a time; messages may overtake each other.
//!
//! ```text
//! client → server
//!   01 get        offset varint | stamp u64 | name, UTF-8, to the end
//! server → client
//!   10 found      size varint | stamp u64 | offset varint
//!   11 not found
//!   12 failed     the file can't be read to its end
//!   13 block      offset varint | data to the end
//!   14 done       BLAKE3 hash of the whole file, 32 B
//! ```
//!
//! The stamp tells two states of a file apart. A client that lost its connection asks from its first missing byte and
//! gives the stamp of what it has; `found` says where the blocks begin: there, or at 0 if the file is another by now.

use crate::Fid;
use crate::coding::{Malformed, Reader, Writer};

/// How many bytes of the file a block carries, unless the file ends before.
///
/// Short, as clients take turns by blocks: where four share 5 kB/s, one block more or less is 4 s. And just short enough
/// for four datagrams of 1,200 B: on a slow link the next block is chosen only when this one is gone, and what its last
/// datagram has left stays empty.
pub const BLOCK: usize = 4_608;

/// The longest block that is understood, B.
pub const MAX_BLOCK: usize = 16_384;

/// The longest name, B.
pub const MAX_NAME: usize = 1_024;

const GET: u8 = 0x01;
const FOUND: u8 = 0x10;
const NOT_FOUND: u8 = 0x11;
const FAILED: u8 = 0x12;
const BLOCK_KIND: u8 = 0x13;
const DONE: u8 = 0x14;

/// From a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Get {
    /// The file's path below the server's root, as the client gave it: nothing about it is checked but the length.
    pub name: String,
    /// The first byte that is missing.
    pub offset: u64,
    /// The stamp of what is there already; means nothing if `offset` is 0.
    pub stamp: u64,
}

impl Get {
    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(17 + self.name.len());
        out.u8(GET);
        out.varint(self.offset);
        out.u64(self.stamp);
        out.bytes(self.name.as_bytes());
        out
    }

    /// Reads what [`encode`](Get::encode) wrote.
    ///
    /// # Errors
    /// For anything else, and for a name that is empty, longer than [`MAX_NAME`], or not UTF-8.
    pub fn decode(message: &[u8]) -> Result<Get, Malformed> {
        let mut reader = Reader::new(message);
        if reader.u8()? != GET {
            return Err(Malformed);
        }
        let (offset, stamp, name) = (reader.varint()?, reader.u64()?, reader.rest());
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(Malformed);
        }
        let name = str::from_utf8(name).map_err(|_| Malformed)?.to_owned();
        Ok(Get { name, offset, stamp })
    }
}

/// From a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// The file is there; blocks follow.
    Found {
        /// Its length, B.
        size: u64,
        /// Tells this state of the file from others.
        stamp: u64,
        /// Where the blocks begin: the offset asked for, or 0.
        offset: u64,
    },
    /// There is no such file below the root, or it may not be read.
    NotFound,
    /// The file can't be read to its end: the disk failed, or the file shrank.
    Failed,
    /// A part of the file; never empty.
    Block {
        /// Where it belongs.
        offset: u64,
        /// What stands there.
        data: &'a [u8],
    },
    /// All blocks have been sent.
    Done {
        /// The hash of the whole file, as the server read it.
        hash: Fid,
    },
}

impl<'a> Reply<'a> {
    /// The most that a block's message is longer than its data, B.
    pub const BLOCK_OVERHEAD: usize = 9;

    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match *self {
            Reply::Found { size, stamp, offset } => {
                out.u8(FOUND);
                out.varint(size);
                out.u64(stamp);
                out.varint(offset);
            }
            Reply::NotFound => out.u8(NOT_FOUND),
            Reply::Failed => out.u8(FAILED),
            Reply::Block { offset, data } => {
                out.reserve(Reply::BLOCK_OVERHEAD + data.len());
                out.u8(BLOCK_KIND);
                out.varint(offset);
                out.bytes(data);
            }
            Reply::Done { hash } => {
                out.u8(DONE);
                out.bytes(hash.as_bytes());
            }
        }
        out
    }

    /// Reads what [`encode`](Reply::encode) wrote.
    ///
    /// # Errors
    /// For anything else: trailing bytes, an empty block or one longer than [`MAX_BLOCK`], an offset beyond the size.
    pub fn decode(message: &'a [u8]) -> Result<Reply<'a>, Malformed> {
        let mut reader = Reader::new(message);
        let reply = match reader.u8()? {
            FOUND => {
                let (size, stamp, offset) = (reader.varint()?, reader.u64()?, reader.varint()?);
                if offset > size {
                    return Err(Malformed);
                }
                Reply::Found { size, stamp, offset }
            }
            NOT_FOUND => Reply::NotFound,
            FAILED => Reply::Failed,
            BLOCK_KIND => {
                let (offset, data) = (reader.varint()?, reader.rest());
                if data.is_empty() || data.len() > MAX_BLOCK {
                    return Err(Malformed);
                }
                Reply::Block { offset, data }
            }
            DONE => Reply::Done { hash: Fid::from_bytes(reader.array()?) },
            _ => return Err(Malformed),
        };
        if reader.is_empty() { Ok(reply) } else { Err(Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rand::Rng;

    fn replies() -> Vec<Reply<'static>> {
        vec![
            Reply::Found { size: 1 << 40, stamp: u64::MAX, offset: 4_096 },
            Reply::Found { size: 0, stamp: 0, offset: 0 },
            Reply::NotFound,
            Reply::Failed,
            Reply::Block { offset: 70_000, data: &[7; MAX_BLOCK] },
            Reply::Done { hash: Fid::of(b"x") },
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        for reply in replies() {
            assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
        }
        for name in ["a", "folder/Übung.txt", "../up", &"x".repeat(MAX_NAME)] {
            let get = Get { name: name.to_owned(), offset: 5, stamp: 6 };
            assert_eq!(Get::decode(&get.encode()), Ok(get));
        }
    }

    #[test]
    fn what_is_cut_short_or_too_long_is_refused() {
        for reply in replies() {
            let whole = reply.encode();
            for len in 0..whole.len() {
                // A block is shorter then, and still one: it has no end of its own.
                if let Ok(read) = Reply::decode(&whole[..len]) {
                    assert!(matches!(read, Reply::Block { data, .. } if !data.is_empty()), "{read:?}");
                }
            }
            assert_eq!(Reply::decode(&[&whole[..], &[0]].concat()), Err(Malformed), "{reply:?}");
        }
        let get = |name: &str| Get { name: name.to_owned(), offset: 1 << 20, stamp: 6 }.encode();
        assert_eq!(Get::decode(&get(&"x".repeat(MAX_NAME + 1))), Err(Malformed));
        let whole = get("x");
        for len in 0..whole.len() {
            assert_eq!(Get::decode(&whole[..len]), Err(Malformed));
        }
        let mut latin1 = get("x");
        latin1.push(0xe4);
        assert_eq!(Get::decode(&latin1), Err(Malformed));
    }

    #[test]
    fn random_bytes_are_read_without_harm() {
        let mut rng = Rng::from_seed(3);
        let kinds = [GET, FOUND, NOT_FOUND, FAILED, BLOCK_KIND, DONE, 0xff];
        let mut read = 0;
        for round in 0..20_000 {
            let mut bytes = vec![0; 1 + rng.index(60)];
            rng.fill(&mut bytes);
            bytes[0] = kinds[round % kinds.len()];
            // Whatever can be read says what its canonical form says.
            if let Ok(reply) = Reply::decode(&bytes) {
                assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
                read += 1;
            }
            if let Ok(get) = Get::decode(&bytes) {
                assert_eq!(Get::decode(&get.encode()), Ok(get));
            }
        }
        assert!(read > 1_000, "{read}");
    }
}
