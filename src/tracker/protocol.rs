//! What tracker and clients say to each other: requests and responses, each one datagram.
//!
//! Only the codec: who may ask, what is stored and when to repeat are not decided here. The layout stands in
//! [`crate::tracker`]. Decoding can fail, encoding can't.

use std::net::SocketAddr;

use crate::Fid;
use crate::coding::{Malformed, Reader, Writer};
use crate::name::FileName;
use crate::rudp::cookie::Cookie;
use crate::rudp::packet::{self, HEADER_LEN, Header, Transaction};

/// No datagram of this protocol is longer, B: what passes every path of the Internet (RFC 8899 §5.1.2).
pub const MAX_DATAGRAM: usize = 1_200;

/// The most holders that one response names.
pub const MAX_HOLDERS: usize = 30;

/// The most files that one response names.
pub const MAX_FOUND: usize = 25;

/// The progress of a holder that has the whole file.
pub const COMPLETE: u8 = 255;

const HOLDER_MAX_LEN: usize = 19 + 1;
const INTRODUCTION_MIN_LEN: usize = HEADER_LEN + 1 + Cookie::LEN + 4 + 1;
const FOUND_LEN: usize = Fid::LEN + 8 + 4;
const _: () = assert!(HEADER_LEN + 1 + 2 + 4 + 1 + MAX_HOLDERS * HOLDER_MAX_LEN <= MAX_DATAGRAM);
const _: () = assert!(HEADER_LEN + 1 + 4 + 1 + MAX_FOUND * FOUND_LEN <= MAX_DATAGRAM);

/// First bytes of bodies. Requests and responses share no value, so that a response that somebody bounces to another
/// tracker is a request to nobody, and no two trackers can be set to answer each other.
mod tag {
    pub(super) const HELLO: u8 = 0x01;
    pub(super) const ANNOUNCE: u8 = 0x02;
    pub(super) const LOOKUP: u8 = 0x03;
    pub(super) const FIND: u8 = 0x04;
    pub(super) const CANCEL: u8 = 0x05;
    pub(super) const LEAVE: u8 = 0x06;

    pub(super) const NEED_COOKIE: u8 = 0x81;
    pub(super) const HOLDERS: u8 = 0x82;
    pub(super) const UNKNOWN: u8 = 0x83;
    pub(super) const FOUND: u8 = 0x84;
    pub(super) const DONE: u8 = 0x85;
    pub(super) const REFUSED: u8 = 0x86;
    pub(super) const INTRODUCTION: u8 = 0x87;
}

/// In the place of a cookie, for who has none yet. A real cookie looks like this once in 2¹²⁸ times.
const NO_COOKIE: [u8; Cookie::LEN] = [0; Cookie::LEN];

/// What a client tells about a file that it holds, in whole or in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The file.
    pub fid: Fid,
    /// Under what name it can be found, if it is to be found by name.
    pub name: Option<FileName>,
    /// Length of the file, B.
    pub size: u64,
    /// What part of it is there: 0 nothing yet, [`COMPLETE`] all.
    pub progress: u8,
    /// How many other holders the answer shall name at most; 0 for none.
    pub want: u8,
}

/// What a client asks of a tracker. Asking twice does no harm and no more than asking once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Asks for a cookie only: the first word to a tracker. Answered with [`Response::NeedCookie`].
    Hello,
    /// Joins or refreshes a holding of the sender. Answered with [`Response::Holders`].
    Announce(Announcement),
    /// Asks for at most `want` holders of a file. Answered with [`Response::Holders`] or [`Response::Unknown`]; without a valid
    /// cookie, with [`Response::Introduction`] or [`Response::NeedCookie`].
    Lookup {
        /// The file.
        fid: Fid,
        /// How many holders to name at most.
        want: u8,
    },
    /// Asks what files have this name. Answered with [`Response::Found`].
    Find {
        /// The whole name, exactly.
        name: FileName,
    },
    /// Withdraws one holding of the sender. Answered with [`Response::Done`], whether or not there was one.
    Cancel {
        /// The file.
        fid: Fid,
    },
    /// Withdraws all holdings of the sender. Answered with [`Response::Done`].
    Leave,
}

/// Somebody who holds a file, in whole or in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Where it is.
    pub addr: SocketAddr,
    /// What part it had when it last said so: 0 nothing yet, [`COMPLETE`] all.
    pub progress: u8,
}

/// A file that has the name that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundFile {
    /// Its identity.
    pub fid: Fid,
    /// Its length as its first holder announced it, B: a hint, not a proof.
    pub size: u64,
    /// How many holders it has.
    pub holders: u32,
}

/// Why a request is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Refusal {
    /// The name is not the name of a file.
    #[error("the name is not one that a file can have")]
    Name,
    /// The tracker holds as much as it ever will.
    #[error("the tracker is full")]
    TrackerFull,
    /// The asker's address, or its network, holds as much as one may.
    #[error("this address holds as many files as one may")]
    AddressFull,
    /// The file has as many holders as one may.
    #[error("this file has as many holders as one may")]
    FileFull,
}

impl Refusal {
    const ALL: [Refusal; 4] = [Refusal::Name, Refusal::TrackerFull, Refusal::AddressFull, Refusal::FileFull];

    fn code(self) -> u8 {
        self as u8 + 1
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Refusal, Malformed> {
        let code = reader.u8()?;
        Refusal::ALL.into_iter().find(|refusal| refusal.code() == code).ok_or(Malformed)
    }
}

/// What a tracker answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// The request carried no valid cookie and was not looked into: ask again with this one.
    NeedCookie(Cookie),
    /// Some of the holders of the file, the asker not among them.
    Holders {
        /// How long an announcement holds unless refreshed, s.
        lease_seconds: u16,
        /// How many holders there are in all, the asker included if it is one.
        total: u32,
        /// At most [`MAX_HOLDERS`] of them. If any is complete, a complete one stands first.
        holders: Vec<Holder>,
    },
    /// A lookup came without a valid cookie: the first holders all the same, and the cookie to ask for more with.
    Introduction {
        /// To ask with from now on.
        cookie: Cookie,
        /// How many holders there are in all, the asker included if it is one.
        total: u32,
        /// As many of them as fit into no more bytes than the question had. If any is complete, a complete one stands first.
        holders: Vec<Holder>,
    },
    /// Nobody holds this file.
    Unknown {
        /// The file as the question named it: a question that was damaged on the way is told by it.
        fid: Fid,
    },
    /// The files of this name, those with most holders first.
    Found {
        /// How many there are in all.
        total: u32,
        /// At most [`MAX_FOUND`] of them.
        files: Vec<FoundFile>,
    },
    /// It is withdrawn.
    Done,
    /// The request is not granted, and won't be if it is only repeated soon.
    Refused(Refusal),
}

/// A request as it arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The cookie it carries, valid or not.
    pub cookie: Option<Cookie>,
    /// The request, or why no tracker would grant it.
    pub request: Result<Request, Refusal>,
}

impl Request {
    /// Writes the datagram that asks this under the number `transaction` over `buf`. Its length doesn't depend on
    /// whether there is a cookie, and is at least that of a [`Response::NeedCookie`].
    pub fn encode(&self, transaction: Transaction, cookie: Option<&Cookie>, buf: &mut Vec<u8>) {
        begin(transaction, buf);
        buf.u8(match self {
            Request::Hello => tag::HELLO,
            Request::Announce(_) => tag::ANNOUNCE,
            Request::Lookup { .. } => tag::LOOKUP,
            Request::Find { .. } => tag::FIND,
            Request::Cancel { .. } => tag::CANCEL,
            Request::Leave => tag::LEAVE,
        });
        match cookie {
            Some(cookie) => cookie.encode(buf),
            None => buf.bytes(&NO_COOKIE),
        }
        match self {
            Request::Hello | Request::Leave => {}
            Request::Announce(announcement) => {
                buf.bytes(announcement.fid.as_bytes());
                buf.u64(announcement.size);
                buf.u8(announcement.progress);
                buf.u8(announcement.want);
                encode_name(announcement.name.as_ref(), buf);
            }
            Request::Lookup { fid, want } => {
                buf.bytes(fid.as_bytes());
                buf.u8(*want);
            }
            Request::Find { name } => encode_name(Some(name), buf),
            Request::Cancel { fid } => buf.bytes(fid.as_bytes()),
        }
        packet::seal(buf);
    }
}

impl Asked {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// [`Malformed`] if it is none. A name that can't be is no such error: whoever asks shall be told.
    pub fn decode(body: &[u8]) -> Result<Asked, Malformed> {
        let mut reader = Reader::new(body);
        let tag = reader.u8()?;
        let cookie = reader.array::<{ Cookie::LEN }>()?;
        let cookie =
            if cookie == NO_COOKIE { None } else { Some(Cookie::decode(&mut Reader::new(&cookie))?) };
        let request = match tag {
            tag::HELLO => Ok(Request::Hello),
            tag::ANNOUNCE => {
                let fid = decode_fid(&mut reader)?;
                let (size, progress, want) = (reader.u64()?, reader.u8()?, reader.u8()?);
                let name = match decode_text(&mut reader)? {
                    [] => Ok(None),
                    text => checked_name(text).map(Some),
                };
                name.map(|name| Request::Announce(Announcement { fid, name, size, progress, want }))
            }
            tag::LOOKUP => Ok(Request::Lookup { fid: decode_fid(&mut reader)?, want: reader.u8()? }),
            tag::FIND => checked_name(decode_text(&mut reader)?).map(|name| Request::Find { name }),
            tag::CANCEL => Ok(Request::Cancel { fid: decode_fid(&mut reader)? }),
            tag::LEAVE => Ok(Request::Leave),
            _ => return Err(Malformed),
        };
        ended(&reader)?;
        Ok(Asked { cookie, request })
    }
}

impl Response {
    /// Writes the datagram that answers `transaction` with this over `buf`: at most [`MAX_DATAGRAM`] B, whatever is
    /// in the lists (what is beyond their stated lengths is left out).
    pub fn encode(&self, transaction: Transaction, buf: &mut Vec<u8>) {
        begin(transaction, buf);
        match self {
            Response::NeedCookie(cookie) => {
                buf.u8(tag::NEED_COOKIE);
                cookie.encode(buf);
            }
            Response::Holders { lease_seconds, total, holders } => {
                buf.u8(tag::HOLDERS);
                buf.u16(*lease_seconds);
                buf.u32(*total);
                encode_holders(holders, buf);
            }
            Response::Introduction { cookie, total, holders } => {
                buf.u8(tag::INTRODUCTION);
                cookie.encode(buf);
                buf.u32(*total);
                encode_holders(holders, buf);
            }
            Response::Unknown { fid } => {
                buf.u8(tag::UNKNOWN);
                buf.bytes(fid.as_bytes());
            }
            Response::Found { total, files } => {
                let named = files.len().min(MAX_FOUND);
                buf.u8(tag::FOUND);
                buf.u32(*total);
                buf.u8(named as u8);
                for file in files.iter().take(named) {
                    buf.bytes(file.fid.as_bytes());
                    buf.u64(file.size);
                    buf.u32(file.holders);
                }
            }
            Response::Done => buf.u8(tag::DONE),
            Response::Refused(refusal) => {
                buf.u8(tag::REFUSED);
                buf.u8(refusal.code());
            }
        }
        packet::seal(buf);
    }

    /// Reads the body of a response.
    ///
    /// # Errors
    /// [`Malformed`] if it is none.
    pub fn decode(body: &[u8]) -> Result<Response, Malformed> {
        let mut reader = Reader::new(body);
        let response = match reader.u8()? {
            tag::NEED_COOKIE => Response::NeedCookie(Cookie::decode(&mut reader)?),
            tag::HOLDERS => {
                let (lease_seconds, total) = (reader.u16()?, reader.u32()?);
                Response::Holders { lease_seconds, total, holders: decode_holders(&mut reader)? }
            }
            tag::INTRODUCTION => {
                let (cookie, total) = (Cookie::decode(&mut reader)?, reader.u32()?);
                Response::Introduction { cookie, total, holders: decode_holders(&mut reader)? }
            }
            tag::UNKNOWN => Response::Unknown { fid: decode_fid(&mut reader)? },
            tag::FOUND => {
                let total = reader.u32()?;
                let files = decode_list(&mut reader, MAX_FOUND, |reader| {
                    Ok(FoundFile { fid: decode_fid(reader)?, size: reader.u64()?, holders: reader.u32()? })
                })?;
                Response::Found { total, files }
            }
            tag::DONE => Response::Done,
            tag::REFUSED => Response::Refused(Refusal::decode(&mut reader)?),
            _ => return Err(Malformed),
        };
        ended(&reader)?;
        Ok(response)
    }
}

/// Those of `holders`, from the first, whom an introduction can name that answers a question of `len` B: it is no longer than that,
/// lest a forged question have more bytes sent to another's address than it cost.
pub(super) fn introduced(mut holders: Vec<Holder>, len: usize) -> Vec<Holder> {
    let room = len.saturating_sub(INTRODUCTION_MIN_LEN);
    let fitting = holders.iter().scan(room, |left, holder| {
        *left = left.checked_sub(holder_len(holder))?;
        Some(())
    });
    let named = fitting.count();
    holders.truncate(named);
    holders
}

/// The same address in the one form in which it is compared, stored and told: a dual-stack socket shows IPv4 mapped
/// into IPv6, and an IPv6 scope means something on its own machine only.
pub(super) fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

fn begin(transaction: Transaction, buf: &mut Vec<u8>) {
    packet::begin(buf, Header::oneshot(transaction));
}

/// On the wire, B.
fn holder_len(holder: &Holder) -> usize {
    if holder.addr.is_ipv4() { 7 + 1 } else { HOLDER_MAX_LEN }
}

fn encode_holders(holders: &[Holder], buf: &mut Vec<u8>) {
    let named = holders.len().min(MAX_HOLDERS);
    buf.u8(named as u8);
    for holder in holders.iter().take(named) {
        buf.socket_addr(holder.addr);
        buf.u8(holder.progress);
    }
}

fn decode_holders(reader: &mut Reader<'_>) -> Result<Vec<Holder>, Malformed> {
    decode_list(reader, MAX_HOLDERS, |reader| {
        Ok(Holder { addr: reader.socket_addr()?, progress: reader.u8()? })
    })
}

fn encode_name(name: Option<&FileName>, buf: &mut Vec<u8>) {
    let text = name.map_or("", FileName::as_str);
    buf.u8(u8::try_from(text.len()).expect("a name has at most 255 B"));
    buf.bytes(text.as_bytes());
}

fn decode_text<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let len = reader.u8()?;
    reader.bytes(len.into())
}

fn checked_name(text: &[u8]) -> Result<FileName, Refusal> {
    FileName::from_bytes(text).map_err(|_| Refusal::Name)
}

fn decode_fid(reader: &mut Reader<'_>) -> Result<Fid, Malformed> {
    reader.array().map(Fid::from_bytes)
}

/// A count of at most `max` in one byte, then as many items.
fn decode_list<'a, T>(
    reader: &mut Reader<'a>,
    max: usize,
    item: impl Fn(&mut Reader<'a>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = usize::from(reader.u8()?);
    if count > max {
        return Err(Malformed);
    }
    (0..count).map(|_| item(reader)).collect()
}

fn ended(reader: &Reader<'_>) -> Result<(), Malformed> {
    if reader.is_empty() { Ok(()) } else { Err(Malformed) }
}

#[cfg(test)]
mod tests;
