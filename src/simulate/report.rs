//! What came of a run, for those who print or draw it. Nothing is run here.

use super::watch::Watched;
use crate::pclient::account::Spent;

/// What came of a run. Times are seconds since its start; what is ÷ F is in copies of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The seed that it followed from.
    pub seed: u64,
    /// Of each receiver, in the order of the scenario.
    pub receivers: Vec<ReceiverReport>,
    /// D, s: when the last of those that are done could have been at best ([`Bound`](super::bound::Bound)). Before
    /// anybody is done: of all that stay. Infinite if that is never.
    pub bound: f64,
    /// When the last of those that stayed to be done was, s; `None` if nobody was.
    pub last: Option<f64>,
    /// What the sources sent, ÷ F, headers and all.
    pub source_copies: f64,
    /// Equal for two runs only if they are the same history.
    pub trace_hash: u64,
    /// Who had how much when, in the order of time.
    pub samples: Vec<Sample>,
    /// How long the run lasted in the simulated world, s.
    pub ended: f64,
    /// How the node stood with its peers that was to be watched.
    pub watched: Option<Watched>,
}

/// What became of one receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceiverReport {
    /// What its group is called, and its number there if it isn't alone.
    pub name: String,
    /// When it joined, s.
    pub joined: f64,
    /// When it had all, s.
    pub done: Option<f64>,
    /// When it could have had all at best, whatever becomes of the others, s.
    pub bound: f64,
    /// What it sent, ÷ F.
    pub sent: f64,
    /// What it received, ÷ F.
    pub received: f64,
    /// What it received of the content more than once, ÷ F.
    pub duplicates: f64,
    /// What held it back, and how long each; `None` for one that has left or failed.
    pub held_back: Option<Spent>,
    /// Why it isn't done: what it said, or that it left or ran out of time.
    pub failed: Option<String>,
}

/// Who had how much at some time.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When, s.
    pub time: f64,
    /// What each receiver had, 0–1, in the order of the scenario; negative before it joins and after it left.
    pub shares: Vec<f32>,
    /// What all that stay could have had at best, 0–1.
    pub bound: f64,
}

impl Report {
    /// Last ÷ D.
    pub fn ratio(&self) -> Option<f64> {
        self.last.filter(|_| self.bound > 0.0 && self.bound.is_finite()).map(|last| last / self.bound)
    }

    /// How many of those that stayed are not done.
    pub fn undone(&self) -> usize {
        self.receivers.iter().filter(|receiver| receiver.done.is_none() && !receiver.has_left()).count()
    }
}

/// What is said of a receiver that the scenario lets leave before it is done.
pub(super) const LEFT: &str = "left before it was done";

impl ReceiverReport {
    /// Whether it left before it was done, as the scenario wants it.
    pub fn has_left(&self) -> bool {
        self.failed.as_deref() == Some(LEFT)
    }

    /// The time that it took from its join on ÷ that which it had to take.
    pub fn ratio(&self) -> Option<f64> {
        let took = self.done? - self.joined;
        let had_to = self.bound - self.joined;
        (had_to > 0.0 && had_to.is_finite()).then(|| took / had_to)
    }
}
