//! What is compared: models, rates and sizes, what is possible at best, and what came of it. Nothing runs here.

use swarmcast::pclient::account::{Account, Cause, Spent};
use swarmcast::sc_model::relay;
use swarmcast::units::{ByteSize, Rate};

/// A way to bring a file from one to many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Model {
    /// Peer to peer: receivers pass on pieces while they still receive
    #[value(alias = "p2p")]
    Swarm,
    /// One server sends the whole file to each
    #[value(alias = "server-client")]
    Server,
    /// Who has the whole file serves the next ones, a few at a time
    Relay,
}

impl Model {
    /// All of them, in the order in which they are shown.
    pub(super) const ALL: [Model; 3] = [Model::Swarm, Model::Server, Model::Relay];

    /// What people read; at most 14 characters.
    pub(super) fn label(self, spread: u32) -> String {
        match self {
            Model::Swarm => "swarm".to_owned(),
            Model::Server => "server-client".to_owned(),
            Model::Relay => format!("relay, k = {spread}"),
        }
    }

    /// What programs read.
    pub(super) const fn id(self) -> &'static str {
        match self {
            Model::Swarm => "swarm",
            Model::Server => "server-client",
            Model::Relay => "relay",
        }
    }
}

/// One comparison: how much goes to how many, and how fast each may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scenario {
    /// F, B.
    pub(super) size: u64,
    /// N.
    pub(super) receivers: u32,
    /// u and d of each receiver, B/s.
    pub(super) rate: u64,
    /// u_s, B/s.
    pub(super) source_rate: u64,
    /// k: how many a producer of the relay serves at a time.
    pub(super) spread: u32,
}

/// When the receivers had all of it, in seconds from the common start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Outcome {
    pub(super) first: f64,
    pub(super) last: f64,
    /// What held back the receivers of a swarm, all of them together.
    pub(super) held_back: Option<Spent>,
}

impl Outcome {
    /// The outcome of receivers that were done at these times, s.
    pub(super) fn of(times: impl IntoIterator<Item = f64>) -> Outcome {
        let none = Outcome { first: f64::INFINITY, last: 0.0, held_back: None };
        times.into_iter().fold(none, |outcome, time| Outcome {
            first: outcome.first.min(time),
            last: outcome.last.max(time),
            held_back: None,
        })
    }
}

impl Outcome {
    /// The same, with the accounts of its receivers.
    pub(super) fn with_accounts(self, accounts: impl IntoIterator<Item = Account>) -> Outcome {
        let mut sum = Spent::default();
        for account in accounts {
            Cause::ALL.into_iter().for_each(|cause| sum.add(cause, account.spent.on(cause)));
        }
        Outcome { held_back: Some(sum), ..self }
    }
}

/// A scenario with what came of it, model by model. Every copy has been verified.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) scenario: Scenario,
    pub(super) outcomes: Vec<(Model, Outcome)>,
}

impl Scenario {
    /// D, s: the source has to send everything once, each receiver has to receive everything, and all together have to
    /// send it N times.
    pub(super) fn shortest(&self) -> f64 {
        let (f, n, u, u_s) = self.figures();
        (f / u_s).max(f / u).max(n * f / (u_s + n * u))
    }

    /// How long a model takes, s, if links are filled exactly and nothing but the file is sent. For swarm and server it
    /// is a bound; the relay can be a little faster than with the even shares that are assumed for it, as who is done
    /// first helps the earlier.
    pub(super) fn ideal(&self, model: Model) -> f64 {
        let (f, n, u, u_s) = self.figures();
        match model {
            Model::Swarm => self.shortest(),
            Model::Server => (n * f / u_s).max(f / u),
            Model::Relay => {
                relay::ideal_times(self.size, self.receivers, self.spread as usize, u_s, (u, u)).1
            }
        }
    }

    /// F, N, u = d and u_s.
    fn figures(&self) -> (f64, f64, f64, f64) {
        (self.size as f64, f64::from(self.receivers), self.rate as f64, self.source_rate as f64)
    }

    /// What goes to whom.
    pub(super) fn describe(&self) -> String {
        format!(
            "{} to {} receiver{}: {}",
            ByteSize(self.size),
            self.receivers,
            if self.receivers == 1 { "" } else { "s" },
            self.describe_rates()
        )
    }

    /// How fast each may be.
    pub(super) fn describe_rates(&self) -> String {
        format!("{} up and down each, the source {} up", Rate::new(self.rate), Rate::new(self.source_rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_are_those_of_the_slowest_part() {
        let bounds = |size, receivers, rate, source_rate| {
            let scenario = Scenario { size, receivers, rate, source_rate, spread: 2 };
            (scenario.shortest(), scenario.ideal(Model::Server))
        };
        assert_eq!(bounds(6_200_000, 4, 1_000_000, 1_000_000), (6.2, 24.8));
        // A fast source: each receiver's own downlink bounds the swarm.
        assert_eq!(bounds(1_000, 4, 100, 1_000), (10.0, 10.0));
        // A slow source bounds it even with one receiver.
        assert_eq!(bounds(1_000, 1, 100, 50), (20.0, 20.0));
        // All uplinks together: 10 copies of 1,000 B through 150 + 10 × 100 B/s take less than a downlink's 10 s.
        assert_eq!(bounds(1_000, 10, 100, 150).0, 10.0);
    }

    #[test]
    fn the_relay_lies_between_the_other_two() {
        for receivers in [3, 4, 5, 8, 10, 50] {
            let scenario = Scenario { size: 1_000, receivers, rate: 100, source_rate: 100, spread: 2 };
            let [swarm, server, relay] = Model::ALL.map(|model| scenario.ideal(model));
            assert!(swarm < relay && relay <= server, "{receivers}: {swarm} {relay} {server}");
        }
    }
}
