//! What the scenarios on real sockets share: a swarm on this computer, test files, a stopwatch, calls with a deadline.
//!
//! No scenario and no measure of success here.

#![allow(dead_code, reason = "every target takes what it needs")]

use std::fs;
use std::io::Write;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use parking_lot::{Condvar, Mutex};
use swarmcast::pclient::node::Config;
use swarmcast::pclient::swarm::Progress;
use swarmcast::rand::Rng;
use swarmcast::time::{Clock, Duration};
use swarmcast::{Error, Fid, PClient, Proxy, Result, Tracker};

/// The course's files, B.
pub(crate) const SMALL: usize = 148_539;
pub(crate) const MEDIUM: usize = 800_000;
pub(crate) const LARGE: usize = 6_219_177;

/// The course's tracker, B/s each way.
const TRACKER_RATE: u64 = 10_000;

/// A call that answers a command and not a transfer has this long, with a busy computer in mind.
const PROMPT: Duration = Duration::from_secs(20);
/// A transfer has this long, whatever a test then thinks of its duration.
const PATIENT: Duration = Duration::from_secs(60);
/// How often a condition is looked at that nobody announces.
const GLANCE: Duration = Duration::from_millis(5);

/// A call on a thread of its own.
pub(crate) struct Pending<T> {
    what: String,
    outcome: mpsc::Receiver<(thread::Result<T>, Duration)>,
}

/// Begins a call that may take long, or for ever.
pub(crate) fn begin<T: Send + 'static>(
    what: impl Into<String>,
    call: impl FnOnce() -> T + Send + 'static,
) -> Pending<T> {
    let (what, (sender, outcome)) = (what.into(), mpsc::channel());
    let clock = Clock::new();
    thread::spawn(move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
        // Nobody listens once the test has failed.
        let _ = sender.send((result, clock.now().since(swarmcast::time::Instant::ORIGIN)));
    });
    Pending { what, outcome }
}

impl<T> Pending<T> {
    /// The call's result; fails the test if there is none in time, and leaves the call to itself.
    pub(crate) fn within(self, limit: Duration) -> T {
        self.timed(limit).0
    }

    /// The call's result, and how long it took.
    pub(crate) fn timed(self, limit: Duration) -> (T, Duration) {
        match self.outcome.recv_timeout(limit) {
            Ok((Ok(value), took)) => (value, took),
            Ok((Err(panic), _)) => std::panic::resume_unwind(panic),
            Err(_) => panic!("{}: hangs; no return within {} s", self.what, limit.as_secs_f64()),
        }
    }

    pub(crate) fn is_pending(&self) -> bool {
        matches!(self.outcome.try_recv(), Err(mpsc::TryRecvError::Empty))
    }
}

/// Time since it was started.
pub(crate) struct Stopwatch(Clock);

impl Stopwatch {
    pub(crate) fn start() -> Stopwatch {
        Stopwatch(Clock::new())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.now().since(swarmcast::time::Instant::ORIGIN)
    }
}

/// Looks at a condition until it holds; fails the test if it doesn't within the limit.
pub(crate) fn until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let watch = Stopwatch::start();
    let (nobody, never) = (Mutex::new(()), Condvar::new());
    while !condition() {
        assert!(watch.elapsed() < limit, "not so within {} s: {what}", limit.as_secs_f64());
        never.wait_for(&mut nobody.lock(), GLANCE);
    }
}

/// A folder for one test, removed at its end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("swarmcast-test-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder for the test");
        Folder(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A file whose `size` bytes follow from `seed`.
    pub(crate) fn file(&self, name: &str, seed: u64, size: usize) -> TestFile {
        let mut content = vec![0; size];
        Rng::from_seed(seed).fill(&mut content);
        self.file_of(name, content)
    }

    pub(crate) fn file_of(&self, name: &str, content: Vec<u8>) -> TestFile {
        let path = self.join(name);
        fs::write(&path, &content).expect("the test's file can be written");
        TestFile { path, content }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A test that fails meanwhile shall say its own reason.
        if let Err(error) = fs::remove_dir_all(&self.0)
            && !thread::panicking()
        {
            panic!("{} stays behind: {error}", self.0.display());
        }
    }
}

/// A file and what is in it.
pub(crate) struct TestFile {
    pub(crate) path: PathBuf,
    pub(crate) content: Vec<u8>,
}

impl TestFile {
    pub(crate) fn fid(&self) -> Fid {
        Fid::of(&self.content)
    }

    /// Fails unless `got` is this content to the byte, without printing megabytes.
    pub(crate) fn assert_same(&self, who: &str, got: &[u8]) {
        assert_eq!(got.len(), self.content.len(), "{who} got another length");
        let differs = got.iter().zip(&self.content).position(|(got, want)| got != want);
        assert_eq!(differs, None, "{who} got other content from this offset on");
    }
}

/// A tracker at work, for clients to join.
pub(crate) struct Swarm {
    tracker: Arc<Tracker>,
    serving: Option<Pending<Result<()>>>,
}

impl Swarm {
    /// A swarm whose tracker has the course's rates.
    pub(crate) fn new() -> Swarm {
        log_to_test();
        Swarm::with_tracker(Tracker::new(TRACKER_RATE, TRACKER_RATE, None).expect("a port for the tracker"))
    }

    pub(crate) fn with_tracker(tracker: Tracker) -> Swarm {
        let tracker = Arc::new(tracker);
        let server = Arc::clone(&tracker);
        Swarm { tracker, serving: Some(begin("the tracker's start", move || server.start())) }
    }

    pub(crate) fn addr(&self) -> std::net::SocketAddr {
        self.tracker.local_addr()
    }

    /// A new client with these rates, B/s.
    pub(crate) fn join(&self, name: &str, upload: u64, download: u64) -> Peer {
        let client = PClient::new(self.addr(), None, None, upload, download);
        Peer::new(name, client.expect("a port for the client"))
    }

    /// A new client on a proxy that the test keeps a handle to; it gives up a download after `stall` without anything
    /// new.
    pub(crate) fn join_on(&self, name: &str, proxy: Proxy, stall: Duration) -> Peer {
        let config = Config { stall_timeout: stall, ..Config::default() };
        let client = PClient::with_config(self.addr(), proxy, config);
        Peer::new(name, client.expect("the tracker's address is right"))
    }

    /// Ends the tracker, as if it had crashed.
    pub(crate) fn stop_tracker(&mut self) {
        self.tracker.close();
        if let Some(serving) = self.serving.take() {
            serving.within(PROMPT).expect("the tracker served to its end");
        }
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.stop_tracker();
        }
    }
}

/// A client with a name. Every call has a deadline, so that one that hangs fails the test.
pub(crate) struct Peer {
    pub(crate) name: String,
    client: Option<Arc<PClient>>,
}

impl Peer {
    pub(crate) fn new(name: &str, client: PClient) -> Peer {
        Peer { name: name.to_owned(), client: Some(Arc::new(client)) }
    }

    pub(crate) fn client(&self) -> Arc<PClient> {
        Arc::clone(self.client.as_ref().expect("a peer has a client until it is dropped"))
    }

    fn begin<T: Send + 'static>(
        &self,
        verb: &str,
        call: impl FnOnce(&PClient) -> T + Send + 'static,
    ) -> Pending<T> {
        let client = self.client();
        begin(format!("{} {verb}", self.name), move || call(&client))
    }

    pub(crate) fn begin_register(&self, path: impl Into<PathBuf>) -> Pending<Result<Fid>> {
        let path = path.into();
        self.begin("registers", move |client| client.register(path))
    }

    pub(crate) fn register(&self, path: impl Into<PathBuf>) -> Result<Fid> {
        self.begin_register(path).within(PROMPT)
    }

    /// Registers a file that nothing is wrong with.
    pub(crate) fn shares(&self, file: &TestFile) -> Fid {
        let fid =
            self.register(&file.path).unwrap_or_else(|error| panic!("{} registers: {error}", self.name));
        assert_eq!(fid, file.fid(), "the id is the content's hash");
        fid
    }

    pub(crate) fn begin_download(&self, fid: Fid) -> Pending<Result<Vec<u8>>> {
        self.begin("downloads", move |client| client.download(fid))
    }

    pub(crate) fn download(&self, fid: Fid) -> Result<Vec<u8>> {
        self.begin_download(fid).within(PATIENT)
    }

    /// Downloads a file that can be had, and compares it. How long that took.
    pub(crate) fn gets(&self, file: &TestFile) -> Duration {
        self.has_got(self.begin_download(file.fid()), file)
    }

    /// Waits for such a download that was begun before.
    pub(crate) fn has_got(&self, download: Pending<Result<Vec<u8>>>, file: &TestFile) -> Duration {
        let (result, took) = download.timed(PATIENT);
        let content = result.unwrap_or_else(|error| panic!("{} downloads: {error}", self.name));
        file.assert_same(&self.name, &content);
        took
    }

    pub(crate) fn download_to(&self, fid: Fid, path: impl Into<PathBuf>) -> Result<()> {
        let path = path.into();
        self.begin("downloads to a file", move |client| client.download_to(fid, path)).within(PATIENT)
    }

    pub(crate) fn cancel(&self, fid: Fid) -> Result<()> {
        self.begin("cancels", move |client| client.cancel(fid)).within(PROMPT)
    }

    pub(crate) fn begin_close(&self) -> Pending<Result<()>> {
        self.begin("closes", PClient::close)
    }

    pub(crate) fn close(&self) -> Result<()> {
        self.begin_close().within(PROMPT)
    }

    pub(crate) fn progress(&self, fid: Fid) -> Option<Progress> {
        self.client().progress(fid)
    }

    /// Waits until a download has come this far, B.
    pub(crate) fn reaches(&self, fid: Fid, verified: usize) {
        until(&format!("{} has {verified} B", self.name), PATIENT, || {
            self.progress(fid).is_some_and(|progress| progress.verified >= verified as u64)
        });
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        if thread::panicking() {
            // Closing may be what hangs, and the test shall end.
            mem::forget(client);
        } else {
            begin(format!("dropping {}", self.name), move || drop(client)).within(PROMPT);
        }
    }
}

/// Closes all at once, and fails the test if that takes longer than `limit`.
pub(crate) fn all_close_within(limit: Duration, peers: &[&Peer]) {
    let closings: Vec<_> = peers.iter().map(|peer| peer.begin_close()).collect();
    for closing in closings {
        closing.within(limit).expect("closing can't fail");
    }
}

/// Fails the test unless this is the error of calls after `close`, or during it.
pub(crate) fn assert_closed<T: std::fmt::Debug>(result: &Result<T>) {
    assert!(matches!(result, Err(Error::Closed)), "{result:?} instead of Closed");
}

/// Prints a figure past the capture of the test harness, so that a run that succeeds shows it.
pub(crate) fn report(figure: &str) {
    let _ = writeln!(std::io::stderr(), "    {figure}");
}

/// `RUST_LOG=debug` shows what happened in a test that fails.
pub(crate) fn log_to_test() {
    let _ = env_logger::builder().is_test(true).try_init();
}
