//! Whom a sender gives the manifest to, and when.
//!
//! To one peer after the other, so that whole copies, which can be passed on, exist early. A source's uplink is precious: after
//! each copy it waits for those who have it to pass it on, before it begins another. Knows no hash; only who asks for what.

use super::download::Peers;
use super::message::MAX_HASHES;
use crate::rudp::Handle;
use crate::time::{Duration, Instant};

/// After a copy is out, relays have this long, and three times as long as the copy took, to pass it on.
const GRACE: Duration = Duration::from_millis(40);
/// A peer that takes nothing for this long holds up nobody else: at a source, and at a relay.
const PATIENCE_SOURCE: Duration = Duration::from_secs(3);
const PATIENCE_RELAY: Duration = Duration::from_millis(500);

/// The order in which a sender gives the manifest out.
#[derive(Debug, Default)]
pub(super) struct ManifestDesk {
    /// When the last copy was begun, and when its last part was sent.
    began: Instant,
    served: Instant,
    /// Before that, no other copy is begun, because there is one to end.
    waits_until: Option<Instant>,
    /// And because the last one may be passed on.
    closed_until: Option<Instant>,
}

impl ManifestDesk {
    /// Takes the next part to send, of a manifest of `count` hashes, given to whom it `may_go` at once: for whom, and the
    /// first hash of it.
    pub(super) fn next(
        &mut self,
        now: Instant,
        peers: &mut Peers,
        is_source: bool,
        count: u64,
        may_go: impl Fn(Handle) -> bool,
    ) -> Option<(Handle, u64)> {
        let asking = || peers.iter().filter_map(|(&key, peer)| Some((key, peer.wants_manifest?)));
        let begun = asking().filter(|&(_, first)| first > 0);
        let (key, first) = match begun.clone().find(|&(key, _)| may_go(key)) {
            Some(next) => next,
            None => {
                let patience = if is_source { PATIENCE_SOURCE } else { PATIENCE_RELAY };
                let until = self.served + patience;
                self.waits_until = (begun.count() > 0 && now < until).then_some(until);
                if self.waits_until.is_some() || self.closed_until.is_some_and(|until| now < until) {
                    return None;
                }
                let next = asking().find(|&(key, _)| may_go(key))?;
                self.began = now;
                next
            }
        };
        (self.served, self.waits_until) = (now, None);
        let end = first.saturating_add(MAX_HASHES as u64);
        peers.get_mut(&key)?.wants_manifest = (end < count).then_some(end);
        if is_source && end >= count {
            self.closed_until = Some(now + GRACE + now.since(self.began) * 3);
        }
        Some((key, first))
    }

    /// When somebody may be served though nothing else happens.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waits_until.into_iter().chain(self.closed_until).min()
    }

    /// Opens the desk again when the time has come.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for until in [&mut self.waits_until, &mut self.closed_until] {
            *until = until.filter(|&until| now < until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pclient::peer::Peer;

    const PARTS: u64 = 2 * MAX_HASHES as u64;
    const SECOND: u64 = MAX_HASHES as u64;

    fn at(seconds: f64) -> Instant {
        Instant::ORIGIN + Duration::from_secs_f64(seconds)
    }

    fn asking(keys: &[u64]) -> Peers {
        let peer = |&key: &u64| {
            let mut peer = Peer::new(format!("10.0.0.{key}:1").parse().unwrap(), key, Instant::ORIGIN);
            peer.wants_manifest = Some(0);
            (Handle::for_test(key), peer)
        };
        keys.iter().map(peer).collect()
    }

    #[test]
    fn a_source_gives_one_copy_and_waits_for_it_to_spread() {
        let (mut desk, mut peers) = (ManifestDesk::default(), asking(&[1, 2]));
        let [first, second] = [1, 2].map(Handle::for_test);
        assert_eq!(desk.next(at(0.0), &mut peers, true, PARTS, |_| true), Some((first, 0)));
        assert_eq!(desk.next(at(0.5), &mut peers, true, PARTS, |key| key != first), None, "it isn't done");
        assert_eq!(desk.next(at(2.0), &mut peers, true, PARTS, |_| true), Some((first, SECOND)));
        assert_eq!(desk.next(at(2.0), &mut peers, true, PARTS, |_| true), None, "the first may pass it on");
        let due = desk.due().unwrap();
        assert_eq!(due, at(2.0) + GRACE + Duration::from_secs(6));
        desk.handle_timeout(due);
        assert_eq!(desk.next(due, &mut peers, true, PARTS, |_| true), Some((second, 0)));
    }

    #[test]
    fn a_customer_that_takes_nothing_or_leaves_holds_nobody_up() {
        let (mut desk, mut peers) = (ManifestDesk::default(), asking(&[1, 2, 3]));
        let [first, second, third] = [1, 2, 3].map(Handle::for_test);
        assert_eq!(desk.next(at(0.0), &mut peers, true, PARTS, |_| true), Some((first, 0)));
        assert_eq!(desk.next(at(2.9), &mut peers, true, PARTS, |key| key != first), None);
        assert_eq!(desk.next(at(3.0), &mut peers, true, PARTS, |key| key != first), Some((second, 0)));
        peers.remove(&first);
        peers.get_mut(&second).unwrap().wants_manifest = None;
        assert_eq!(desk.next(at(3.0), &mut peers, true, PARTS, |_| true), Some((third, 0)));
    }

    #[test]
    fn a_relay_goes_on_with_whom_it_began_and_then_with_the_next() {
        let (mut desk, mut peers) = (ManifestDesk::default(), asking(&[1, 2]));
        let [first, second] = [1, 2].map(Handle::for_test);
        let mut next = |seconds: f64, may_go: &dyn Fn(Handle) -> bool| {
            desk.handle_timeout(at(seconds));
            desk.next(at(seconds), &mut peers, false, PARTS, may_go)
        };
        assert_eq!(next(0.0, &|key| key == second), Some((second, 0)));
        assert_eq!(next(0.1, &|key| key == first), None, "the second takes the rest soon");
        assert_eq!(next(0.5, &|key| key == first), Some((first, 0)), "or not so soon");
        assert_eq!(next(0.6, &|_| true), Some((first, SECOND)));
        assert_eq!(next(0.6, &|_| true), Some((second, SECOND)));
        assert_eq!(next(0.6, &|_| true), None);
    }
}
