//! What is shared: the pieces of a file, their hashes, and where the bytes lie.
//!
//! No socket, clock or thread here.

pub mod manifest;
pub mod message;
pub mod pieces;
pub mod size_proof;
pub mod storage;
mod tree;
