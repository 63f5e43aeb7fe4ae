//! Whom a sender gives the manifest to, and when.
//!
//! A source's uplink is precious: it gives the manifest to one peer at a time, and then waits for those who have it to
//! pass it on, before it gives it to another. A relay gives it to whoever asks. Knows no hash; only who asks for what.

use super::download::Peers;
use crate::rudp::Handle;
use crate::time::{Duration, Instant};

/// After a copy is out, relays have this long, and twice as long as the copy took, to pass it on.
const GRACE: Duration = Duration::from_millis(300);
/// A customer that asks for nothing more for this long has left without a word.
const PATIENCE: Duration = Duration::from_secs(3);

/// The order in which a source gives the manifest out.
#[derive(Debug, Default)]
pub(super) struct ManifestDesk {
    customer: Option<Customer>,
    /// Before that, nobody else is served.
    closed_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Customer {
    key: Handle,
    since: Instant,
    served: Instant,
}

impl ManifestDesk {
    /// Takes the next question to answer, of those whose answer `may_go` at once: from whom, and the first hash wanted.
    pub(super) fn next(
        &mut self,
        now: Instant,
        peers: &mut Peers,
        is_source: bool,
        may_go: impl Fn(Handle) -> bool,
    ) -> Option<(Handle, u64)> {
        let mut asking = peers.iter_mut().filter(|(_, peer)| peer.wants_manifest.is_some()).peekable();
        asking.peek()?;
        if !is_source {
            let (&key, peer) = asking.find(|(key, _)| may_go(**key))?;
            return Some((key, peer.wants_manifest.take()?));
        }
        drop(asking);
        self.dismiss(now, peers);
        self.handle_timeout(now);
        let key = match self.customer {
            Some(customer) => customer.key,
            None if self.closed_until.is_some() => return None,
            None => {
                let mut asking = peers.iter().filter(|(_, peer)| peer.wants_manifest.is_some());
                asking.find(|(key, _)| may_go(**key)).map(|(&key, _)| key)?
            }
        };
        let first = peers.get_mut(&key).filter(|_| may_go(key))?.wants_manifest.take()?;
        let since = self.customer.map_or(now, |customer| customer.since);
        self.customer = Some(Customer { key, since, served: now });
        Some((key, first))
    }

    /// Lets a customer go that has the manifest, is gone, or asks no more.
    fn dismiss(&mut self, now: Instant, peers: &Peers) {
        let Some(customer) = self.customer else { return };
        let is_served = peers.get(&customer.key).is_some_and(|peer| peer.has_manifest);
        if is_served {
            self.closed_until = Some(now + GRACE + now.since(customer.since) * 2);
        }
        if is_served || !peers.contains_key(&customer.key) {
            self.customer = None;
        }
    }

    /// When somebody who asks may be served though nothing else happens.
    pub(super) fn due(&self) -> Option<Instant> {
        self.customer.map(|customer| customer.served + PATIENCE).or(self.closed_until)
    }

    /// Opens the desk again when the time has come.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.closed_until = self.closed_until.filter(|&until| now < until);
        self.customer = self.customer.filter(|customer| now.since(customer.served) < PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pclient::peer::Peer;

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
        assert_eq!(desk.next(at(0.0), &mut peers, true, |_| true), Some((first, 0)));
        assert_eq!(desk.next(at(0.5), &mut peers, true, |_| true), None, "the first hasn't got it all");
        peers.get_mut(&first).unwrap().wants_manifest = Some(512);
        assert_eq!(desk.next(at(1.0), &mut peers, true, |_| true), Some((first, 512)));
        peers.get_mut(&first).unwrap().has_manifest = true;
        assert_eq!(desk.next(at(2.0), &mut peers, true, |_| true), None, "the first may pass it on");
        let due = desk.due().unwrap();
        assert_eq!(due, at(2.0) + GRACE + Duration::from_secs(4));
        assert_eq!(desk.next(due, &mut peers, true, |_| true), Some((second, 0)));
    }

    #[test]
    fn a_customer_that_falls_silent_or_leaves_holds_nobody_up() {
        let (mut desk, mut peers) = (ManifestDesk::default(), asking(&[1, 2, 3]));
        let [first, second, third] = [1, 2, 3].map(Handle::for_test);
        assert_eq!(desk.next(at(0.0), &mut peers, true, |_| true), Some((first, 0)));
        let due = desk.due().unwrap();
        assert_eq!(desk.next(due, &mut peers, true, |_| true), Some((second, 0)));
        peers.remove(&second);
        assert_eq!(desk.next(due, &mut peers, true, |_| true), Some((third, 0)));
    }

    #[test]
    fn a_relay_answers_everybody() {
        let (mut desk, mut peers) = (ManifestDesk::default(), asking(&[1, 2]));
        let [first, second] = [1, 2].map(Handle::for_test);
        assert_eq!(desk.next(at(0.0), &mut peers, false, |key| key == second), Some((second, 0)));
        assert_eq!(desk.next(at(0.0), &mut peers, false, |_| true), Some((first, 0)));
        assert_eq!(desk.next(at(0.0), &mut peers, false, |_| true), None);
    }
}
