//! The datagrams that are under way, in buffers that are used again and again.
//!
//! Queues and events hold a [`Slot`] of four bytes; the datagram itself stays where it is from transmit to delivery.

use std::net::SocketAddr;

use super::world::NodeId;

/// Datagrams without content are seldom longer, B.
const SMALL: usize = 128;
/// Few datagrams are longer, B.
const USUAL: usize = 1_280;

/// One datagram under way.
#[derive(Debug)]
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

/// The right to one datagram of the [`Pool`]. It isn't `Copy`: whoever holds it passes it on or gives it back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Slot(u32);

#[cfg(test)]
impl Slot {
    /// A slot of no pool, to test the order of events.
    pub(super) fn for_test(index: usize) -> Slot {
        Slot(index as u32)
    }
}

/// Every slot is in exactly one place: a free list, a link's queue, or an event.
#[derive(Debug, Default)]
pub(super) struct Pool {
    datagrams: Vec<Datagram>,
    /// Those whose buffers have room for [`SMALL`] datagrams: most are, and need not take the room of others.
    free_small: Vec<Slot>,
    free: Vec<Slot>,
}

impl Pool {
    /// Takes in a copy of `bytes`.
    pub(super) fn insert(&mut self, sender: NodeId, to: SocketAddr, bytes: &[u8]) -> Slot {
        let (free, room) = match bytes.len() <= SMALL {
            true => (&mut self.free_small, SMALL),
            false => (&mut self.free, USUAL),
        };
        let slot = free.pop().unwrap_or_else(|| {
            let index = u32::try_from(self.datagrams.len()).expect("fewer than 2³² datagrams are under way");
            self.datagrams.push(Datagram {
                bytes: Vec::with_capacity(room),
                to,
                from: to,
                sender,
                receiver: sender,
                digest: 0,
            });
            Slot(index)
        });
        let datagram = self.get_mut(&slot);
        datagram.bytes.clear();
        datagram.bytes.extend_from_slice(bytes);
        datagram.to = to;
        datagram.sender = sender;
        slot
    }

    /// A second datagram, equal to that of `slot`.
    pub(super) fn duplicate(&mut self, slot: &Slot) -> Slot {
        let Datagram { to, from, sender, receiver, digest, ref bytes } = *self.get(slot);
        let bytes = bytes.clone();
        let copy = self.insert(sender, to, &bytes);
        let datagram = self.get_mut(&copy);
        (datagram.from, datagram.receiver, datagram.digest) = (from, receiver, digest);
        copy
    }

    pub(super) fn get(&self, slot: &Slot) -> &Datagram {
        &self.datagrams[slot.0 as usize]
    }

    pub(super) fn get_mut(&mut self, slot: &Slot) -> &mut Datagram {
        &mut self.datagrams[slot.0 as usize]
    }

    /// Gives the slot back; its buffer serves another datagram, unless it is far larger than most need: the few large
    /// datagrams would otherwise pass through all buffers in time, and leave them large.
    pub(super) fn release(&mut self, slot: Slot) {
        let bytes = &mut self.get_mut(&slot).bytes;
        if bytes.capacity() > 2 * bytes.len() + 2 * USUAL {
            *bytes = Vec::with_capacity(USUAL);
        }
        let free = if bytes.capacity() < USUAL { &mut self.free_small } else { &mut self.free };
        free.push(slot);
    }

    /// How many datagrams are under way.
    pub(super) fn in_use(&self) -> usize {
        self.datagrams.len() - self.free_small.len() - self.free.len()
    }
}
