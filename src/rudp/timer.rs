//! The timers of a connection: an enum that says what each expiry means, and a table of their deadlines.

use crate::time::Instant;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// The hello has not been answered: send it again.
    Handshake,
    /// A packet is old enough to count as lost (RFC 9002 §6.1.2).
    Loss,
    /// Nothing was acked for long: ask what has arrived, or, after a probe time-out, send a probe (RFC 9002 §6.2).
    Probe,
    /// An ack has been held back long enough.
    AckDelay,
    /// What is patient has waited long enough for a datagram to go with.
    Ride,
    /// Data was held back by the pacer and may go now.
    Pacing,
    /// A path challenge has not been answered: send another one.
    PathChallenge,
    /// The peer has been silent for a while: ask whether it is there.
    KeepAlive,
    /// The peer has been silent for too long: it is gone.
    Idle,
}

impl Timer {
    const ALL: [Timer; 9] = [
        Timer::Handshake,
        Timer::Loss,
        Timer::Probe,
        Timer::AckDelay,
        Timer::Ride,
        Timer::Pacing,
        Timer::PathChallenge,
        Timer::KeepAlive,
        Timer::Idle,
    ];

    /// For traces.
    pub const fn name(self) -> &'static str {
        match self {
            Timer::Handshake => "repeat the hello",
            Timer::Loss => "declare packets lost",
            Timer::Probe => "probe",
            Timer::AckDelay => "send a delayed ack",
            Timer::Ride => "send what is patient",
            Timer::Pacing => "pacing",
            Timer::PathChallenge => "repeat a path challenge",
            Timer::KeepAlive => "keep alive",
            Timer::Idle => "give the peer up",
        }
    }
}

/// The deadline of each timer.
#[derive(Clone, Debug)]
pub struct TimerTable {
    /// By timer; the end of time where none is set.
    deadlines: [Instant; Timer::ALL.len()],
}

/// No deadline.
const NEVER: Instant = Instant::from_nanos(u64::MAX);

impl Default for TimerTable {
    fn default() -> TimerTable {
        TimerTable { deadlines: [NEVER; Timer::ALL.len()] }
    }
}

impl TimerTable {
    /// Sets or clears a deadline.
    pub fn set(&mut self, timer: Timer, deadline: impl Into<Option<Instant>>) {
        self.deadlines[timer as usize] = deadline.into().unwrap_or(NEVER);
    }

    /// The deadline of one timer, if it is set.
    pub fn get(&self, timer: Timer) -> Option<Instant> {
        Some(self.deadlines[timer as usize]).filter(|&deadline| deadline < NEVER)
    }

    /// Takes the next timer that is due at `now`, clearing it.
    pub fn pop_expired(&mut self, now: Instant) -> Option<Timer> {
        let (deadline, timer) = self.next()?;
        (deadline <= now).then(|| {
            self.set(timer, None);
            timer
        })
    }

    /// The earliest deadline and whose it is.
    pub fn next(&self) -> Option<(Instant, Timer)> {
        let mut first = (NEVER, Timer::Idle);
        for timer in Timer::ALL {
            if self.deadlines[timer as usize] < first.0 {
                first = (self.deadlines[timer as usize], timer);
            }
        }
        (first.0 < NEVER).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_expire_in_order_and_once() {
        let at = Instant::from_nanos;
        let mut timers = TimerTable::default();
        assert_eq!(timers.next(), None);
        timers.set(Timer::Idle, at(30));
        timers.set(Timer::Probe, at(10));
        timers.set(Timer::AckDelay, at(20));
        timers.set(Timer::AckDelay, None);
        assert_eq!(timers.pop_expired(at(9)), None);
        assert_eq!(timers.pop_expired(at(50)), Some(Timer::Probe));
        assert_eq!(timers.pop_expired(at(50)), Some(Timer::Idle));
        assert_eq!(timers.pop_expired(at(50)), None);
    }
}
