//! The edges of the four calls: odd sizes, wrong arguments, calls at the wrong time, calls at once.
//!
//! No measure of speed here but one: an error, and the end of a call, come at once and not after a time-out.

mod common;

#[path = "api/closing.rs"]
mod closing;
#[path = "api/disk.rs"]
mod disk;
#[path = "api/files.rs"]
mod files;
#[path = "api/hostile.rs"]
mod hostile;
#[path = "api/leaving.rs"]
mod leaving;
#[path = "api/moments.rs"]
mod moments;
#[path = "api/resuming.rs"]
mod resuming;
