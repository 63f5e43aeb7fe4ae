//! A map and a set of few keys, in order, in vectors.
//!
//! For what is looked up, gone through, filled and emptied with every datagram, where a tree costs more than what is done
//! with its entries. Not for many keys that come and go: each insertion and removal moves all greater ones.

use std::iter::Zip;
use std::ops::Index;
use std::slice::{Iter, IterMut};

/// A set of `K`, gone through in ascending order. Emptying it keeps its room.
#[derive(Clone, Debug)]
pub struct SmallSet<K> {
    /// Ascending, each once.
    keys: Vec<K>,
}

impl<K> Default for SmallSet<K> {
    fn default() -> SmallSet<K> {
        SmallSet { keys: Vec::new() }
    }
}

impl<K: Copy + Ord> SmallSet<K> {
    /// Adds `key`; harmless if it is there.
    pub fn insert(&mut self, key: K) {
        if let Err(at) = position(&self.keys, &key) {
            self.keys.insert(at, key);
        }
    }

    /// Removes `key`; harmless if it isn't there.
    pub fn remove(&mut self, key: &K) {
        if let Ok(at) = position(&self.keys, key) {
            self.keys.remove(at);
        }
    }

    /// Keeps those of which `keep` holds, asked in ascending order.
    pub fn retain(&mut self, mut keep: impl FnMut(K) -> bool) {
        self.keys.retain(|&key| keep(key));
    }

    /// Takes all out, in ascending order.
    pub fn drain(&mut self) -> impl Iterator<Item = K> + '_ {
        self.keys.drain(..)
    }
}

/// A map from `K` to `V`, gone through in ascending order of the keys.
#[derive(Clone, Debug)]
pub struct SmallMap<K, V> {
    /// Ascending, each once; apart from the values, so that a search touches little memory.
    keys: Vec<K>,
    /// At each place, what belongs to the key there.
    values: Vec<V>,
}

impl<K, V> Default for SmallMap<K, V> {
    fn default() -> SmallMap<K, V> {
        SmallMap { keys: Vec::new(), values: Vec::new() }
    }
}

impl<K: Copy + Ord, V> SmallMap<K, V> {
    /// The empty map.
    pub fn new() -> SmallMap<K, V> {
        SmallMap::default()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether there is `key`.
    pub fn contains_key(&self, key: &K) -> bool {
        position(&self.keys, key).is_ok()
    }

    /// The value of `key`.
    #[inline]
    pub fn get(&self, key: &K) -> Option<&V> {
        Some(&self.values[position(&self.keys, key).ok()?])
    }

    /// The value of `key`, to change it.
    #[inline]
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        Some(&mut self.values[position(&self.keys, key).ok()?])
    }

    /// Sets the value of `key`, and gives the one that it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match position(&self.keys, &key) {
            Ok(at) => Some(std::mem::replace(&mut self.values[at], value)),
            Err(at) => {
                self.keys.insert(at, key);
                self.values.insert(at, value);
                None
            }
        }
    }

    /// The value of `key`, which `make` makes if there is none.
    pub fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let at = match position(&self.keys, &key) {
            Ok(at) => at,
            Err(at) => {
                self.keys.insert(at, key);
                self.values.insert(at, make());
                at
            }
        };
        &mut self.values[at]
    }

    /// Takes `key` and its value out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let at = position(&self.keys, key).ok()?;
        self.keys.remove(at);
        Some(self.values.remove(at))
    }

    /// The keys, ascending.
    pub fn keys(&self) -> Iter<'_, K> {
        self.keys.iter()
    }

    /// The values, by ascending key.
    pub fn values(&self) -> Iter<'_, V> {
        self.values.iter()
    }

    /// The values, by ascending key, to change them.
    pub fn values_mut(&mut self) -> IterMut<'_, V> {
        self.values.iter_mut()
    }

    /// Keys and values, by ascending key.
    pub fn iter(&self) -> Zip<Iter<'_, K>, Iter<'_, V>> {
        self.keys.iter().zip(&self.values)
    }

    /// Keys and values, by ascending key, to change the values.
    pub fn iter_mut(&mut self) -> Zip<Iter<'_, K>, IterMut<'_, V>> {
        self.keys.iter().zip(&mut self.values)
    }
}

impl<K: Copy + Ord, V> FromIterator<(K, V)> for SmallMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> SmallMap<K, V> {
        let mut map = SmallMap::new();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

impl<K: Copy + Ord, V> Index<&K> for SmallMap<K, V> {
    type Output = V;

    fn index(&self, key: &K) -> &V {
        self.get(key).expect("a key of the map")
    }
}

/// Where `key` is, or where it would have to be.
#[inline]
fn position<K: Ord>(keys: &[K], key: &K) -> Result<usize, usize> {
    // What is new is often the greatest.
    match keys.last() {
        Some(last) if last >= key => keys.binary_search(key),
        _ => Err(keys.len()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::rand::Rng;

    #[test]
    fn the_set_is_the_one_that_a_tree_would_be() {
        let mut rng = Rng::from_seed(1);
        let (mut set, mut plain) = (SmallSet::default(), BTreeSet::new());
        for _ in 0..10_000 {
            let key = rng.below(20);
            match rng.below(20) {
                0 => assert!(set.drain().eq(std::mem::take(&mut plain))),
                1 => {
                    let mut asked = Vec::new();
                    set.retain(|at| {
                        asked.push(at);
                        at % 3 != key % 3
                    });
                    assert!(asked.iter().eq(plain.iter()));
                    plain.retain(|at| at % 3 != key % 3);
                }
                2..5 => {
                    set.remove(&key);
                    plain.remove(&key);
                }
                _ => {
                    set.insert(key);
                    plain.insert(key);
                }
            }
            assert!(set.keys.iter().eq(plain.iter()));
        }
    }

    #[test]
    fn the_map_is_the_one_that_a_tree_would_be() {
        let mut rng = Rng::from_seed(2);
        let (mut map, mut plain) = (SmallMap::new(), BTreeMap::new());
        for value in 0..10_000 {
            let key = rng.below(20);
            match rng.below(5) {
                0 => assert_eq!(map.remove(&key), plain.remove(&key)),
                1 => assert_eq!(map.insert(key, value), plain.insert(key, value)),
                2 => assert_eq!(map.get_or_insert_with(key, || value), plain.entry(key).or_insert(value)),
                3 => {
                    assert_eq!(map.get_mut(&key), plain.get_mut(&key));
                    map.values_mut().for_each(|at| *at += key);
                    plain.values_mut().for_each(|at| *at += key);
                }
                _ => assert!(map.iter_mut().eq(plain.iter_mut())),
            }
            assert_eq!((map.get(&key), map.contains_key(&key)), (plain.get(&key), plain.contains_key(&key)));
            assert_eq!((map.len(), map.is_empty()), (plain.len(), plain.is_empty()));
            assert!(map.iter().eq(plain.iter()));
            assert!(plain.clone().into_iter().rev().collect::<SmallMap<_, _>>().iter().eq(plain.iter()));
            assert!(map.keys().eq(plain.keys()) && map.values().eq(plain.values()));
        }
    }
}
