//! The next deadline of each connection, and the first of all.
//!
//! Deadlines move with nearly every datagram, and seldom is it the first one that moves: a list by connection, looked
//! through only then, takes less than a tree that is kept in order.

use crate::time::Instant;

/// The deadlines of the connections that have one.
#[derive(Debug, Default)]
pub struct Deadlines {
    /// By connection, ascending.
    entries: Vec<(u64, Instant)>,
    /// The earliest, ties by connection.
    first: Option<(Instant, u64)>,
}

impl Deadlines {
    /// Sets or clears the deadline of a connection.
    pub fn set(&mut self, key: u64, deadline: Option<Instant>) {
        let place = self.entries.binary_search_by_key(&key, |&(key, _)| key);
        match (place, deadline) {
            (Ok(at), Some(deadline)) => {
                if std::mem::replace(&mut self.entries[at].1, deadline) == deadline {
                    return;
                }
            }
            (Err(at), Some(deadline)) => self.entries.insert(at, (key, deadline)),
            (Ok(at), None) => _ = self.entries.remove(at),
            (Err(_), None) => return,
        }
        let sooner = deadline.map(|deadline| (deadline, key));
        match (self.first, sooner) {
            (None, _) => self.first = sooner,
            (Some(first), Some(sooner)) if sooner <= first => self.first = Some(sooner),
            (Some((_, of)), _) if of == key => {
                self.first = self.entries.iter().map(|&(key, deadline)| (deadline, key)).min();
            }
            _ => {}
        }
    }

    /// The earliest deadline and whose it is; of several at once that of the oldest connection.
    pub fn first(&self) -> Option<(Instant, u64)> {
        self.first
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rand::Rng;

    #[test]
    fn the_first_is_the_least_of_all() {
        let mut rng = Rng::from_seed(2);
        let (mut deadlines, mut plain) = (Deadlines::default(), BTreeMap::new());
        for _ in 0..20_000 {
            let key = rng.below(10);
            let deadline = (rng.below(5) > 0).then(|| Instant::from_nanos(rng.below(40)));
            deadlines.set(key, deadline);
            match deadline {
                Some(deadline) => _ = plain.insert(key, deadline),
                None => _ = plain.remove(&key),
            }
            assert_eq!(deadlines.first(), plain.iter().map(|(&key, &at)| (at, key)).min());
        }
    }
}
