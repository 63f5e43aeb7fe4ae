//! How the addresses of a swarm have behaved, and which of them are banned for now.
//!
//! A piece that doesn't verify, a manifest that doesn't join, an index that doesn't exist: whoever alone gave it lied,
//! or the path damaged it in a way that the crc can't see. The first can't be told from the second by one case, but by
//! many: each strike bans for twice as long as the one before, and good pieces make up for strikes.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::time::{Duration, Instant};

/// The ban for the first strike; each further one doubles it.
const FIRST_BAN: Duration = Duration::from_secs(1);
const MAX_BAN: Duration = Duration::from_secs(3_600);
/// A flood is no accident of the path: it counts as so many strikes at least before its own.
const FLOOD_STRIKES: u32 = 3;
/// So many good pieces make up for one strike.
const GOOD_PER_STRIKE: u32 = 8;

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    strikes: u32,
    good: u32,
    banned_until: Instant,
}

/// The records of one swarm.
#[derive(Debug, Default)]
pub(super) struct Conduct {
    records: BTreeMap<SocketAddr, Record>,
}

impl Conduct {
    /// `addr` gave what can't be right. Gives the end of its ban.
    pub(super) fn strike(&mut self, now: Instant, addr: SocketAddr) -> Instant {
        let record = self.records.entry(addr).or_default();
        let ban = (FIRST_BAN * (1 << record.strikes.min(12))).min(MAX_BAN);
        record.strikes += 1;
        record.good = 0;
        record.banned_until = now + ban;
        record.banned_until
    }

    /// `addr` asked for far more than anybody needs. Gives the end of its ban.
    pub(super) fn flood(&mut self, now: Instant, addr: SocketAddr) -> Instant {
        let record = self.records.entry(addr).or_default();
        record.strikes = record.strikes.max(FLOOD_STRIKES);
        self.strike(now, addr)
    }

    /// `addr` alone gave a piece that proved right.
    pub(super) fn good(&mut self, addr: SocketAddr) {
        let Some(record) = self.records.get_mut(&addr) else { return };
        record.good += 1;
        if record.good >= GOOD_PER_STRIKE {
            record.good = 0;
            record.strikes = record.strikes.saturating_sub(1);
        }
    }

    /// Whether nothing is to be taken from `addr` at present.
    pub(super) fn is_banned(&self, now: Instant, addr: SocketAddr) -> bool {
        self.records.get(&addr).is_some_and(|record| now < record.banned_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_liar_is_soon_out_and_a_noisy_path_is_forgiven() {
        let (liar, noisy): (SocketAddr, SocketAddr) =
            ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:1".parse().unwrap());
        let mut conduct = Conduct::default();
        let mut now = Instant::ORIGIN;
        for seconds in [1, 2, 4, 8, 16, 32] {
            assert!(!conduct.is_banned(now, liar));
            let end = conduct.strike(now, liar);
            assert_eq!(end.since(now).as_secs(), seconds);
            assert!(conduct.is_banned(now, liar) && !conduct.is_banned(end, liar));
            now = end;
        }
        (0..20).for_each(|_| _ = conduct.strike(now, liar));
        assert_eq!(conduct.strike(now, liar).since(now), MAX_BAN, "not for ever");
        let flooder = "10.0.0.3:1".parse().unwrap();
        assert_eq!(conduct.flood(now, flooder).since(now).as_secs(), 8);
        assert_eq!(conduct.flood(now, flooder).since(now).as_secs(), 16);
        for _ in 0..20 {
            let end = conduct.strike(now, noisy);
            assert!(end.since(now).as_secs() <= 2);
            (0..20).for_each(|_| conduct.good(noisy));
        }
    }
}
