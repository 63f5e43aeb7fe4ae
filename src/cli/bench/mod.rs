//! `swarmcast bench`: measures the path between two machines with the swarm's own transport, from memory to memory.
//!
//! No file, no tracker and no protocol here.
//!
//! - [`probe`]: the machine at both ends; [`message`]: what they say to each other
//! - [`figures`]: what was found, for people and for programs

mod figures;
mod message;
mod probe;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;

use indicatif::{ProgressBar, ProgressStyle};
use swarmcast::driver::Driver;
use swarmcast::rand::Rng;
use swarmcast::rudp::{CloseReason, Config};
use swarmcast::time::Duration;
use swarmcast::units::ByteSize;
use swarmcast::{Error, Proxy};

use self::probe::{Measured, Note, PathProbe};
use super::address::Address;
use super::failure::{Code, Failure};
use super::interrupt;
use super::peer::{Limits, local_ip, resolve};
use super::progress::{mean_rate, measured};
use super::screen::Screen;

/// The port to listen at unless told otherwise.
const PORT: u16 = 10087;
/// How long the other end may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How often the line about what is going on is brought up to date.
const REFRESH: Duration = Duration::from_millis(200);

/// Measure the path to another machine: rate, round trip, loss, datagram size
///
/// There, run `swarmcast bench --listen ADDRESS`; here, `swarmcast bench ADDRESS`. Sends from here to there, from memory
/// to memory, with the transport that carries files.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The machine to measure to: HOST:PORT, or one of the two
    #[arg(required_unless_present = "listen", conflicts_with = "listen")]
    addr: Option<Address>,

    /// Be the one that is measured to, until Ctrl-C
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "127.0.0.1:10087")]
    listen: Option<Address>,

    /// For how long to send
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,

    /// Print one JSON object
    #[arg(long, conflicts_with = "listen")]
    json: bool,

    /// Send at this address: HOST:PORT, or one of the two
    #[arg(long, value_name = "ADDR", conflicts_with = "listen")]
    bind: Option<Address>,

    #[command(flatten)]
    limits: Limits,
}

#[derive(Clone, Debug)]
enum Event {
    Interrupted,
    Note(Note),
}

/// A probe at work, and what it tells.
struct Running {
    driver: Driver<PathProbe>,
    local: SocketAddr,
    events: mpsc::Receiver<Event>,
}

/// Runs the subcommand.
pub(super) fn run(args: &Args, screen: &Screen) -> Result<(), Failure> {
    match (&args.listen, &args.addr) {
        (Some(addr), _) => listen(addr, args.limits, screen),
        (None, Some(addr)) => measure(addr, args, screen),
        (None, None) => unreachable!("one of the two is required"),
    }
}

/// Serves measurements until Ctrl-C.
fn listen(addr: &Address, limits: Limits, screen: &Screen) -> Result<(), Failure> {
    let addr = resolve(&addr.or(Ipv4Addr::LOCALHOST.into(), PORT))?[0];
    let running = Running::start(addr, "--listen", limits)?;
    screen.result(format_args!("listening at {}", running.local));
    if running.local.ip().is_loopback() {
        screen.hint("only this machine can reach it; to measure from others: --listen ADDRESS");
    }
    screen.hint("Ctrl-C ends it");
    loop {
        match running.events.recv() {
            Ok(Event::Note(note)) => tell(screen, &note),
            Ok(Event::Interrupted) => {
                running.end();
                // Those whose measurement that ended.
                for event in running.events.try_iter() {
                    if let Event::Note(note) = event {
                        tell(screen, &note);
                    }
                }
                screen.hint("listening ended");
                return Ok(());
            }
            Err(_) => return Err(ended_by_itself()),
        }
    }
}

/// Says what happened to the one that is measured to.
fn tell(screen: &Screen, note: &Note) {
    match note {
        Note::Begun(remote) => screen.hint(format_args!("{remote} measures")),
        Note::Served { remote, received, is_whole } => screen.result(format_args!(
            "{remote}: {} in {}, {}/s{}",
            ByteSize(received.bytes),
            measured(received.time),
            ByteSize(mean_rate(received.bytes, received.time)),
            if *is_whole { "" } else { ", not to the end" }
        )),
        // It measures nothing itself.
        Note::Measured(_) | Note::Failed(_) => {}
    }
}

/// Measures once and tells the result.
fn measure(addr: &Address, args: &Args, screen: &Screen) -> Result<(), Failure> {
    let remotes = resolve(&addr.or(Ipv4Addr::LOCALHOST.into(), PORT))
        .map_err(|failure| Failure { code: Code::TrackerUnreachable, ..failure })?;
    let local = match &args.bind {
        Some(bind) => resolve(&bind.or(local_ip(remotes[0].ip()), 0))?[0],
        None => SocketAddr::new(local_ip(remotes[0].ip()), 0),
    };
    let Some(&remote) = remotes.iter().find(|addr| addr.is_ipv4() == local.is_ipv4()) else {
        return Err(Failure::usage(format!(
            "{} can't reach {}: give --bind an address of the same kind (IPv4 or IPv6)",
            local.ip(),
            remotes[0]
        )));
    };
    let running = Running::start(local, "--bind", args.limits)?;
    let duration = Duration::from_secs(args.seconds.into());
    running.driver.call(move |probe, now| probe.measure(now, remote, duration));
    let (found, interrupted) = running.watch(screen, remote)?;
    running.end();
    screen.result(if args.json { figures::for_programs(&found) } else { figures::for_people(&found) });
    if interrupted {
        return Err(Failure::interrupted(format!(
            "interrupted: the figures are those of {}",
            measured(found.received.time)
        )));
    }
    Ok(())
}

impl Running {
    /// A probe at `addr`, which `option` chose; Ctrl-C is watched for.
    fn start(addr: SocketAddr, option: &str, limits: Limits) -> Result<Running, Failure> {
        let (up, down) = (limits.limit_up.bytes_per_sec(), limits.limit_down.bytes_per_sec());
        let proxy =
            Proxy::bind(addr, up, down).map_err(|error| Failure::bind(addr, option, &error.into()))?;
        let local = proxy.local_addr();
        let (sender, events) = mpsc::channel();
        interrupt::watch(sender.clone(), Event::Interrupted)?;
        let config = Config { handshake_timeout: ANSWER_WITHIN, ..Config::default() };
        let probe = PathProbe::new(config, Rng::from_os());
        let driver = Driver::spawn("bench", proxy, probe, move |probe, _| {
            while let Some(note) = probe.poll_note() {
                // Nobody listens any more: it is about to end.
                let _ = sender.send(Event::Note(note));
            }
        })
        .map_err(Error::from)?;
        Ok(Running { driver, local, events })
    }

    /// Waits for what the measurement to `remote` finds, showing how it goes; and whether it was cut short.
    fn watch(&self, screen: &Screen, remote: SocketAddr) -> Result<(Measured, bool), Failure> {
        let spinner = if screen.is_watched() {
            let style = ProgressStyle::with_template("{spinner} {msg}").expect("the template is well formed");
            screen.add(ProgressBar::new_spinner().with_style(style))
        } else {
            ProgressBar::hidden()
        };
        let mut interrupted = false;
        let found = loop {
            match self.events.recv_timeout(REFRESH) {
                Ok(Event::Note(Note::Measured(found))) => break Ok((*found, interrupted)),
                Ok(Event::Note(Note::Failed(reason))) => break Err(explain(reason, remote)),
                Ok(Event::Note(Note::Begun(remote))) => {
                    screen.hint(format_args!("measuring the path to {remote}; Ctrl-C cuts that short"));
                }
                Ok(Event::Note(Note::Served { .. })) => {}
                Ok(Event::Interrupted) => {
                    interrupted = true;
                    let ends = self.driver.call(probe::PathProbe::finish_early);
                    if ends != Some(true) {
                        break Err(Failure::interrupted("interrupted: nothing was measured"));
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    if let Some(stats) = self.driver.call(|probe, now| probe.stats(now)).flatten() {
                        spinner.set_message(format!(
                            "{}/s, {} sent, {} lost",
                            ByteSize(stats.rate),
                            ByteSize(stats.bytes_sent),
                            stats.lost
                        ));
                    }
                    spinner.tick();
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break Err(ended_by_itself()),
            }
        };
        spinner.finish_and_clear();
        found
    }

    /// Says good-bye to all, and gives the port back.
    fn end(&self) {
        self.driver.call(probe::PathProbe::leave);
        self.driver.stop();
    }
}

/// Why there are no figures.
fn explain(reason: CloseReason, remote: SocketAddr) -> Failure {
    match reason {
        CloseReason::HandshakeTimeout => Failure::new(
            Code::TrackerUnreachable,
            format!(
                "{remote} gave no answer in {} s: see that `swarmcast bench --listen` is running there and that the \
                 address is right",
                ANSWER_WITHIN.as_secs()
            ),
        ),
        CloseReason::Remote(0) => Failure::new(
            Code::Other,
            format!("{remote} ended before the measurement did: start it again there"),
        ),
        CloseReason::Remote(_) | CloseReason::Violation(_) => Failure::new(
            Code::Other,
            format!("what answers at {remote} is no `swarmcast bench --listen` of this version"),
        ),
        reason => {
            Failure::new(Code::Other, format!("the connection with {remote} broke: {reason}; try again"))
        }
    }
}

/// What should never happen.
fn ended_by_itself() -> Failure {
    Failure::new(Code::Other, "the measurement ended by itself, which is a bug: the log says more with -v")
}
