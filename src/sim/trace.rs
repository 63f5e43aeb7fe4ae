//! The fingerprint of a history: a hash over what happened to every datagram, and when.
//!
//! With the log level at `trace` the same lines can be read, so that two histories can be compared by eye.

use xxhash_rust::xxh3::xxh3_64;

use super::pool::Datagram;
use crate::time::Instant;

/// How a datagram passed one of the two points at which it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Outcome {
    /// It left the uplink and will come to the receiver's downlink.
    Crosses,
    /// A copy of it will come to the receiver's downlink.
    Copied,
    /// It fell to the faults, to the filter or to a partition.
    Lost,
    /// Nobody has its address, or the one who had it is gone.
    Unreachable,
    /// The receiver's downlink was full.
    Overflowed,
    /// The receiver's machine took it.
    Delivered,
}

/// The hash of all that happened so far: a sum, as what happens at two nodes has no order but that of its times.
#[derive(Default)]
pub(super) struct Trace(u64);

impl Trace {
    pub(super) fn record(&mut self, now: Instant, datagram: &Datagram, outcome: Outcome) {
        let Datagram { bytes, sender, receiver, digest, .. } = datagram;
        log::trace!("{now:?} {sender:?} → {receiver:?} {} B {digest:016x} {outcome:?}", bytes.len());
        let mut line = [0; 33];
        line[..8].copy_from_slice(&now.as_nanos().to_le_bytes());
        line[8..12].copy_from_slice(&sender.0.to_le_bytes());
        line[12..16].copy_from_slice(&receiver.0.to_le_bytes());
        line[16..24].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        line[24..32].copy_from_slice(&digest.to_le_bytes());
        line[32] = outcome as u8;
        self.0 = self.0.wrapping_add(xxh3_64(&line));
    }

    pub(super) fn hash(&self) -> u64 {
        self.0
    }
}
