//! What peers say to each other, over [`rudp`](crate::rudp).
//!
//! A codec alone: decoding can fail, encoding can't, and nothing here knows whether a message makes sense. On each
//! connection both sides number the files that they speak of: a *channel* is the sender's own number for a file, from
//! the [`Message::Open`] that introduced it.
//!
//! ```text
//! 00 hello     node id u64                                  first on every connection
//! 01 open      channel | fid, 32 B | flags u8               1 I have the manifest, 2 I am complete
//! 02 shut      channel                                      I no longer take part
//! 03 refuse    fid, 32 B                                    I don't take part in what you opened
//! 04 ask       channel | [part]                             for the manifest from there on; without: no more
//! 05 outline   channel | size | proof length | proof | joints, 32 B each
//! 06 bitfield  channel | bytes
//! 07 have      channel | piece …                            it is here, or most likely will be when you ask
//! 08 request   channel | id | piece | first block | blocks
//! 09 any       channel | id | credits | residue | modulus   pieces of your choice ≡ residue (mod modulus)
//! 0a none      channel | id | credits                       no piece of my choice for these
//! 0b cancel    channel | id
//! 0c reject    channel | id                                 I don't serve this
//! 0d block     channel | id | piece | first block | data
//! 0e ask peers channel                                      name others that take part
//! 0f peers     channel | address …                          at most [`MAX_PEERS`]: 4 or 6 u8 | address | port u16
//! 10 hashes    channel | part | hashes, 32 B each
//! 11 choke     channel                                      you get what others leave
//! 12 unchoke   channel                                      you have a place at my uplink, as at first
//! 13 dont have channel | piece …                            what I announced hasn't come
//! ```
//!
//! All numbers without a type are varints. The manifest's part 0 is its [outline](super::manifest::Outline), part n + 1 the hashes of
//! the outline's part n. A block is a quarter of a piece, but [1 KiB at least and 16 KiB at most](super::pieces::Lengths::block_len), the
//! last one of the file what is left. Several that follow each other come in one message, up to 16 KiB.

use std::fmt;
use std::net::SocketAddr;

use super::manifest::{MAX_JOINTS, MAX_PART_LEN};
use crate::Fid;
use crate::coding::{Malformed, Reader, Writer};

/// Most pieces in one announcement.
pub const MAX_HAVES: usize = 2_000;

/// Most peers that one message names.
pub const MAX_PEERS: usize = 8;

/// Length of a hash of the manifest, B.
const HASH_LEN: usize = 32;

/// Takes part from the start with everything there is.
const FLAG_MANIFEST: u8 = 1;
const FLAG_COMPLETE: u8 = 2;

/// One message between peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Who speaks; first on every connection.
    Hello {
        /// Drawn at random when the node began: two connections of one node are recognised by it.
        node: u64,
    },
    /// The sender takes part in a file, and will call it `channel` from now on. Repeated when a flag comes true.
    Open {
        /// The sender's number.
        channel: u64,
        /// The file.
        fid: Fid,
        /// Whether the sender can be asked for the manifest.
        has_manifest: bool,
        /// Whether the sender had the whole file when it said so.
        is_complete: bool,
    },
    /// The sender no longer takes part.
    Shut {
        /// The sender's number.
        channel: u64,
    },
    /// The sender doesn't take part in a file that the receiver opened.
    Refuse {
        /// The file.
        fid: Fid,
    },
    /// Asks for the manifest, part after part, instead of what was asked for before.
    AskManifest {
        /// The sender's number.
        channel: u64,
        /// The first part wanted; `None` if none is wanted any more.
        part: Option<u64>,
    },
    /// The beginning of the manifest.
    Outline {
        /// The sender's number.
        channel: u64,
        /// The size of the file, B.
        size: u64,
        /// The proof of the size, as [`SizeProof::to_bytes`](super::size_proof::SizeProof::to_bytes) writes it.
        proof: &'a [u8],
        /// What the hashes of each part join to.
        joints: &'a [[u8; HASH_LEN]],
    },
    /// Another part of the manifest.
    Hashes {
        /// The sender's number.
        channel: u64,
        /// Which, from 1 on.
        part: u64,
        /// Those of its pieces.
        hashes: &'a [[u8; HASH_LEN]],
    },
    /// Which pieces the sender has.
    Bitfield {
        /// The sender's number.
        channel: u64,
        /// As [`Bitfield::to_bytes`](super::pieces::Bitfield::to_bytes) writes it.
        bytes: &'a [u8],
    },
    /// Pieces that the sender has got since, or most likely will have before it is asked for them.
    Have {
        /// The sender's number.
        channel: u64,
        /// Which.
        pieces: Vec<u64>,
    },
    /// Pieces that the sender announced and doesn't have (BEP 54).
    DontHave {
        /// The sender's number.
        channel: u64,
        /// Which.
        pieces: Vec<u64>,
    },
    /// Asks for blocks of a piece.
    Request {
        /// The sender's number.
        channel: u64,
        /// The sender's name for the request.
        id: u64,
        /// Which piece.
        piece: u64,
        /// The first block wanted.
        first: u64,
        /// How many.
        count: u64,
    },
    /// Lets the receiver choose pieces to send.
    Any {
        /// The sender's number.
        channel: u64,
        /// The name of the first of the requests; the others count up.
        id: u64,
        /// How many pieces.
        credits: u64,
        /// Which class of pieces: those ≡ `residue` (mod `modulus`), so that several sources don't choose alike.
        residue: u64,
        /// See `residue`.
        modulus: u64,
    },
    /// Gives credits back: there is no piece of the own choice left.
    None {
        /// The sender's number.
        channel: u64,
        /// The first of the requests.
        id: u64,
        /// How many.
        credits: u64,
    },
    /// Takes a request back.
    Cancel {
        /// The sender's number.
        channel: u64,
        /// Which request.
        id: u64,
    },
    /// Refuses a request.
    Reject {
        /// The sender's number.
        channel: u64,
        /// Which request.
        id: u64,
    },
    /// The receiver has lost its place at the sender's uplink: it gets what others leave.
    Choke {
        /// The sender's number.
        channel: u64,
    },
    /// The receiver has a place at the sender's uplink, as everybody has at first.
    Unchoke {
        /// The sender's number.
        channel: u64,
    },
    /// Content: blocks that follow each other.
    Block {
        /// The sender's number.
        channel: u64,
        /// The request that this answers.
        id: u64,
        /// Which piece.
        piece: u64,
        /// The first of its blocks that come here.
        block: u64,
        /// Their bytes.
        data: &'a [u8],
    },
    /// Asks who else takes part.
    AskPeers {
        /// The sender's number.
        channel: u64,
    },
    /// Some that take part, whom the sender is connected to. Said only when asked.
    Peers {
        /// The sender's number.
        channel: u64,
        /// Where they are.
        peers: Vec<SocketAddr>,
    },
}

/// For logs: one line, with lengths in place of long content.
impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Open { channel, fid, has_manifest, is_complete } => {
                write!(
                    f,
                    "Open {channel} = {} (manifest: {has_manifest}, complete: {is_complete})",
                    fid.short()
                )
            }
            Message::Refuse { fid } => write!(f, "Refuse {}", fid.short()),
            Message::Outline { channel, size, joints, .. } => {
                write!(f, "Outline {channel}: {size} B, {} joints", joints.len())
            }
            Message::Hashes { channel, part, hashes } => {
                write!(f, "Hashes {channel}: part {part}, {} of them", hashes.len())
            }
            Message::Bitfield { channel, bytes } => write!(f, "Bitfield {channel}: {} B", bytes.len()),
            Message::Have { channel, pieces } => write!(f, "Have {channel}: {} pieces", pieces.len()),
            Message::DontHave { channel, pieces } => write!(f, "DontHave {channel}: {} pieces", pieces.len()),
            Message::Block { channel, id, piece, block, data } => {
                write!(f, "Block {channel}: request {id}, block {piece}.{block}, {} B", data.len())
            }
            short => write!(f, "{short:?}"),
        }
    }
}

impl<'a> Message<'a> {
    /// The message as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut buf = Vec::new();
        let mut numbers = |kind: u8, values: &[u64]| {
            buf.u8(kind);
            values.iter().for_each(|&value| buf.varint(value));
        };
        match self {
            Message::Hello { node } => {
                numbers(0x00, &[]);
                buf.u64(*node);
            }
            Message::Open { channel, fid, has_manifest, is_complete } => {
                numbers(0x01, &[*channel]);
                buf.bytes(fid.as_bytes());
                let flag = |set: bool, flag: u8| if set { flag } else { 0 };
                buf.u8(flag(*has_manifest, FLAG_MANIFEST) | flag(*is_complete, FLAG_COMPLETE));
            }
            Message::Shut { channel } => numbers(0x02, &[*channel]),
            Message::Refuse { fid } => {
                numbers(0x03, &[]);
                buf.bytes(fid.as_bytes());
            }
            Message::AskManifest { channel, part: None } => numbers(0x04, &[*channel]),
            Message::AskManifest { channel, part: Some(part) } => numbers(0x04, &[*channel, *part]),
            Message::Outline { channel, size, proof, joints } => {
                numbers(0x05, &[*channel, *size, proof.len() as u64]);
                buf.bytes(proof);
                buf.bytes(joints.as_flattened());
            }
            Message::Hashes { channel, part, hashes } => {
                numbers(0x10, &[*channel, *part]);
                buf.bytes(hashes.as_flattened());
            }
            Message::Bitfield { channel, bytes } => {
                numbers(0x06, &[*channel]);
                buf.bytes(bytes);
            }
            Message::Have { channel, pieces } => {
                numbers(0x07, &[*channel]);
                pieces.iter().for_each(|&piece| buf.varint(piece));
            }
            Message::DontHave { channel, pieces } => {
                numbers(0x13, &[*channel]);
                pieces.iter().for_each(|&piece| buf.varint(piece));
            }
            Message::Request { channel, id, piece, first, count } => {
                numbers(0x08, &[*channel, *id, *piece, *first, *count]);
            }
            Message::Any { channel, id, credits, residue, modulus } => {
                numbers(0x09, &[*channel, *id, *credits, *residue, *modulus]);
            }
            Message::None { channel, id, credits } => numbers(0x0a, &[*channel, *id, *credits]),
            Message::Cancel { channel, id } => numbers(0x0b, &[*channel, *id]),
            Message::Reject { channel, id } => numbers(0x0c, &[*channel, *id]),
            Message::Block { channel, id, piece, block, data } => {
                buf.reserve(32 + data.len());
                block_header(&mut buf, *channel, *id, *piece, *block);
                buf.bytes(data);
            }
            Message::AskPeers { channel } => numbers(0x0e, &[*channel]),
            Message::Choke { channel } => numbers(0x11, &[*channel]),
            Message::Unchoke { channel } => numbers(0x12, &[*channel]),
            Message::Peers { channel, peers } => {
                numbers(0x0f, &[*channel]);
                peers.iter().for_each(|&peer| buf.socket_addr(peer));
            }
        }
        buf
    }

    /// Reads a message; all of `bytes` must belong to it.
    pub fn decode(bytes: &'a [u8]) -> Result<Message<'a>, Malformed> {
        let mut reader = Reader::new(bytes);
        let message = Message::decode_from(&mut reader)?;
        if reader.is_empty() { Ok(message) } else { Err(Malformed) }
    }

    fn decode_from(r: &mut Reader<'a>) -> Result<Message<'a>, Malformed> {
        Ok(match r.u8()? {
            0x00 => Message::Hello { node: r.u64()? },
            0x01 => {
                let (channel, fid, flags) = (r.varint()?, Fid::from_bytes(r.array()?), r.u8()?);
                let (has_manifest, is_complete) = (flags & FLAG_MANIFEST != 0, flags & FLAG_COMPLETE != 0);
                Message::Open { channel, fid, has_manifest, is_complete }
            }
            0x02 => Message::Shut { channel: r.varint()? },
            0x03 => Message::Refuse { fid: Fid::from_bytes(r.array()?) },
            0x04 => Message::AskManifest {
                channel: r.varint()?,
                part: if r.is_empty() { None } else { Some(r.varint()?) },
            },
            0x05 => {
                let (channel, size, proof_len) = (r.varint()?, r.varint()?, r.varint_as()?);
                let proof = r.bytes(proof_len)?;
                Message::Outline { channel, size, proof, joints: hashes(r, MAX_JOINTS)? }
            }
            0x06 => Message::Bitfield { channel: r.varint()?, bytes: r.rest() },
            0x07 => Message::Have { channel: r.varint()?, pieces: pieces(r)? },
            0x08 => Message::Request {
                channel: r.varint()?,
                id: r.varint()?,
                piece: r.varint()?,
                first: r.varint()?,
                count: r.varint()?,
            },
            0x09 => Message::Any {
                channel: r.varint()?,
                id: r.varint()?,
                credits: r.varint()?,
                residue: r.varint()?,
                modulus: r.varint()?,
            },
            0x0a => Message::None { channel: r.varint()?, id: r.varint()?, credits: r.varint()? },
            0x0b => Message::Cancel { channel: r.varint()?, id: r.varint()? },
            0x0c => Message::Reject { channel: r.varint()?, id: r.varint()? },
            0x0d => Message::Block {
                channel: r.varint()?,
                id: r.varint()?,
                piece: r.varint()?,
                block: r.varint()?,
                data: r.rest(),
            },
            0x0e => Message::AskPeers { channel: r.varint()? },
            0x0f => {
                let channel = r.varint()?;
                let mut peers = Vec::new();
                while !r.is_empty() {
                    if peers.len() == MAX_PEERS {
                        return Err(Malformed);
                    }
                    peers.push(r.socket_addr()?);
                }
                Message::Peers { channel, peers }
            }
            0x10 => {
                let (channel, part) = (r.varint()?, r.varint()?);
                Message::Hashes { channel, part, hashes: hashes(r, MAX_PART_LEN)? }
            }
            0x11 => Message::Choke { channel: r.varint()? },
            0x12 => Message::Unchoke { channel: r.varint()? },
            0x13 => Message::DontHave { channel: r.varint()?, pieces: pieces(r)? },
            _ => return Err(Malformed),
        })
    }
}

/// All that is left, as at most [`MAX_HAVES`] pieces.
fn pieces(r: &mut Reader<'_>) -> Result<Vec<u64>, Malformed> {
    let mut pieces = Vec::new();
    while !r.is_empty() {
        if pieces.len() == MAX_HAVES {
            return Err(Malformed);
        }
        pieces.push(r.varint()?);
    }
    Ok(pieces)
}

/// All that is left, as at most `most` hashes.
fn hashes<'a>(r: &mut Reader<'a>, most: usize) -> Result<&'a [[u8; HASH_LEN]], Malformed> {
    let (hashes, cut) = r.rest().as_chunks();
    if cut.is_empty() && hashes.len() <= most { Ok(hashes) } else { Err(Malformed) }
}

/// Writes what stands before the data of a block, so that the data can be read from disk right behind it.
pub fn block_header(buf: &mut Vec<u8>, channel: u64, id: u64, piece: u64, block: u64) {
    buf.u8(0x0d);
    [channel, id, piece, block].into_iter().for_each(|value| buf.varint(value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rand::Rng;

    const FID: Fid = Fid::from_bytes([7; 32]);

    fn messages() -> Vec<Message<'static>> {
        vec![
            Message::Hello { node: u64::MAX },
            Message::Open { channel: 70, fid: FID, has_manifest: true, is_complete: false },
            Message::Open { channel: 0, fid: FID, has_manifest: false, is_complete: true },
            Message::Shut { channel: 1 },
            Message::Refuse { fid: FID },
            Message::AskManifest { channel: 1, part: Some(512) },
            Message::AskManifest { channel: 1, part: None },
            Message::Outline { channel: 1, size: 1 << 40, proof: b"proof", joints: &[[1; 32], [2; 32]] },
            Message::Outline { channel: 1, size: 0, proof: b"", joints: &[] },
            Message::Hashes { channel: 1, part: 2, hashes: &[[3; 32]] },
            Message::Bitfield { channel: 1, bytes: b"\xff\x01" },
            Message::Have { channel: 1, pieces: vec![0, 100, 100_000] },
            Message::DontHave { channel: 1, pieces: vec![0, 100, 100_000] },
            Message::Request { channel: 1, id: 2, piece: 3, first: 4, count: 5 },
            Message::Any { channel: 1, id: 2, credits: 3, residue: 4, modulus: 5 },
            Message::None { channel: 1, id: 2, credits: 3 },
            Message::Cancel { channel: 1, id: 2 },
            Message::Reject { channel: 1, id: 2 },
            Message::Block { channel: 1, id: 2, piece: 3, block: 4, data: b"content" },
            Message::AskPeers { channel: 1 },
            Message::Choke { channel: 1 },
            Message::Unchoke { channel: 1 },
            Message::Peers { channel: 1, peers: addresses(MAX_PEERS) },
        ]
    }

    fn addresses(count: usize) -> Vec<SocketAddr> {
        let addr = |n: usize| match n % 2 {
            0 => ([10, 0, 0, n as u8], 7).into(),
            _ => ([n as u16; 8], 7).into(),
        };
        (0..count).map(addr).collect()
    }

    #[test]
    fn too_many_peers_are_malformed() {
        let message = Message::Peers { channel: 1, peers: addresses(MAX_PEERS + 1) };
        assert_eq!(Message::decode(&message.encode()), Err(Malformed));
    }

    #[test]
    fn every_message_comes_back() {
        for message in messages() {
            let bytes = message.encode();
            assert_eq!(Message::decode(&bytes).as_ref(), Ok(&message));
        }
    }

    #[test]
    fn every_cut_is_malformed_or_another_message() {
        for message in messages() {
            let bytes = message.encode();
            for len in 0..bytes.len() {
                assert_ne!(Message::decode(&bytes[..len]).as_ref(), Ok(&message));
            }
        }
    }

    #[test]
    fn nothing_may_follow_a_message() {
        let mut bytes = Message::Shut { channel: 1 }.encode();
        bytes.push(0);
        assert_eq!(Message::decode(&bytes), Err(Malformed));
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut rng = Rng::from_seed(21);
        for _ in 0..20_000 {
            let mut bytes = vec![0; rng.index(90)];
            rng.fill(&mut bytes);
            if let Some(first) = bytes.first_mut() {
                *first %= 0x14;
            }
            let _ = Message::decode(&bytes);
        }
    }
}
