//! What a client has to ask of its tracker, and when: each question is repeated until it is answered.
//!
//! The bookkeeping of repeats alone. What the questions say and what an answer means is the announcer's affair.

use std::collections::{BTreeMap, BTreeSet};

use crate::Fid;
use crate::name::FileName;
use crate::rand::Rng;
use crate::rudp::packet::Transaction;
use crate::time::{Duration, Instant};

/// When an unanswered question is first repeated (BEP 15 waits 15 s; a tracker is quicker than that, or lost the
/// datagram).
pub(super) const FIRST_RETRY: Duration = Duration::from_millis(500);

/// The wait doubles with each repeat up to this. RFC 8085 §3.1.1 allows a datagram per 3 s to one that is silent.
pub(super) const MAX_RETRY: Duration = Duration::from_secs(15);

/// A question. One of each stands on the agenda at most.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    /// Say that we hold a file, and ask who else does.
    Announce(Fid),
    /// Ask who holds a file.
    Lookup(Fid),
    /// Ask what files have a name.
    Find(FileName),
    /// Say that we no longer hold a file.
    Cancel(Fid),
    /// Say that we no longer hold anything.
    Leave,
}

/// The questions of a client, each either waiting for its time or in flight (sent, and not answered yet).
///
/// Invariant: each task has one entry in `entries`, one in `schedule` at its due time, and one in `transactions`.
#[derive(Debug)]
pub(super) struct Agenda {
    rng: Rng,
    entries: BTreeMap<Task, Entry>,
    schedule: BTreeSet<(Instant, Task)>,
    transactions: BTreeMap<Transaction, Task>,
    in_flight: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    transaction: Transaction,
    due: Instant,
    /// How long to wait after the last sending of this question.
    wait: Duration,
    /// When this or, if it was answered, the former question of the task was last sent.
    last_sent: Option<Instant>,
    in_flight: bool,
    /// To be sent again at once, out of turn. Allowed once per regular sending, so that nobody can make us ask in
    /// an endless circle.
    out_of_turn: OutOfTurn,
    /// Whether the wait has begun anew since the question was set, because the tracker showed that it is there.
    revived: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutOfTurn {
    Allowed,
    Due,
    UsedUp,
}

impl Agenda {
    /// An empty agenda.
    pub(super) fn new(rng: Rng) -> Agenda {
        Agenda {
            rng,
            entries: BTreeMap::new(),
            schedule: BTreeSet::new(),
            transactions: BTreeMap::new(),
            in_flight: 0,
        }
    }

    /// Puts `task` on the agenda as a new question to be sent at `due`. An answer to a former one of the task counts
    /// no longer.
    pub(super) fn set(&mut self, task: Task, due: Instant) {
        let last_sent = self.entries.get(&task).and_then(|entry| entry.last_sent);
        self.remove(&task);
        let transaction = Transaction(self.rng.u64());
        self.transactions.insert(transaction, task.clone());
        self.schedule.insert((due, task.clone()));
        let entry = Entry {
            transaction,
            due,
            wait: FIRST_RETRY,
            last_sent,
            in_flight: false,
            out_of_turn: OutOfTurn::Allowed,
            revived: false,
        };
        self.entries.insert(task, entry);
    }

    /// Takes `task` off the agenda. Says whether it was on it.
    pub(super) fn remove(&mut self, task: &Task) -> bool {
        let Some(entry) = self.entries.remove(task) else { return false };
        self.transactions.remove(&entry.transaction);
        self.schedule.remove(&(entry.due, task.clone()));
        self.in_flight -= usize::from(entry.in_flight);
        true
    }

    /// Takes all off the agenda.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.transactions.clear();
        self.schedule.clear();
        self.in_flight = 0;
    }

    /// Brings a task that waits for its time forward to `due`, but no nearer to its last sending than `gap`. One that
    /// is in flight goes on as it is.
    pub(super) fn hurry(&mut self, task: &Task, due: Instant, gap: Duration) {
        let Some(entry) = self.entries.get(task) else { return };
        let due = entry.last_sent.map_or(due, |sent| due.max(sent + gap));
        if !entry.in_flight && due < entry.due {
            self.reschedule(task, due);
        }
    }

    /// Lets the question in flight go out once more at `now`, unless that was done since its last regular sending. The
    /// first time, its waits begin anew: who asks to be asked again is there.
    pub(super) fn resend(&mut self, task: &Task, now: Instant) {
        if let Some(entry) = self.entries.get_mut(task)
            && entry.out_of_turn == OutOfTurn::Allowed
        {
            entry.out_of_turn = OutOfTurn::Due;
            if !std::mem::replace(&mut entry.revived, true) {
                entry.wait = FIRST_RETRY;
            }
            self.reschedule(task, now);
        }
    }

    /// The next question to send, if one is due at `now`; it counts as sent, and its repeat is scheduled.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Task, Transaction)> {
        let (_, task) = self.schedule.first().filter(|(due, _)| *due <= now)?.clone();
        let entry = self.entries.get_mut(&task)?;
        if entry.out_of_turn == OutOfTurn::Due {
            entry.out_of_turn = OutOfTurn::UsedUp;
        } else {
            entry.out_of_turn = OutOfTurn::Allowed;
            if entry.in_flight {
                entry.wait = (entry.wait * 2).min(MAX_RETRY);
            }
        }
        self.in_flight += usize::from(!entry.in_flight);
        entry.in_flight = true;
        entry.last_sent = Some(now);
        let (transaction, repeat) = (entry.transaction, now + entry.wait);
        self.reschedule(&task, repeat);
        Some((task, transaction))
    }

    /// When the next question has to be sent, and whether it is a repeat.
    pub(super) fn next_due(&self) -> Option<(Instant, bool)> {
        let (due, task) = self.schedule.first()?;
        Some((*due, self.entries.get(task).is_some_and(|entry| entry.in_flight)))
    }

    /// The task that was sent as `transaction`, if it is in flight.
    pub(super) fn in_flight_as(&self, transaction: Transaction) -> Option<&Task> {
        let task = self.transactions.get(&transaction)?;
        self.entries.get(task).filter(|entry| entry.in_flight).map(|_| task)
    }

    /// How many questions are in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn reschedule(&mut self, task: &Task, due: Instant) {
        if let Some(entry) = self.entries.get_mut(task) {
            self.schedule.remove(&(entry.due, task.clone()));
            entry.due = due;
            self.schedule.insert((due, task.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    fn task() -> Task {
        Task::Lookup(Fid::of(b"a"))
    }

    fn agenda() -> Agenda {
        Agenda::new(Rng::from_seed(1))
    }

    /// Sends all that falls due until `end` and says when that was, ms.
    fn sendings(agenda: &mut Agenda, end: Instant) -> Vec<u128> {
        let mut times = Vec::new();
        while let Some((due, _)) = agenda.next_due().filter(|(due, _)| *due <= end) {
            assert!(agenda.next(due).is_some());
            times.push(due.since(at(0)).as_millis());
        }
        times
    }

    #[test]
    fn a_question_is_repeated_after_half_a_second_then_ever_more_rarely_and_for_ever() {
        let mut agenda = agenda();
        agenda.set(task(), at(0));
        assert_eq!(
            sendings(&mut agenda, at(62_000)),
            [0, 500, 1_500, 3_500, 7_500, 15_500, 30_500, 45_500, 60_500]
        );
        assert_eq!(sendings(&mut agenda, at(86_400_000)).len(), 86_400 / 15 - 5);
    }

    #[test]
    fn a_question_set_anew_is_another_transaction_with_the_first_wait() {
        let mut agenda = agenda();
        agenda.set(task(), at(0));
        let (_, first) = agenda.next(at(0)).unwrap();
        assert_eq!(agenda.next(at(499)), None);
        assert_eq!(agenda.next(at(500)), Some((task(), first)));
        assert_eq!(agenda.in_flight_as(first), Some(&task()));
        agenda.set(task(), at(600));
        assert_eq!((agenda.in_flight_as(first), agenda.in_flight()), (None, 0));
        let (_, second) = agenda.next(at(600)).unwrap();
        assert_ne!(first, second);
        assert_eq!(agenda.next_due(), Some((at(1_100), true)));
    }

    #[test]
    fn a_resend_is_granted_once_per_regular_sending_and_begins_the_waits_anew_once() {
        let mut agenda = agenda();
        agenda.set(task(), at(0));
        assert_eq!(sendings(&mut agenda, at(1_499)), [0, 500]);
        agenda.resend(&task(), at(600));
        assert!(agenda.next(at(600)).is_some());
        assert_eq!(agenda.next_due(), Some((at(1_100), true)), "as after a first sending");
        agenda.resend(&task(), at(700));
        assert_eq!(agenda.next(at(1_099)), None, "that was the one");
        assert!(agenda.next(at(1_100)).is_some());
        agenda.resend(&task(), at(1_200));
        assert!(agenda.next(at(1_200)).is_some());
        assert_eq!(agenda.next_due(), Some((at(2_200), true)), "no shorter wait than without it");
    }

    #[test]
    fn what_waits_can_be_hurried_but_for_the_gap_and_what_is_in_flight_cant() {
        let mut agenda = agenda();
        let gap = Duration::from_secs(1);
        agenda.set(task(), at(0));
        agenda.next(at(0)).unwrap();
        agenda.hurry(&task(), at(10), gap);
        assert_eq!(agenda.next_due(), Some((at(500), true)));
        agenda.set(task(), at(30_000));
        agenda.hurry(&task(), at(400), gap);
        assert_eq!(agenda.next_due(), Some((at(1_000), false)));
        agenda.hurry(&task(), at(2_000), gap);
        assert_eq!(agenda.next_due(), Some((at(1_000), false)), "never put off");
    }

    #[test]
    fn what_is_removed_is_gone_from_every_list() {
        let mut agenda = agenda();
        agenda.set(task(), at(0));
        agenda.set(Task::Leave, at(0));
        let (_, transaction) = agenda.next(at(0)).unwrap();
        assert!(agenda.remove(&task()));
        assert!(!agenda.remove(&task()));
        assert_eq!((agenda.in_flight_as(transaction), agenda.in_flight()), (None, 0));
        assert_eq!(agenda.next(at(0)).map(|(task, _)| task), Some(Task::Leave));
        agenda.clear();
        assert_eq!((agenda.next_due(), agenda.in_flight()), (None, 0));
    }
}
