//! Brings a file from one machine to many, peer to peer over UDP.

pub mod coding;
mod error;
mod fid;
pub mod machine;
pub mod proxy;
pub mod rand;
pub mod rudp;
pub mod time;
pub mod tracker;
pub mod units;

pub use error::{Error, Result};
pub use fid::{Fid, ParseFidError};
