//! The command line: one file per subcommand, and what they share.
//!
//! No protocol here. All that is done with files and peers goes through the library's public surface.
//!
//! - [`tracker`], [`share`], [`get`], [`compare`], [`simulate`], [`bench`]: the subcommands
//! - [`folder`]: what `share` and `get` do with folders
//! - [`ticket`]: the line that `share` prints and `get` takes; [`address`]: HOST:PORT as people write it
//! - [`failure`]: what goes wrong, and the exit codes; [`interrupt`]: Ctrl-C
//! - [`progress`]: a bar on a terminal, lines in a pipe; [`screen`]: who may write to the terminal when

mod address;
mod bench;
mod compare;
mod failure;
mod folder;
mod get;
mod interrupt;
mod peer;
mod progress;
mod screen;
mod share;
mod simulate;
mod ticket;
mod tracker;

use clap::{Parser, Subcommand};

use self::failure::Failure;
use self::screen::Screen;

/// The port that a tracker takes unless told otherwise.
const TRACKER_PORT: u16 = 10086;

/// Brings a file or a folder from one machine to many, peer to peer over UDP.
///
/// On the machine that has it: `swarmcast share FILE`. It prints a ticket. On all others: `swarmcast get TICKET`.
#[derive(Debug, Parser)]
#[command(version, after_help = failure::table(), max_term_width = 100)]
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
    Compare(compare::Args),
    Simulate(simulate::Args),
    Bench(bench::Args),
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
    let screen = Screen::new(args.quiet);
    env_logger::Builder::new()
        .filter_level(level)
        .parse_default_env()
        .target(env_logger::Target::Pipe(screen.log_pipe()))
        .init();
    match args.command {
        Command::Tracker(args) => tracker::run(&args, &screen),
        Command::Share(args) => share::run(&args, &screen),
        Command::Get(args) => get::run(&args, &screen),
        Command::Compare(args) => compare::run(&args, &screen),
        Command::Simulate(args) => simulate::run(&args, &screen),
        Command::Bench(args) => bench::run(&args, &screen),
    }
}

/// Says on stderr what went wrong.
pub(crate) fn complain(failure: &Failure) {
    screen::complain(&failure.message);
}
