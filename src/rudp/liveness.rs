//! Whether the peer is still there: when to ask, and when to give it up.
//!
//! Knows only when something was heard and since when the peer owes an answer; the timers are the connection's.

use super::config::Config;
use crate::time::{Duration, Instant};

/// A peer is asked for a sign of life after 5/4 of its longest silence so far, but not later than this.
const MAX_KEEP_ALIVE: Duration = Duration::from_secs(4);

/// What is known of a peer's presence.
#[derive(Clone, Debug)]
pub struct Liveness {
    last_heard: Instant,
    /// Since when the peer owes an answer.
    waiting_since: Option<Instant>,
    longest_silence: Duration,
    keep_alive: bool,
}

impl Liveness {
    /// The peer was just heard and owes nothing.
    pub fn new(now: Instant) -> Liveness {
        Liveness { last_heard: now, waiting_since: None, longest_silence: Duration::ZERO, keep_alive: false }
    }

    /// Something came from the peer.
    pub fn on_heard(&mut self, now: Instant) {
        if let Some(since) = &mut self.waiting_since {
            self.longest_silence = self.longest_silence.max(now.since(*since));
            *since = now;
        }
        self.last_heard = now;
    }

    /// Something was sent that the peer has to answer. Waiting begins then, not when the peer was last heard.
    pub fn on_asked(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// The peer owes nothing any more.
    pub fn on_answered_all(&mut self) {
        self.waiting_since = None;
    }

    /// Whether the peer is expected to send, so that its silence is worth a question.
    pub fn set_keep_alive(&mut self, on: bool) {
        self.keep_alive = on;
    }

    /// When to ask for a sign of life, if silence is worth a question.
    pub fn ask_at(&self, config: &Config) -> Option<Instant> {
        let interval = (self.longest_silence * 5 / 4).clamp(config.keep_alive, MAX_KEEP_ALIVE);
        self.keep_alive.then(|| self.last_heard + interval)
    }

    /// When to give the peer up. One that owes an answer gets `Config::dead_after`, but time for three probes and half
    /// as long again as its longest silence; another one the idle time-out.
    pub fn give_up_at(&self, config: &Config, pto: Duration) -> Instant {
        match self.waiting_since {
            Some(since) => {
                let used_to = self.longest_silence * 3 / 2 + Duration::from_secs(1);
                since + config.dead_after.max(3 * pto).max(used_to)
            }
            None => self.last_heard + config.idle_timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(seconds)
    }

    const PTO: Duration = Duration::from_millis(100);

    #[test]
    fn patience_begins_with_the_question_and_grows_with_what_the_peer_is_used_to() {
        let config = Config::default();
        let mut liveness = Liveness::new(at(0));
        assert_eq!(liveness.give_up_at(&config, PTO), at(0) + config.idle_timeout);
        liveness.on_asked(at(50));
        liveness.on_asked(at(51));
        assert_eq!(liveness.give_up_at(&config, PTO), at(50) + config.dead_after);
        assert_eq!(liveness.give_up_at(&config, Duration::from_secs(3)), at(59));
        liveness.on_heard(at(56));
        assert_eq!(liveness.give_up_at(&config, PTO), at(56) + Duration::from_secs(10));
        liveness.on_answered_all();
        assert_eq!(liveness.give_up_at(&config, PTO), at(56) + config.idle_timeout);
    }

    #[test]
    fn only_an_expected_peer_is_asked_for_a_sign_of_life() {
        let config = Config::default();
        let mut liveness = Liveness::new(at(0));
        assert_eq!(liveness.ask_at(&config), None);
        liveness.set_keep_alive(true);
        assert_eq!(liveness.ask_at(&config), Some(at(0) + config.keep_alive));
        liveness.on_asked(at(0));
        liveness.on_heard(at(2));
        assert_eq!(liveness.ask_at(&config), Some(at(2) + Duration::from_millis(2_500)));
    }
}
