//! Runs a swarm that somebody has described: real peers and a real tracker in the simulated world, and what came of it.
//!
//! No policy and no protocol here: the machines are those that users run ([`Node`](crate::pclient::node::Node) and
//! [`Server`](crate::tracker::Server)), the network is [`sim`](crate::sim)'s. Nothing is printed or drawn either.
//!
//! - [`Scenario`]: what is to happen, as TOML; some are built in
//! - [`run`]: lets it happen and gives a [`Report`]
//! - [`bound`]: how soon it could have been at best
//! - [`SharedStorage`]: one copy of the content for all nodes

mod actor;
pub mod bound;
mod report;
mod runner;
pub mod scenario;
mod storage;
mod watch;

pub use report::{ReceiverReport, Report, Sample};
pub use runner::{run, run_watching};
pub use scenario::{Scenario, ScenarioError};
pub use storage::SharedStorage;
pub use watch::{Moment, Watched, WatchedPeer};
