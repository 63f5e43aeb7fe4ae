//! What happens, as programs read it with `--json`: one JSON object a line on stdout. `docs/json.md` lists them all.
//!
//! What people read is said elsewhere. A field is added at any time; one that changes its meaning makes a new [`VERSION`].

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use swarmcast::pclient::account::{Account, Cause};
use swarmcast::pclient::swarm::Progress;
use swarmcast::time::{Duration, Instant};

use super::failure::Failure;
use super::progress::{Snapshot, mean_rate};
use super::ticket::Ticket;

/// Stands in every line as `v`.
const VERSION: u32 = 1;
/// Events that tell how far something is don't come more often.
const SOONEST: Duration = Duration::from_millis(500);

/// A line of its own. Sizes are in B, rates in B/s.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Event {
    /// The tracker serves.
    Tracker { address: String },
    /// What a ticket holds: of the one that was made, or given.
    Ticket {
        ticket: String,
        ticket_version: u32,
        fid: String,
        size_bytes: u64,
        name: Option<String>,
        trackers: Vec<String>,
    },
    /// A download begins.
    Begun { target: String, fid: String, size_bytes: Option<u64>, trackers: Vec<String> },
    /// What an earlier attempt had left is verified.
    Found { bytes: u64 },
    /// How far a download is.
    Progress {
        done_bytes: u64,
        found_bytes: u64,
        size_bytes: u64,
        bytes_per_second: u64,
        peers: usize,
        seconds_left: Option<u64>,
        waits_for: Option<&'static str>,
    },
    /// The download has ended before all is there, and the next attempt goes on from here.
    Kept { done_bytes: u64 },
    /// All is there.
    Done {
        target: String,
        size_bytes: u64,
        found_bytes: u64,
        seconds: f64,
        bytes_per_second: u64,
        /// The time it took ÷ the least possible, as far as that is known.
        ratio: Option<f64>,
        bound_seconds: Option<f64>,
        bound_by: Option<&'static str>,
        bound_is_measured: Option<bool>,
        held_back_seconds: BTreeMap<&'static str, f64>,
    },
    /// How serving others goes.
    Serving { peers: usize, served_bytes: u64, sent_bytes: u64, bytes_per_second: u64 },
    /// Serving has ended.
    Ended { served_bytes: u64, sent_bytes: u64, seconds: f64 },
    /// The program ends with this exit code.
    Error { code: u8, message: String },
}

#[derive(Serialize)]
struct Line<'a> {
    v: u32,
    #[serde(flatten)]
    event: &'a Event,
}

impl Event {
    /// Its line, without the end.
    pub(super) fn line(&self) -> String {
        serde_json::to_string(&Line { v: VERSION, event: self }).expect("all keys are strings")
    }

    pub(super) fn ticket(ticket: &Ticket) -> Event {
        Event::Ticket {
            ticket: ticket.to_string(),
            ticket_version: Ticket::VERSION,
            fid: ticket.fid.to_string(),
            size_bytes: ticket.size,
            name: ticket.name.as_ref().map(|name| name.as_str().to_owned()),
            trackers: trackers(ticket),
        }
    }

    pub(super) fn begun(ticket: &Ticket, size_bytes: Option<u64>, target: &Path) -> Event {
        let (target, fid) = (target.to_string_lossy().into_owned(), ticket.fid.to_string());
        Event::Begun { target, fid, size_bytes, trackers: trackers(ticket) }
    }

    /// `rate` in B/s.
    pub(super) fn progress(snapshot: Snapshot, rate: u64, left: Option<Duration>) -> Event {
        Event::Progress {
            done_bytes: snapshot.done,
            found_bytes: snapshot.found,
            size_bytes: snapshot.total,
            bytes_per_second: rate,
            peers: snapshot.peers,
            seconds_left: left.map(|left| left.as_secs()),
            waits_for: snapshot.account.and_then(|account| account.waits_for).map(Cause::id),
        }
    }

    /// A download of `size` B, of which `found` B were there before, that has taken `time`.
    pub(super) fn done(
        target: &Path,
        size: u64,
        found: u64,
        time: Duration,
        account: Option<Account>,
    ) -> Event {
        let best = account.and_then(|account| account.at_best);
        let spent = account.map(|account| account.spent);
        let ratio = best.zip(spent).map(|(best, spent)| {
            let total = spent.total().as_secs_f64();
            total / best.time.as_secs_f64().min(total).max(1e-9)
        });
        Event::Done {
            target: target.to_string_lossy().into_owned(),
            size_bytes: size,
            found_bytes: found,
            seconds: time.as_secs_f64(),
            bytes_per_second: mean_rate(size.saturating_sub(found), time),
            ratio,
            bound_seconds: best.map(|best| best.time.as_secs_f64()),
            bound_by: best.map(|best| best.by.id()),
            bound_is_measured: best.map(|best| best.is_measured),
            held_back_seconds: Cause::ALL
                .into_iter()
                .filter_map(|cause| Some((cause.id(), spent?.on(cause).as_secs_f64())))
                .collect(),
        }
    }

    /// `sent` B with all that was sent beside the content; `rate` in B/s.
    pub(super) fn serving(progress: Progress, sent: u64, rate: u64) -> Event {
        Event::Serving {
            peers: progress.peers,
            served_bytes: progress.served,
            sent_bytes: sent,
            bytes_per_second: rate,
        }
    }

    pub(super) fn ended(progress: Progress, sent: u64, time: Duration) -> Event {
        Event::Ended { served_bytes: progress.served, sent_bytes: sent, seconds: time.as_secs_f64() }
    }

    pub(super) fn error(failure: &Failure) -> Event {
        Event::Error { code: failure.code as u8, message: failure.message.clone() }
    }
}

fn trackers(ticket: &Ticket) -> Vec<String> {
    ticket.trackers.iter().map(ToString::to_string).collect()
}

/// Says when the next event about how far something is may come.
#[derive(Debug, Default)]
pub(super) struct Pace(Option<Instant>);

impl Pace {
    /// Whether one may come `now`; then it is taken to have come.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.0.is_none_or(|last| now.since(last) >= SOONEST);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_object_whatever_a_name_holds() {
        let failure = Failure::usage("\"a\nb\\\u{1b}[2J");
        assert_eq!(
            Event::error(&failure).line(),
            r#"{"v":1,"kind":"error","code":2,"message":"\"a\nb\\\u001b[2J"}"#
        );
    }

    #[test]
    fn what_is_not_known_is_null_and_no_number_is_infinite() {
        let line = Event::done(Path::new("f"), 5, 0, Duration::ZERO, None).line();
        assert!(line.contains(r#""ratio":null,"bound_seconds":null"#), "{line}");
        assert!(line.ends_with(r#""held_back_seconds":{}}"#) && !line.contains("inf"), "{line}");
    }

    #[test]
    fn there_are_two_a_second_at_most() {
        let mut pace = Pace::default();
        let at = |millis| Instant::ORIGIN + Duration::from_millis(millis);
        let due: Vec<u64> = (0..=2_000).step_by(200).filter(|&millis| pace.is_due(at(millis))).collect();
        assert_eq!(due, [0, 600, 1_200, 1_800]);
    }
}
