//! Asking and answering on real sockets, as blocking calls. What is said is [the format](super)'s affair.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::{Content, Datagram, GROUP};
use crate::Fid;
use crate::proxy::lan::Multicast;
use crate::rand::Rng;
use crate::rudp::packet::Transaction;
use crate::time::{Clock, Duration, Instant};

/// When the question is asked, ms after the beginning; wireless networks lose many multicasts.
const ASKED_AT: [u64; 4] = [0, 150, 450, 1_000];
/// When nobody is expected to answer any more.
const PATIENCE: Duration = Duration::from_secs(2);
/// After the first answer, others may come for so long.
const MORE: Duration = Duration::from_millis(20);
/// How soon it is noticed that nobody wants to know any more.
const LOOK: Duration = Duration::from_millis(100);
/// So many addresses are enough.
const MAX_FOUND: usize = 8;

/// One answer each so often on average, and so much ahead of that.
const ANSWER_GAP: Duration = Duration::from_millis(20);
const ANSWERS_AHEAD: Duration = Duration::from_secs(1);

/// Asks who in the local network knows a tracker for `fid`, and gives their trackers' addresses in the order of the answers; none if
/// nobody answers within 2 s, or once `is_wanted` says no.
///
/// # Errors
/// The system's; `AddrNotAvailable` if the machine is in no network.
pub fn find(fid: &Fid, is_wanted: impl Fn() -> bool) -> io::Result<Vec<SocketAddr>> {
    let mut lan = Multicast::speak(GROUP)?;
    let (clock, transaction) = (Clock::new(), Transaction(Rng::from_os().u64()));
    let mut question = Vec::new();
    Datagram::new(transaction, Content::Question, fid).encode(&mut question);
    let mut due = ASKED_AT.into_iter().map(|at| Instant::ORIGIN + Duration::from_millis(at)).peekable();
    let (mut found, mut end) = (Vec::new(), Instant::ORIGIN + PATIENCE);
    while clock.now() < end && found.len() < MAX_FOUND && is_wanted() {
        if found.is_empty() && due.next_if(|&due| due <= clock.now()).is_some() {
            lan.say(&question)?;
        }
        let next = due.peek().map_or(end, |&due| due.min(end));
        let Some((datagram, mut from)) = lan.hear(Some(next.since(clock.now()).min(LOOK)))? else { continue };
        let Some(answer) = Datagram::decode(datagram) else { continue };
        let Content::Answer(port) = answer.content else { continue };
        if answer.transaction != transaction || !answer.is_about(fid) {
            continue;
        }
        from.set_port(port.get());
        if !found.contains(&from) {
            log::debug!("a tracker for {} at {from}", fid.short());
            if found.is_empty() {
                end = clock.now() + MORE;
            }
            found.push(from);
        }
    }
    Ok(found)
}

/// Answers whoever in the local network asks for a file, until it is dropped.
pub struct Responder {
    ended: Arc<AtomicBool>,
    wake: Box<dyn Fn() + Send + Sync>,
    thread: Option<JoinHandle<()>>,
}

impl Responder {
    /// For `fid`, with a tracker at `port` of every address of this machine.
    ///
    /// # Errors
    /// The system's; `AddrNotAvailable` if the machine is in no network.
    pub fn start(fid: Fid, port: NonZeroU16) -> io::Result<Responder> {
        let lan = Multicast::listen(GROUP)?;
        let (ended, wake) = (Arc::new(AtomicBool::new(false)), Box::new(lan.waker()));
        let is_over = Arc::clone(&ended);
        let thread = thread::Builder::new().name("discovery".to_owned()).spawn(move || {
            if let Err(error) = answer(lan, &fid, port, &is_over) {
                log::error!("nobody in the local network finds {} any more: {error}", fid.short());
            }
        })?;
        Ok(Responder { ended, wake, thread: Some(thread) })
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        (self.wake)();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread that answers the local network panicked");
        }
    }
}

impl std::fmt::Debug for Responder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Responder").finish_non_exhaustive()
    }
}

/// Answers questions for `fid` until `is_over`.
fn answer(mut lan: Multicast, fid: &Fid, port: NonZeroU16, is_over: &AtomicBool) -> io::Result<()> {
    let (clock, mut allowance, mut buf) = (Clock::new(), Allowance::default(), Vec::new());
    while !is_over.load(Ordering::Acquire) {
        let Some((datagram, from)) = lan.hear(None)? else { continue };
        let question = Datagram::decode(datagram).filter(|said| said.content == Content::Question);
        let Some(question) = question.filter(|question| question.is_about(fid)) else { continue };
        if !allowance.take(clock.now()) {
            continue;
        }
        Datagram::new(question.transaction, Content::Answer(port), fid).encode(&mut buf);
        if let Err(error) = lan.answer(&buf, from) {
            log::debug!("no answer to {from}: {error}");
        }
    }
    Ok(())
}

/// Holds answers to a rate, whoever asks.
#[derive(Debug, Default)]
struct Allowance {
    /// Until when what was answered has used up the rate.
    used_until: Instant,
}

impl Allowance {
    /// Whether to answer `now`; then it has been.
    fn take(&mut self, now: Instant) -> bool {
        let is_free = self.used_until.since(now) < ANSWERS_AHEAD;
        if is_free {
            self.used_until = self.used_until.max(now) + ANSWER_GAP;
        }
        is_free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_questions_gets_fifty_answers_a_second_after_the_first_fifty() {
        let mut allowance = Allowance::default();
        let mut answers = |from: u64, to: u64| {
            let times = (from..to).map(|millis| Instant::ORIGIN + Duration::from_millis(millis));
            times.filter(|&now| allowance.take(now)).count()
        };
        assert_eq!(answers(0, 1_000), 100);
        assert_eq!(answers(1_000, 2_000), 50);
        assert_eq!(answers(60_000, 60_010), 10, "who has waited is answered at once");
    }
}
