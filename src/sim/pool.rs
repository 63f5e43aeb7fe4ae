//! The datagrams that are under way, in buffers that are used again and again.
//!
//! Queues and events hold a [`Slot`] of eight bytes; the datagram itself stays where it is from transmit to delivery.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};

use xxhash_rust::xxh3::xxh3_64;

use super::node::NodeId;

/// Datagrams without content are seldom longer, B.
const SMALL: usize = 128;
/// Few datagrams are longer, B.
const USUAL: usize = 1_280;
/// Most buffers of a kind that are kept for other datagrams: what is sent by the nodes of one pool may always go to those of
/// another.
const MAX_FREE: usize = 1 << 16;

/// One datagram under way.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Datagram {
    pub(super) bytes: Vec<u8>,
    /// Whom its sender addressed.
    pub(super) to: SocketAddr,
    /// Its sender's address at the moment it left the uplink.
    pub(super) from: SocketAddr,
    pub(super) sender: NodeId,
    /// Who had the address `to` at the moment it left the uplink.
    pub(super) receiver: NodeId,
    /// The xxh3 of `bytes`, for the trace.
    pub(super) digest: u64,
}

/// One datagram under way. It isn't `Clone`: whoever holds it passes it on or gives it back to a [`Pool`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Slot(Box<Datagram>);

impl Slot {
    /// One with room for `room` B.
    fn new(sender: NodeId, to: SocketAddr, room: usize) -> Slot {
        let bytes = Vec::with_capacity(room);
        Slot(Box::new(Datagram { bytes, to, from: to, sender, receiver: sender, digest: 0 }))
    }

    /// A slot of no pool, to test the order of events.
    #[cfg(test)]
    pub(super) fn for_test() -> Slot {
        Slot::new(NodeId(0), SocketAddr::from(([10, 0, 0, 1], 1)), 0)
    }
}

impl Deref for Slot {
    type Target = Datagram;

    fn deref(&self) -> &Datagram {
        &self.0
    }
}

impl DerefMut for Slot {
    fn deref_mut(&mut self) -> &mut Datagram {
        &mut self.0
    }
}

/// Buffers for datagrams. What was taken from one pool may be given back to another.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// Those with room for [`SMALL`] datagrams: most are, and need not take the room of others.
    free_small: Vec<Slot>,
    free: Vec<Slot>,
    /// How many were taken from here, less those given back.
    taken: isize,
}

impl Pool {
    /// Takes in a copy of `bytes`.
    pub(super) fn insert(&mut self, sender: NodeId, to: SocketAddr, bytes: &[u8]) -> Slot {
        let (free, room) = match bytes.len() <= SMALL {
            true => (&mut self.free_small, SMALL),
            false => (&mut self.free, USUAL),
        };
        let mut slot = free.pop().unwrap_or_else(|| Slot::new(sender, to, room));
        slot.bytes.clear();
        slot.bytes.extend_from_slice(bytes);
        slot.to = to;
        slot.sender = sender;
        slot.digest = xxh3_64(bytes);
        self.taken += 1;
        slot
    }

    /// A second datagram, equal to that of `slot`.
    pub(super) fn duplicate(&mut self, slot: &Slot) -> Slot {
        let mut copy = self.insert(slot.sender, slot.to, &slot.bytes);
        (copy.from, copy.receiver, copy.digest) = (slot.from, slot.receiver, slot.digest);
        copy
    }

    /// Gives the slot back; its buffer serves another datagram, unless it is far larger than most need: the few large
    /// datagrams would otherwise pass through all buffers in time, and leave them large.
    pub(super) fn release(&mut self, mut slot: Slot) {
        let bytes = &mut slot.bytes;
        if bytes.capacity() > 2 * bytes.len() + 2 * USUAL {
            *bytes = Vec::with_capacity(USUAL);
        }
        let free = if bytes.capacity() < USUAL { &mut self.free_small } else { &mut self.free };
        if free.len() < MAX_FREE {
            free.push(slot);
        }
        self.taken -= 1;
    }

    /// How many were taken from here, less those given back: over all pools, the datagrams that are under way.
    pub(super) fn taken(&self) -> isize {
        self.taken
    }
}
