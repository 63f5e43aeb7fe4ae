//! The sealed network: send and receive of one datagram, bandwidth-shaped.

pub mod shaper;
