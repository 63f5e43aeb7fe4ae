//! Whose turn it is to send: the connections that may have something, and those whose bulk waits for the shared window.
//!
//! Keeps the order alone; what a connection has to send, and whether the window has room, it is told.
//!
//! A turn is one datagram, or as many short ones as others send in a long one: else who has begun late on a shared uplink, and may
//! send short ones only at the rate that is left to it, would never get its share (deficit round robin; Shreedhar, Varghese,
//! "Efficient fair queueing", SIGCOMM 1995).
//!
//! Each ack makes room for one or two datagrams while all connections may wait for it. So those that waited are woken
//! together, as one segment of the queue, and go back to waiting unasked when the room is used up before their turn comes.

use std::collections::VecDeque;

use super::mtu;
use crate::small::SmallMap;

/// What is shorter is no turn: acks, and requests, B.
const FULL_SIZE: usize = mtu::BASE / 2;
/// The longest datagram is forgotten by this part with each one that is shorter.
const FORGOTTEN: usize = 1_024;

/// Where a connection stands among those that take turns.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// In `ready`.
    ready: bool,
    /// In `blocked` or in `woken`.
    waiting: bool,
    /// What is left of its turns, B.
    left: usize,
}

impl Place {
    /// It has sent `len` B, where a turn is `turn` B. True if another datagram like that is part of what is left.
    fn use_up(&mut self, len: usize, turn: usize) -> bool {
        if self.left < len {
            self.left += turn;
        }
        self.left -= len;
        self.left >= len
    }
}

/// The order in which connections are asked for their next datagram.
///
/// Invariant: a key is in `ready` at most once, and in one of `blocked` and `woken` at most once, as its place says.
#[derive(Debug, Default)]
pub struct Turns {
    places: SmallMap<u64, Place>,
    /// Served in this order, but after the first `before` of them come those in `woken`.
    ready: VecDeque<u64>,
    before: usize,
    /// May try again, if there is still room when their turn comes.
    woken: VecDeque<u64>,
    /// Those that wait and are asked in any case when they are woken: they may have something else than bulk, or their
    /// bulk may wait for something else than room.
    marked: Vec<u64>,
    /// Wait for room, longest waiting first.
    blocked: VecDeque<u64>,
    /// How many are in `ready` and in `blocked`.
    both: usize,
    /// The longest datagram of late, B: so much is a turn.
    longest: usize,
}

impl Turns {
    /// A new connection.
    pub fn add(&mut self, key: u64) {
        self.places.insert(key, Place::default());
    }

    /// A connection is gone.
    pub fn remove(&mut self, key: u64) {
        // What `ready` still has of it is skipped when its turn comes.
        let Some(place) = self.places.remove(&key) else { return };
        if place.waiting {
            if place.ready && self.blocked.contains(&key) {
                self.both -= 1;
            }
            self.blocked.retain(|&waiting| waiting != key);
            self.woken.retain(|&waiting| waiting != key);
            self.marked.retain(|&marked| marked != key);
        }
    }

    /// Something has happened to a connection: it is to be asked.
    pub fn mark(&mut self, key: u64) {
        let Some(place) = self.places.get_mut(&key) else { return };
        if place.ready {
            return;
        }
        if place.waiting {
            if self.woken.contains(&key) {
                self.ask_anyway(key);
                return;
            }
            self.both += 1;
        }
        place.ready = true;
        self.ready.push_back(key);
    }

    /// There is room: those that wait for it may try again, after all that are ready now.
    pub fn wake(&mut self) {
        if self.blocked.is_empty() {
            return;
        }
        if self.both > 0 {
            // Who is ready already keeps that turn.
            let places = &mut self.places;
            self.blocked.retain(|key| {
                let place = places.get_mut(key).expect("only live connections wait");
                place.waiting = !place.ready;
                place.waiting
            });
            self.marked.retain(|key| places[key].waiting);
            self.both = 0;
        }
        if self.woken.is_empty() {
            self.before = self.ready.len();
            std::mem::swap(&mut self.woken, &mut self.blocked);
        } else {
            self.woken.append(&mut self.blocked);
        }
    }

    /// Takes the next connection to ask; `has_room` tells whether bulk may go. Afterwards it has
    /// [another turn](Turns::again), or it [waits](Turns::wait) or [rests](Turns::rest) until it is marked.
    pub fn next(&mut self, has_room: bool) -> Option<u64> {
        loop {
            if self.before > 0 || self.woken.is_empty() {
                self.before = self.before.saturating_sub(1);
                let key = self.ready.pop_front()?;
                let Some(place) = self.places.get_mut(&key) else { continue };
                place.ready = false;
                self.both -= usize::from(place.waiting);
                return Some(key);
            }
            let key = self.woken.pop_front()?;
            let marked = self.marked.iter().position(|&marked| marked == key);
            if let Some(at) = marked {
                self.marked.swap_remove(at);
            } else if !has_room {
                self.blocked.push_back(key);
                continue;
            }
            if let Some(place) = self.places.get_mut(&key) {
                place.waiting = false;
            }
            return Some(key);
        }
    }

    /// It has sent a datagram of `len` B and may have another: after all others, unless its turn lasts.
    pub fn again(&mut self, key: u64, len: usize) {
        if len >= FULL_SIZE {
            self.longest = len.max(self.longest - self.longest / FORGOTTEN);
            let Some(place) = self.places.get_mut(&key) else { return };
            if place.use_up(len, self.longest) && !place.ready && !place.waiting {
                place.ready = true;
                self.ready.push_front(key);
                self.before += 1;
                return;
            }
        }
        self.mark(key);
    }

    /// It has bulk that waits for room.
    pub fn wait(&mut self, key: u64) {
        let Some(place) = self.places.get_mut(&key) else { return };
        if !place.waiting {
            place.waiting = true;
            self.blocked.push_back(key);
        }
    }

    /// It has nothing that may go, or nothing that would wait for room.
    pub fn rest(&mut self, key: u64) {
        let Some(place) = self.places.get_mut(&key) else { return };
        place.left = 0;
        if place.waiting {
            self.ask_anyway(key);
        }
    }

    fn ask_anyway(&mut self, key: u64) {
        if !self.marked.contains(&key) {
            self.marked.push(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rand::Rng;

    /// The same order without segments: who is woken is asked, room or not.
    #[derive(Default)]
    struct Plain {
        ready: VecDeque<u64>,
        blocked: VecDeque<u64>,
        /// What is left of each one's turns, and how long one is.
        left: BTreeMap<u64, Place>,
        longest: usize,
    }

    impl Plain {
        fn mark(&mut self, key: u64) {
            if !self.ready.contains(&key) {
                self.ready.push_back(key);
            }
        }

        fn again(&mut self, key: u64, len: usize) {
            if len >= FULL_SIZE {
                self.longest = len.max(self.longest - self.longest / FORGOTTEN);
                let lasts = self.left.entry(key).or_default().use_up(len, self.longest);
                if lasts && !self.blocked.contains(&key) {
                    return self.ready.push_front(key);
                }
            }
            self.ready.push_back(key);
        }

        fn wake(&mut self) {
            for key in std::mem::take(&mut self.blocked) {
                self.mark(key);
            }
        }
    }

    /// Connections with so many datagrams of bulk, and whether they have control as well.
    type Loads = BTreeMap<u64, (u32, bool)>;

    /// How long the datagrams of a connection are, B.
    fn len(key: u64, what: &str) -> usize {
        match (what, key) {
            ("control", _) => 30,
            (_, 0..4) => 1_400,
            _ => 9_000,
        }
    }

    /// Asks one connection. Some if it sends, and what.
    fn ask(loads: &mut Loads, key: u64, room: &mut u32) -> (Option<&'static str>, bool) {
        let (bulk, control) = loads.get_mut(&key).unwrap();
        if std::mem::take(control) {
            return (Some("control"), false);
        }
        if *bulk > 0 && *room > 0 {
            *bulk -= 1;
            *room -= 1;
            return (Some("bulk"), false);
        }
        (None, *bulk > 0)
    }

    #[test]
    fn the_order_is_that_of_asking_all_who_wait() {
        let mut rng = Rng::from_seed(1);
        let (mut turns, mut plain) = (Turns::default(), Plain::default());
        let (mut loads, mut loads_plain) = (Loads::new(), Loads::new());
        let (mut room, mut room_plain) = (0, 0);
        let mut sent = 0;
        (0..8).for_each(|key| turns.add(key));
        (0..8).for_each(|key| _ = loads.insert(key, (0, false)));
        loads_plain.clone_from(&loads);
        for _ in 0..30_000 {
            let key = rng.below(8);
            let (bulk, control) = (rng.below(3) as u32, rng.below(4) == 0);
            for loads in [&mut loads, &mut loads_plain] {
                let load = loads.get_mut(&key).unwrap();
                *load = (load.0 + bulk, load.1 | control);
            }
            let more = rng.below(3) as u32;
            (room, room_plain) = (room + more, room_plain + more);
            if room > 0 {
                turns.wake();
                plain.wake();
            }
            turns.mark(key);
            plain.mark(key);
            let (mut order, mut order_plain) = (Vec::new(), Vec::new());
            while let Some(key) = turns.next(room > 0) {
                match ask(&mut loads, key, &mut room) {
                    (Some(what), _) => {
                        order.push((key, what));
                        turns.again(key, len(key, what));
                    }
                    (None, true) => turns.wait(key),
                    (None, false) => turns.rest(key),
                }
            }
            while let Some(key) = plain.ready.pop_front() {
                match ask(&mut loads_plain, key, &mut room_plain) {
                    (Some(what), _) => {
                        order_plain.push((key, what));
                        plain.again(key, len(key, what));
                    }
                    (None, true) if !plain.blocked.contains(&key) => plain.blocked.push_back(key),
                    (None, true) => {}
                    (None, false) => _ = plain.left.remove(&key),
                }
            }
            assert_eq!(order, order_plain);
            sent += order.len();
        }
        assert!(sent > 20_000, "{sent}");
    }

    #[test]
    fn short_datagrams_make_as_much_as_long_ones() {
        let mut turns = Turns::default();
        let lens = [1_400, 9_000, 2_784, 1_400];
        let mut sent = [0; 4];
        (0..4).for_each(|key| turns.add(key));
        (0..4).for_each(|key| turns.mark(key));
        for _ in 0..2_000 {
            let key = turns.next(true).expect("all have something");
            sent[key as usize] += lens[key as usize];
            turns.again(key, lens[key as usize]);
        }
        let most = *sent.iter().max().unwrap();
        assert!(sent.iter().all(|&sent| sent * 10 > most * 9), "{sent:?}");
    }

    #[test]
    fn who_is_gone_has_no_turn() {
        let mut turns = Turns::default();
        (0..4).for_each(|key| turns.add(key));
        (0..4).for_each(|key| turns.mark(key));
        (0..3).for_each(|_| _ = turns.next(false).map(|key| turns.wait(key)));
        turns.mark(1);
        turns.remove(0);
        turns.remove(1);
        turns.remove(3);
        turns.wake();
        assert_eq!((turns.next(true), turns.next(true)), (Some(2), None));
    }
}
