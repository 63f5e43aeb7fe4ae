//! Glue between a [`Machine`] and its [`Proxy`]: the real world's threads and clock.
//!
//! No protocol here, and nothing of the proxy but `send`, `recv` and `close`: whatever has these will do, even if it
//! wakes a blocked `recv` by time-out only. Hence two threads. The receiver moves datagrams from the proxy to an inbox; the
//! engine owns the machine, so the machine needs no lock, and is told of datagrams, commands and deadlines in turn. A machine
//! that has jobs gets a third thread, which does them.

mod worker;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once, mpsc};
use std::thread::{self, JoinHandle, ThreadId};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use self::worker::Worker;
use crate::Proxy;
use crate::machine::{Machine, Outcome};
use crate::time::{Clock, Duration, Instant};

/// How long the receiver waits for a datagram before it looks whether it is to stop.
const RECV_TIMEOUT: Duration = Duration::from_millis(100);
/// How many inputs the machine gets before what it answers is sent: acknowledgements must not be late.
const ROUND: usize = 32;
/// How many bytes of datagrams may wait for the machine. What arrives beyond is dropped.
const INBOX: usize = 64 << 20;
/// What a waiting datagram is charged besides its length, B: even an empty one takes up memory.
const BOOKKEEPING: usize = 128;
/// After so many time-outs in a row that came to nothing the machine is reported as spinning.
const SPINNING: u32 = 10_000;

/// Gives a command's result to its caller.
type Reply = Box<dyn FnOnce() + Send>;
type Command<M> = Box<dyn FnOnce(&mut M, Instant) -> Reply + Send>;

/// A machine at work on a proxy. A handle for any thread; dropping it stops.
pub struct Driver<M> {
    shared: Arc<Shared<M>>,
    proxy: Proxy,
    clock: Clock,
    engine: ThreadId,
    closing: Once,
    /// Taken by whoever stops first; held while joining, so that every stopper returns after the end.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared<M> {
    inbox: Mutex<Inbox<M>>,
    /// There is input, or it is time to stop.
    changed: Condvar,
    /// Set under the inbox's lock, so that nothing comes in afterwards.
    stopped: AtomicBool,
}

struct Inbox<M> {
    inputs: VecDeque<Input<M>>,
    charged: usize,
    dropped: u64,
}

enum Input<M> {
    Datagram(Bytes, SocketAddr),
    Command(Command<M>),
    Outcome(Outcome<M>),
}

impl<M: Machine + Send + 'static> Driver<M> {
    /// Sets `machine` to work on `proxy`, on threads named after `name`. Its time begins at [`Instant::ORIGIN`].
    ///
    /// `observe` runs on the machine's thread after each round of input, once its datagrams are sent; there the owner
    /// reads events out of the machine. It must neither [`call`](Driver::call) nor wait for someone who does.
    ///
    /// # Errors
    /// The operating system's, if it gives no thread.
    pub fn spawn(
        name: &str,
        proxy: Proxy,
        machine: M,
        observe: impl FnMut(&mut M, Instant) + Send + 'static,
    ) -> io::Result<Driver<M>> {
        let clock = Clock::new();
        let shared = Arc::new(Shared {
            inbox: Mutex::new(Inbox { inputs: VecDeque::new(), charged: 0, dropped: 0 }),
            changed: Condvar::new(),
            stopped: AtomicBool::new(false),
        });
        // Whatever ends the worker, the machine must not wait for it for ever.
        let inbox = StopOnDrop(Arc::clone(&shared));
        let hand_back = Box::new(move |done: &mut Vec<Outcome<M>>| {
            inbox.0.push(|inbox| inbox.inputs.extend(done.drain(..).map(Input::Outcome)));
        });
        let engine = Engine {
            shared: Arc::clone(&shared),
            worker: Worker::new(format!("{name}-work"), hand_back),
            proxy: proxy.clone(),
            clock,
            machine,
            observe,
            round: Vec::with_capacity(ROUND),
            replies: Vec::new(),
            datagram: Vec::new(),
            idle_timeouts: 0,
        };
        let engine = thread::Builder::new().name(name.to_owned()).spawn(|| engine.run())?;
        let driver = Driver {
            shared: Arc::clone(&shared),
            proxy: proxy.clone(),
            clock,
            engine: engine.thread().id(),
            closing: Once::new(),
            threads: Mutex::new(vec![engine]),
        };
        let receiver =
            thread::Builder::new().name(format!("{name}-recv")).spawn(move || receive(&proxy, &shared))?;
        driver.threads.lock().push(receiver);
        Ok(driver)
    }

    /// Runs `command` on the machine's thread and waits for its result; `None` once stopped.
    ///
    /// When it returns, what the command made the machine send has been handed to the proxy. It must not be called on
    /// the machine's own thread (from `observe` or from a command), which would wait for itself.
    pub fn call<R: Send + 'static>(
        &self,
        command: impl FnOnce(&mut M, Instant) -> R + Send + 'static,
    ) -> Option<R> {
        let on_engine = thread::current().id() == self.engine;
        debug_assert!(!on_engine, "the machine's thread would wait for itself");
        if on_engine {
            return None;
        }
        let (sender, result) = mpsc::sync_channel(1);
        let command = move |machine: &mut M, now: Instant| -> Reply {
            let result = command(machine, now);
            // The caller waits until the sender is used or dropped, so this can't fail.
            Box::new(move || drop(sender.send(result)))
        };
        if !self.shared.push(|inbox| inbox.inputs.push_back(Input::Command(Box::new(command)))) {
            return None;
        }
        result.recv().ok()
    }
}

impl<M> Driver<M> {
    /// Stops the machine where it stands and closes the proxy; what the proxy still queued is dropped.
    ///
    /// After it returns both threads have ended, and so have all calls: with `None`, but for a command that was already
    /// running. Harmless when repeated; may be called from any thread and from several at once. On the machine's own
    /// thread, which can't wait for its own end, it returns before that, with the proxy closed.
    pub fn stop(&self) {
        self.shared.stop();
        self.closing.call_once(|| self.proxy.close());
        if thread::current().id() == self.engine {
            return;
        }
        for thread in self.threads.lock().drain(..) {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            if thread.join().is_err() {
                log::error!("the thread {name} panicked");
            }
        }
    }

    /// The clock that the machine lives by.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// How many datagrams were dropped because the machine did not keep up.
    pub fn dropped(&self) -> u64 {
        self.shared.inbox.lock().dropped
    }
}

impl<M> Drop for Driver<M> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<M> Shared<M> {
    /// Puts something in the inbox and wakes the engine; `false` once stopped.
    fn push(&self, put: impl FnOnce(&mut Inbox<M>)) -> bool {
        let mut inbox = self.inbox.lock();
        if self.is_stopped() {
            return false;
        }
        put(&mut inbox);
        drop(inbox);
        self.changed.notify_all();
        true
    }

    fn stop(&self) {
        let inbox = self.inbox.lock();
        self.stopped.store(true, Ordering::Release);
        drop(inbox);
        self.changed.notify_all();
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

impl<M> Inbox<M> {
    fn push_datagram(&mut self, datagram: Bytes, from: SocketAddr) {
        let charge = datagram.len() + BOOKKEEPING;
        if charge > INBOX - self.charged {
            self.dropped += 1;
            return;
        }
        self.charged += charge;
        self.inputs.push_back(Input::Datagram(datagram, from));
    }

    /// Moves at most one round of input to `round`.
    fn take_round(&mut self, round: &mut Vec<Input<M>>) {
        let count = self.inputs.len().min(ROUND);
        for input in self.inputs.drain(..count) {
            if let Input::Datagram(datagram, _) = &input {
                self.charged -= datagram.len() + BOOKKEEPING;
            }
            round.push(input);
        }
    }
}

/// The receiver: from the proxy to the inbox, until either ends.
fn receive<M>(proxy: &Proxy, shared: &Shared<M>) {
    let mut arrived = Vec::with_capacity(ROUND);
    loop {
        let goes_on = match proxy.recv(Some(RECV_TIMEOUT)) {
            Ok(first) => {
                arrived.push(first);
                // What is there already comes along, so that the engine is not woken for each. An error here is no
                // news: if it is of importance, the next round has it too.
                while arrived.len() < ROUND
                    && let Ok(another) = proxy.recv(Some(Duration::ZERO))
                {
                    arrived.push(another);
                }
                let arrived = arrived.drain(..);
                shared.push(|inbox| arrived.for_each(|(datagram, from)| inbox.push_datagram(datagram, from)))
            }
            Err(error) => match error.kind() {
                io::ErrorKind::NotConnected => false,
                io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {
                    !shared.is_stopped()
                }
                // Not a reason to give up, but none to ask again at once either.
                _ => {
                    log::warn!("recv failed: {error}");
                    let mut inbox = shared.inbox.lock();
                    if !shared.is_stopped() {
                        shared.changed.wait_for(&mut inbox, RECV_TIMEOUT);
                    }
                    !shared.is_stopped()
                }
            },
        };
        if !goes_on {
            return;
        }
    }
}

/// The engine: the machine's thread.
struct Engine<M, F> {
    shared: Arc<Shared<M>>,
    worker: Worker<M>,
    proxy: Proxy,
    clock: Clock,
    machine: M,
    observe: F,
    round: Vec<Input<M>>,
    replies: Vec<Reply>,
    datagram: Vec<u8>,
    idle_timeouts: u32,
}

impl<M: Machine + Send + 'static, F: FnMut(&mut M, Instant)> Engine<M, F> {
    fn run(mut self) {
        // Whatever ends this thread, a panic of the machine too, nobody must go on waiting for it.
        let _stop = StopOnDrop(Arc::clone(&self.shared));
        // The machine may have something to send before anything happens to it.
        self.respond(self.clock.now());
        while self.gather() {
            self.play();
        }
    }

    /// Waits for input or a deadline and takes at most one round of input; `false` once stopped.
    fn gather(&mut self) -> bool {
        let timeout = self.machine.poll_timeout();
        let mut inbox = self.shared.inbox.lock();
        loop {
            if self.shared.is_stopped() {
                return false;
            }
            if !inbox.inputs.is_empty() {
                inbox.take_round(&mut self.round);
                return true;
            }
            match timeout {
                Some((deadline, _)) if deadline <= self.clock.now() => return true,
                Some((deadline, _)) => {
                    self.shared.changed.wait_until(&mut inbox, self.clock.to_std(deadline));
                }
                None => self.shared.changed.wait(&mut inbox),
            }
        }
    }

    /// Plays one round: the input in its order, then what is due, then all answers.
    ///
    /// Input comes before time-outs, since an acknowledgement at hand makes many of them void; and there is one time-out
    /// a round, so that a machine whose deadline never moves on still hears commands.
    fn play(&mut self) {
        let no_input = self.round.is_empty();
        // A round takes microseconds; asking the clock for each datagram would be a good part of that.
        let now = self.clock.now();
        for input in self.round.drain(..) {
            match input {
                Input::Datagram(datagram, from) => self.machine.handle_datagram(now, from, &datagram),
                Input::Command(command) => self.replies.push(command(&mut self.machine, now)),
                Input::Outcome(outcome) => outcome(&mut self.machine, now),
            }
        }
        let now = self.clock.now();
        let due = self.machine.poll_timeout().filter(|&(deadline, _)| deadline <= now);
        if due.is_some() {
            self.machine.handle_timeout(now);
        }
        let sent_any = self.respond(now);
        match due {
            Some((_, reason)) if no_input && !sent_any => {
                self.idle_timeouts = self.idle_timeouts.saturating_add(1);
                if self.idle_timeouts == SPINNING {
                    log::warn!("{SPINNING} time-outs in a row came to nothing, the last for: {reason}");
                }
            }
            _ => self.idle_timeouts = 0,
        }
    }

    /// Sends what the machine has to say, lets the owner observe it, and answers the callers. Whether anything was sent.
    fn respond(&mut self, now: Instant) -> bool {
        let sent_any = self.transmit(now);
        (self.observe)(&mut self.machine, now);
        // The observer may have given it more to say.
        let sent_more = self.transmit(now);
        self.submit_jobs();
        for reply in self.replies.drain(..) {
            reply();
        }
        sent_any || sent_more
    }

    fn submit_jobs(&mut self) {
        let Some(first) = self.machine.poll_job() else { return };
        let jobs = std::iter::once(first).chain(std::iter::from_fn(|| self.machine.poll_job()));
        if let Err(error) = self.worker.submit(jobs) {
            // Nothing of what the machine now waits for will come.
            log::error!("no thread for jobs: {error}");
            self.shared.stop();
        }
    }

    fn transmit(&mut self, now: Instant) -> bool {
        let mut sent_any = false;
        while !self.shared.is_stopped()
            && let Some(to) = self.machine.poll_transmit(now, &mut self.datagram)
        {
            sent_any = true;
            if let Err(error) = self.proxy.send(&self.datagram, to) {
                // Like any other loss: the machine will see that nothing comes back.
                log::debug!("{} B to {to} not sent: {error}", self.datagram.len());
            }
        }
        sent_any
    }
}

/// Marks the end of the engine, or of its worker, and lets go of whoever waits for an answer.
struct StopOnDrop<M>(Arc<Shared<M>>);

impl<M> Drop for StopOnDrop<M> {
    fn drop(&mut self) {
        self.0.stop();
        // Dropped outside the lock: what a command owns may well come back to this driver.
        let unheard = std::mem::take(&mut self.0.inbox.lock().inputs);
        drop(unheard);
    }
}

#[cfg(test)]
mod tests;
