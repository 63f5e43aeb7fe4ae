//! Bans: who is caught comes back in vain for as long as it is banned, and who spoils what others
//! complete doesn't hold up a download.

use std::io;
use std::ops::Range;

use swarmcast::pclient::storage::{MemoryStorage, Storage};
use swarmcast::time::Duration;

use super::liar::Way;
use super::{Court, FLOOD, RECEIVER, SIZE, SOURCE};
use crate::lab::Rates;

#[test]
fn who_is_banned_and_comes_back_is_turned_away_unheard() {
    let mut court = Court::new(SIZE, SOURCE, RECEIVER, 0);
    let source = [court.source];
    court.summon(Way::Requests, (1, 1), false, FLOOD, &source);
    let tally = |court: &Court| {
        let tally = court.liars[0].borrow();
        (tally.bans, tally.heard)
    };
    let run = |court: &mut Court, millis| {
        court.lab.world.run_until(court.lab.world.now() + Duration::from_millis(millis));
    };
    while tally(&court).0 == 0 {
        run(&mut court, 100);
        assert!(court.lab.world.now().as_secs_f64() < 10.0, "a flood is noticed");
    }
    let (_, heard) = tally(&court);
    // It is banned for 8 s at least, and dials again after 200 ms each time.
    run(&mut court, 7_500);
    let (turned_away, heard_since) = tally(&court);
    println!("turned away {turned_away} times");
    assert!(turned_away > 30, "{turned_away} times");
    assert_eq!(heard_since, heard, "not even a greeting");
}

/// The uplink of a slow source, and what is wanted of a long file, B.
const SLOW: u64 = 50_000;
const WANTED: u64 = 8 << 15;

/// Memory of which only the beginning is wanted.
struct Beginning(MemoryStorage);

impl Storage for Beginning {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data)
    }

    fn finish(&self) -> io::Result<()> {
        self.0.finish()
    }

    fn abandon(&self) {}

    fn wants(&self, range: &Range<u64>) -> bool {
        range.start < WANTED
    }
}

/// How long it takes to get eight pieces of four blocks each, s, of one slow honest source and nine fast liars.
fn tainted(way: Way) -> f64 {
    // Only long files have pieces whose blocks come in several messages.
    const LONG: usize = 120_000_000;
    const FAST: Rates = (20_000_000, 80_000_000);
    let mut court = Court::new(LONG, (SLOW, SLOW), FAST, 1);
    let (receiver, fid) = (court.receivers[0], court.lab.fid);
    court.summon(way, (9, 1), false, FAST.0, &[receiver]);
    let start = court.lab.world.now();
    court.lab.with(receiver, |node, now| {
        let make = |size| Ok(Box::new(Beginning(MemoryStorage::with_size(size)?)) as Box<dyn Storage>);
        node.fetch(now, fid, Box::new(make));
    });
    assert!(court.lab.run_until_done(&[receiver], Duration::from_secs(120)), "{way:?}: not done");
    assert!(!court.is_honest_banned(), "{way:?}: an honest peer was banned");
    let took = court.lab.done_at(receiver).expect("done").since(start).as_secs_f64();
    court.lab.world.run_until(court.lab.world.now() + Duration::from_millis(500));
    let banned = court.liars.iter().filter(|tally| !tally.borrow().banned_by.is_empty()).count();
    println!("{way:?}: {took:.2} s; {banned} banned");
    assert!(banned > 0, "{way:?}: somebody is to blame");
    took
}

#[test]
fn who_spoils_pieces_that_others_complete_soon_has_no_more_say() {
    let at_best = WANTED as f64 / SLOW as f64;
    for way in [Way::TaintAndKeep, Way::TaintAndReject] {
        let took = tainted(way);
        // The honest one alone takes half as long again as that.
        assert!(took <= 2.5 * at_best, "{way:?}: {took:.2} s, {at_best:.2} s at best");
    }
}
