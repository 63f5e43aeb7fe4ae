//! The client's side of the tracker: keeps it told what this node holds, and puts its questions to it.
//!
//! A part of a node's machine, not a machine itself: the node hands it the one-shot datagrams that come from the
//! tracker's address, and sends what it wants sent. It knows nobody but the tracker, and what an answer is good for
//! is for the node to say.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use super::agenda::{Agenda, Task};
use super::protocol::{Announcement, FoundFile, Holder, Refusal, Request, Response, canonical};
use crate::Fid;
use crate::coding::on_link_of;
use crate::name::FileName;
use crate::rand::Rng;
use crate::rudp::cookie::Cookie;
use crate::rudp::packet::{Header, Kind, Transaction};
use crate::time::{Duration, Instant};

/// A holding is announced this many times in the time that its lease lasts: two may be lost.
const REFRESHES_PER_LEASE: u32 = 3;

/// What is believed of the lease before the tracker says it.
const DEFAULT_LEASE: Duration = Duration::from_secs(90);

/// Bounds to what a tracker may say the lease is: a short one would make us flood it; after a long one, which may be a damaged
/// word, a tracker that has forgotten us would not be told again for as long.
const LEASE_RANGE: std::ops::RangeInclusive<Duration> = Duration::from_secs(6)..=Duration::from_secs(180);

/// How soon after one announcement of a file more holders can be asked for.
const REQUEST_GAP: Duration = Duration::from_secs(1);

/// Between the first announcements of two files: who shares a thousand at once takes 10 s and 10 kB/s for it.
const ANNOUNCE_GAP: Duration = Duration::from_millis(10);

/// When to try again what the tracker refused.
const REFUSED_RETRY: Duration = Duration::from_secs(30);

/// What the tracker said, for the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The tracker knows that we hold the file: after the first announcement and after each refresh.
    Confirmed {
        /// The file.
        fid: Fid,
    },
    /// Some of those who hold the file, ourselves not among them; after each announcement and lookup.
    Holders {
        /// The file.
        fid: Fid,
        /// How many there are in all, ourselves included if we are one.
        total: u32,
        /// At most as many as were wanted. If any is complete, a complete one stands first.
        holders: Vec<Holder>,
    },
    /// The tracker knows nobody who holds the file that was looked up.
    Unknown {
        /// The file.
        fid: Fid,
    },
    /// The files of the name that was asked for, those with most holders first; maybe none.
    Found {
        /// The name.
        name: FileName,
        /// How many there are in all.
        total: u32,
        /// The first of them.
        files: Vec<FoundFile>,
    },
    /// We are no longer listed as a holder of the file.
    Cancelled {
        /// The file.
        fid: Fid,
    },
    /// We are no longer listed at all.
    Left,
    /// The tracker doesn't list us as a holder of the file. It is asked again every 30 s.
    Refused {
        /// The file.
        fid: Fid,
        /// Why.
        refusal: Refusal,
    },
}

/// The client's side of one tracker.
///
/// - Commands: `announce`, `set_progress`, `request_holders`, `lookup`, `find`, `cancel`, `leave`,
///   `stop_lookup`, `stop_find`.
/// - Driving, to the contract of [`crate::machine::Machine`]: `handle_oneshot`, `handle_timeout`, `poll_transmit`,
///   `poll_timeout`, and `poll_event` until it gives `None`.
/// - Getters: `tracker`, `unanswered_since`.
///
/// Every question is repeated after 0.5 s, then at doubling intervals up to 15 s, until it is answered; a tracker that
/// comes back with no memory is told all again by the next refresh or repeat, with no event but `Confirmed`.
#[derive(Debug)]
pub struct Announcer {
    tracker: SocketAddr,
    rng: Rng,
    cookie: Option<Cookie>,
    lease: Duration,
    /// What we keep announced.
    holdings: BTreeMap<Fid, Announcement>,
    agenda: Agenda,
    /// Withdrawals, and when they need no answer any more, because the lease has ended.
    withdrawals: BTreeMap<Task, Instant>,
    events: VecDeque<Event>,
    /// When the next file can be announced for the first time.
    next_slot: Instant,
    /// Since when questions are in flight and no answer has come to any.
    silent_since: Option<Instant>,
}

impl Announcer {
    /// Of the tracker at `tracker`; says nothing until told what.
    pub fn new(tracker: SocketAddr, mut rng: Rng) -> Announcer {
        Announcer {
            tracker,
            agenda: Agenda::new(rng.fork()),
            rng,
            cookie: None,
            lease: DEFAULT_LEASE,
            holdings: BTreeMap::new(),
            withdrawals: BTreeMap::new(),
            events: VecDeque::new(),
            next_slot: Instant::ORIGIN,
            silent_since: None,
        }
    }

    /// Announces that we hold `progress`/255 of the file of `size` B, and keeps it announced until [`cancel`] or
    /// [`leave`]. Each answer names at most `want` others. For a file that is announced already, it changes what the
    /// announcement says and sends it soon.
    ///
    /// [`cancel`]: Announcer::cancel
    /// [`leave`]: Announcer::leave
    pub fn announce(
        &mut self,
        now: Instant,
        fid: Fid,
        name: Option<FileName>,
        size: u64,
        progress: u8,
        want: u8,
    ) {
        for withdrawal in [Task::Cancel(fid), Task::Leave] {
            self.agenda.remove(&withdrawal);
            self.withdrawals.remove(&withdrawal);
        }
        let announcement = Announcement { fid, name, size, progress, want };
        if self.holdings.insert(fid, announcement).is_some() {
            self.request_holders(now, fid);
        } else {
            let slot = self.next_slot.max(now);
            self.next_slot = slot + ANNOUNCE_GAP;
            self.agenda.set(Task::Announce(fid), slot);
        }
    }

    /// What the next announcement of the file will say about our progress. Sends nothing.
    pub fn set_progress(&mut self, fid: Fid, progress: u8) {
        if let Some(holding) = self.holdings.get_mut(&fid) {
            holding.progress = progress;
        }
    }

    /// Announces the file again, because more holders are wanted: at once, or a second after the last time.
    pub fn request_holders(&mut self, now: Instant, fid: Fid) {
        self.agenda.hurry(&Task::Announce(fid), now, REQUEST_GAP);
    }

    /// Asks who holds a file that we don't announce. Answered with [`Event::Holders`], which may name only the first few of them if
    /// nothing was asked before, or [`Event::Unknown`].
    pub fn lookup(&mut self, now: Instant, fid: Fid) {
        self.agenda.set(Task::Lookup(fid), now);
    }

    /// Gives up a lookup that was not answered.
    pub fn stop_lookup(&mut self, fid: Fid) {
        self.agenda.remove(&Task::Lookup(fid));
    }

    /// Asks what files have this name. Answered with [`Event::Found`].
    pub fn find(&mut self, now: Instant, name: FileName) {
        self.agenda.set(Task::Find(name), now);
    }

    /// Gives up a find that was not answered.
    pub fn stop_find(&mut self, name: &FileName) {
        self.agenda.remove(&Task::Find(name.clone()));
    }

    /// Withdraws the holding and any lookup of the file. Answered with [`Event::Cancelled`], at the latest when the
    /// tracker must have forgotten us by itself.
    pub fn cancel(&mut self, now: Instant, fid: Fid) {
        self.agenda.remove(&Task::Lookup(fid));
        self.agenda.remove(&Task::Announce(fid));
        let task = Task::Cancel(fid);
        if self.holdings.remove(&fid).is_some() {
            self.withdraw(now, task);
        } else if !self.withdrawals.contains_key(&task) {
            self.events.push_back(Event::Cancelled { fid });
        }
    }

    /// Withdraws all holdings and gives up all questions. Answered with [`Event::Left`], at the latest when the
    /// tracker must have forgotten us by itself; at once if there is nothing to withdraw.
    pub fn leave(&mut self, now: Instant) {
        let listed = !self.holdings.is_empty() || !self.withdrawals.is_empty();
        self.holdings.clear();
        self.withdrawals.clear();
        self.agenda.clear();
        if listed {
            self.withdraw(now, Task::Leave);
        } else {
            self.events.push_back(Event::Left);
        }
    }

    /// Takes in the body of a one-shot datagram. Says whether it was an answer to a question in flight; anything else
    /// (of another source, too late, twice, malformed) changes nothing.
    pub fn handle_oneshot(&mut self, now: Instant, from: SocketAddr, header: Header, body: &[u8]) -> bool {
        if header.kind != Kind::Oneshot || canonical(from) != canonical(self.tracker) {
            return false;
        }
        let Some(task) = self.agenda.in_flight_as(header.transaction()).cloned() else { return false };
        let Ok(mut response) = Response::decode(body) else { return false };
        if let Response::Holders { holders, .. } | Response::Introduction { holders, .. } = &mut response {
            holders.iter_mut().for_each(|holder| holder.addr = on_link_of(self.tracker, holder.addr));
        }
        let answered = self.handle_response(now, task, response);
        if answered {
            self.silent_since = None;
        }
        answered
    }

    /// Does what is due at `now`. What has to be sent, `poll_transmit` gives.
    pub fn handle_timeout(&mut self, now: Instant) {
        let over: Vec<Task> =
            self.withdrawals.iter().filter(|(_, end)| **end <= now).map(|(task, _)| task.clone()).collect();
        for task in over {
            self.withdrawn(&task);
        }
    }

    /// Writes the next datagram to send over `buf` and says for whom it is: always the tracker.
    pub fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        let nothing_asked = self.agenda.in_flight() == 0;
        let (task, transaction) = self.agenda.next(now)?;
        self.encode(&task, transaction, buf);
        if nothing_asked || self.silent_since.is_none() {
            self.silent_since = Some(now);
        }
        Some(self.tracker)
    }

    /// The next deadline, and what it is for.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let question = self.agenda.next_due().map(|(due, repeat)| {
            (due, if repeat { "announcer: repeat a question" } else { "announcer: ask the tracker" })
        });
        let end = self.withdrawals.values().min().map(|&end| (end, "announcer: a lease ends"));
        question.into_iter().chain(end).min()
    }

    /// The next thing that the tracker said.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The tracker's address.
    pub fn tracker(&self) -> SocketAddr {
        self.tracker
    }

    /// Since when questions are out and no answer has come to any; `None` if the tracker owes us nothing.
    pub fn unanswered_since(&self) -> Option<Instant> {
        self.silent_since.filter(|_| self.agenda.in_flight() > 0)
    }

    fn encode(&self, task: &Task, transaction: Transaction, buf: &mut Vec<u8>) {
        let request = match task {
            Task::Lookup(fid) => Request::Lookup { fid: *fid, want: u8::MAX },
            // Without a cookie no other question is looked into; the shortest gets one soonest.
            _ if self.cookie.is_none() => Request::Hello,
            Task::Announce(fid) => {
                let holding = self.holdings.get(fid).expect("what is announced is a holding");
                Request::Announce(holding.clone())
            }
            Task::Find(name) => Request::Find { name: name.clone() },
            Task::Cancel(fid) => Request::Cancel { fid: *fid },
            Task::Leave => Request::Leave,
        };
        request.encode(transaction, self.cookie.as_ref(), buf);
    }

    /// Does what `response` means for `task`. Says whether it is an answer that such a question can have.
    fn handle_response(&mut self, now: Instant, task: Task, response: Response) -> bool {
        match (task, response) {
            (task, Response::NeedCookie(cookie)) => {
                self.cookie = Some(cookie);
                self.agenda.resend(&task, now);
            }
            (Task::Announce(fid), Response::Holders { lease_seconds, total, holders }) => {
                let lease = Duration::from_secs(lease_seconds.into());
                self.lease = lease.clamp(*LEASE_RANGE.start(), *LEASE_RANGE.end());
                let refresh = self.refresh_wait();
                self.agenda.set(Task::Announce(fid), now + refresh);
                self.events.push_back(Event::Confirmed { fid });
                self.events.push_back(Event::Holders { fid, total, holders });
            }
            (Task::Announce(fid), Response::Refused(refusal)) => {
                self.agenda.set(Task::Announce(fid), now + REFUSED_RETRY);
                self.events.push_back(Event::Refused { fid, refusal });
            }
            (Task::Lookup(fid), Response::Introduction { cookie, total, holders }) => {
                self.cookie = Some(cookie);
                self.agenda.remove(&Task::Lookup(fid));
                self.events.push_back(Event::Holders { fid, total, holders });
            }
            (Task::Lookup(fid), Response::Holders { total, holders, .. }) => {
                self.agenda.remove(&Task::Lookup(fid));
                self.events.push_back(Event::Holders { fid, total, holders });
            }
            (Task::Lookup(fid), Response::Unknown { fid: named }) if named == fid => {
                self.agenda.remove(&Task::Lookup(fid));
                self.events.push_back(Event::Unknown { fid });
            }
            (Task::Find(name), Response::Found { total, files }) => {
                self.agenda.remove(&Task::Find(name.clone()));
                self.events.push_back(Event::Found { name, total, files });
            }
            // A tracker that takes fewer names than we do knows no file of this one.
            (Task::Find(name), Response::Refused(_)) => {
                self.agenda.remove(&Task::Find(name.clone()));
                self.events.push_back(Event::Found { name, total: 0, files: Vec::new() });
            }
            (task @ (Task::Cancel(_) | Task::Leave), Response::Done) => self.withdrawn(&task),
            _ => return false,
        }
        true
    }

    /// A third of the lease less up to a tenth, so that files announced together are not refreshed together for ever.
    fn refresh_wait(&mut self) -> Duration {
        let longest = self.lease / REFRESHES_PER_LEASE;
        longest.mul_f64(1.0 - 0.1 * self.rng.unit())
    }

    fn withdraw(&mut self, now: Instant, task: Task) {
        self.withdrawals.insert(task.clone(), now + self.lease);
        self.agenda.set(task, now);
    }

    fn withdrawn(&mut self, task: &Task) {
        self.agenda.remove(task);
        self.withdrawals.remove(task);
        self.events.push_back(match task {
            Task::Cancel(fid) => Event::Cancelled { fid: *fid },
            _ => Event::Left,
        });
    }
}

#[cfg(test)]
mod tests;
