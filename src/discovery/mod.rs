//! Who in the local network knows a tracker for a file: a question to a multicast group, and answers to the one who asks.
//!
//! No file and no tracker is touched here, and nothing that is heard is trusted: an answer is an address to ask as a tracker, and content
//! is verified by its fid anyway. This is the format; [`service`] asks and answers on real sockets.
//!
//! ```text
//! who wants a file                                who runs a tracker for it
//!   │ Question, to the group, TTL 1           48 B  │
//!   ├──────────────────────────────────────────────►│  keeps nothing, says nothing if it is another file's
//!   │       Answer (port), to who asks, TTL 1 48 B  │
//!   │◄──────────────────────────────────────────────┤
//!   ┊ from here on as with any tracker: the address that the answer came from, and the port in it
//! ```
//!
//! Both are [`Kind::Oneshot`] packets of the project (13 B of header with a crc over the whole; the asker's transaction stands in both):
//!
//! ```text
//!  0      1      3                     35
//!  ┌──────┬──────┬─────────────────────┐
//!  │ kind │ port │ proof               │
//!  └──────┴──────┴─────────────────────┘
//! ```
//!
//! | kind | name | port |
//! |---|---|---|
//! | 0x01 | Question | 0 |
//! | 0x81 | Answer | the tracker's |
//!
//! The proof is a hash of transaction, kind and port, keyed with the fid. So those who merely listen don't learn which file it is, and only
//! who knows the fid can answer: whoever answers is told it next, as a tracker. Neither is worth anything with another transaction.

pub mod service;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

use crate::Fid;
use crate::coding::{Reader, Writer as _};
use crate::proxy::lan::Group;
use crate::rudp::packet::{self, Header, Kind, Transaction};

/// Where questions go. IPv4: of local scope (RFC 2365 §6.1). IPv6: of link-local scope, not assigned (RFC 4291 §2.7); it spells the
/// program's name.
pub const GROUP: Group = Group {
    v4: Ipv4Addr::new(239, 255, 100, 87),
    v6: Ipv6Addr::new(0xff12, 0, 0, 0x73, 0x7761, 0x726d, 0x6361, 0x7374),
    port: 10087,
};

/// Length of every datagram, B: no answer is longer than its question.
pub const LEN: usize = packet::HEADER_LEN + 1 + 2 + blake3::OUT_LEN;

/// What is hashed is nothing that another protocol hashes.
const CONTEXT: &str = "swarmcast 2026-11-21 who knows a tracker for this fid";

mod kind {
    pub(super) const QUESTION: u8 = 0x01;
    pub(super) const ANSWER: u8 = 0x81;
}

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Who knows a tracker for the file?
    Question,
    /// This machine does, at this port.
    Answer(NonZeroU16),
}

impl Content {
    fn encode(self) -> [u8; 3] {
        let (kind, port) = match self {
            Content::Question => (kind::QUESTION, 0),
            Content::Answer(port) => (kind::ANSWER, port.get()),
        };
        let [high, low] = port.to_be_bytes();
        [kind, high, low]
    }
}

/// A question or an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Chosen at random by the one who asks, and repeated in the answer.
    pub transaction: Transaction,
    /// What it says.
    pub content: Content,
    proof: blake3::Hash,
}

impl Datagram {
    /// Says `content` of the file `fid`.
    pub fn new(transaction: Transaction, content: Content, fid: &Fid) -> Datagram {
        Datagram { transaction, content, proof: proof(transaction, content, fid) }
    }

    /// Whether it was made for `fid`, by somebody who knows it.
    pub fn is_about(&self, fid: &Fid) -> bool {
        self.proof == proof(self.transaction, self.content, fid)
    }

    /// Writes it over `buf`.
    pub fn encode(&self, buf: &mut Vec<u8>) {
        packet::begin(buf, Header::oneshot(self.transaction));
        buf.bytes(&self.content.encode());
        buf.bytes(self.proof.as_bytes());
        packet::seal(buf);
    }

    /// What `datagram` says; `None` if it is none of these.
    pub fn decode(datagram: &[u8]) -> Option<Datagram> {
        let (header, body) = packet::open(datagram).ok()?;
        let mut reader = Reader::new(body);
        let (kind, port) = (reader.u8().ok()?, reader.u16().ok()?);
        let content = match (kind, NonZeroU16::new(port)) {
            (kind::QUESTION, None) => Content::Question,
            (kind::ANSWER, Some(port)) => Content::Answer(port),
            _ => return None,
        };
        let proof = blake3::Hash::from_bytes(reader.array().ok()?);
        let is_whole = header.kind == Kind::Oneshot && reader.is_empty();
        is_whole.then_some(Datagram { transaction: header.transaction(), content, proof })
    }
}

fn proof(Transaction(number): Transaction, content: Content, fid: &Fid) -> blake3::Hash {
    let key = blake3::derive_key(CONTEXT, fid.as_bytes());
    let [kind, high, low] = content.encode();
    let mut hashed = number.to_be_bytes().to_vec();
    hashed.bytes(&[kind, high, low]);
    blake3::keyed_hash(&key, &hashed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSACTION: Transaction = Transaction(7 << 32 | 8);

    fn fid() -> Fid {
        Fid::of(b"content")
    }

    fn answer(port: u16) -> Datagram {
        Datagram::new(TRANSACTION, Content::Answer(NonZeroU16::new(port).unwrap()), &fid())
    }

    fn written(datagram: &Datagram) -> Vec<u8> {
        let mut buf = b"left over".to_vec();
        datagram.encode(&mut buf);
        buf
    }

    #[test]
    fn what_is_written_is_read_and_an_answer_is_as_long_as_its_question() {
        for datagram in [Datagram::new(TRANSACTION, Content::Question, &fid()), answer(1), answer(u16::MAX)] {
            let bytes = written(&datagram);
            assert_eq!(bytes.len(), LEN);
            assert_eq!(Datagram::decode(&bytes), Some(datagram));
            assert!((0..LEN).all(|end| Datagram::decode(&bytes[..end]).is_none()));
        }
    }

    #[test]
    fn only_who_knows_the_fid_can_speak_of_it_and_only_for_this_question() {
        let question = Datagram::new(TRANSACTION, Content::Question, &fid());
        assert!(question.is_about(&fid()) && answer(10086).is_about(&fid()));
        assert!(!question.is_about(&Fid::of(b"other")));
        let other = NonZeroU16::new(10087).unwrap();
        for forged in [
            Datagram { content: Content::Answer(other), ..question.clone() },
            Datagram { content: Content::Answer(other), ..answer(10086) },
            Datagram { transaction: Transaction(9), ..answer(10086) },
        ] {
            assert!(!forged.is_about(&fid()), "{forged:?}");
        }
        let bytes = written(&question);
        assert!(!bytes.windows(8).any(|part| fid().as_bytes().starts_with(part)), "the fid is in clear");
    }

    #[test]
    fn what_is_neither_is_not_read() {
        let seal = |body: &[u8]| {
            let mut buf = Vec::new();
            packet::begin(&mut buf, Header::oneshot(TRANSACTION));
            buf.bytes(body);
            packet::seal(&mut buf);
            buf
        };
        let body = |start: [u8; 3], rest: usize| seal(&[&start[..], &vec![5; rest]].concat());
        assert!(Datagram::decode(&body([kind::ANSWER, 0, 1], 32)).is_some());
        for bad in [
            body([kind::ANSWER, 0, 0], 32),
            body([kind::QUESTION, 0, 1], 32),
            body([2, 0, 0], 32),
            body([kind::QUESTION, 0, 0], 31),
            body([kind::QUESTION, 0, 0], 33),
            b"garbage".to_vec(),
        ] {
            assert_eq!(Datagram::decode(&bad), None, "{bad:?}");
        }
    }
}
