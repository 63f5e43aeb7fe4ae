//! The peer: what is shared, who has which pieces, and who gets what next.
//!
//! [`client`] alone touches a thread and a proxy; all the rest is a state machine, [`node::Node`], and its parts:
//!
//! | what | where |
//! |---|---|
//! | the four blocking calls | [`client`] |
//! | connections, tracker, all swarms of a node | [`node`], [`book`] |
//! | one file and its peers | [`swarm`], [`peer`], [`availability`], `conduct`, `haves` |
//! | the receiver's half: what to ask of whom | [`download`], [`picker`], [`rate`] |
//! | the sender's half: whom to serve with what | [`upload`], `manifest_desk` |
//! | tit for tat: who goes first | [`choker`], [`dealings`], [`status`] |
//! | pieces, their hashes, the proof of the size | [`pieces`], [`manifest`], [`manifest_fetch`], [`size_proof`] |
//! | what held a download back | [`account`] |
//! | a folder as one stream, and the list of its files | [`collection`] |
//! | where the bytes lie, and what is read of them to be served | [`storage`], `shelf` |
//! | going on after an interruption | [`resume`] |
//! | what peers say to each other | [`message`] |

pub mod account;
pub mod availability;
pub mod book;
pub mod choker;
pub mod client;
pub mod collection;
mod conduct;
mod crowd;
pub mod dealings;
pub mod download;
mod haves;
pub mod manifest;
mod manifest_desk;
pub mod manifest_fetch;
pub mod message;
pub mod node;
pub mod peer;
pub mod picker;
pub mod pieces;
pub mod rate;
pub mod resume;
mod shelf;
pub mod size_proof;
pub mod status;
pub mod storage;
mod suspects;
pub mod swarm;
mod tree;
pub mod upload;

pub use client::PClient;
