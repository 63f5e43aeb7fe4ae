//! Reliable datagrams.

pub mod cookie;
pub mod packet;
