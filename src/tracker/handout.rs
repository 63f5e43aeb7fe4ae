//! Which holders an asker is told of: a pure function of who is there and of chance.
//!
//! A random choice, because it makes the swarm a random graph: short paths, no peer that all know, and nobody can
//! place itself first. One seat is kept for a complete holder, because a file of which nobody named has the last
//! piece can't be finished. Nothing is stored here.

use std::net::SocketAddr;

use super::protocol::{COMPLETE, Holder, MAX_HOLDERS};
use crate::rand::Rng;

/// Chooses at most `want`, and at most [`MAX_HOLDERS`], of `holders` without `asker`, each at most once. If any of
/// them is complete, a complete one stands first; all others are a random choice in random order.
pub fn choose(
    holders: impl Iterator<Item = Holder>,
    asker: SocketAddr,
    want: u8,
    rng: &mut Rng,
) -> Vec<Holder> {
    let seats = usize::from(want).min(MAX_HOLDERS);
    if seats == 0 {
        return Vec::new();
    }
    let mut candidates: Vec<Holder> = holders.filter(|holder| holder.addr != asker).collect();
    let complete: Vec<usize> =
        (0..candidates.len()).filter(|&at| candidates[at].progress == COMPLETE).collect();
    let kept = usize::from(!complete.is_empty());
    if kept == 1 {
        candidates.swap(0, complete[rng.index(complete.len())]);
    }
    let seats = seats.min(candidates.len());
    // The first steps of a Fisher–Yates shuffle: seat by seat, one of all that are not seated yet.
    for seat in kept..seats {
        let chosen = seat + rng.index(candidates.len() - seat);
        candidates.swap(seat, chosen);
    }
    candidates.truncate(seats);
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn holder(port: u16, progress: u8) -> Holder {
        Holder { addr: SocketAddr::from(([10, 0, 0, 1], port)), progress }
    }

    /// Ports 1 to `partial` hold a part, those after them all.
    fn swarm(partial: u16, complete: u16) -> Vec<Holder> {
        (1..=partial + complete)
            .map(|port| holder(port, if port <= partial { port as u8 } else { COMPLETE }))
            .collect()
    }

    fn ask(holders: &[Holder], port: u16, want: u8, rng: &mut Rng) -> Vec<Holder> {
        choose(holders.iter().copied(), holder(port, 0).addr, want, rng)
    }

    #[test]
    fn as_many_as_wanted_allowed_and_there_each_once_and_never_the_asker() {
        let mut rng = Rng::from_seed(1);
        for (present, want, named) in
            [(100, 20, 20), (100, 255, 30), (10, 20, 9), (1, 20, 0), (0, 5, 0), (9, 0, 0)]
        {
            let chosen = ask(&swarm(present, 0), 1, want, &mut rng);
            assert_eq!(chosen.len(), named, "{present} present, {want} wanted");
            let ports: BTreeSet<u16> = chosen.iter().map(|holder| holder.addr.port()).collect();
            assert_eq!(ports.len(), named);
            assert!(!ports.contains(&1));
        }
    }

    #[test]
    fn a_complete_holder_stands_first_if_there_is_one_besides_the_asker() {
        let mut rng = Rng::from_seed(2);
        for _ in 0..200 {
            assert_eq!(ask(&swarm(99, 1), 1, 1, &mut rng), [holder(100, COMPLETE)]);
            assert_eq!(ask(&swarm(99, 2), 1, 30, &mut rng)[0].progress, COMPLETE);
            assert_ne!(ask(&swarm(99, 1), 100, 30, &mut rng)[0].progress, COMPLETE);
        }
    }

    #[test]
    fn chance_is_even_among_the_complete_and_among_the_rest() {
        let mut rng = Rng::from_seed(3);
        let mut named = [0u32; 22];
        let rounds = 10_000;
        for _ in 0..rounds {
            for holder in ask(&swarm(19, 2), 0, 6, &mut rng) {
                named[usize::from(holder.addr.port())] += 1;
            }
        }
        // One seat for either complete one; of the 20 that are left, 5 have a seat.
        let per_round = |port: usize| f64::from(named[port]) / f64::from(rounds);
        assert!((1..=19).all(|port| (per_round(port) - 0.25).abs() < 0.02), "{named:?}");
        assert!((20..=21).all(|port| (per_round(port) - 0.625).abs() < 0.02), "{named:?}");
    }
}
