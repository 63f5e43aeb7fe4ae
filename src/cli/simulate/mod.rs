//! `swarmcast simulate`: a swarm in a simulated network, and how close it came to what was possible at best.
//!
//! Nothing is sent and no clock is waited for: the runs themselves are the library's ([`swarmcast::simulate`]).
//!
//! - [`figures`]: what came of a run, for people and for programs
//! - [`chart`]: who had how much when, as a picture
//! - [`timeline`]: how one node stood with its peers, as a picture

mod chart;
mod figures;
mod timeline;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::{fs, io, thread};

use indicatif::{ProgressBar, ProgressStyle};
use swarmcast::Error;
use swarmcast::simulate::scenario::Role;
use swarmcast::simulate::{Report, Scenario, run_watching};
use swarmcast::time::{Clock, Duration};
use swarmcast::units::ByteSize;

use super::failure::{Code, Failure, show_path};
use super::interrupt;
use super::progress::measured;
use super::screen::Screen;

/// How often the line about what is going on is brought up to date.
const REFRESH: Duration = Duration::from_millis(200);

/// Simulate a swarm: the same peers and tracker, on links that a file describes
///
/// One seed is one history, whatever the machine is busy with. Without a scenario, lists those that are built in.
/// docs/commands.md explains how a scenario is written.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A built-in scenario such as s1, or a file that ends in .toml
    scenario: Option<String>,

    /// All chance follows from it; without it, from the scenario's
    #[arg(long, value_name = "N", requires = "scenario")]
    seed: Option<u64>,

    /// Run as many times, each with the next seed
    #[arg(long, value_name = "K", default_value_t = 1, requires = "scenario", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    seeds: u32,

    /// How many receive the file, in place of what the scenario says
    #[arg(long, value_name = "N", requires = "scenario")]
    receivers: Option<u64>,

    /// Print one JSON object a run
    #[arg(long, requires = "scenario")]
    json: bool,

    /// Draw who had how much when; only of a single run
    #[arg(long, value_name = "FILE", requires = "scenario", conflicts_with = "seeds")]
    svg: Option<PathBuf>,

    /// Tell how this node stands with its peers at the end: who has a place at its uplink, and why
    ///
    /// A name as the tables have it, such as "receiver 2".
    #[arg(long, value_name = "NODE", requires = "scenario", conflicts_with_all = ["seeds", "json"])]
    peers: Option<String>,

    /// Draw that over time: a row for each peer, in the colour of its standing
    #[arg(long, value_name = "FILE", requires = "peers")]
    timeline: Option<PathBuf>,
}

#[derive(Clone, Debug)]
enum Event {
    Interrupted,
    Done(Box<Report>),
}

/// Runs the subcommand.
pub(super) fn run(args: &Args, screen: &Screen) -> Result<(), Failure> {
    let Some(name) = &args.scenario else {
        for name in Scenario::built_in_names() {
            let about = Scenario::built_in(name).map(|scenario| scenario.about).unwrap_or_default();
            screen.result(format_args!("{name}  {about}"));
        }
        return Ok(());
    };
    let mut scenario = load(name)?;
    scenario.seed = args.seed.unwrap_or(scenario.seed);
    if let Some(count) = args.receivers {
        scenario
            .set_receivers(count)
            .map_err(|error| Failure::usage(format!("--receivers {count}: {error}")))?;
    }
    for path in [&args.svg, &args.timeline].into_iter().flatten() {
        if path.symlink_metadata().is_ok() {
            return Err(exists(path));
        }
    }
    let watched = match &args.peers {
        Some(node) => Some(scenario.place_of(node).ok_or_else(|| {
            let names: Vec<String> = scenario.nodes.iter().map(|group| group.name_of(0)).collect();
            Failure::usage(format!("--peers {node}: no such node: give a name such as {}", names.join(", ")))
        })?),
        None => None,
    };
    let reports = run_all(&scenario, watched, args.seeds, screen, |report| {
        let (name, scenario) = (shown_name(name), &scenario);
        if args.json {
            screen.result(figures::for_programs(&name, scenario, report));
        } else if args.seeds == 1 {
            screen.result(figures::for_people(report));
        } else {
            screen.result(figures::in_a_row(report));
        }
    })?;
    if !args.json && args.seeds > 1 {
        screen.result(figures::of_all(&reports));
    }
    if let (Some(path), [report]) = (&args.svg, &reports[..]) {
        save(path, &chart::draw(&title(&shown_name(name), &scenario), report))?;
        screen.hint(format_args!("drawn to {}", show_path(path)));
    }
    if let [Report { watched: Some(watched), ended, .. }] = &reports[..] {
        screen.result(format_args!("\n{}", figures::of_peers(watched)));
        if let Some(path) = &args.timeline {
            let title = format!("{}, {}", title(&shown_name(name), &scenario), watched.name);
            save(path, &timeline::draw(&title, watched, *ended))?;
            screen.hint(format_args!("drawn to {}", show_path(path)));
        }
    }
    match reports.iter().map(Report::undone).sum() {
        0 => Ok(()),
        1 => Err(Failure::new(Code::Other, "one receiver is not done")),
        undone => Err(Failure::new(Code::Other, format!("{undone} receivers are not done"))),
    }
}

/// Runs the scenario with `seeds` seeds, and tells each report.
fn run_all(
    scenario: &Scenario,
    watched: Option<usize>,
    seeds: u32,
    screen: &Screen,
    tell: impl Fn(&Report),
) -> Result<Vec<Report>, Failure> {
    let (sender, events) = mpsc::channel();
    interrupt::watch(sender.clone(), Event::Interrupted)?;
    let clock = Clock::new();
    screen.hint(describe(scenario));
    let spinner = if screen.is_watched() {
        let style = ProgressStyle::with_template("{spinner} {msg}").expect("the template is well formed");
        screen.add(ProgressBar::new_spinner().with_style(style))
    } else {
        ProgressBar::hidden()
    };
    let (scenario, first) = (scenario.clone(), scenario.seed);
    let worker = thread::Builder::new()
        .name("simulate".to_owned())
        .spawn(move || {
            for number in 0..u64::from(seeds) {
                let scenario = Scenario { seed: first.wrapping_add(number), ..scenario.clone() };
                let report = run_watching(&scenario, watched);
                // The other side only goes away when the program ends.
                let _ = sender.send(Event::Done(Box::new(report)));
            }
        })
        .map_err(|error| Failure::from(Error::from(error)))?;
    let mut reports = Vec::new();
    while reports.len() < seeds as usize {
        let seconds = clock.now().as_secs_f64();
        spinner.set_message(format!("run {} of {seeds}: {seconds:.1} s", reports.len() + 1));
        spinner.tick();
        match events.recv_timeout(REFRESH) {
            Ok(Event::Done(report)) => {
                tell(&report);
                reports.push(*report);
            }
            Ok(Event::Interrupted) => {
                spinner.finish_and_clear();
                let done = reports.len();
                return Err(Failure::interrupted(format!("interrupted after {done} of {seeds} runs")));
            }
            // Whoever watches for Ctrl-C keeps the channel open: only the thread itself shows that it has died.
            Err(_) if worker.is_finished() && reports.len() < seeds as usize => match events.try_recv() {
                Ok(Event::Done(report)) => {
                    tell(&report);
                    reports.push(*report);
                }
                _ => return Err(Failure::new(Code::Other, "the simulation ended by itself, which is a bug")),
            },
            Err(_) => {}
        }
    }
    spinner.finish_and_clear();
    let simulated: f64 = reports.iter().map(|report| report.ended).sum();
    screen.hint(format_args!(
        "simulated {} in {}",
        measured(Duration::from_secs_f64(simulated)),
        measured(Duration::from_secs_f64(clock.now().as_secs_f64()))
    ));
    Ok(reports)
}

/// The scenario that is built in under this name, or lies in this file.
fn load(name: &str) -> Result<Scenario, Failure> {
    let path = Path::new(name);
    if path.extension().is_none_or(|extension| extension != "toml") {
        return Scenario::built_in(name).ok_or_else(|| {
            let names: Vec<&str> = Scenario::built_in_names().collect();
            Failure::usage(format!(
                "{}: no such scenario: give one of {}, or a file that ends in .toml",
                show_path(path),
                names.join(", ")
            ))
        });
    }
    let text = fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
    Scenario::parse(&text).map_err(|error| Failure::usage(format!("{}: {error}", show_path(path))))
}

/// A scenario's name for tables and titles: a file's without its folder and ending.
fn shown_name(name: &str) -> String {
    Path::new(name).file_stem().map_or_else(|| name.to_owned(), |stem| show_path(Path::new(stem)))
}

fn describe(scenario: &Scenario) -> String {
    let count = |role, name| match scenario.count(role) {
        1 => format!("1 {name}"),
        count => format!("{count} {name}s"),
    };
    let (sources, receivers) = (count(Role::Source, "source"), count(Role::Receiver, "receiver"));
    format!("{} from {sources} to {receivers}, seed {}", ByteSize(scenario.size.0), scenario.seed)
}

fn title(name: &str, scenario: &Scenario) -> String {
    format!("{name}: {}", describe(scenario))
}

/// Writes a new file.
fn save(path: &Path, text: &str) -> Result<(), Failure> {
    let written = fs::File::create_new(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(path),
        _ => Failure::file(path, &error),
    })
}

fn exists(path: &Path) -> Failure {
    let shown = show_path(path);
    let what = format!("{shown} exists already and was left as it is: move it away, or give another name");
    Failure::new(Code::TargetExists, what)
}
