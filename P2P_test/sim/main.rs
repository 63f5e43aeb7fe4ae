//! The swarm in the simulated world: how close it comes to the fluid bound, and that it survives every fault.
//!
//! Simulated time is exact, whatever the machine is busy with; a failing seed prints the command that replays it.

mod chaos;
mod churn;
mod crowds;
mod disk;
mod exchange;
mod fairness;
mod files;
mod held_back;
mod hostile;
mod in_order;
mod lab;
mod mesh;
mod movers;
mod noisy;
mod outage;
mod scenarios;
mod sources;
mod speed;
mod transport;
