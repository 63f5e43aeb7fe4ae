//! `swarmcast get TICKET`: fetches a file to a place where nothing is yet.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::{io, thread};

use swarmcast::Error;
use swarmcast::name::FileName;
use swarmcast::time::{Clock, Duration, Instant};
use swarmcast::units::ByteSize;

use super::address::Address;
use super::failure::{Code, Failure, show_path};
use super::peer::{Limits, Peer};
use super::progress::{Display, Snapshot, in_retrospect, mean_rate, measured};
use super::screen::Screen;
use super::ticket::Ticket;
use super::{interrupt, share};

/// How often the bar is brought up to date.
const REFRESH: Duration = Duration::from_millis(200);

/// Get the file that a ticket stands for
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What `swarmcast share` printed: swarmcast1:…
    ticket: String,

    /// Write to this file, which must not exist yet, or into this directory
    ///
    /// Without it, the file goes to the current directory under the name in the ticket. Leading dots of that name become
    /// `_`, so that nothing is hidden.
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,

    /// Send and receive at this address: HOST:PORT, or one of the two
    #[arg(long, value_name = "ADDR")]
    bind: Option<Address>,

    /// Once it is here, go on serving it to others until Ctrl-C
    #[arg(long)]
    seed: bool,

    #[command(flatten)]
    limits: Limits,
}

#[derive(Clone, Debug)]
enum Event {
    Interrupted,
    Done(Result<(), Error>),
}

/// Runs the subcommand.
pub(super) fn run(args: &Args, screen: &Screen) -> Result<(), Failure> {
    let ticket: Ticket = args.ticket.parse().map_err(|error| Failure::usage(format!("{error}")))?;
    let target = target(args.output.as_deref(), &ticket, screen)?;
    let (sender, events) = mpsc::channel();
    interrupt::watch(sender.clone(), Event::Interrupted)?;
    let peer = Peer::open(args.bind.as_ref(), &ticket.trackers, args.limits)?;
    let fetched = fetch(screen, &peer, &ticket, &target, sender, &events);
    if fetched.is_ok() && args.seed {
        screen.hint("serving it to others; Ctrl-C ends that");
        share::seed(screen, &peer, ticket.fid, &target, || match events.recv_timeout(REFRESH) {
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            _ => Some(Ok(())),
        })?;
    }
    // Also removes what is unfinished, after an interruption.
    peer.close();
    fetched
}

/// Where the file shall be: nothing is there yet, and its directory is.
fn target(output: Option<&Path>, ticket: &Ticket, screen: &Screen) -> Result<PathBuf, Failure> {
    let path = match output {
        Some(path) if !path.is_dir() => path.to_owned(),
        directory => directory.unwrap_or(Path::new("")).join(own_name(ticket, screen)),
    };
    if path.symlink_metadata().is_ok() {
        return Err(Failure::exists(&path));
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !directory.is_dir() {
        return Err(Failure::file(directory, &io::ErrorKind::NotFound.into()));
    }
    Ok(path)
}

/// The ticket's file name, which a stranger chose: one component, not hidden.
fn own_name(ticket: &Ticket, screen: &Screen) -> OsString {
    let Some(name) = &ticket.name else {
        return format!("swarmcast-{}", ticket.fid.short()).into();
    };
    let visible = visible(name);
    if visible != name.as_str() {
        screen.hint(format_args!("the file is called {name} in the ticket: saved as {visible}, not hidden"));
    }
    visible.into()
}

/// `name` with `_` for its leading dots.
fn visible(name: &FileName) -> String {
    let rest = name.as_str().trim_start_matches('.');
    format!("{}{rest}", "_".repeat(name.as_str().len() - rest.len()))
}

/// Fetches, showing how far it is, until it is done, has failed or was interrupted.
fn fetch(
    screen: &Screen,
    peer: &Peer,
    ticket: &Ticket,
    target: &Path,
    sender: mpsc::Sender<Event>,
    events: &mpsc::Receiver<Event>,
) -> Result<(), Failure> {
    let (client, fid, path) = (Arc::clone(&peer.client), ticket.fid, target.to_owned());
    screen.hint(format_args!(
        "getting {} ({}), tracker at {}",
        show_path(target),
        ByteSize(ticket.size),
        ticket.trackers()
    ));
    let clock = Clock::new();
    thread::spawn(move || sender.send(Event::Done(client.download_to(fid, path))));
    let mut display = Display::new(screen, clock.now());
    let result = loop {
        match events.recv_timeout(REFRESH) {
            Ok(Event::Done(result)) => break result,
            Err(mpsc::RecvTimeoutError::Timeout) => display.show(clock.now(), snapshot(peer, ticket)),
            Ok(Event::Interrupted) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                display.clear();
                peer.close();
                // The download ends with the client, unless it ended well just before.
                match events.recv_timeout(REFRESH) {
                    Ok(Event::Done(Ok(()))) => break Ok(()),
                    _ => {
                        let shown = show_path(target);
                        return Err(Failure::interrupted(format!("interrupted: {shown} was not written")));
                    }
                }
            }
        }
    };
    display.clear();
    result.map_err(|error| explain(error, ticket, target))?;
    let time = clock.now().since(Instant::ORIGIN);
    let size = target.metadata().map_or(ticket.size, |metadata| metadata.len());
    screen.result(format_args!(
        "{}: {} in {}, {}/s",
        show_path(target),
        ByteSize(size),
        measured(time),
        ByteSize(mean_rate(size, time))
    ));
    for line in peer.client.account(ticket.fid).iter().flat_map(in_retrospect) {
        screen.hint(line);
    }
    Ok(())
}

fn snapshot(peer: &Peer, ticket: &Ticket) -> Snapshot {
    // None before it has begun.
    let progress = peer.client.progress(ticket.fid).unwrap_or_default();
    Snapshot {
        done: progress.verified,
        total: progress.size.unwrap_or(ticket.size),
        peers: progress.peers,
        account: peer.client.account(ticket.fid),
    }
}

/// What went wrong, in words of one who has a ticket.
fn explain(error: Error, ticket: &Ticket, target: &Path) -> Failure {
    match error {
        Error::UnknownFile(fid) => Failure::new(
            Code::UnknownFile,
            format!(
                "nobody shares {} ({fid}) any more, says the tracker at {}: ask for it to be shared again",
                show_path(target),
                ticket.trackers()
            ),
        ),
        Error::Storage { source, .. } => Failure::file(target, &source),
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_name_hides_nothing() {
        for (name, saved) in [(".bashrc", "_bashrc"), ("...", "___"), ("..a.b", "__a.b"), ("a.b", "a.b")] {
            assert_eq!(visible(&FileName::new(name).unwrap()), saved);
        }
    }
}
