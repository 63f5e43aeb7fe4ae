//! A thread that does a machine's jobs in their order, and hands their outcomes back in batches.
//!
//! Knows neither machine nor proxy: what a job gives goes where the owner says.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::{Condvar, Mutex};

use crate::machine::{Job, Outcome};

/// Takes the outcomes of the jobs that were done at a stretch.
pub(super) type HandBack<M> = Box<dyn FnMut(&mut Vec<Outcome<M>>) + Send>;

/// The thread begins with the first job. Dropping the worker ends it after the job at hand; those that wait are dropped.
pub(super) struct Worker<M> {
    name: String,
    queue: Arc<Queue<M>>,
    /// Until the thread has begun.
    hand_back: Option<HandBack<M>>,
    thread: Option<JoinHandle<()>>,
}

struct Queue<M> {
    state: Mutex<State<M>>,
    changed: Condvar,
}

struct State<M> {
    jobs: VecDeque<Job<M>>,
    stopped: bool,
}

impl<M: 'static> Worker<M> {
    /// A worker without a thread yet; that will have this name. `hand_back` is dropped when the thread ends, be it by a
    /// panic.
    pub(super) fn new(name: String, hand_back: HandBack<M>) -> Worker<M> {
        let state = State { jobs: VecDeque::new(), stopped: false };
        let queue = Queue { state: Mutex::new(state), changed: Condvar::new() };
        Worker { name, queue: Arc::new(queue), hand_back: Some(hand_back), thread: None }
    }

    /// Has `jobs` done.
    ///
    /// # Errors
    /// The operating system's, if it gives no thread.
    pub(super) fn submit(&mut self, jobs: impl Iterator<Item = Job<M>>) -> io::Result<()> {
        self.queue.state.lock().jobs.extend(jobs);
        self.queue.changed.notify_one();
        if let Some(hand_back) = self.hand_back.take() {
            let queue = Arc::clone(&self.queue);
            let thread = thread::Builder::new().name(self.name.clone());
            self.thread = Some(thread.spawn(move || queue.work(hand_back))?);
        }
        Ok(())
    }
}

impl<M> Queue<M> {
    fn work(&self, mut hand_back: HandBack<M>) {
        let mut done = Vec::new();
        loop {
            let mut state = self.state.lock();
            while state.jobs.is_empty() && !state.stopped {
                self.changed.wait(&mut state);
            }
            if state.stopped {
                return;
            }
            let batch = std::mem::take(&mut state.jobs);
            drop(state);
            // The owner is woken once for all that had come together.
            done.extend(batch.into_iter().map(|job| job()));
            hand_back(&mut done);
        }
    }
}

impl<M> Drop for Worker<M> {
    fn drop(&mut self) {
        self.queue.state.lock().stopped = true;
        self.queue.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread {} panicked", self.name);
        }
        // What waits is dropped outside the lock: it may own anything.
        let unheard = std::mem::take(&mut self.queue.state.lock().jobs);
        drop(unheard);
    }
}
