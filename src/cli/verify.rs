//! `swarmcast verify FILE TICKET`: whether a file is the one that a ticket stands for. No swarm is needed.

use std::path::PathBuf;
use std::{fs, io};

use swarmcast::units::ByteSize;

use super::failure::{Code, Failure, show_path};
use super::hash;
use super::screen::Screen;
use super::ticket::Ticket;

/// Say whether a file is the one that a ticket stands for
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file
    file: PathBuf,

    /// What `swarmcast share` printed: swarmcast1:…
    ticket: String,
}

/// Runs the subcommand.
pub(super) fn run(args: &Args, screen: &Screen) -> Result<(), Failure> {
    let ticket: Ticket = args.ticket.parse()?;
    let failed = |error: io::Error| Failure::file(&args.file, &error);
    let shown = show_path(&args.file);
    let differs =
        |how: String| Failure::new(Code::Integrity, format!("{shown} is not the ticket's file: {how}"));
    let metadata = fs::metadata(&args.file).map_err(failed)?;
    if metadata.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    // A pipe's length is known when it is read.
    if metadata.is_file() && metadata.len() != ticket.size {
        return Err(differs(format!("it has {} B, that has {} B", metadata.len(), ticket.size)));
    }
    let fid = hash::of_file(&args.file).map_err(failed)?;
    if fid != ticket.fid {
        return Err(differs(format!("its hash is {fid}, that has {}", ticket.fid)));
    }
    screen.result(format_args!("{shown}: {} are as the ticket says", ByteSize(ticket.size)));
    Ok(())
}
