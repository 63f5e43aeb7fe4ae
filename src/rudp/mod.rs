//! Reliable datagrams: messages of a stated maximal length, delivered whole and once, over a network that loses,
//! repeats, reorders and damages.
//!
//! No socket, no thread, no clock here, and no knowledge of pieces or files: [`Endpoint`] is a part of a
//! [`Machine`](crate::machine::Machine). No order between messages either: each is handed up as soon as it is whole.
//! And no secrecy: the crc finds accidents; what must not be forged is verified above by its content.
//!
//! # The datagram
//!
//! All numbers are big-endian; `varint` is QUIC's (RFC 9000 §16).
//!
//! ```text
//!  0       1               5               9               13
//! +-------+---------------+---------------+---------------+-----------------
//! | D | k | connection id | packet number |     crc32     | body …
//! +-------+---------------+---------------+---------------+-----------------
//!   |   kind: 0 hello, 1 retry, 2 welcome, 3 data, 4 close, 5 oneshot
//!   version of the format
//! ```
//!
//! The crc stands over the whole datagram but itself. The packet number begins at a random value, counts up with each
//! datagram of a connection and direction, and is never used twice; now and then one is left out, and who acks that one
//! is a liar. A datagram whose crc, version, kind or length is wrong is counted and dropped. A close carries the number that
//! comes next, or that of the datagram which it answers; one with a number that is far from both is forged. A oneshot has a
//! transaction of 64 bits where the connection id and the packet number stand.
//!
//! # The handshake
//!
//! ```text
//! hello    receive window u32 | datagram size u16 | sent u32 | has cookie u8 | cookie, 20 B | frames, with a cookie
//! retry    cookie, 20 B: made at u32 s | tag, 16 B
//! welcome  receive window u32 | datagram size u16 | hello sent u32 | hello received u32 | sent u32
//!              | downlink queue u32
//! close    code varint
//!
//!   A                          B
//!   | hello, no cookie  ------>|   no state at B: the answer is shorter than the question
//!   |<------ retry with cookie |
//!   | hello with cookie ------>|   the address is proved: B has a connection now, and what the frames say
//!   |<---------------- welcome |   A has one
//! ```
//!
//! The frames are fragments of small messages, as many as fit into 512 B, of messages that hold at most 4 KiB of the window that B hasn't
//! told yet. A hello that is repeated has the same, and B takes them in once; the welcome acks them.
//!
//! Times are ticks of 62.5 ns of the sender's own clock and wrap; a downlink queue is told in µs. The hello and the welcome are the small first packets from which
//! both sides take the delay of the empty path, until a smaller or a luckier one shows that it is shorter.
//!
//! # Frames of a data datagram
//!
//! ```text
//! 00             padding
//! 01             ping
//! 02             ack: largest u24 | its arrival u24 | ack delay varint | downlink queue u8 | credit u8 | length − 1 varint
//! 03             ack with gaps: as an ack | further ranges varint | (gap − 1 varint | length − 1 varint) …
//! 04             immediate ack wanted
//! 05             timestamp: sent u24 | unsettled varint
//! 06             abandon: message varint | length varint
//! 08 + flags     fragment: message varint | [offset varint] | [length varint] | data
//!                flags: 1 the message ends here, 2 a length is given, 4 an offset is given
//! 10             path challenge: token, 8 B
//! 11             path response: token, 8 B
//! ```
//!
//! In acks and timestamps a number is told by its lower 24 bits, and a time by the upper 24 of its ticks: a grain of 16 µs. An
//! ack's delay counts 64 µs, its queue 1 ms, its credit 64ths of the receive window, modulo 256.
//!
//! # A peer whose address changes
//!
//! ```text
//!   A, at a new address        B
//!   | data, a newer number -->|   nothing in it counts yet; B's own data goes to the old address
//!   |<-------- path challenge |   to the new address; no more bytes in sum than came from it
//!   | path response --------->|   from the new address: the connection moves there
//! ```
//!
//! Both begin anew with what they knew of the path: B when it moves, A when it is asked.

pub mod clock;
pub mod config;
pub mod congestion;
pub mod connection;
pub mod cookie;
pub mod deadlines;
pub mod delivery;
pub mod endpoint;
pub mod error;
pub mod frame;
pub mod handshake;
pub mod liveness;
pub mod loss;
pub mod mtu;
pub mod pacer;
pub mod packet;
pub mod path;
pub mod ranges;
pub mod received;
pub mod recv_window;
pub mod reordering;
pub mod ride;
pub mod rtt;
pub mod send_window;
pub mod sent;
pub mod seq;
pub mod stateless;
pub mod stats;
pub mod timer;
pub mod timestamps;
pub mod turns;

#[cfg(test)]
mod tests;

pub use config::Config;
pub use endpoint::{Endpoint, Event, Handle, Oneshot};
pub use error::CloseReason;
pub use send_window::{Class, Tag};
