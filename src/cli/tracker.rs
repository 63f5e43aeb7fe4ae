//! `swarmcast tracker`: tells those who want a file who has it, until Ctrl-C. It holds no file.

use std::net::Ipv4Addr;
use std::sync::{Arc, mpsc};
use std::thread;

use swarmcast::Tracker;

use super::address::Address;
use super::failure::{Code, Failure};
use super::peer::{Limits, resolve};
use super::screen::Screen;
use super::{TRACKER_PORT, interrupt, json};

/// Run a tracker, which tells who has a file, until Ctrl-C
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to listen: HOST:PORT, or one of the two
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:10086")]
    bind: Address,

    /// Tell programs what happens: one JSON object a line
    #[arg(long)]
    pub(super) json: bool,

    #[command(flatten)]
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Interrupted,
    Ended,
}

/// Runs the subcommand.
pub(super) fn run(args: &Args, screen: &Screen) -> Result<(), Failure> {
    let addr = resolve(&args.bind.or(Ipv4Addr::LOCALHOST.into(), TRACKER_PORT))?[0];
    let (up, down) = (args.limits.limit_up.bytes_per_sec(), args.limits.limit_down.bytes_per_sec());
    let tracker = Tracker::bind(addr, up, down).map_err(|error| Failure::bind(addr, "--bind", &error))?;
    let tracker = Arc::new(tracker);
    let (sender, events) = mpsc::channel();
    interrupt::watch(sender.clone(), Event::Interrupted)?;
    serve(&tracker, move || {
        let _ = sender.send(Event::Ended);
    });
    screen.event(|| json::Event::Tracker { address: tracker.local_addr().to_string() });
    screen.result(format_args!("tracker at {}", tracker.local_addr()));
    match events.recv() {
        Ok(Event::Interrupted) => {
            tracker.close();
            screen.hint("tracker ended");
            Ok(())
        }
        Ok(Event::Ended) | Err(_) => Err(ended_by_itself()),
    }
}

/// Has `tracker` serve on a thread of its own; `on_end` is called there at the end, whatever the reason.
pub(super) fn serve(tracker: &Arc<Tracker>, on_end: impl FnOnce() + Send + 'static) {
    let tracker = Arc::clone(tracker);
    thread::spawn(move || {
        if let Err(error) = tracker.start() {
            log::error!("tracker: {error}");
        }
        on_end();
    });
}

/// What should never happen.
pub(super) fn ended_by_itself() -> Failure {
    Failure::new(Code::Other, "the tracker ended by itself, which is a bug: the log says more with -v")
}
