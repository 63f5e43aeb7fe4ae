//! Who holds what, for as long as they keep saying so: soft state with leases and caps.
//!
//! No message, cookie or socket is known here; whoever calls has made sure that the address is the asker's own.
//! Nothing is ever written to disk: after a restart, the next refreshes tell it all again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::protocol::{Announcement, FoundFile, Holder, MAX_FOUND, Refusal};
use crate::Fid;
use crate::name::FileName;
use crate::time::{Duration, Instant};

/// What a registry holds at most. The defaults come to about 100 MB at the very worst.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long an announcement holds unless refreshed (BitTorrent's 30 min would name the dead for too long).
    pub lease: Duration,
    /// Files in all.
    pub files: usize,
    /// Holdings (a file at an address) in all.
    pub holdings: usize,
    /// Holders of one file.
    pub per_file: usize,
    /// Holdings of one address (IP and port).
    pub per_address: usize,
    /// Holdings of one network: an IPv4 address or an IPv6 /64, of which a single host has every port.
    pub per_network: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            lease: Duration::from_secs(90),
            files: 100_000,
            holdings: 200_000,
            per_file: 10_000,
            per_address: 1_000,
            per_network: 50_000,
        }
    }
}

/// Of one name, no more files than this are looked at to find those with most holders.
const MAX_COMPARED: usize = 4_096;

/// The store of holdings.
///
/// Invariant: a holding stands in exactly one file, in the list of its address, in the count of its network, at
/// its deadline and, if it has a name, in the list of that name; none of these is ever empty.
#[derive(Debug)]
pub struct Registry {
    limits: Limits,
    files: BTreeMap<Fid, File>,
    by_address: BTreeMap<SocketAddr, BTreeSet<Fid>>,
    by_network: BTreeMap<IpAddr, usize>,
    /// How many holders gave a file this name.
    by_name: BTreeMap<FileName, BTreeMap<Fid, u32>>,
    deadlines: BTreeSet<(Instant, Fid, SocketAddr)>,
}

#[derive(Debug)]
struct File {
    /// As its first holder announced it.
    size: u64,
    holders: BTreeMap<SocketAddr, Holding>,
}

#[derive(Debug)]
struct Holding {
    progress: u8,
    name: Option<FileName>,
    expires: Instant,
}

impl Registry {
    /// An empty registry.
    pub fn new(limits: Limits) -> Registry {
        Registry {
            limits,
            files: BTreeMap::new(),
            by_address: BTreeMap::new(),
            by_network: BTreeMap::new(),
            by_name: BTreeMap::new(),
            deadlines: BTreeSet::new(),
        }
    }

    /// What it holds at most.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many files somebody holds.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// How many holdings there are in all.
    pub fn holdings(&self) -> usize {
        self.deadlines.len()
    }

    /// Stores or refreshes what `addr` holds, until a lease after `now`.
    ///
    /// # Errors
    /// A [`Refusal`] if it is new and a cap is reached. What is there can always be refreshed.
    pub fn announce(
        &mut self,
        now: Instant,
        addr: SocketAddr,
        announcement: &Announcement,
    ) -> Result<(), Refusal> {
        let Announcement { fid, name, size, progress, .. } = announcement;
        if !self.by_address.get(&addr).is_some_and(|held| held.contains(fid)) {
            self.admit(*fid, addr)?;
        }
        self.withdraw(addr, *fid);
        let expires = now + self.limits.lease;
        let file = self.files.entry(*fid).or_insert_with(|| File { size: *size, holders: BTreeMap::new() });
        file.holders.insert(addr, Holding { progress: *progress, name: name.clone(), expires });
        self.by_address.entry(addr).or_default().insert(*fid);
        *self.by_network.entry(network(addr)).or_default() += 1;
        if let Some(name) = name {
            *self.by_name.entry(name.clone()).or_default().entry(*fid).or_default() += 1;
        }
        self.deadlines.insert((expires, *fid, addr));
        Ok(())
    }

    /// Forgets that `addr` holds `fid`. Says whether it did.
    pub fn withdraw(&mut self, addr: SocketAddr, fid: Fid) -> bool {
        let Some(holding) = self.files.get_mut(&fid).and_then(|file| file.holders.remove(&addr)) else {
            return false;
        };
        self.deadlines.remove(&(holding.expires, fid, addr));
        if self.files.get(&fid).is_some_and(|file| file.holders.is_empty()) {
            self.files.remove(&fid);
        }
        if let Some(held) = self.by_address.get_mut(&addr) {
            held.remove(&fid);
            if held.is_empty() {
                self.by_address.remove(&addr);
            }
        }
        if let Some(count) = self.by_network.get_mut(&network(addr)) {
            *count -= 1;
            if *count == 0 {
                self.by_network.remove(&network(addr));
            }
        }
        if let Some(name) = &holding.name {
            self.unname(name, fid);
        }
        true
    }

    /// Forgets all that `addr` holds. Says how many holdings that were.
    pub fn withdraw_all(&mut self, addr: SocketAddr) -> usize {
        let held = self.by_address.get(&addr).cloned().unwrap_or_default();
        held.iter().filter(|&&fid| self.withdraw(addr, fid)).count()
    }

    /// Forgets what was not refreshed in time. Says how many holdings that were.
    pub fn expire(&mut self, now: Instant) -> usize {
        let mut expired = 0;
        while self.next_expiry().is_some_and(|deadline| deadline <= now)
            && let Some((_, fid, addr)) = self.deadlines.pop_first()
        {
            self.withdraw(addr, fid);
            expired += 1;
        }
        expired
    }

    /// When the next holding expires.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, ..)| *deadline)
    }

    /// The holders of `fid` in the order of their addresses; `None` if nobody holds it.
    pub fn holders(&self, fid: Fid) -> Option<impl ExactSizeIterator<Item = Holder> + '_> {
        let holders = &self.files.get(&fid)?.holders;
        Some(holders.iter().map(|(&addr, holding)| Holder { addr, progress: holding.progress }))
    }

    /// How many files have this name, and the [`MAX_FOUND`] of them that have most holders, best first.
    pub fn find(&self, name: &FileName) -> (usize, Vec<FoundFile>) {
        let Some(fids) = self.by_name.get(name) else { return (0, Vec::new()) };
        let mut found: Vec<FoundFile> = fids
            .keys()
            .take(MAX_COMPARED)
            .filter_map(|&fid| {
                let file = self.files.get(&fid)?;
                Some(FoundFile { fid, size: file.size, holders: file.holders.len() as u32 })
            })
            .collect();
        // Stable: those with as many holders stay in the order of their ids.
        found.sort_by_key(|file| std::cmp::Reverse(file.holders));
        found.truncate(MAX_FOUND);
        (fids.len(), found)
    }

    /// Whether there is room for `fid` at `addr`, which doesn't hold it yet.
    fn admit(&self, fid: Fid, addr: SocketAddr) -> Result<(), Refusal> {
        let holders = self.files.get(&fid).map_or(0, |file| file.holders.len());
        let held = self.by_address.get(&addr).map_or(0, BTreeSet::len);
        let in_network = self.by_network.get(&network(addr)).copied().unwrap_or(0);
        if held >= self.limits.per_address || in_network >= self.limits.per_network {
            Err(Refusal::AddressFull)
        } else if holders >= self.limits.per_file {
            Err(Refusal::FileFull)
        } else if self.holdings() >= self.limits.holdings
            || (holders == 0 && self.files() >= self.limits.files)
        {
            Err(Refusal::TrackerFull)
        } else {
            Ok(())
        }
    }

    fn unname(&mut self, name: &FileName, fid: Fid) {
        let Some(fids) = self.by_name.get_mut(name) else { return };
        if let Some(count) = fids.get_mut(&fid) {
            *count -= 1;
            if *count == 0 {
                fids.remove(&fid);
            }
        }
        if fids.is_empty() {
            self.by_name.remove(name);
        }
    }
}

/// What one host can speak for: its IPv4 address, or the /64 that it can choose its IPv6 addresses from.
fn network(addr: SocketAddr) -> IpAddr {
    match addr.ip() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests;
