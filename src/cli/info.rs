//! `swarmcast info TICKET`: what a ticket says. Nobody is asked whether it is true.

use swarmcast::units::ByteSize;

use super::failure::Failure;
use super::json::Event;
use super::screen::Screen;
use super::ticket::Ticket;

/// Show what a ticket says, without asking anybody
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What `swarmcast share` printed: swarmcast1:…
    ticket: String,

    /// Print it as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Runs the subcommand.
pub(super) fn run(args: &Args, screen: &Screen) -> Result<(), Failure> {
    let ticket: Ticket = args.ticket.parse()?;
    screen.event(|| Event::ticket(&ticket));
    if let Some(name) = &ticket.name {
        screen.result(format_args!("name     {name}"));
    }
    screen.result(format_args!("size     {} ({} B)", ByteSize(ticket.size), ticket.size));
    screen.result(format_args!("fid      {}", ticket.fid));
    for tracker in &ticket.trackers {
        screen.result(format_args!("tracker  {tracker}"));
    }
    if ticket.trackers.is_empty() {
        screen.result("tracker  none: the local network is asked");
    }
    screen.result(format_args!("version  {}", Ticket::VERSION));
    Ok(())
}
