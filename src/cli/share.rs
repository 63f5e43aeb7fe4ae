//! `swarmcast share FILE`: registers a file or a folder, prints its ticket, and serves it until Ctrl-C.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::{fs, io, thread};

use indicatif::{ProgressBar, ProgressStyle};
use swarmcast::pclient::swarm::Progress;
use swarmcast::time::{Clock, Duration, Instant};
use swarmcast::units::ByteSize;
use swarmcast::{Error, Fid, Tracker};

use super::address::{Address, Host, HostPort};
use super::failure::{Code, Failure, show_path};
use super::fairness::Fairness;
use super::folder::{self, Shared};
use super::peer::{Limits, Peer, local_ip, resolve};
use super::progress::{Meter, measured, peers};
use super::screen::Screen;
use super::ticket::{MAX_TRACKERS, Ticket};
use super::{TRACKER_PORT, interrupt, json, lan, tracker};

/// How often the line about the swarm is brought up to date.
const REFRESH: Duration = Duration::from_millis(500);

/// Share a file or a folder: print a ticket for it, and serve until Ctrl-C
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file or folder to share; of a folder, links are left out
    file: PathBuf,

    /// Share from this address of this machine: HOST:PORT, or one of the two
    ///
    /// A tracker that is started here takes the same host, and port 10086 or any free one. Without this, only programs on
    /// this machine can get the file, unless the tracker is elsewhere.
    #[arg(long, value_name = "ADDR")]
    bind: Option<Address>,

    /// Share in the local network: whoever has the ticket finds this machine by itself there
    ///
    /// At all addresses of this machine. The ticket names none, so it is good until this machine gets other addresses. Without
    /// encryption, as ever: others in that network can read what is sent.
    #[arg(long, conflicts_with_all = ["bind", "tracker", "advertise"])]
    lan: bool,

    /// Use the tracker at this address instead of starting one here
    ///
    /// May be given up to three times: all stand in the ticket, and one that runs is enough.
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    tracker: Vec<Address>,

    /// How others reach the tracker that is started here
    ///
    /// Needed with `--bind 0.0.0.0`, which is no address that others can call; this machine has to reach itself there, too.
    /// With a port, that is the one which the tracker takes.
    #[arg(long, value_name = "HOST[:PORT]", conflicts_with = "tracker")]
    advertise: Option<Address>,

    /// Tell programs what happens: one JSON object a line
    #[arg(long)]
    pub(super) json: bool,

    #[command(flatten)]
    limits: Limits,

    #[command(flatten)]
    fairness: Fairness,
}

#[derive(Clone, Debug)]
enum Event {
    Interrupted,
    Registered(Result<Shared, Error>),
    TrackerEnded,
}

/// Runs the subcommand.
pub(super) fn run(args: &Args, screen: &Screen) -> Result<(), Failure> {
    let metadata = fs::metadata(&args.file).map_err(|error| Failure::file(&args.file, &error))?;
    let (sender, events) = mpsc::channel();
    interrupt::watch(sender.clone(), Event::Interrupted)?;
    let Opened { embedded, trackers, peer } = open(args, &sender)?;
    let ended = register(args, screen, &peer, sender, &events).and_then(|registered| {
        let Some(shared) = registered else {
            return Err(Failure::interrupted("interrupted: nothing is shared"));
        };
        shared.warn();
        let size_of = |fid| peer.client.progress(fid).and_then(|progress| progress.size);
        let size = shared.size.or_else(|| size_of(shared.fid)).unwrap_or(metadata.len());
        let (fid, is_folder) = (shared.fid, shared.files.is_some());
        let ticket = Ticket { fid, is_folder, size, name: folder::name(&args.file), trackers };
        if !ticket.fits() {
            return Err(Failure::usage(
                "--tracker: so many long names don't fit a ticket: give fewer, or IP addresses",
            ));
        }
        // Held while it is shared.
        let found_by_asking = embedded.as_ref().filter(|_| args.lan);
        let _responder = found_by_asking.map(|tracker| lan::answer(fid, tracker)).transpose()?;
        announce(screen, &args.file, &shared.extent(size), &ticket, &peer.trackers);
        seed(screen, &peer, shared.content, &args.file, args.fairness, || wait_for_end(&events))
    });
    peer.close();
    if let Some(tracker) = embedded {
        tracker.close();
    }
    ended
}

/// What sharing takes.
struct Opened {
    /// The tracker that is started here, if none was named.
    embedded: Option<Arc<Tracker>>,
    /// Those that stand in the ticket.
    trackers: Vec<HostPort>,
    peer: Peer,
}

fn open(args: &Args, events: &mpsc::Sender<Event>) -> Result<Opened, Failure> {
    if !args.lan {
        let (embedded, trackers) = find_trackers(args, events)?;
        let peer = Peer::open(args.bind.as_ref(), &trackers, args.limits, args.fairness)?;
        return Ok(Opened { embedded, trackers, peer });
    }
    let (any, addrs) = lan::place()?;
    let tracker = serve(start_tracker(any, None)?, events);
    let peer = lan::peer(any, &addrs, &tracker, args.limits, args.fairness)?;
    Ok(Opened { embedded: Some(tracker), trackers: Vec::new(), peer })
}

/// Has `tracker` serve from now on.
fn serve(tracker: Tracker, events: &mpsc::Sender<Event>) -> Arc<Tracker> {
    let (tracker, sender) = (Arc::new(tracker), events.clone());
    tracker::serve(&tracker, move || {
        let _ = sender.send(Event::TrackerEnded);
    });
    tracker
}

/// The tracker that is started here, if none was named; and how others reach it, or those that were named.
fn find_trackers(
    args: &Args,
    events: &mpsc::Sender<Event>,
) -> Result<(Option<Arc<Tracker>>, Vec<HostPort>), Failure> {
    let can_be_called = |addr: &HostPort, option: &str| match addr.host {
        Host::Ip(ip) if ip.is_unspecified() => Err(Failure::usage(format!(
            "{option}: {ip} means all addresses of a machine, and nobody can call that: give one of them"
        ))),
        _ => Ok(()),
    };
    if args.tracker.len() > MAX_TRACKERS {
        return Err(Failure::usage(format!("--tracker: a ticket names {MAX_TRACKERS} trackers at most")));
    }
    if !args.tracker.is_empty() {
        let named = args.tracker.iter().map(|addr| addr.or(Ipv4Addr::LOCALHOST.into(), TRACKER_PORT));
        let named: Vec<HostPort> = named.collect();
        named.iter().try_for_each(|addr| can_be_called(addr, "--tracker"))?;
        return Ok((None, named));
    }
    let advertised = args.advertise.as_ref().map(|addr| addr.or(Ipv4Addr::LOCALHOST.into(), TRACKER_PORT));
    let default_ip = match &advertised {
        Some(addr) => {
            can_be_called(addr, "--advertise")?;
            local_ip(resolve(addr)?[0].ip())
        }
        None => Ipv4Addr::LOCALHOST.into(),
    };
    let ip = match &args.bind {
        Some(bind) => resolve(&bind.or(default_ip, 0))?[0].ip(),
        None => default_ip,
    };
    if ip.is_unspecified() && advertised.is_none() {
        return Err(Failure::usage(format!(
            "--bind {ip} means all addresses of this machine, and a ticket needs one that others can call: \
             add --advertise HOST[:PORT] with it, or bind that one"
        )));
    }
    let port = args.advertise.as_ref().and_then(|addr| addr.port);
    let tracker = serve(start_tracker(ip, port)?, events);
    let local = tracker.local_addr();
    let reached_at = match advertised {
        Some(addr) => HostPort { port: local.port(), ..addr },
        None => local.into(),
    };
    Ok((Some(tracker), vec![reached_at]))
}

/// A tracker on `ip` and `port`; if none is asked for, on the usual one or, where that is taken, any.
fn start_tracker(ip: IpAddr, port: Option<u16>) -> Result<Tracker, Failure> {
    let addr = SocketAddr::new(ip, port.unwrap_or(TRACKER_PORT));
    let tracker = match Tracker::bind(addr, 0, 0) {
        Err(Error::Io(error)) if error.kind() == io::ErrorKind::AddrInUse && port.is_none() => {
            Tracker::bind((ip, 0), 0, 0)
        }
        result => result,
    };
    let option = if port.is_some() { "--advertise" } else { "--bind" };
    tracker.map_err(|error| Failure::bind(addr, option, &error))
}

/// Registers the file or folder; `None` if the user didn't want to wait.
fn register(
    args: &Args,
    screen: &Screen,
    peer: &Peer,
    sender: mpsc::Sender<Event>,
    events: &mpsc::Receiver<Event>,
) -> Result<Option<Shared>, Failure> {
    // Reading a large file takes a while, and can't be called off.
    let (client, path) = (Arc::clone(&peer.client), args.file.clone());
    thread::spawn(move || sender.send(Event::Registered(Shared::register(&client, &path))));
    let spinner = spinner(screen);
    spinner.set_message(format!("reading {}", show_path(&args.file)));
    let event = loop {
        match events.recv_timeout(REFRESH) {
            Err(mpsc::RecvTimeoutError::Timeout) => spinner.tick(),
            event => break event,
        }
    };
    spinner.finish_and_clear();
    match event {
        Ok(Event::Registered(result)) => Ok(result.map(Some)?),
        Ok(Event::Interrupted) => Ok(None),
        Ok(Event::TrackerEnded) | Err(_) => Err(tracker::ended_by_itself()),
    }
}

/// Prints the ticket and what to do with it.
fn announce(screen: &Screen, path: &Path, extent: &str, ticket: &Ticket, trackers: &[SocketAddr]) {
    let place = match ticket.trackers.is_empty() {
        true => "in the local network".to_owned(),
        false => format!("tracker at {}", ticket.trackers()),
    };
    screen.hint(format_args!("sharing {} ({extent}), {place}", show_path(path)));
    screen.hint("ticket:");
    screen.event(|| json::Event::ticket(ticket));
    screen.result(ticket);
    screen.hint(format_args!("to get it:\n  swarmcast get {ticket}"));
    if trackers.iter().all(|tracker| tracker.ip().is_loopback()) {
        screen.hint("only this machine can reach it; to share with others: --lan, or --bind ADDRESS");
    }
    screen.hint("Ctrl-C ends the sharing");
}

fn wait_for_end(events: &mpsc::Receiver<Event>) -> Option<Result<(), Failure>> {
    match events.recv_timeout(REFRESH) {
        Ok(Event::Interrupted) => Some(Ok(())),
        Ok(Event::TrackerEnded) | Err(mpsc::RecvTimeoutError::Disconnected) => {
            Some(Err(tracker::ended_by_itself()))
        }
        Ok(Event::Registered(_)) | Err(mpsc::RecvTimeoutError::Timeout) => None,
    }
}

/// Serves until `poll`, which may wait for a moment, says that it is over; then leaves.
pub(super) fn seed(
    screen: &Screen,
    peer: &Peer,
    fid: Fid,
    path: &Path,
    fairness: Fairness,
    mut poll: impl FnMut() -> Option<Result<(), Failure>>,
) -> Result<(), Failure> {
    let (clock, mut meter) = (Clock::new(), Meter::default());
    let (mut pace, mut told) = (json::Pace::default(), None);
    let mut watch = fairness.watch(clock.now());
    let spinner = spinner(screen);
    let sent_before = peer.proxy.stats().bytes_sent;
    let sent = || peer.proxy.stats().bytes_sent - sent_before;
    let mut progress = Progress::default();
    let ended = loop {
        let now = clock.now();
        meter.note(now, sent());
        progress = peer.client.progress(fid).unwrap_or(progress);
        spinner.set_message(format!(
            "{}, {} sent, {}/s",
            peers(progress.peers),
            ByteSize(sent()),
            ByteSize(meter.rate())
        ));
        spinner.tick();
        watch.show(now, &peer.client, screen);
        let news = json::Event::serving(progress, sent(), meter.rate());
        if told.as_ref() != Some(&news) && pace.is_due(now) {
            screen.event(|| news.clone());
            told = Some(news);
        }
        if let Some(error) = peer.client.failure(fid) {
            break Err(gone(error, path));
        }
        if let Some(ended) = poll() {
            break ended;
        }
    };
    spinner.finish_and_clear();
    progress = peer.client.progress(fid).unwrap_or(progress);
    peer.close();
    let time = clock.now().since(Instant::ORIGIN);
    screen.event(|| json::Event::ended(progress, sent(), time));
    screen.hint(format_args!("sharing ended: {} sent in {}", ByteSize(sent()), measured(time)));
    ended
}

/// Why what lies at `path` can't be served any more.
fn gone(error: Error, path: &Path) -> Failure {
    match error {
        Error::Changed(_) => Failure::new(
            Code::Integrity,
            format!(
                "{} has changed since it was read: it is no longer shared; share it again, with a new ticket",
                show_path(path)
            ),
        ),
        Error::Storage { source, .. } => Failure::file(path, &source),
        error => error.into(),
    }
}

/// A line that changes in place; invisible where nobody watches.
fn spinner(screen: &Screen) -> ProgressBar {
    if !screen.is_watched() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {msg}").expect("the template is well formed");
    screen.add(ProgressBar::new_spinner().with_style(style))
}
