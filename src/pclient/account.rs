//! Where the time of a download went: every moment is put down to the one thing that held it back then.
//!
//! Nothing is measured and nothing decided here that changes what is sent. [`ledger`] keeps the books; what the swarm is
//! waiting for is seen in `swarm/sight`. A receiver knows little: its own limit if it was told, what reaches it, and who
//! announces what. An [`AtBest`] says which of them it rests on.

pub mod ledger;

use crate::time::Duration;

/// What a download waits for. At any moment it is exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The tracker's word on who has the file.
    Tracker,
    /// Somebody who has what is missing: dialled, but not there yet.
    Connecting,
    /// Its own downlink, which is full.
    OwnDownlink,
    /// First copies: only sources have what could be asked for, and they send no faster.
    Source,
    /// Pieces that other receivers have too: all uplinks together are too slow.
    Peers,
    /// Pieces that have arrived, to be verified and written.
    Storing,
}

impl Cause {
    /// All of them, in the order in which a download meets them.
    pub const ALL: [Cause; 6] =
        [Cause::Tracker, Cause::Connecting, Cause::OwnDownlink, Cause::Source, Cause::Peers, Cause::Storing];

    /// What people read: "held back by …".
    pub const fn name(self) -> &'static str {
        match self {
            Cause::Tracker => "tracker",
            Cause::Connecting => "connecting",
            Cause::OwnDownlink => "own downlink",
            Cause::Source => "source",
            Cause::Peers => "peers",
            Cause::Storing => "disk and hashing",
        }
    }

    /// What programs read.
    pub const fn id(self) -> &'static str {
        match self {
            Cause::Tracker => "tracker",
            Cause::Connecting => "connecting",
            Cause::OwnDownlink => "own_downlink",
            Cause::Source => "source",
            Cause::Peers => "peers",
            Cause::Storing => "storing",
        }
    }
}

/// The time that each cause held something back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent([Duration; Cause::ALL.len()]);

impl Spent {
    /// How long it was this cause.
    pub fn on(&self, cause: Cause) -> Duration {
        self.0[cause as usize]
    }

    /// Puts `time` down to `cause`.
    pub fn add(&mut self, cause: Cause, time: Duration) {
        self.0[cause as usize] += time;
    }

    /// All of it: how long the download has taken.
    pub fn total(&self) -> Duration {
        self.0.iter().sum()
    }

    /// How much of the time it was this cause, 0–1; 0 if no time has passed.
    pub fn share(&self, cause: Cause) -> f64 {
        self.on(cause).as_secs_f64() / self.total().as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The causes with their shares in whole percent, the greatest first, those of none left out. They add up to 100,
    /// so some are rounded up that another rounding would not: those that lose most if rounded down.
    pub fn percents(&self) -> Vec<(Cause, u64)> {
        if self.total().is_zero() {
            return Vec::new();
        }
        let mut exact = Cause::ALL.map(|cause| (cause, 100.0 * self.share(cause)));
        exact.sort_by(|a, b| b.1.fract().total_cmp(&a.1.fract()));
        let whole: u64 = exact.iter().map(|(_, percent)| *percent as u64).sum();
        let up = 100_u64.saturating_sub(whole) as usize;
        let rounded = exact.iter().enumerate();
        let rounded =
            rounded.map(|(place, &(cause, percent))| (cause, percent as u64 + u64::from(place < up)));
        let mut percents: Vec<_> = rounded.filter(|(_, percent)| *percent > 0).collect();
        percents.sort_by_key(|&(cause, percent)| (std::cmp::Reverse(percent), cause));
        percents
    }
}

/// The least time that a download can take from its beginning to its end, as far as its receiver can know.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AtBest {
    /// How long.
    pub time: Duration,
    /// What bounds it: [`Cause::OwnDownlink`], [`Cause::Source`] or [`Cause::Peers`].
    pub by: Cause,
    /// Whether it rests on the greatest rate that was measured, since no limit was told. Such an estimate can be too
    /// long: what bounds may be faster than it ever showed.
    pub is_measured: bool,
}

/// What has held a download back so far, or from its beginning to its end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Account {
    /// The time of the download, by what held it back.
    pub spent: Spent,
    /// What it waits for now; `None` once it is done.
    pub waits_for: Option<Cause>,
    /// The least time possible, as far as is known; `None` while nothing is.
    pub at_best: Option<AtBest>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_all_the_time() {
        let mut spent = Spent::default();
        assert_eq!((spent.total(), spent.percents()), (Duration::ZERO, vec![]));
        assert_eq!(spent.share(Cause::Peers), 0.0);
        for (place, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, place);
        }
        spent.add(Cause::Tracker, Duration::from_millis(4));
        spent.add(Cause::Source, Duration::from_millis(246));
        spent.add(Cause::OwnDownlink, Duration::from_millis(500));
        spent.add(Cause::OwnDownlink, Duration::from_millis(250));
        assert_eq!(spent.total(), Duration::from_secs(1));
        assert_eq!(spent.percents(), [(Cause::OwnDownlink, 75), (Cause::Source, 25)]);
        let mut thirds = Spent::default();
        for cause in [Cause::Peers, Cause::Source, Cause::Storing] {
            thirds.add(cause, Duration::from_secs(7));
        }
        let percents = thirds.percents();
        assert_eq!(percents.iter().map(|(_, percent)| percent).sum::<u64>(), 100, "{percents:?}");
    }
}
