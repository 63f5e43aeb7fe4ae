//! `swarmcast compare`: the swarm against other models, on the same rates, in one process.
//!
//! - [`scenario`]: what is compared, and what is possible at best
//! - [`real`]: the models on shaped proxies; [`simulated`]: the same machines in virtual time
//! - [`report`]: tables and JSON; [`chart`]: SVG

mod chart;
mod real;
mod report;
mod scenario;
mod simulated;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::{env, fs, io, thread};

use indicatif::{ProgressBar, ProgressStyle};
use swarmcast::Error;
use swarmcast::rand::Rng;
use swarmcast::time::{Clock, Duration};
use swarmcast::units::{ByteSize, Rate};

use self::scenario::{Found, Model, Outcome, Scenario};
use super::failure::{Code, Failure};
use super::interrupt;
use super::screen::Screen;

/// What the file is made from: the same file in every run.
const SEED: u64 = 6_219_177;
/// The file's name at the server.
const NAME: &str = "file";
/// How often the line about what is going on is brought up to date.
const REFRESH: Duration = Duration::from_millis(200);
/// The most receivers of one scenario.
const MAX_RECEIVERS: i64 = 200;

/// Compare the swarm with a server and with a relay, at the same rates
///
/// Runs a source and receivers on this machine, each with the given rates, once for each model, and checks every copy. D
/// is the shortest time that any scheme can take; the defaults take about half a minute. With --simulated the same
/// machines run in virtual time, and several sizes and numbers of receivers give a table.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// How long the file is; several with --simulated
    #[arg(long, alias = "sizes", value_name = "SIZE", value_delimiter = ',', default_value = "6.2MB")]
    size: Vec<ByteSize>,

    /// How many receive it; several with --simulated
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        default_value = "4",
        value_parser = clap::value_parser!(u32).range(1..=MAX_RECEIVERS)
    )]
    receivers: Vec<u32>,

    /// How fast each receiver sends and receives, per second
    #[arg(long, default_value = "1MB")]
    rate: Rate,

    /// How fast the source sends; without it, as fast as a receiver
    #[arg(long, value_name = "RATE")]
    source_rate: Option<Rate>,

    /// What to compare; without it swarm and server, and with --simulated all
    #[arg(long, value_name = "MODELS", value_delimiter = ',')]
    models: Vec<Model>,

    /// How many receivers a producer of the relay serves at a time
    #[arg(long, value_name = "K", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=MAX_RECEIVERS))]
    spread: u32,

    /// Run in virtual time: for sizes and rates that would take too long, or more than this machine can do
    #[arg(long)]
    simulated: bool,

    /// The chance of a simulation: one seed is one history
    #[arg(long, requires = "simulated", default_value_t = 1)]
    seed: u64,

    /// Draw time against the number of receivers to this file, which is replaced if it exists
    #[arg(long, value_name = "FILE", requires = "simulated")]
    svg: Option<PathBuf>,

    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// What is to be run: each of `scenarios` with each of `models`.
#[derive(Clone, Debug)]
struct Plan {
    /// Every size with every number of receivers, by size first, both rising.
    scenarios: Vec<Scenario>,
    models: Vec<Model>,
    /// The seed, if time is virtual.
    simulated: Option<u64>,
}

/// Names one run: the places of its scenario and its model in the plan.
type Run = (usize, usize);

#[derive(Clone, Debug)]
enum Event {
    Interrupted,
    Done(Run, Outcome),
    Failed(Failure),
}

/// Runs the subcommand.
pub(super) fn run(args: &Args, screen: &Screen) -> Result<(), Failure> {
    let plan = Plan::new(args)?;
    if let Some(path) = &args.svg {
        check_target(path)?;
    }
    let (sender, events) = mpsc::channel();
    interrupt::watch(sender.clone(), Event::Interrupted)?;
    let folder = Folder::new().map_err(|(path, error)| Failure::file(&path, &error))?;
    screen.hint(plan.describe());
    let (root, worker) = (folder.0.clone(), thread::Builder::new().name("compare".to_owned()));
    let doer = plan.clone();
    worker
        .spawn(move || {
            if let Err(failure) = doer.run(&root, &sender) {
                // The other side only goes away when the program ends, here and below.
                let _ = sender.send(Event::Failed(failure));
            }
        })
        .map_err(|error| Failure::from(Error::from(error)))?;
    let found = plan.watch(screen, &events)?;
    if let Some(path) = &args.svg {
        let drawing = chart::svg(&found)
            .map_err(|error| Failure::new(Code::Other, format!("--svg: the drawing failed: {error}")))?;
        fs::write(path, drawing).map_err(|error| Failure::file(path, &error))?;
    }
    screen.result(match &found[..] {
        found if args.json => report::for_programs(found, args.simulated),
        [found] => report::table(found),
        found => report::sweep(found),
    });
    Ok(())
}

/// That a drawing can probably be written there, before anything takes its time.
fn check_target(path: &Path) -> Result<(), Failure> {
    if path.is_dir() {
        return Err(Failure::usage(format!(
            "--svg: {} is a directory: give the name of a file in it",
            super::failure::show_path(path)
        )));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let found = fs::metadata(folder).and_then(|metadata| match metadata.is_dir() {
        true => Ok(()),
        false => Err(io::ErrorKind::NotADirectory.into()),
    });
    found.map_err(|error| Failure::file(folder, &error))
}

impl Plan {
    fn new(args: &Args) -> Result<Plan, Failure> {
        let source_rate = args.source_rate.unwrap_or(args.rate);
        for (option, rate) in [("--rate", args.rate), ("--source-rate", source_rate)] {
            if rate.is_unlimited() {
                return Err(Failure::usage(format!(
                    "{option}: without a limit there is nothing to compare: give a rate such as 1MB"
                )));
            }
        }
        if args.size.iter().any(|size| size.0 == 0) {
            return Err(Failure::usage("--size: an empty file takes no time: give a size such as 6.2MB"));
        }
        let (mut sizes, mut receivers) = (args.size.clone(), args.receivers.clone());
        sizes.sort_unstable_by_key(|size| size.0);
        sizes.dedup_by_key(|size| size.0);
        receivers.sort_unstable();
        receivers.dedup();
        for (option, count) in [("--size", sizes.len()), ("--receivers", receivers.len())] {
            if count > 1 && !args.simulated {
                return Err(Failure::usage(format!(
                    "{option}: on real links one at a time: give a single value, or add --simulated"
                )));
            }
        }
        let wanted = |model: &Model| match &args.models[..] {
            [] => args.simulated || *model != Model::Relay,
            models => models.contains(model),
        };
        let scenarios = sizes.iter().flat_map(|size| {
            receivers.iter().map(|&receivers| Scenario {
                size: size.0,
                receivers,
                rate: args.rate.bytes_per_sec(),
                source_rate: source_rate.bytes_per_sec(),
                spread: args.spread,
            })
        });
        Ok(Plan {
            scenarios: scenarios.collect(),
            models: Model::ALL.into_iter().filter(wanted).collect(),
            simulated: args.simulated.then_some(args.seed),
        })
    }

    fn describe(&self) -> String {
        let what = match &self.scenarios[..] {
            [scenario] => scenario.describe(),
            scenarios => format!("{} scenarios: {}", scenarios.len(), scenarios[0].describe_rates()),
        };
        if self.simulated.is_some() { format!("{what}; in virtual time") } else { what }
    }

    /// Every run, in the order in which it is done on real links.
    fn runs(&self) -> Vec<Run> {
        let models = 0..self.models.len();
        (0..self.scenarios.len())
            .flat_map(|scenario| models.clone().map(move |model| (scenario, model)))
            .collect()
    }

    /// Does all runs, and tells of each: one after the other on real links, which must not disturb each other, and as
    /// many at once as there are cores in virtual time. By size, so that one file at a time is there.
    fn run(&self, folder: &Path, events: &mpsc::Sender<Event>) -> Result<(), Failure> {
        let runs = self.runs();
        for runs in runs.chunk_by(|a, b| self.scenarios[a.0].size == self.scenarios[b.0].size) {
            let content = make_file(self.scenarios[runs[0].0].size, folder)?;
            let Some(seed) = self.simulated else {
                for &run in runs {
                    let (scenario, model) = (&self.scenarios[run.0], self.models[run.1]);
                    let _ = events.send(Event::Done(run, real::run(scenario, model, folder, &content)?));
                }
                continue;
            };
            // The longest first, so that no core is left alone with it at the end.
            let mut runs = runs.to_vec();
            runs.sort_by_key(|run| std::cmp::Reverse(self.scenarios[run.0].receivers));
            let next = AtomicUsize::new(0);
            let cores = thread::available_parallelism().map_or(1, usize::from);
            thread::scope(|scope| {
                let work = || -> Result<(), Failure> {
                    while let Some(&run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let (scenario, model) = (&self.scenarios[run.0], self.models[run.1]);
                        let outcome = simulated::run(scenario, model, seed, folder, &content)?;
                        let _ = events.send(Event::Done(run, outcome));
                    }
                    Ok(())
                };
                let workers: Vec<_> = (0..cores.min(runs.len())).map(|_| scope.spawn(work)).collect();
                let ended = workers.into_iter().map(|worker| {
                    worker.join().unwrap_or_else(|_| {
                        Err(Failure::new(Code::Other, "a simulation panicked, which is a bug"))
                    })
                });
                ended.collect::<Result<Vec<()>, Failure>>()
            })?;
        }
        Ok(())
    }

    /// Waits for all outcomes, showing how long that has taken.
    fn watch(&self, screen: &Screen, events: &mpsc::Receiver<Event>) -> Result<Vec<Found>, Failure> {
        let runs = self.runs();
        let mut outcomes = vec![vec![None; self.models.len()]; self.scenarios.len()];
        let spinner = if screen.is_watched() {
            let style = ProgressStyle::with_template("{spinner} {msg}").expect("the template is well formed");
            screen.add(ProgressBar::new_spinner().with_style(style))
        } else {
            ProgressBar::hidden()
        };
        let (mut clock, mut done) = (Clock::new(), 0);
        let ended = loop {
            let Some(&(scenario, model)) = runs.get(done) else { break Ok(()) };
            let seconds = clock.now().as_secs_f64();
            spinner.set_message(if self.simulated.is_some() {
                format!("{done} of {} simulations, {seconds:.1} s", runs.len())
            } else {
                let (scenario, model) = (&self.scenarios[scenario], self.models[model]);
                let ideal = scenario.ideal(model);
                format!("{}: {seconds:.1} s, ideally {ideal:.1} s", model.label(scenario.spread))
            });
            spinner.tick();
            match events.recv_timeout(REFRESH) {
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Ok(Event::Done((scenario, model), outcome)) => {
                    outcomes[scenario][model] = Some(outcome);
                    done += 1;
                    if self.simulated.is_none() {
                        clock = Clock::new();
                    }
                }
                Ok(Event::Failed(failure)) => break Err(failure),
                Ok(Event::Interrupted) => {
                    break Err(Failure::interrupted("interrupted: nothing to compare yet"));
                }
                Err(_) => {
                    break Err(Failure::new(Code::Other, "the comparison ended by itself, which is a bug"));
                }
            }
        };
        spinner.finish_and_clear();
        ended?;
        let found = self.scenarios.iter().zip(outcomes).map(|(&scenario, outcomes)| {
            let outcomes = self.models.iter().zip(outcomes);
            let outcomes = outcomes.filter_map(|(&model, outcome)| Some((model, outcome?))).collect();
            Found { scenario, outcomes }
        });
        Ok(found.collect())
    }
}

/// Makes the file, in memory and, in the place of the one before, in `folder`.
fn make_file(size: u64, folder: &Path) -> Result<Arc<Vec<u8>>, Failure> {
    let len = usize::try_from(size).map_err(|_| Error::TooLarge { size })?;
    let mut content = Vec::new();
    content.try_reserve_exact(len).map_err(|_| Error::TooLarge { size })?;
    content.resize(len, 0);
    Rng::from_seed(SEED).fill(&mut content);
    let path = folder.join(NAME);
    fs::write(&path, &content).map_err(|error| Failure::file(&path, &error))?;
    Ok(Arc::new(content))
}

/// A temporary folder, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder, (PathBuf, io::Error)> {
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
