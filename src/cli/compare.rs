//! `swarmcast compare`: the swarm against the server-client model, on the same rates, in one process.
//!
//! Both run over loopback, every node on a proxy of its own that is shaped to its rates. What is measured is what those
//! rates allow; the machine's own speed should play no part.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::{env, fs, thread};

use indicatif::{ProgressBar, ProgressStyle};
use swarmcast::rand::Rng;
use swarmcast::sc_model::{Client, Server};
use swarmcast::time::{Clock, Duration, Instant};
use swarmcast::units::{ByteSize, Rate};
use swarmcast::{Error, PClient, Tracker};

use super::failure::{Code, Failure};
use super::interrupt;
use super::progress::measured;
use super::screen::Screen;

/// The tracker's rates, B/s: control information needs no more.
const TRACKER_RATE: u64 = 10_000;
/// What the file is made from: the same file in every run.
const SEED: u64 = 6_219_177;
/// The file's name at the server.
const NAME: &str = "file";
/// How often the line about what is going on is brought up to date.
const REFRESH: Duration = Duration::from_millis(200);

/// Compare the swarm with a server, at the same rates
///
/// Runs a source and receivers on this machine, each with the given rates, first as a swarm and then with a server
/// that sends the whole file to each, and checks every copy. D is the shortest time that any scheme can take; the defaults take about half a minute.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Args {
    /// How long the file is
    #[arg(long, default_value = "6.2MB")]
    size: ByteSize,

    /// How many receive it
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=200))]
    receivers: u32,

    /// How fast each receiver sends and receives, per second
    #[arg(long, default_value = "1MB")]
    rate: Rate,

    /// How fast the source sends; without it, as fast as a receiver
    #[arg(long, value_name = "RATE")]
    source_rate: Option<Rate>,
}

/// One comparison: how much goes to how many, and how fast each may be.
#[derive(Clone, Copy, Debug)]
struct Scenario {
    /// F, B.
    size: u64,
    /// N.
    receivers: u32,
    /// u and d of each receiver, B/s.
    rate: u64,
    /// u_s, B/s.
    source_rate: u64,
}

/// When the receivers had all of it, in seconds from the common start.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    first: f64,
    last: f64,
}

#[derive(Clone, Debug)]
enum Event {
    Interrupted,
    /// The swarm is done, and it's the server's turn.
    Swarm(Outcome),
    /// All is done.
    Server(Outcome),
    Failed(Error),
}

/// Runs the subcommand.
pub(super) fn run(args: &Args, screen: &Screen) -> Result<(), Failure> {
    let scenario = Scenario::new(args)?;
    let (sender, events) = mpsc::channel();
    interrupt::watch(sender.clone(), Event::Interrupted)?;
    let folder = Folder::new().map_err(|(path, error)| Failure::file(&path, &error))?;
    screen.hint(scenario.describe());
    let (root, worker) = (folder.0.clone(), thread::Builder::new().name("compare".to_owned()));
    let report = sender.clone();
    worker
        .spawn(move || {
            if let Err(error) = scenario.run(&root, &report) {
                let _ = report.send(Event::Failed(error));
            }
        })
        .map_err(|error| Failure::from(Error::from(error)))?;
    let swarm = watch(screen, &events, "swarm", scenario.shortest())?;
    let server = watch(screen, &events, "server-client", scenario.server_bound())?;
    screen.result(scenario.table(swarm, server));
    Ok(())
}

/// Waits for an outcome, showing how long that has taken and how long it takes at best.
fn watch(
    screen: &Screen,
    events: &mpsc::Receiver<Event>,
    model: &str,
    bound: f64,
) -> Result<Outcome, Failure> {
    let clock = Clock::new();
    let spinner = if screen.is_watched() {
        let style = ProgressStyle::with_template("{spinner} {msg}").expect("the template is well formed");
        screen.add(ProgressBar::new_spinner().with_style(style))
    } else {
        ProgressBar::hidden()
    };
    let event = loop {
        let seconds = clock.now().as_secs_f64();
        spinner.set_message(format!("{model}: {seconds:.1} s, at best {bound:.1} s"));
        spinner.tick();
        match events.recv_timeout(REFRESH) {
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            event => break event,
        }
    };
    spinner.finish_and_clear();
    match event {
        Ok(Event::Swarm(outcome) | Event::Server(outcome)) => Ok(outcome),
        Ok(Event::Failed(error)) => Err(error.into()),
        Ok(Event::Interrupted) => Err(Failure::interrupted("interrupted: nothing to compare yet")),
        Err(_) => Err(Failure::new(Code::Other, "the comparison ended by itself, which is a bug")),
    }
}

impl Scenario {
    fn new(args: &Args) -> Result<Scenario, Failure> {
        let source_rate = args.source_rate.unwrap_or(args.rate);
        for (option, rate) in [("--rate", args.rate), ("--source-rate", source_rate)] {
            if rate.is_unlimited() {
                return Err(Failure::usage(format!(
                    "{option}: without a limit there is nothing to compare: give a rate such as 1MB"
                )));
            }
        }
        if args.size.0 == 0 {
            return Err(Failure::usage("--size: an empty file takes no time: give a size such as 6.2MB"));
        }
        Ok(Scenario {
            size: args.size.0,
            receivers: args.receivers,
            rate: args.rate.bytes_per_sec(),
            source_rate: source_rate.bytes_per_sec(),
        })
    }

    /// D, s: the source has to send everything once, each receiver has to receive everything, and all together have to
    /// send it N times.
    fn shortest(&self) -> f64 {
        let (f, n, u, u_s) = self.figures();
        (f / u_s).max(f / u).max(n * f / (u_s + n * u))
    }

    /// The shortest time, s, of a server that sends everything N times.
    fn server_bound(&self) -> f64 {
        let (f, n, u, u_s) = self.figures();
        (n * f / u_s).max(f / u)
    }

    /// F, N, u = d and u_s.
    fn figures(&self) -> (f64, f64, f64, f64) {
        (self.size as f64, f64::from(self.receivers), self.rate as f64, self.source_rate as f64)
    }

    fn describe(&self) -> String {
        format!(
            "{} to {} receiver{}: {} up and down each, the source {} up",
            ByteSize(self.size),
            self.receivers,
            if self.receivers == 1 { "" } else { "s" },
            Rate::new(self.rate),
            Rate::new(self.source_rate)
        )
    }

    /// Makes the file and runs both models.
    fn run(&self, folder: &Path, events: &mpsc::Sender<Event>) -> Result<(), Error> {
        let len = usize::try_from(self.size).map_err(|_| Error::TooLarge { size: self.size })?;
        let mut content = Vec::new();
        content.try_reserve_exact(len).map_err(|_| Error::TooLarge { size: self.size })?;
        content.resize(len, 0);
        Rng::from_seed(SEED).fill(&mut content);
        let path = folder.join(NAME);
        fs::write(&path, &content).map_err(|error| Error::file(&path, error))?;
        // The other side only goes away when the program ends.
        let _ = events.send(Event::Swarm(self.swarm(&path, &content)?));
        let _ = events.send(Event::Server(self.server_client(folder, &content)?));
        Ok(())
    }

    fn swarm(&self, path: &Path, content: &[u8]) -> Result<Outcome, Error> {
        let tracker = Arc::new(Tracker::new(TRACKER_RATE, TRACKER_RATE, None)?);
        let serving = Arc::clone(&tracker);
        let serving = thread::spawn(move || serving.start());
        let addr = tracker.local_addr();
        let source = PClient::new(addr, None, None, self.source_rate, 0)?;
        let fid = source.register(path)?;
        let receivers = (0..self.receivers)
            .map(|_| PClient::new(addr, None, None, self.rate, self.rate))
            .collect::<Result<Vec<_>, _>>()?;
        let outcome = race(&receivers, |receiver| match receiver.download(fid)? == content {
            true => Ok(()),
            false => Err(Error::Integrity(fid)),
        });
        // At once: each waits for the tracker's word.
        thread::scope(|scope| {
            for client in receivers.iter().chain([&source]) {
                scope.spawn(|| client.close());
            }
        });
        tracker.close();
        // Its own end; a failure would have shown in the race.
        let _ = serving.join();
        outcome
    }

    fn server_client(&self, root: &Path, content: &[u8]) -> Result<Outcome, Error> {
        let server = Arc::new(Server::new(root, self.source_rate, 0, None)?);
        let serving = Arc::clone(&server);
        let serving = thread::spawn(move || serving.start());
        let addr = server.local_addr();
        let clients = (0..self.receivers)
            .map(|_| Client::with_rates(addr, self.rate, self.rate))
            .collect::<Result<Vec<_>, _>>()?;
        let outcome = race(&clients, |client| match client.download(NAME)? == content {
            true => Ok(()),
            false => Err(Error::Integrity(swarmcast::Fid::of(content))),
        });
        server.close();
        // As above.
        let _ = serving.join();
        outcome
    }

    /// What came of it. Every copy has been compared when this is called.
    fn table(&self, swarm: Outcome, server: Outcome) -> String {
        let shortest = self.shortest();
        let row = |model: &str, outcome: Outcome, bound: f64| {
            let [last, first, bound] = [outcome.last, outcome.first, bound].map(|seconds| {
                let duration = Duration::from_secs_f64(seconds);
                format!("{:>9}", measured(duration))
            });
            format!("{model:<14} {last} {first} {bound} {:>9.2}", outcome.last / shortest)
        };
        [
            format!("{:<14} {:>9} {:>9} {:>9} {:>9}", "model", "last", "first", "bound", "last/D"),
            row("swarm", swarm, shortest),
            row("server-client", server, self.server_bound()),
            format!(
                "the least possible, D, is {}; the swarm is {:.2} times as fast",
                measured(Duration::from_secs_f64(shortest)),
                server.last / swarm.last,
            ),
            format!("all {} copies are identical to the file", 2 * self.receivers),
        ]
        .join("\n")
    }
}

/// Has all of `receivers` do `receive` at once, and takes the time of each.
///
/// # Errors
/// The first one's.
fn race<R: Sync>(
    receivers: &[R],
    receive: impl Fn(&R) -> Result<(), Error> + Sync,
) -> Result<Outcome, Error> {
    let clock = Clock::new();
    let times = Mutex::new(Vec::with_capacity(receivers.len()));
    thread::scope(|scope| {
        for receiver in receivers {
            scope.spawn(|| {
                let result = receive(receiver).map(|()| clock.now().since(Instant::ORIGIN).as_secs_f64());
                times.lock().unwrap_or_else(PoisonError::into_inner).push(result);
            });
        }
    });
    let times = times.into_inner().unwrap_or_else(PoisonError::into_inner);
    let times = times.into_iter().collect::<Result<Vec<f64>, Error>>()?;
    let outcome = Outcome { first: f64::INFINITY, last: 0.0 };
    Ok(times.into_iter().fold(outcome, |outcome, time| Outcome {
        first: outcome.first.min(time),
        last: outcome.last.max(time),
    }))
}

/// A temporary folder, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder, (PathBuf, std::io::Error)> {
        let path = env::temp_dir().join(format!("swarmcast-compare-{:016x}", Rng::from_os().u64()));
        match fs::create_dir(&path) {
            Ok(()) => Ok(Folder(path)),
            Err(error) => Err((path, error)),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            log::warn!("{} is left behind: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_are_those_of_the_slowest_part() {
        let bounds = |size, receivers, rate, source_rate| {
            let scenario = Scenario { size, receivers, rate, source_rate };
            (scenario.shortest(), scenario.server_bound())
        };
        assert_eq!(bounds(6_200_000, 4, 1_000_000, 1_000_000), (6.2, 24.8));
        // A fast source: each receiver's own downlink bounds the swarm.
        assert_eq!(bounds(1_000, 4, 100, 1_000), (10.0, 10.0));
        // A slow source bounds it even with one receiver.
        assert_eq!(bounds(1_000, 1, 100, 50), (20.0, 20.0));
        // All uplinks together: 10 copies of 1,000 B through 150 + 10 × 100 B/s take less than a downlink's 10 s.
        assert_eq!(bounds(1_000, 10, 100, 150).0, 10.0);
    }

    #[test]
    fn a_table_tells_last_first_bound_ratio_and_speed_up() {
        let scenario = Scenario { size: 6_200_000, receivers: 4, rate: 1_000_000, source_rate: 1_000_000 };
        let table = scenario.table(Outcome { first: 6.3, last: 6.51 }, Outcome { first: 24.9, last: 26.04 });
        let cells: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(cells[1], ["swarm", "6.51", "s", "6.30", "s", "6.20", "s", "1.05"]);
        assert_eq!(cells[2], ["server-client", "26.0", "s", "24.9", "s", "24.8", "s", "4.20"]);
        assert!(table.contains("4.00 times as fast") && table.contains("all 8 copies"), "{table}");
        assert!(table.lines().all(|line| line.len() <= 80), "{table}");
    }
}
