//! Brings a file from one machine to many, peer to peer over UDP, as close to the network's own limit as possible.
//!
//! The public surface: [`Tracker`] tells who is there, [`PClient`] shares and fetches, [`Proxy`] is the shaped socket
//! beneath both, [`sc_model`] the server-client model to compare with. A file's name is its [`Fid`].
//!
//! All protocol is in state machines that do no I/O ([`machine`]); [`driver`] runs them on real sockets and [`sim`] on
//! simulated links. `ARCHITECTURE.md` is the map of the house.

pub mod coding;
pub mod discovery;
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
pub mod simulate;
pub mod small;
pub mod time;
pub mod tracker;
pub mod units;

pub use error::{Error, Result};
pub use fid::{Fid, ParseFidError};
pub use pclient::PClient;
pub use proxy::Proxy;
pub use tracker::Tracker;

/// The examples of README.md, compiled and run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
