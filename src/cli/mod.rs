//! The command line: one file per subcommand, and what they share.
//!
//! No protocol here. All that is done with files and peers goes through the library's public surface.
//!
//! - [`tracker`], [`share`], [`get`], [`info`], [`verify`], [`hash`], [`compare`], [`simulate`], [`bench`], [`manual`]: the
//!   subcommands
//! - [`config`]: flags from variables and a file; [`json`]: what programs read
//! - [`target`], [`stream`], [`seeding`]: parts of `get`
//! - [`fairness`]: who of the peers goes first; [`folder`]: what `share` and `get` do with folders
//! - [`lan`]: how the two find each other in the local network
//! - [`ticket`]: the line that `share` prints and `get` takes; [`address`]: HOST:PORT as people write it
//! - [`failure`]: what goes wrong, and the exit codes; [`interrupt`]: Ctrl-C
//! - [`progress`]: a bar on a terminal, lines in a pipe; [`screen`]: who may write to the terminal when

mod address;
mod bench;
mod compare;
mod config;
mod failure;
mod fairness;
mod folder;
mod get;
mod hash;
mod info;
mod interrupt;
mod json;
mod lan;
mod manual;
mod peer;
mod progress;
mod screen;
mod seeding;
mod share;
mod simulate;
mod stream;
mod target;
mod ticket;
mod tracker;
mod verify;

use clap::{Parser, Subcommand};

use self::failure::{Code, Failure};
use self::json::Event;
use self::screen::Screen;

/// The port that a tracker takes unless told otherwise.
const TRACKER_PORT: u16 = 10086;

/// Brings a file or a folder from one machine to many, peer to peer over UDP.
///
/// On the machine that has it: `swarmcast share FILE`. It prints a ticket. On all others: `swarmcast get TICKET`.
#[derive(Debug, Parser)]
#[command(version, after_help = after_help(), max_term_width = 100)]
pub(crate) struct Args {
    /// Say more; twice or three times: still more (or set RUST_LOG)
    #[arg(short, long, global = true, action = clap::ArgAction::Count, display_order = 100)]
    verbose: u8,

    /// Only results and errors: no progress, hints or warnings
    #[arg(short, long, global = true, conflicts_with = "verbose", display_order = 100)]
    quiet: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Tracker(tracker::Args),
    Share(share::Args),
    Get(get::Args),
    Info(info::Args),
    Verify(verify::Args),
    Hash(hash::Args),
    Compare(compare::Args),
    Simulate(simulate::Args),
    Bench(bench::Args),
    Completions(manual::CompletionsArgs),
    Man(manual::ManArgs),
}

impl Command {
    /// Whether a program reads events.
    fn is_for_programs(&self) -> bool {
        match self {
            Command::Tracker(args) => args.json,
            Command::Share(args) => args.json,
            Command::Get(args) => args.json,
            Command::Info(args) => args.json,
            // Some of these have JSON of their own, which is a result.
            Command::Verify(_)
            | Command::Hash(_)
            | Command::Compare(_)
            | Command::Simulate(_)
            | Command::Bench(_)
            | Command::Completions(_)
            | Command::Man(_) => false,
        }
    }
}

fn after_help() -> String {
    format!("{}\n\n{}", config::SOURCES, failure::table())
}

/// The command line as it was meant. Ends the program if that is help or makes no sense.
///
/// # Errors
/// What is wrong with the file of configuration.
pub(crate) fn parse() -> Result<Args, Failure> {
    config::parse()
}

/// Does what was asked for.
///
/// # Errors
/// What is to be said about it, and the exit code.
pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let level = match (args.quiet, args.verbose) {
        (true, _) => log::LevelFilter::Error,
        (_, 0) => log::LevelFilter::Warn,
        (_, 1) => log::LevelFilter::Info,
        (_, 2) => log::LevelFilter::Debug,
        _ => log::LevelFilter::Trace,
    };
    let screen = Screen::new(args.quiet, args.command.is_for_programs());
    env_logger::Builder::new()
        .filter_level(level)
        .parse_default_env()
        .target(env_logger::Target::Pipe(screen.log_pipe()))
        .init();
    let ended = match args.command {
        Command::Tracker(args) => tracker::run(&args, &screen),
        Command::Share(args) => share::run(&args, &screen),
        Command::Get(args) => get::run(&args, &screen),
        Command::Info(args) => info::run(&args, &screen),
        Command::Verify(args) => verify::run(&args, &screen),
        Command::Hash(args) => hash::run(&args, &screen),
        Command::Compare(args) => compare::run(&args, &screen),
        Command::Simulate(args) => simulate::run(&args, &screen),
        Command::Bench(args) => bench::run(&args, &screen),
        Command::Completions(args) => manual::completions(&args, &screen),
        Command::Man(args) => manual::man(&args, &screen),
    };
    ended.inspect_err(|failure| screen.event(|| Event::error(failure)))
}

/// Says on stderr what went wrong. A reader who has gone wants to hear nothing more.
pub(crate) fn complain(failure: &Failure) {
    if failure.code != Code::ReaderGone {
        screen::complain(&failure.message);
    }
}
