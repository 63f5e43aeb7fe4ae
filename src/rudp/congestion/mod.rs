//! Congestion control by delay.
//!
//! The proxy's queues are endless and drop nothing, so loss says nothing; the time a packet takes says everything.
//! [`delay`] measures the queueing delay of one path, [`window`] turns it into a window (LEDBAT++, RFC 6817), and
//! [`links`] keeps the one window that all connections of an endpoint share: their common queue is its own uplink, and [`drain`]
//! lets that run empty where nobody sees any more how long the ways are without it.
//!
//! Two queues are kept apart. The sender sees the sum of its own uplink's and the receiver's downlink's queue; the
//! receiver, which hears several senders at once, can tell its downlink's and reports it with each ack, or a little only where
//! the downlink isn't full ([`load`]). The difference is the uplink's.

pub mod delay;
pub mod drain;
pub mod links;
pub mod load;
pub mod window;
