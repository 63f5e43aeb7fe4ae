//! Who goes first at the uplink of one file: tit for tat, as a choker.
//!
//! Of those who want something, as many as the uplink serves well have a *place*: they are unchoked. Most places go to those who give
//! most: to a receiver, whoever sends it most of late; to one that is done, whoever sent it most; to a source, whoever passes on most of what it was
//! given. What places are left are for trying others (optimistic unchoke), else nobody new could ever show what it gives. Who took much and
//! never gave anything is tried by nobody.
//!
//! A choked peer isn't refused: it gets what those with a place leave, so that no uplink idles for fairness' sake, and nobody starves
//! where there is something to spare (hard slots cost a swarm 2 to 16 % of its time). It is told, for those who watch.
//!
//! A policy: keeps no books, sends nothing. After Cohen, "Incentives Build Robustness in BitTorrent" (2003); that rates alone don't stop
//! free riders, and what somebody took and gave has to count too, is from Bharambe et al., "Analyzing and Improving a
//! BitTorrent Network's Performance Mechanisms" (2006).

use std::fmt;

use crate::rand::Rng;
use crate::rudp::Handle;
use crate::time::{Duration, Instant};

/// How often places are given anew.
pub(super) const ROUND: Duration = Duration::from_millis(500);
/// For how long somebody is tried.
const TRIAL: Duration = Duration::from_secs(30);
/// Who has a place loses it only to those who give so many times as much: what is measured varies by chance.
const STAY: f64 = 2.0;
/// Who gives this part of what the last of the best gives has a place, too.
const NEARLY: f64 = 0.8;
/// Who has lost its place for giving too little gets none for that long, but on trial: else who gives about as much as the last of
/// the best would win and lose it all the time. Four times as long each time that it hasn't kept it for 20 s; a later fall counts as the first.
const PROBATION: Duration = Duration::from_secs(15);
const MAX_PROBATION: Duration = Duration::from_secs(120);
const LASTING: Duration = Duration::from_secs(20);
/// An uplink of so many B/s has the fewest places; one that is n times as fast, √n times as many.
const SLOW_UPLINK: f64 = 200_000.0;
const LEAST_PLACES: usize = 4;
const MOST_PLACES: usize = 24;
/// Less than so many B/s is nothing.
const NOTHING: f64 = 1.0;

/// Whether a peer has a place, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// There is a place for everybody.
    #[default]
    Room,
    /// It gives more than those who have none.
    Merit,
    /// It is tried.
    Trial,
    /// Others give more.
    Outdone,
    /// It took much and gave nothing.
    Freeloads,
}

impl Standing {
    /// Whether it has no place.
    pub fn is_choked(self) -> bool {
        matches!(self, Standing::Outdone | Standing::Freeloads)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Standing::Room => "unchoked, room for all",
            Standing::Merit => "unchoked, gives most",
            Standing::Trial => "unchoked, on trial",
            Standing::Outdone => "choked, others give more",
            Standing::Freeloads => "choked, gives nothing",
        })
    }
}

/// The time in which somebody gets no place by what it gives, because it has lost one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Probation {
    until: Option<Instant>,
    length: Duration,
}

impl Probation {
    /// It has lost a place that it had for `had`.
    pub(super) fn begin(&mut self, now: Instant, had: Duration) {
        let again = (self.length * 4).clamp(PROBATION, MAX_PROBATION);
        self.length = if had >= LASTING { PROBATION } else { again };
        self.until = Some(now + self.length);
    }

    fn is_on(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

/// Who wants a place.
#[derive(Clone, Debug)]
pub(super) struct Contender {
    pub(super) key: Handle,
    pub(super) standing: Standing,
    /// Since when.
    pub(super) since: Instant,
    /// When it was last tried.
    pub(super) tried: Option<Instant>,
    pub(super) probation: Probation,
    /// What it gives, B/s.
    pub(super) merit: f64,
    pub(super) freeloads: bool,
}

impl Contender {
    /// What it gives, as far as it counts when places are given.
    fn claim(&self, now: Instant) -> f64 {
        match self.standing {
            _ if self.freeloads || self.merit < NOTHING || self.probation.is_on(now) => 0.0,
            Standing::Merit => self.merit * STAY,
            _ => self.merit,
        }
    }
}

/// How many places there are at an uplink of `rate` B/s.
pub(super) fn places(rate: f64) -> usize {
    let places = LEAST_PLACES as f64 * (rate / SLOW_UPLINK).sqrt();
    (places.round() as usize).clamp(LEAST_PLACES, MOST_PLACES)
}

/// Gives `places` places to `contenders`.
pub(super) fn assign(now: Instant, places: usize, contenders: &mut [Contender], rng: &mut Rng) {
    if contenders.len() <= places {
        return contenders.iter_mut().for_each(|contender| contender.standing = Standing::Room);
    }
    // Those who are alike have equal chances.
    rng.shuffle(contenders);
    contenders.sort_by(|a, b| b.claim(now).total_cmp(&a.claim(now)));
    let givers = contenders.iter().filter(|contender| contender.claim(now) > 0.0).count();
    // Who gives about as much as the last of the best isn't choked for a chance.
    let least = contenders[..givers.min(places - 1)].last().map_or(0.0, |last| last.merit * NEARLY);
    let best = contenders[..givers].iter().take_while(|contender| contender.claim(now) >= least).count();
    let (best, others) = contenders.split_at_mut(best);
    best.iter_mut().for_each(|contender| contender.standing = Standing::Merit);
    let is_tried = |contender: &Contender| {
        contender.standing == Standing::Trial && now.since(contender.since) < TRIAL && !contender.freeloads
    };
    // First those who are being tried, then whoever wasn't for longest.
    others.sort_by_key(|contender| (contender.freeloads, !is_tried(contender), contender.tried));
    for (place, contender) in others.iter_mut().enumerate() {
        contender.standing = match contender.freeloads {
            true => Standing::Freeloads,
            false if best.len() + place < places => Standing::Trial,
            false => Standing::Outdone,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Some who want a place, from round to round.
    struct Table {
        now: Instant,
        contenders: Vec<Contender>,
        rng: Rng,
    }

    impl Table {
        fn new(merits: &[f64]) -> Table {
            let now = Instant::ORIGIN;
            let contender = |(key, &merit)| Contender {
                key: Handle::for_test(key as u64),
                standing: Standing::Room,
                since: now,
                tried: None,
                probation: Probation::default(),
                merit,
                freeloads: false,
            };
            let contenders = merits.iter().enumerate().map(contender).collect();
            Table { now, contenders, rng: Rng::from_seed(1) }
        }

        fn of(&mut self, key: u64) -> &mut Contender {
            let key = Handle::for_test(key);
            self.contenders.iter_mut().find(|contender| contender.key == key).unwrap()
        }

        /// A round with four places.
        fn round(&mut self) {
            self.now += SECOND;
            let before = self.contenders.clone();
            assign(self.now, 4, &mut self.contenders, &mut self.rng);
            for old in before {
                let now = self.now;
                let contender = self.contenders.iter_mut().find(|new| new.key == old.key).unwrap();
                if contender.standing != old.standing {
                    contender.since = now;
                    if old.standing == Standing::Merit {
                        contender.probation.begin(now, now.since(old.since));
                    }
                }
                if contender.standing == Standing::Trial {
                    contender.tried = Some(now);
                }
            }
        }

        fn who(&self, standing: Standing) -> Vec<u64> {
            let is_so = |key: &u64| {
                let key = Handle::for_test(*key);
                self.contenders.iter().any(|c| c.key == key && c.standing == standing)
            };
            (0..self.contenders.len() as u64).filter(is_so).collect()
        }
    }

    #[test]
    fn nobody_is_choked_while_there_is_room() {
        let mut table = Table::new(&[0.0, 5e3, 1e4, 0.0]);
        table.of(0).freeloads = true;
        table.round();
        assert_eq!(table.who(Standing::Room), [0, 1, 2, 3]);
    }

    #[test]
    fn those_who_give_most_have_a_place_and_one_is_tried() {
        let mut table = Table::new(&[1e3, 9e3, 2e3, 8e3, 2.5e3, 7e3]);
        table.round();
        assert_eq!(table.who(Standing::Merit), [1, 3, 5]);
        assert_eq!((table.who(Standing::Trial).len(), table.who(Standing::Outdone).len()), (1, 2));
    }

    #[test]
    fn who_gives_about_as_much_as_the_last_of_the_best_has_a_place_too() {
        let mut table = Table::new(&[9e3, 9e3, 9e3, 8e3, 7.5e3, 7e3, 1e3]);
        table.round();
        assert_eq!(table.who(Standing::Merit), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn who_gives_little_more_displaces_nobody() {
        let mut table = Table::new(&[1e5, 1e5, 1e4, 0.0, 0.0]);
        table.round();
        table.of(3).merit = 2e5;
        table.round();
        assert_eq!(table.who(Standing::Merit), [0, 1, 3], "far more does");
        table.of(2).merit = 1.4e5;
        table.of(0).merit = 1.2e5;
        table.round();
        assert!(table.who(Standing::Merit).contains(&0), "the incumbent stays");
    }

    #[test]
    fn who_stops_giving_loses_its_place_at_once_and_regains_it() {
        let mut table = Table::new(&[1e4, 1e4, 1e4, 9e3, 0.0]);
        (0..5).for_each(|_| table.round());
        assert_eq!(table.who(Standing::Merit), [0, 1, 2, 3]);
        table.of(0).merit = 1e3;
        table.round();
        assert_eq!(table.who(Standing::Merit), [1, 2, 3]);
        table.of(0).merit = 1e4;
        for _ in 0..15 {
            assert!(!table.who(Standing::Merit).contains(&0), "it has to prove that it lasts");
            table.round();
        }
        assert_eq!(table.who(Standing::Merit), [0, 1, 2, 3]);
    }

    #[test]
    fn who_keeps_losing_its_place_waits_longer_each_time_until_it_has_kept_it_for_long() {
        let mut table = Table::new(&[1e4, 1e4, 1e4, 9e3, 0.0]);
        table.round();
        let mut waits = Vec::new();
        for keeps in [5, 5, 5, 5, 5, 20, 5, 20, 1] {
            (0..keeps).for_each(|_| table.round());
            table.of(0).merit = 1e3;
            table.round();
            table.of(0).merit = 1e4;
            let lost = table.now;
            while !table.who(Standing::Merit).contains(&0) {
                table.round();
            }
            waits.push(table.now.since(lost).as_secs());
        }
        assert_eq!(waits, [15, 60, 120, 120, 120, 15, 60, 15, 60]);
    }

    #[test]
    fn all_are_tried_one_after_the_other_but_freeloaders() {
        let mut table = Table::new(&[1e4, 1e4, 1e4, 0.0, 0.0, 0.0]);
        table.of(5).freeloads = true;
        let mut tried = [0; 6];
        for _ in 0..120 {
            table.round();
            table.who(Standing::Trial).iter().for_each(|&key| tried[key as usize] += 1);
        }
        assert_eq!(tried, [0, 0, 0, 60, 60, 0]);
        assert_eq!(table.who(Standing::Freeloads), [5]);
    }

    #[test]
    fn before_anybody_has_given_all_places_are_trials() {
        let mut table = Table::new(&[0.0; 7]);
        table.round();
        assert_eq!(table.who(Standing::Trial).len(), 4);
    }

    #[test]
    fn faster_uplinks_have_more_places() {
        assert_eq!([0.0, 1e5, 2e5, 1e6, 1e7, 1e9].map(places), [4, 4, 4, 9, 24, 24]);
    }
}
