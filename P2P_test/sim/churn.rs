//! Sources that leave, die and come back.

use std::cell::Cell;
use std::rc::Rc;

use swarmcast::pclient::node::Event;
use swarmcast::sim::{Faults, NodeId};
use swarmcast::time::{Duration, Instant};

use crate::lab::{Lab, Rates};

const SIZE: usize = 148_539;

/// A lab whose sources have been registered when this returns.
fn lab_with_sources(seed: u64, sources: &[Rates]) -> (Lab, Vec<NodeId>) {
    lab_with_sources_of(SIZE, seed, sources)
}

fn lab_with_sources_of(size: usize, seed: u64, sources: &[Rates]) -> (Lab, Vec<NodeId>) {
    let mut lab = Lab::new(seed, size, Faults::none());
    let sources: Vec<NodeId> = sources.iter().map(|&rates| lab.add(rates)).collect();
    sources.iter().for_each(|&id| lab.share(id));
    lab.world.run_until(Instant::ORIGIN + Duration::from_secs(2));
    (lab, sources)
}

fn verified(lab: &Lab, id: NodeId) -> u64 {
    lab.peer(id).node.progress(lab.fid).expect("it takes part").verified
}

#[test]
fn a_dead_source_costs_little_while_another_lives() {
    for (rate, size, dies_after, seeds) in [(15_000, SIZE, 3, 5), (1_000_000, 20_000_000, 5, 2)] {
        for seed in 0..seeds {
            let (mut lab, sources) = lab_with_sources_of(size, seed, &[(rate, rate); 2]);
            let receiver = lab.add((10 * rate, 10 * rate));
            lab.fetch(receiver);
            lab.world.run_until(lab.world.now() + Duration::from_secs(dies_after));
            lab.world.crash(sources[0]);
            let (death, left) = (lab.world.now(), size as u64 - verified(&lab, receiver));
            assert!(lab.run_until_done(&[receiver], Duration::from_secs(120)), "{}", lab.replay());
            lab.assert_content(receiver);
            let took = lab.done_at(receiver).unwrap().since(death).as_secs_f64();
            let bound = left as f64 / rate as f64;
            println!("{rate} B/s, seed {seed}: {took:.2} s after the death, {bound:.2} s at best");
            assert!(took <= bound + (0.1 * bound).max(2.0), "{took:.2} s, bound {bound:.2} s");
        }
    }
}

#[test]
fn after_cancel_nothing_of_the_file_leaves_and_another_source_goes_on() {
    let (mut lab, sources) = lab_with_sources(1, &[(50_000, 50_000); 2]);
    let receiver = lab.add((200_000, 200_000));
    lab.fetch(receiver);
    lab.world.run_until(lab.world.now() + Duration::from_secs(1));
    // Content is long; what the farewell takes is short.
    let last_content = Rc::new(Cell::new(Instant::ORIGIN));
    let (seen, leaver, fid) = (Rc::clone(&last_content), sources[0], lab.fid);
    lab.world.set_filter(move |now, from, _, datagram| {
        if from == leaver && datagram.len() > 200 {
            seen.set(now);
        }
        true
    });
    let cancelled = lab.world.now();
    assert!(lab.with(leaver, |node, now| node.cancel(now, fid)));
    assert!(lab.run_until_done(&[receiver], Duration::from_secs(60)), "{}", lab.replay());
    lab.assert_content(receiver);
    let told = lab.peer(leaver).events.iter().find(|(_, event)| matches!(event, Event::Cancelled(_)));
    let told = told.expect("a cancel is answered").0;
    println!("cancelled at {cancelled:?}, told at {told:?}, last content at {:?}", last_content.get());
    assert!(last_content.get() <= told, "content left after the cancel was answered");
    assert!(told.since(cancelled) < Duration::from_secs(1));
}

#[test]
fn the_only_source_cancels_and_comes_back() {
    let (mut lab, sources) = lab_with_sources(1, &[(50_000, 50_000)]);
    let receiver = lab.add((200_000, 200_000));
    lab.fetch(receiver);
    lab.world.run_until(lab.world.now() + Duration::from_secs(1));
    let (before, fid) = (verified(&lab, receiver), lab.fid);
    assert!(before > 0);
    lab.with(sources[0], |node, now| node.cancel(now, fid));
    lab.world.run_until(lab.world.now() + Duration::from_secs(10));
    assert!(lab.done_at(receiver).is_none());
    lab.share(sources[0]);
    let back = lab.world.now();
    assert!(lab.run_until_done(&[receiver], Duration::from_secs(30)), "{}", lab.replay());
    lab.assert_content(receiver);
    let took = lab.done_at(receiver).unwrap().since(back).as_secs_f64();
    let bound = (SIZE as u64 - before) as f64 / 50_000.0;
    println!("done {took:.2} s after the return; the bound of what was left is {bound:.2} s");
    assert!(took < bound * 1.2 + 4.0, "{took:.2} s");
}

/// All sources die; one comes back with an empty memory, at the same address or at another, before the receiver gives up.
#[test]
fn whoever_comes_back_within_the_deadline_goes_on() {
    for moves in [false, true] {
        let (mut lab, sources) = lab_with_sources(1, &[(50_000, 50_000); 2]);
        let receiver = lab.add((200_000, 200_000));
        lab.fetch(receiver);
        lab.world.run_until(lab.world.now() + Duration::from_millis(700));
        sources.iter().for_each(|&id| lab.world.crash(id));
        let before = verified(&lab, receiver);
        assert!(before > 0);
        lab.world.run_until(lab.world.now() + Duration::from_secs(20));
        let heir = if moves { lab.add((50_000, 50_000)) } else { sources[0] };
        if !moves {
            lab.restart(heir);
        }
        lab.share(heir);
        let back = lab.world.now();
        assert!(lab.run_until_done(&[receiver], Duration::from_secs(30)), "{}", lab.replay());
        lab.assert_content(receiver);
        let took = lab.done_at(receiver).unwrap().since(back).as_secs_f64();
        let bound = (SIZE as u64 - before) as f64 / 50_000.0;
        println!("moves: {moves}; done {took:.2} s after the return, {bound:.2} s at best");
        assert!(took < bound * 1.1 + 4.0, "{took:.2} s");
    }
}

#[test]
fn a_download_without_a_source_ends_with_what_was_tried() {
    let (mut lab, sources) = lab_with_sources(1, &[(50_000, 50_000)]);
    let receiver = lab.add((200_000, 200_000));
    lab.fetch(receiver);
    lab.world.run_until(lab.world.now() + Duration::from_secs(1));
    lab.world.crash(sources[0]);
    lab.world.run_until(lab.world.now() + Duration::from_secs(60));
    let failed = lab.peer(receiver).events.iter().find_map(|(at, event)| match event {
        Event::Failed(_, error) => Some((at, error.to_string())),
        _ => None,
    });
    let (at, error) = failed.expect("it gives up");
    println!("{at:?}: {error}");
    assert!(error.contains("no holder"), "{error}");
    assert!((30.0..40.0).contains(&at.as_secs_f64()), "{at:?}");
}

#[test]
fn a_late_joiner_gets_the_file_from_those_who_have_it() {
    let (mut lab, sources) = lab_with_sources(1, &[(50_000, 50_000)]);
    let first = lab.add((100_000, 200_000));
    lab.fetch(first);
    assert!(lab.run_until_done(&[first], Duration::from_secs(30)), "{}", lab.replay());
    let fid = lab.fid;
    lab.with(sources[0], |node, now| node.cancel(now, fid));
    lab.world.run_until(lab.world.now() + Duration::from_secs(2));
    let (late, start) = (lab.add((100_000, 200_000)), lab.world.now());
    lab.fetch(late);
    assert!(lab.run_until_done(&[late], Duration::from_secs(30)), "{}", lab.replay());
    lab.assert_content(late);
    let took = lab.done_at(late).unwrap().since(start).as_secs_f64();
    println!("late joiner: {took:.2} s, bound {:.2} s", SIZE as f64 / 100_000.0);
    assert!(took < 1.25 * SIZE as f64 / 100_000.0, "{took:.2} s");
}

#[test]
fn a_slow_source_does_not_hold_up_a_fast_one() {
    let (mut lab, _) = lab_with_sources(1, &[(5_000, 5_000), (100_000, 100_000)]);
    let (receiver, start) = (lab.add((200_000, 200_000)), lab.world.now());
    lab.fetch(receiver);
    assert!(lab.run_until_done(&[receiver], Duration::from_secs(60)), "{}", lab.replay());
    lab.assert_content(receiver);
    let took = lab.done_at(receiver).unwrap().since(start).as_secs_f64();
    let bound = SIZE as f64 / 105_000.0;
    println!("{took:.2} s, bound {bound:.2} s");
    // Two pieces may be under way from the slow one in the end: 0.8 s each.
    assert!(took < bound + 2.5, "{took:.2} s, bound {bound:.2} s");
}
