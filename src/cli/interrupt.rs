//! Ctrl-C: the first asks for a graceful end, the second ends at once. No farewell is said here.

use std::process;
use std::sync::mpsc;
use std::thread;

use swarmcast::time::Duration;

use super::failure::{Code, Failure};
use super::screen;

/// A graceful end that takes longer than this is none.
const GRACE: Duration = Duration::from_millis(4_500);

/// Sends `event` when the user (Ctrl-C) or the system (SIGTERM, SIGHUP) wants the program to end. If that comes a second
/// time, or the program is still there after [`GRACE`], it ends on the spot.
///
/// To be called once.
///
/// # Errors
/// If the system takes no handler.
pub(super) fn watch<E: Clone + Send + 'static>(events: mpsc::Sender<E>, event: E) -> Result<(), Failure> {
    // The handler runs on a thread of its own, so it may do what a signal handler may not.
    let mut asked = false;
    ctrlc::set_handler(move || {
        if asked {
            give_up("ended at once");
        }
        asked = true;
        // The main thread is gone: the end is near anyway.
        let _ = events.send(event.clone());
        thread::spawn(|| {
            let (_never_used, silence) = mpsc::channel::<()>();
            let _ = silence.recv_timeout(GRACE);
            give_up("a graceful end took too long: ended at once");
        });
    })
    .map_err(|error| Failure::new(Code::Other, format!("Ctrl-C can't be watched for: {error}")))
}

fn give_up(why: &str) -> ! {
    screen::complain(why);
    process::exit(Code::Interrupted as i32)
}
