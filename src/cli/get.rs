//! `swarmcast get TICKET`: fetches a file or a folder to a place where nothing is yet, or goes on with what an earlier attempt has left.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::{io, thread};

use swarmcast::name::FileName;
use swarmcast::pclient::storage::FileStorage;
use swarmcast::pclient::swarm::Progress;
use swarmcast::time::{Clock, Duration, Instant};
use swarmcast::units::ByteSize;
use swarmcast::{Error, Fid, PClient};

use super::address::Address;
use super::failure::{Code, Failure, show_path};
use super::folder::{self, Choice};
use super::peer::{Limits, Peer};
use super::progress::{Display, Snapshot, in_retrospect, mean_rate, measured, percent};
use super::screen::Screen;
use super::ticket::Ticket;
use super::{interrupt, share};

/// How often the bar is brought up to date.
const REFRESH: Duration = Duration::from_millis(200);

/// Get the file or folder that a ticket stands for
///
/// However it ends before all is there: what has come is kept beside the target, and the same command goes on.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What `swarmcast share` printed: swarmcast1:…
    ticket: String,

    /// Write to this file or folder, which must not exist yet, or into this directory
    ///
    /// Without it, what comes goes to the current directory under the name in the ticket. Leading dots of that name become
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
    choice: Choice,

    #[command(flatten)]
    limits: Limits,
}

/// Fetches, and returns when all is there.
type Begin = Box<dyn FnOnce(&PClient) -> Result<(), Error> + Send>;

/// What is to be fetched, and where to.
pub(super) struct Errand {
    /// Its fid and size are those of the content.
    pub(super) ticket: Ticket,
    pub(super) target: PathBuf,
    /// How much it is, in words.
    pub(super) extent: String,
    /// What the unfinished copy's name holds.
    pub(super) kept_as: Fid,
    pub(super) begin: Begin,
}

impl Errand {
    fn of_file(ticket: Ticket, target: PathBuf) -> Errand {
        let (fid, path, extent) = (ticket.fid, target.clone(), ByteSize(ticket.size).to_string());
        let begin = Box::new(move |client: &PClient| client.download_to(fid, path));
        Errand { ticket, target, extent, kept_as: fid, begin }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Event {
    Interrupted,
    Done(Result<(), Error>),
}

/// Runs the subcommand.
pub(super) fn run(args: &Args, screen: &Screen) -> Result<(), Failure> {
    let ticket: Ticket = args.ticket.parse().map_err(|error| Failure::usage(format!("{error}")))?;
    let is_list = args.choice.is_list(&ticket)?;
    let target = if is_list { None } else { Some(target(args.output.as_deref(), &ticket, screen)?) };
    let (sender, events) = mpsc::channel();
    interrupt::watch(sender.clone(), Event::Interrupted)?;
    let peer = Peer::open(args.bind.as_ref(), &ticket.trackers, args.limits)?;
    let Some(target) = target else {
        let listed = folder::list(&args.choice, screen, &peer, &ticket, sender, &events);
        peer.close();
        return listed;
    };
    let errand = if ticket.is_folder {
        folder::errand(&args.choice, &peer, &ticket, target.clone(), sender.clone(), &events)?
    } else {
        Errand::of_file(ticket, target.clone())
    };
    let content = errand.ticket.fid;
    let fetched = fetch(screen, &peer, errand, sender, &events);
    if fetched.is_ok() && args.seed {
        screen.hint("serving it to others; Ctrl-C ends that");
        share::seed(screen, &peer, content, &target, || match events.recv_timeout(REFRESH) {
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            _ => Some(Ok(())),
        })?;
    }
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
    errand: Errand,
    sender: mpsc::Sender<Event>,
    events: &mpsc::Receiver<Event>,
) -> Result<(), Failure> {
    let Errand { ticket, target, extent, kept_as, begin } = errand;
    let (ticket, target, client) = (&ticket, &target, Arc::clone(&peer.client));
    screen.hint(format_args!("getting {} ({extent}), tracker at {}", show_path(target), ticket.trackers()));
    let clock = Clock::new();
    thread::spawn(move || sender.send(Event::Done(begin(&client))));
    let mut display = Display::new(screen, clock.now());
    let mut progress = Progress::default();
    let result = loop {
        match events.recv_timeout(REFRESH) {
            Ok(Event::Done(result)) => break result,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                progress = look(peer, ticket, progress, screen);
                display.show(clock.now(), snapshot(peer, ticket, progress));
            }
            Ok(Event::Interrupted) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                display.clear();
                progress = look(peer, ticket, progress, screen);
                peer.close();
                // The download ends with the client, unless it ended well just before.
                match events.recv_timeout(REFRESH) {
                    Ok(Event::Done(Ok(()))) => break Ok(()),
                    // Or while it was given its name.
                    _ if progress.size == Some(progress.verified) && target.exists() => break Ok(()),
                    _ => return Err(interrupted(progress, ticket, target, kept_as)),
                }
            }
        }
    };
    display.clear();
    result.map_err(|error| failed(error, progress, ticket, target, kept_as))?;
    let time = clock.now().since(Instant::ORIGIN);
    let progress = look(peer, ticket, progress, screen);
    let size = progress.size.unwrap_or(ticket.size);
    let amount = if ticket.is_folder { extent } else { ByteSize(size).to_string() };
    screen.result(format_args!(
        "{}: {amount} in {}, {}/s",
        show_path(target),
        measured(time),
        ByteSize(mean_rate(size.saturating_sub(progress.found), time))
    ));
    for line in peer.client.account(ticket.fid).iter().flat_map(in_retrospect) {
        screen.hint(line);
    }
    Ok(())
}

/// How far it is by now, after `before`; a hint tells once what an earlier attempt had left.
fn look(peer: &Peer, ticket: &Ticket, before: Progress, screen: &Screen) -> Progress {
    // None before it has begun, and after it has failed.
    let Some(progress) = peer.client.progress(ticket.fid) else { return before };
    let is_known = |progress: Progress| progress.found > 0 && !progress.is_looking_back;
    if is_known(progress) && !is_known(before) {
        screen.hint(format_args!("{} was here already", share_of(progress.found, progress, ticket)));
    }
    progress
}

/// What the next attempt finds, in words; `None` if that is nothing.
fn kept(progress: Progress, ticket: &Ticket, target: &Path, kept_as: Fid) -> Option<String> {
    // What ends at once has made no progress that was seen; and what is still verified may be more than is known.
    let is_some_kept = match progress.size {
        None => FileStorage::has_leftovers_of(target, kept_as),
        Some(_) => progress.is_kept && progress.is_looking_back,
    };
    let what = match progress.verified {
        _ if is_some_kept => "what there is".to_owned(),
        verified if verified > 0 && progress.is_kept => share_of(verified, progress, ticket),
        _ => return None,
    };
    Some(format!("{what} is kept, the same command goes on"))
}

fn interrupted(progress: Progress, ticket: &Ticket, target: &Path, kept_as: Fid) -> Failure {
    let shown = show_path(target);
    let outcome = kept(progress, ticket, target, kept_as)
        .map_or_else(|| format!("{shown} was not written"), |kept| format!("{shown}: {kept}"));
    Failure::interrupted(format!("interrupted: {outcome}"))
}

fn failed(error: Error, progress: Progress, ticket: &Ticket, target: &Path, kept_as: Fid) -> Failure {
    let mut failure = explain(error, ticket, target);
    if let Some(kept) = kept(progress, ticket, target, kept_as) {
        failure.message = format!("{}; {kept}", failure.message);
    }
    failure
}

/// `63 % (3.92 MB)`
fn share_of(bytes: u64, progress: Progress, ticket: &Ticket) -> String {
    let size = progress.size.unwrap_or(ticket.size);
    format!("{} % ({})", percent(bytes, size), ByteSize(bytes))
}

fn snapshot(peer: &Peer, ticket: &Ticket, progress: Progress) -> Snapshot {
    Snapshot {
        done: progress.verified,
        found: progress.found,
        total: progress.size.unwrap_or(ticket.size),
        peers: progress.peers,
        account: peer.client.account(ticket.fid),
    }
}

/// What went wrong, in words of one who has a ticket.
pub(super) fn explain(error: Error, ticket: &Ticket, target: &Path) -> Failure {
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
