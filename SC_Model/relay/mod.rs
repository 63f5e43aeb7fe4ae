//! The whole-file relay: who has all of the file serves the next in line, a few at a time.
//!
//! The third model of a comparison, between one server for all and a swarm: receivers help, but only with a whole file,
//! so that at first one uplink works, then a few, then many. No pieces here, and nobody receives from two at once. It
//! runs over the same proxy and the same [`rudp`](crate::rudp) as the other two, and fills and shares uplinks as the
//! server does.
//!
//! The source has the file and keeps the line. It serves at most k receivers at a time (k is the spread factor); a receiver
//! that has all of it says so, and becomes a producer that the source sends the next ones to, k at a time as well.
//! Whoever waits goes to the producer that serves fewest.
//!
//! - [`SourceNode`], [`ReceiverNode`]: the machines, which run in the simulated world as well
//! - [`Source`], [`Receiver`]: the blocking surface
//! - [`ideal_times`]: what the same orders would take if bytes were all that costs
//! - [`protocol`]: what they say to each other
//!
//! # Integrity and faults
//!
//! The source names the file's hash in each order, and a receiver serves only what has that hash. It reports a producer
//! that breaks off, talks nonsense or sent other bytes; that one isn't named again until it says anew that it has the
//! file, and the receiver goes on from its first missing byte with another, or anew if the hash was wrong. The source
//! believes such reports, and that a producer has what it says: it costs at most a receiver's time. Without
//! the source nobody is sent anywhere; transfers that are under way come to their end.

mod ideal;
pub mod protocol;
mod receiver_node;
mod roster;
mod service;
mod source_node;
#[cfg(test)]
mod tests;
mod uplink;

pub use ideal::ideal_times;
pub use receiver_node::ReceiverNode;
pub use service::{Receiver, Source};
pub use source_node::SourceNode;

/// The code of the close that answers a message which can't be read, or makes no sense.
const CODE_MALFORMED: u64 = 3;
/// The code of a close that says "I have what I want, or want it no more".
const CODE_DONE: u64 = 0;
