//! The server-client model: one server sends the whole file to each client. What the swarm is compared with.
//!
//! No piece and no peer here; [`relay`] is the model between the two, where receivers pass whole files on. It runs over the same proxy and the same [`rudp`](crate::rudp) as the swarm, and shares its
//! uplink evenly, so that a comparison shows what the swarm gains, and not what a poor server loses: N clients that ask
//! at once for a file of F bytes all end shortly after N × F ÷ u, u being the server's upload rate.
//!
//! - [`protocol`]: what the two say to each other
//! - [`ServerNode`], [`ClientNode`]: the machines, which run in the simulated world as well
//! - [`Server`], [`Client`]: the blocking surface
//!
//! # Integrity
//!
//! The server hashes what it reads for a client as it sends it, and says the hash of the whole at the end; the client
//! compares it with that of what it put together. This finds damage, not a server that lies. Who resumes is sent what
//! is missing at once, while the server hashes what came before in small steps: nobody waits for it but, at the very
//! end, the one who resumed.

mod assembly;
mod client;
mod client_node;
mod files;
mod held;
pub mod protocol;
pub mod relay;
mod server;
mod server_node;
#[cfg(test)]
pub(crate) mod tests;

pub use client::Client;
pub use client_node::{ClientNode, Failure, PATIENCE};
pub use server::Server;
pub use server_node::{ServerNode, ServerStats};
