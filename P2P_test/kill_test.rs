//! kill -9 at random moments, with real processes: whoever dies, the file arrives, and little of it is fetched twice.
//!
//! The default run takes seconds. Those that are ignored kill receiver, source and tracker a hundred times each and print how much
//! was fetched again.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use swarmcast::Fid;
use swarmcast::rand::Rng;
use swarmcast::time::{Clock, Duration};

use self::processes::{Ended, Running, Sandbox, Stream, names};

mod processes;

/// Long enough for several records, B; and at this rate, more than a second long: most kills come before the end.
const SIZE: usize = 24_000_000;
const RATE: &str = "18MB";
/// Processes are killed within so long after the receiver's start: some before it has asked anybody, some when it is done.
const SPAN: Duration = Duration::from_millis(1_400);
/// What a kill may cost, B, of what had been written.
const BATCH: u64 = 4 << 20;
/// A file of this size is cut into pieces of so many bytes.
const PIECE: usize = 16 << 10;
/// The longest silence of a receiver whose source or tracker is gone: it gives up after 30 s.
const PATIENCE: Duration = Duration::from_secs(45);
/// After the tracker has forgotten everything, its source is back within a third of the lease of 90 s.
const MOST_ATTEMPTS: u32 = 40;

/// A tracker and a source of one file, and what is in that.
struct Stage {
    sandbox: Sandbox,
    content: Vec<u8>,
    tracker: Option<Running>,
    at: String,
    source: Option<Running>,
    ticket: String,
    rng: Rng,
}

/// What became of one transfer in which somebody was killed.
struct Outcome {
    /// What had been written and was fetched again, or came twice, B.
    again: u64,
    /// From the kill to the end, s.
    seconds: f64,
    /// How often the receiver had to be started.
    attempts: u32,
    was_done: bool,
}

impl Stage {
    fn new(seed: u64) -> Stage {
        let sandbox = Sandbox::new();
        let content = sandbox.file("f", SIZE, seed);
        let mut tracker = sandbox.start(&["tracker", "--bind", "0"]);
        let line = tracker.line(Stream::Stdout, "tracker at ");
        let at = line.strip_prefix("tracker at ").expect("an address").to_owned();
        let (source, ticket) = sandbox.share(&["f", "--tracker", &at]);
        Stage {
            sandbox,
            content,
            tracker: Some(tracker),
            at,
            source: Some(source),
            ticket,
            rng: Rng::from_seed(seed),
        }
    }

    /// A moment to kill somebody, from the receiver's start on.
    fn moment(&mut self) -> Duration {
        SPAN.mul_f64(self.rng.unit())
    }

    /// A place for a receiver's copy.
    fn place(&self) -> PathBuf {
        self.sandbox.directory(&format!("{:016x}", Rng::from_os().u64()))
    }

    fn get(&self, place: &Path) -> Running {
        let mut get = Running::start(place, &["get", &self.ticket, "--limit-down", RATE, "-v"]);
        get.patience = PATIENCE;
        get
    }

    /// Checks the copy, and that nothing else is there; and clears the place.
    fn is_right(&self, place: &Path) {
        assert_eq!(names(place), ["f"]);
        let copy = fs::read(place.join("f")).expect("it is there");
        assert!(Fid::of(&copy) == Fid::of(&self.content), "the copy differs");
        fs::remove_dir_all(place).expect("it can be removed");
    }

    /// How much of the content is in the unfinished file, in whole pieces, B.
    fn written(&self, place: &Path) -> u64 {
        let Some(part) = names(place).into_iter().find(|name| name.ends_with(".part")) else { return 0 };
        let part = fs::read(place.join(part)).expect("it is there");
        let pieces = part.chunks(PIECE).zip(self.content.chunks(PIECE));
        pieces.filter(|(there, true_one)| there == true_one).map(|(there, _)| there.len() as u64).sum()
    }

    /// Kills a receiver `times` in a row; the same command goes on each time, and at last to its end.
    fn kill_receiver(&mut self, times: u32) -> Outcome {
        let place = self.place();
        let (mut again, mut was_done) = (0, false);
        let mut before = 0;
        for _ in 0..times {
            let moment = self.moment().mul_f64(1.0 / f64::from(times));
            let mut get = self.get(&place);
            get.work_for(moment);
            let was_alive = get.kill();
            was_done = place.join("f").exists();
            if was_done {
                break;
            }
            assert!(was_alive, "it ended by itself, without the file");
            let written = self.written(&place);
            assert!(written >= before, "{written} B are there, after {before} B");
            before = written;
        }
        let clock = Clock::new();
        if !was_done {
            let ended = self.get(&place).end();
            ended.succeeded();
            let found = figure(&ended, " B were here already");
            assert!(before.saturating_sub(found) <= BATCH, "{found} B of {before} B were found: {ended:?}");
            again = before.saturating_sub(found) + figure(&ended, " B came twice");
        }
        self.is_right(&place);
        Outcome { again, seconds: clock.now().as_secs_f64(), attempts: 1, was_done }
    }

    /// A place, a receiver that has worked there up to some moment, and whether it was done by then.
    fn begun(&mut self) -> (PathBuf, Running, bool) {
        let (place, moment) = (self.place(), self.moment());
        let mut get = self.get(&place);
        get.work_for(moment);
        let was_done = place.join("f").exists();
        (place, get, was_done)
    }

    /// Kills the source; another process shares the same file, at another address. The receiver goes on by itself.
    fn kill_source(&mut self) -> Outcome {
        let (place, get, was_done) = self.begun();
        let clock = Clock::new();
        self.source.take().map(Running::kill);
        let (source, ticket) = self.sandbox.share(&["f", "--tracker", &self.at]);
        assert_eq!(ticket, self.ticket, "the same file, the same ticket");
        self.source = Some(source);
        let ended = get.end();
        ended.succeeded();
        self.is_right(&place);
        let again = figure(&ended, " B came twice");
        Outcome { again, seconds: clock.now().as_secs_f64(), attempts: 1, was_done }
    }

    /// Kills the tracker; another one takes its port, and knows nothing. The receiver goes on, unless it had not asked yet who has
    /// the file: then it says that nobody has, and the same command is given again until the source is back in the list.
    fn kill_tracker(&mut self) -> Outcome {
        let (place, get, was_done) = self.begun();
        let clock = Clock::new();
        self.tracker.take().map(Running::kill);
        let mut tracker = self.sandbox.start(&["tracker", "--bind", &self.at]);
        tracker.line(Stream::Stdout, &self.at);
        let mut attempts = 1;
        let mut ended = get.end();
        while ended.code != Some(0) {
            assert!(matches!(ended.code, Some(3 | 5)) && attempts < MOST_ATTEMPTS, "{ended:?}");
            attempts += 1;
            tracker.work_for(Duration::from_secs(1));
            ended = self.get(&place).end();
        }
        self.tracker = Some(tracker);
        self.is_right(&place);
        let again = figure(&ended, " B came twice");
        Outcome { again, seconds: clock.now().as_secs_f64(), attempts, was_done }
    }
}

/// The number before `what` in the log; 0 where there is none.
fn figure(ended: &Ended, what: &str) -> u64 {
    let line = ended.stderr.lines().find(|line| line.contains(what));
    let number = line.and_then(|line| line.split(what).next()?.rsplit(' ').next()?.parse().ok());
    number.unwrap_or(0)
}

/// Prints a figure past the capture of the test harness.
fn report(figure: &str) {
    let _ = writeln!(std::io::stderr(), "    {figure}");
}

fn summary(mut figures: Vec<f64>) -> String {
    figures.sort_by(f64::total_cmp);
    let [least, median, most] = [0, figures.len() / 2, figures.len() - 1].map(|at| figures[at]);
    format!("{least:.2} / {median:.2} / {most:.2}")
}

/// Runs `kill` `runs` times, and tells what came of it.
fn figures(who: &str, runs: u32, mut kill: impl FnMut() -> Outcome) {
    let outcomes: Vec<Outcome> = (0..runs).map(|_| kill()).collect();
    let early: Vec<&Outcome> = outcomes.iter().filter(|outcome| !outcome.was_done).collect();
    let repeated = early.iter().filter(|outcome| outcome.attempts > 1).count();
    assert!(!early.is_empty(), "all were done before the {who} was killed");
    report(&format!(
        "{who} killed {runs} times, {} of them before the end: all copies are right; least / median / most MB again {}, \
         s to the end {}; {repeated} had to be started anew",
        early.len(),
        summary(early.iter().map(|outcome| outcome.again as f64 / 1e6).collect()),
        summary(early.iter().map(|outcome| outcome.seconds).collect()),
    ));
}

fn seed() -> u64 {
    let seed = Rng::from_os().u64() >> 32;
    report(&format!("seed {seed}"));
    seed
}

#[test]
fn a_receiver_that_is_killed_goes_on() {
    let mut stage = Stage::new(seed());
    figures("receiver", 3, || stage.kill_receiver(2));
}

#[test]
fn a_transfer_outlives_its_source() {
    let mut stage = Stage::new(seed());
    figures("source", 2, || stage.kill_source());
}

/// How often somebody is killed in the long runs.
fn runs() -> u32 {
    std::env::var("RUNS").map_or(100, |runs| runs.parse().expect("RUNS is a number"))
}

#[test]
#[ignore = "takes five minutes; RUNS says how often it is killed"]
fn long_run_of_receivers() {
    let mut stage = Stage::new(seed());
    figures("receiver", runs(), || stage.kill_receiver(1));
    figures("receiver, three times a transfer,", runs().div_ceil(4), || stage.kill_receiver(3));
}

#[test]
#[ignore = "takes five minutes; RUNS says how often it is killed"]
fn long_run_of_sources() {
    let mut stage = Stage::new(seed());
    figures("source", runs(), || stage.kill_source());
}

#[test]
#[ignore = "takes five minutes; RUNS says how often it is killed"]
fn long_run_of_trackers() {
    let mut stage = Stage::new(seed());
    figures("tracker", runs(), || stage.kill_tracker());
}
