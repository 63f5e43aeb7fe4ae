//! What source and receivers of the relay say to each other. No state here.
//!
//! `varint` is QUIC's (RFC 9000 §16), an address is written as in `coding`. Blocks of the file are those of the
//! server-client model ([`Reply::Block`](crate::sc_model::protocol::Reply)).
//!
//! ```text
//! receiver → source
//!   20 want
//!   21 have
//!   22 lost    number varint
//! source → receiver
//!   23 fetch   number varint | size varint | BLAKE3 hash, 32 B | whether another has it u8 | its address
//! receiver → who has the file
//!   24 get     offset varint
//! ```

use std::net::SocketAddr;

use crate::Fid;
use crate::coding::{Malformed, Reader, Writer};

const WANT: u8 = 0x20;
const HAVE: u8 = 0x21;
const LOST: u8 = 0x22;
const FETCH: u8 = 0x23;
const GET: u8 = 0x24;

/// Every message but the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// A receiver has nothing, or part of it, and waits for someone to fetch from.
    Want,
    /// A receiver has all, verified, and serves it.
    Have,
    /// What a receiver was told to do came to nothing: it waits again.
    Lost {
        /// The number of the [`Fetch`](Word::Fetch).
        number: u64,
    },
    /// A receiver's turn.
    Fetch {
        /// Names this order; a later one is in its place.
        number: u64,
        /// The file's length, B.
        size: u64,
        /// The file's hash.
        fid: Fid,
        /// Who has it; the source itself if nobody is named.
        from: Option<SocketAddr>,
    },
    /// What is asked of whoever has the file.
    Get {
        /// The first byte that is missing.
        offset: u64,
    },
}

impl Word {
    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match *self {
            Word::Want => out.u8(WANT),
            Word::Have => out.u8(HAVE),
            Word::Lost { number } => {
                out.u8(LOST);
                out.varint(number);
            }
            Word::Fetch { number, size, fid, from } => {
                out.u8(FETCH);
                out.varint(number);
                out.varint(size);
                out.bytes(fid.as_bytes());
                out.u8(u8::from(from.is_some()));
                if let Some(addr) = from {
                    out.socket_addr(addr);
                }
            }
            Word::Get { offset } => {
                out.u8(GET);
                out.varint(offset);
            }
        }
        out
    }

    /// Reads what [`encode`](Word::encode) wrote.
    ///
    /// # Errors
    /// For anything else, trailing bytes included.
    pub fn decode(message: &[u8]) -> Result<Word, Malformed> {
        let mut reader = Reader::new(message);
        let word = match reader.u8()? {
            WANT => Word::Want,
            HAVE => Word::Have,
            LOST => Word::Lost { number: reader.varint()? },
            FETCH => {
                let (number, size) = (reader.varint()?, reader.varint()?);
                let fid = Fid::from_bytes(reader.array()?);
                let from = match reader.u8()? {
                    0 => None,
                    1 => Some(reader.socket_addr()?),
                    _ => return Err(Malformed),
                };
                Word::Fetch { number, size, fid, from }
            }
            GET => Word::Get { offset: reader.varint()? },
            _ => return Err(Malformed),
        };
        if reader.is_empty() { Ok(word) } else { Err(Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rand::Rng;

    fn words() -> Vec<Word> {
        let fid = Fid::of(b"x");
        let from = ["10.0.0.1:7", "[2001:db8::1]:9"].map(|addr| Some(addr.parse().unwrap()));
        let fetch = |from| Word::Fetch { number: 3, size: 1 << 40, fid, from };
        let fetches = [None, from[0], from[1]].map(fetch);
        [&fetches[..], &[Word::Want, Word::Have, Word::Lost { number: 70 }, Word::Get { offset: 1 << 20 }]]
            .concat()
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        for word in words() {
            let whole = word.encode();
            assert_eq!(Word::decode(&whole), Ok(word));
            for len in 0..whole.len() {
                assert_eq!(Word::decode(&whole[..len]), Err(Malformed), "{word:?}, {len} B of it");
            }
            assert_eq!(Word::decode(&[&whole[..], &[0]].concat()), Err(Malformed), "{word:?}");
        }
    }

    #[test]
    fn random_bytes_are_read_without_harm() {
        let mut rng = Rng::from_seed(3);
        let mut read = 0;
        for round in 0..20_000_usize {
            let mut bytes = vec![0; 1 + rng.index(60)];
            rng.fill(&mut bytes);
            bytes[0] = WANT + (round % 6) as u8;
            if let Ok(word) = Word::decode(&bytes) {
                assert_eq!(Word::decode(&word.encode()), Ok(word));
                read += 1;
            }
        }
        assert!(read > 100, "{read}");
    }
}
