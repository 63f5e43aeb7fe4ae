//! Brings a file from one machine to many, peer to peer over UDP.

pub mod coding;
pub mod driver;
mod error;
mod fid;
pub mod machine;
pub mod name;
pub mod pclient;
pub mod proxy;
pub mod rand;
pub mod rudp;
#[path = "../SC_Model/mod.rs"]
pub mod sc_model;
pub mod sim;
pub mod time;
pub mod tracker;
pub mod units;

pub use error::{Error, Result};
pub use fid::{Fid, ParseFidError};
pub use pclient::PClient;
pub use proxy::Proxy;
pub use tracker::Tracker;
