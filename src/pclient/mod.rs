//! What is shared: the pieces of a file, their hashes, and where the bytes lie.
//!
//! No socket, clock or thread here.

pub mod book;
pub mod download;
pub mod manifest;
pub mod manifest_fetch;
pub mod message;
pub mod node;
pub mod peer;
pub mod picker;
pub mod pieces;
pub mod rate;
pub mod size_proof;
pub mod storage;
pub mod swarm;
mod tree;
pub mod upload;
