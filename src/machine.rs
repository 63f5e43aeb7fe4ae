//! The seam between protocol and world: what a peer, a tracker and a server have in common.
//!
//! No I/O, no clock, no thread here. Two worlds drive a [`Machine`]: [`crate::driver`] with a real proxy and
//! [`crate::sim`] with virtual time.

use std::net::SocketAddr;

use crate::time::Instant;

/// A protocol participant that does no I/O, reads no clock and draws only from the generator it was given.
///
/// The polling contract: after any call that can change state (`handle_…`, a job's outcome, or a command of the concrete
/// type), call [`poll_transmit`](Machine::poll_transmit) and [`poll_job`](Machine::poll_job) until they give `None`, then read
/// [`poll_timeout`](Machine::poll_timeout) and call [`handle_timeout`](Machine::handle_timeout) when that instant has
/// come. `now` never goes back from one call to the next.
pub trait Machine {
    /// Takes in one datagram that arrived from `from`. Anything may be in it.
    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]);

    /// Does what is due at `now`. Harmless when nothing is.
    fn handle_timeout(&mut self, now: Instant);

    /// Writes the next datagram to send over `buf` (its former content is cleared) and says for whom it is.
    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr>;

    /// The next deadline, and what it is for (for traces: a machine that spins can be seen to).
    fn poll_timeout(&self) -> Option<(Instant, &'static str)>;

    /// The next piece of work that would hold up the protocol if the machine did it itself. To be polled like
    /// [`poll_transmit`](Machine::poll_transmit), and done in the order in which it comes.
    fn poll_job(&mut self) -> Option<Job<Self>>
    where
        Self: Sized,
    {
        None
    }
}

/// Work on a disk, or a long computation: done beside the machine, on any thread. What it gives is then applied to the
/// machine, as a command is.
pub type Job<M> = Box<dyn FnOnce() -> Outcome<M> + Send>;

/// What a [`Job`] has led to.
pub type Outcome<M> = Box<dyn FnOnce(&mut M, Instant) + Send>;
