//! The simulated world: thousands of [`Machine`](crate::machine::Machine)s, a virtual clock and shaped, faulty links.
//!
//! No socket and no real clock here, and nothing of what the machines say to one another. One seed is one
//! history: [`World::trace_hash`] tells two histories apart. The machines are the very ones that the real driver runs.
//!
//! The way of a datagram:
//!
//! ```text
//! poll_transmit → sender's uplink → faults → latency and jitter → receiver's downlink → handle_datagram
//!                 (endless queue)                                  (64 MiB, drops at the tail)
//! ```
//!
//! Both links follow the law that the real proxy follows, [`Shaper`](crate::proxy::shaper::Shaper). A world whose
//! nodes are of several kinds holds an enum of them.

mod faults;
mod link;
mod node;
mod pool;
mod queue;
mod trace;
mod world;

#[cfg(test)]
mod tests;

pub use faults::{Corruption, Fate, Faults};
pub use link::{LinkConfig, LinkStats};
pub use node::NodeId;
pub use world::World;
