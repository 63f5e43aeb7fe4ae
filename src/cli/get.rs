//! `swarmcast get TICKET`: fetches a file or a folder to a place where nothing is yet, or goes on with what an earlier attempt has left.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::{io, thread};

use swarmcast::name::FileName;
use swarmcast::pclient::account::Account;
use swarmcast::pclient::swarm::Progress;
use swarmcast::time::{Clock, Duration, Instant};
use swarmcast::units::ByteSize;
use swarmcast::{Error, Fid, PClient};

use super::address::Address;
use super::failure::{Code, Failure};
use super::fairness::Fairness;
use super::folder::{self, Choice};
use super::peer::{Limits, Peer};
use super::progress::{Display, Snapshot, in_retrospect, mean_rate, measured, percent};
use super::screen::Screen;
use super::seeding::Seeding;
use super::target::Target;
use super::ticket::Ticket;
use super::{interrupt, json, lan, share};

/// How often the bar is brought up to date.
const REFRESH: Duration = Duration::from_millis(200);

/// Get the file or folder that a ticket stands for
///
/// However it ends before all is there: what has come is kept beside the target, and the same command goes on.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What `swarmcast share` printed: swarmcast1:…
    ///
    /// If it names no tracker, or none that answers, the local network is asked. A file's id (64 hex digits, as `swarmcast hash`
    /// prints it) is enough there.
    ticket: String,

    /// Write to this file or folder, which must not exist yet, into this directory, or a file to stdout (-)
    ///
    /// Without it, what comes goes to the current directory under the name in the ticket. Leading dots of that name become
    /// `_`, so that nothing is hidden. What goes to stdout comes in order, as nearly as others can give it; what comes
    /// early waits in a temporary file (set TMPDIR to say where), and nothing is kept for another attempt.
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,

    /// Send and receive at this address: HOST:PORT, or one of the two
    #[arg(long, value_name = "ADDR")]
    bind: Option<Address>,

    #[command(flatten)]
    seeding: Seeding,

    /// Tell programs what happens: one JSON object a line
    #[arg(long)]
    pub(super) json: bool,

    #[command(flatten)]
    choice: Choice,

    #[command(flatten)]
    limits: Limits,

    #[command(flatten)]
    fairness: Fairness,
}

/// Fetches, and returns when all is there.
type Begin = Arc<dyn Fn(&PClient) -> Result<(), Error> + Send + Sync>;

/// What is to be fetched, and where to.
pub(super) struct Errand {
    /// Its fid and size are those of the content.
    pub(super) ticket: Ticket,
    pub(super) target: Target,
    /// How much it is, B, as the ticket says; `None` if it doesn't.
    pub(super) size: Option<u64>,
    /// The same in words.
    pub(super) extent: String,
    /// What the unfinished copy's name holds.
    pub(super) kept_as: Fid,
    pub(super) begin: Begin,
}

impl Errand {
    fn of_file(ticket: Ticket, size: Option<u64>, target: Target) -> Errand {
        let (fid, destination) = (ticket.fid, target.clone());
        let extent = size.map_or_else(|| "of unknown size".to_owned(), |size| ByteSize(size).to_string());
        let begin = Arc::new(move |client: &PClient| destination.download(client, fid));
        Errand { ticket, target, size, extent, kept_as: fid, begin }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Event {
    Interrupted,
    Done(Result<(), Error>),
}

/// Runs the subcommand.
pub(super) fn run(args: &Args, screen: &Screen) -> Result<(), Failure> {
    let (ticket, size) = read(&args.ticket)?;
    let is_list = args.choice.is_list(&ticket)?;
    let target = if is_list { None } else { Some(find_target(args, &ticket, screen)?) };
    let (sender, events) = mpsc::channel();
    interrupt::watch(sender.clone(), Event::Interrupted)?;
    let get_from = |trackers| {
        let ticket = Ticket { trackers, ..ticket.clone() };
        get(args, screen, ticket, size, target.clone(), sender.clone(), &events)
    };
    if ticket.trackers.is_empty() {
        return get_from(lan::look_for(ticket.fid, &events)?);
    }
    match get_from(ticket.trackers.clone()) {
        Err(failure) if failure.code == Code::TrackerUnreachable => {
            screen.hint(format_args!(
                "the tracker at {} can't be reached: asking the local network",
                ticket.trackers()
            ));
            match lan::look_for(ticket.fid, &events) {
                Ok(found) => get_from(found),
                Err(interrupted) if interrupted.code == Code::Interrupted => Err(interrupted),
                Err(_) => Err(failure),
            }
        }
        ended => ended,
    }
}

/// What the argument `text` stands for, and its size, B, if that is known.
fn read(text: &str) -> Result<(Ticket, Option<u64>), Failure> {
    if let Ok(fid) = text.trim().parse() {
        return Ok((Ticket::of_fid(fid), None));
    }
    let ticket: Ticket = text.parse()?;
    let size = ticket.size;
    Ok((ticket, Some(size)))
}

/// Gets what `ticket` stands for to `target`, or lists it without one.
fn get(
    args: &Args,
    screen: &Screen,
    ticket: Ticket,
    size: Option<u64>,
    target: Option<Target>,
    sender: mpsc::Sender<Event>,
    events: &mpsc::Receiver<Event>,
) -> Result<(), Failure> {
    let peer = Peer::open(args.bind.as_ref(), &ticket.trackers, args.limits, args.fairness)?;
    let Some(target) = target else {
        let listed = folder::list(&args.choice, screen, &peer, &ticket, sender, events);
        peer.close();
        return listed;
    };
    let errand = match &target {
        Target::File(path) if ticket.is_folder => {
            folder::errand(&args.choice, &peer, &ticket, path.clone(), sender.clone(), events)?
        }
        _ => Errand::of_file(ticket, size, target),
    };
    let fetched = fetch(args, screen, &peer, &errand, sender, events);
    if fetched.is_ok() && args.seeding.is_wanted() {
        seed(args, screen, &peer, &errand, events)?;
    }
    peer.close();
    fetched
}

/// Serves to others what is here, as long as was asked for.
fn seed(
    args: &Args,
    screen: &Screen,
    peer: &Peer,
    errand: &Errand,
    events: &mpsc::Receiver<Event>,
) -> Result<(), Failure> {
    let Errand { ticket, target, .. } = errand;
    screen.hint("serving it to others; Ctrl-C ends that");
    let (clock, fid) = (Clock::new(), ticket.fid);
    share::seed(screen, peer, fid, target.path(), args.fairness, || {
        let progress = peer.client.progress(fid).unwrap_or_default();
        let size = progress.size.unwrap_or(ticket.size);
        let given = progress.served.saturating_sub(progress.on_its_way);
        if args.seeding.is_over(clock.now().since(Instant::ORIGIN), given, size) {
            return Some(Ok(()));
        }
        match events.recv_timeout(REFRESH) {
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            _ => Some(Ok(())),
        }
    })
}

/// Where the content shall go.
fn find_target(args: &Args, ticket: &Ticket, screen: &Screen) -> Result<Target, Failure> {
    let output = args.output.as_deref();
    if output != Some(Path::new("-")) {
        return target(output, ticket, screen).map(Target::File);
    }
    if ticket.is_folder {
        return Err(Failure::usage(
            "-o -: a folder has no order in which it could go to stdout: give a directory",
        ));
    }
    if args.json {
        return Err(Failure::usage("--json: with -o - the file goes to stdout: leave out one of them"));
    }
    Ok(Target::Stdout)
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
    args: &Args,
    screen: &Screen,
    peer: &Peer,
    errand: &Errand,
    sender: mpsc::Sender<Event>,
    events: &mpsc::Receiver<Event>,
) -> Result<(), Failure> {
    let Errand { ticket, target, extent, .. } = errand;
    screen.event(|| json::Event::begun(ticket, errand.size, target.path()));
    screen.hint(format_args!("getting {target} ({extent}), tracker at {}", ticket.trackers()));
    let (clock, client, begin) = (Clock::new(), Arc::clone(&peer.client), Arc::clone(&errand.begin));
    thread::spawn(move || sender.send(Event::Done(begin(&client))));
    let mut display = Display::new(screen, clock.now());
    let mut watch = args.fairness.watch(clock.now());
    let mut progress = Progress::default();
    let result = loop {
        match events.recv_timeout(REFRESH) {
            Ok(Event::Done(result)) => break result,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                progress = look(peer, ticket, progress, screen);
                display.show(clock.now(), snapshot(peer, ticket, progress));
                watch.show(clock.now(), &peer.client, screen);
            }
            Ok(Event::Interrupted) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                display.clear();
                progress = look(peer, ticket, progress, screen);
                peer.close();
                // The download ends with the client, unless it ended well just before.
                match events.recv_timeout(REFRESH) {
                    Ok(Event::Done(Ok(()))) => break Ok(()),
                    // Or while it was given its name.
                    _ if progress.size == Some(progress.verified) && target.is_written() => break Ok(()),
                    _ => return Err(interrupted(progress, errand, screen)),
                }
            }
        }
    };
    display.clear();
    result.map_err(|error| failed(error, progress, errand, screen))?;
    let time = clock.now().since(Instant::ORIGIN);
    let progress = look(peer, ticket, progress, screen);
    tell_end(screen, errand, progress, time, peer.client.account(ticket.fid));
    Ok(())
}

/// Tells what came of it.
fn tell_end(screen: &Screen, errand: &Errand, progress: Progress, time: Duration, account: Option<Account>) {
    let Errand { ticket, target, extent, .. } = errand;
    let size = progress.size.unwrap_or(ticket.size);
    screen.event(|| json::Event::done(target.path(), size, progress.found, time, account));
    let rate = ByteSize(mean_rate(size.saturating_sub(progress.found), time));
    let amount = if ticket.is_folder { extent.clone() } else { ByteSize(size).to_string() };
    let line = format!("{target}: {amount} in {}, {rate}/s", measured(time));
    match target {
        Target::File(_) => screen.result(line),
        // There the file is.
        Target::Stdout => screen.hint(line),
    }
    for line in account.iter().flat_map(in_retrospect) {
        screen.hint(line);
    }
}

/// How far it is by now, after `before`; a hint tells once what an earlier attempt had left.
fn look(peer: &Peer, ticket: &Ticket, before: Progress, screen: &Screen) -> Progress {
    // None before it has begun, and after it has failed.
    let Some(progress) = peer.client.progress(ticket.fid) else { return before };
    let is_known = |progress: Progress| progress.found > 0 && !progress.is_looking_back;
    if is_known(progress) && !is_known(before) {
        screen.event(|| json::Event::Found { bytes: progress.found });
        screen.hint(format_args!("{} was here already", share_of(progress.found, progress, ticket)));
    }
    progress
}

/// What the next attempt finds, in words, and told to programs; `None` if that is nothing.
fn tell_kept(progress: Progress, errand: &Errand, screen: &Screen) -> Option<String> {
    // What ends at once has made no progress that was seen; and what is still verified may be more than is known.
    let is_some_kept = match progress.size {
        None => errand.target.has_leftovers(errand.kept_as),
        Some(_) => progress.is_kept && progress.is_looking_back,
    };
    let what = match progress.verified {
        _ if is_some_kept => "what there is".to_owned(),
        verified if verified > 0 && progress.is_kept => share_of(verified, progress, &errand.ticket),
        _ => return None,
    };
    screen.event(|| json::Event::Kept { done_bytes: progress.verified });
    Some(format!("{what} is kept, the same command goes on"))
}

fn interrupted(progress: Progress, errand: &Errand, screen: &Screen) -> Failure {
    let target = &errand.target;
    let outcome = match (tell_kept(progress, errand, screen), target) {
        (Some(kept), _) => format!("{target}: {kept}"),
        (None, Target::File(_)) => format!("{target} was not written"),
        (None, Target::Stdout) => "stdout has got part of it at most".to_owned(),
    };
    Failure::interrupted(format!("interrupted: {outcome}"))
}

fn failed(error: Error, progress: Progress, errand: &Errand, screen: &Screen) -> Failure {
    let mut failure = explain(error, &errand.ticket, &errand.target);
    if let Some(kept) = tell_kept(progress, errand, screen) {
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
pub(super) fn explain(error: Error, ticket: &Ticket, target: &Target) -> Failure {
    match error {
        Error::UnknownFile(fid) => Failure::new(
            Code::UnknownFile,
            format!(
                "nobody shares {target} ({fid}) any more, says the tracker at {}: ask for it to be shared again",
                ticket.trackers()
            ),
        ),
        Error::Storage { source, .. } => Failure::file(&target.place(), &source),
        Error::File { source, .. }
            if matches!(target, Target::Stdout) && source.kind() == io::ErrorKind::BrokenPipe =>
        {
            Failure::stdout(&source)
        }
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
