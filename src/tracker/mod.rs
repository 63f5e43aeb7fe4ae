//! The tracker: tells those who want a file who holds it. Control information only.
//!
//! It is not a party to any transfer: it holds no file data and no piece list, knows no disk, and a swarm whose
//! members know each other goes on without it. Its state is soft: nobody's announcement outlives its lease, and a
//! tracker that was restarted has been told all again within one refresh.
//!
//! # Map
//!
//! | module | duty |
//! |---|---|
//! | [`protocol`] | what goes over the wire |
//! | [`registry`] | who holds what, until when; caps |
//! | [`handout`] | whom to name to an asker |
//! | `outbox` | answers in front of a slow uplink |
//! | [`server`] | the tracker as a [`Machine`](crate::machine::Machine) |
//! | `agenda` | a client's questions and their repeats |
//! | [`announcer`] | the client's side, a part of a peer's machine |
//! | [`trackers`] | several of those, for a peer that knows several trackers |
//! | [`Tracker`] | the blocking surface: the server on a real socket |
//!
//! # The exchange
//!
//! One datagram asks, one answers, whoever asked repeats until answered, and every request is idempotent. All are
//! [`Kind::Oneshot`](crate::rudp::packet::Kind::Oneshot) packets of the project (13 B of header with a crc over the
//! whole); the connection id is the number of the transaction, chosen at random by the asker and repeated in the
//! answer, the packet number is 0. No datagram is longer than 1,200 B.
//!
//! ```text
//! client                                         tracker
//!   │ Lookup (no cookie)                      67 B  │
//!   ├──────────────────────────────────────────────►│  keeps nothing
//!   │ Introduction (cookie, first holders)  ≤ 67 B  │
//!   │◄──────────────────────────────────────────────┤  never more bytes out than in
//!   │ Announce (cookie, fid, progress, want)        │
//!   ├──────────────────────────────────────────────►│  lists the packet's source address, no other
//!   │       Holders (lease, some of the others)     │
//!   │◄──────────────────────────────────────────────┤
//!   ┊ … lease ÷ 3 later: Announce again             ┊
//! ```
//!
//! Whatever carries no valid cookie gets `NeedCookie`, however old the client thinks its cookie is, and is not
//! looked into. Only a lookup is answered at once, with as many holders as fit into no more bytes than its own: three, or
//! one that has an IPv6 address and another; unless nobody holds the file, very many do, or too many ask. Who begins
//! with another question says Hello first.
//! Anything that is not a well-formed request gets silence.
//!
//! # Requests
//!
//! ```text
//!  0      1                    21
//!  ┌──────┬────────────────────┬───────────────────────────────────────────────┐
//!  │ kind │ cookie (or 20 × 0) │ what this kind needs                          │
//!  └──────┴────────────────────┴───────────────────────────────────────────────┘
//! ```
//!
//! | kind | name | after the cookie | answers |
//! |---|---|---|---|
//! | 0x01 | Hello | | NeedCookie |
//! | 0x02 | Announce | fid 32, size 8, progress 1, want 1, name length 1, name 0–255 | Holders, Refused |
//! | 0x03 | Lookup | fid 32, want 1 | Holders, Unknown; Introduction |
//! | 0x04 | Find | name length 1, name 1–255 | Found, Refused |
//! | 0x05 | Cancel | fid 32 | Done |
//! | 0x06 | Leave | | Done |
//!
//! Progress is the part that is held, in 255ths, rounded down: 255 is the whole file. Want is how many holders to
//! name at most; 30 is the most that is granted. There are no further pages of holders: another Lookup gives another
//! random choice.
//!
//! # Responses
//!
//! | kind | name | what follows |
//! |---|---|---|
//! | 0x81 | NeedCookie | cookie 20 |
//! | 0x82 | Holders | lease 2 (s), total 4, count 1 (≤ 30), count × (address 7 or 19, progress 1) |
//! | 0x83 | Unknown | fid 32 |
//! | 0x84 | Found | total 4, count 1 (≤ 25), count × (fid 32, size 8, holders 4) |
//! | 0x85 | Done | |
//! | 0x86 | Refused | reason 1: 1 name, 2 tracker full, 3 address full, 4 file full |
//! | 0x87 | Introduction | cookie 20, total 4, count 1, count × (address 7 or 19, progress 1) |
//!
//! Integers are big-endian; an address is as [`Writer::socket_addr`](crate::coding::Writer::socket_addr) writes it.

mod agenda;
pub mod announcer;
pub mod handout;
mod outbox;
pub mod protocol;
pub mod registry;
pub mod server;
mod service;
pub mod trackers;

pub use announcer::{Announcer, Event};
pub use protocol::{COMPLETE, FoundFile, Holder, Refusal};
pub use registry::Limits;
pub use server::{Counters, Server};
pub use service::Tracker;
pub use trackers::Trackers;

#[cfg(test)]
mod tests;
