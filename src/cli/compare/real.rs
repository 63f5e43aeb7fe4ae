//! The models over loopback, every node on a proxy of its own that is shaped to its rates. What is measured is what those
//! rates allow; the machine's own speed should play no part.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use swarmcast::pclient::account::Account;
use swarmcast::sc_model::{Client, Server, relay};
use swarmcast::time::{Clock, Instant};
use swarmcast::{Error, Fid, PClient, Tracker};

use super::NAME;
use super::scenario::{Model, Outcome, Scenario};

/// The tracker's rates, B/s: control information needs no more.
const TRACKER_RATE: u64 = 10_000;

/// Runs one model with `content`, which lies in `folder` as well. Compares every copy.
///
/// # Errors
/// Whatever a node meets; [`Error::Integrity`] for a copy that differs.
pub(super) fn run(
    scenario: &Scenario,
    model: Model,
    folder: &Path,
    content: &Arc<Vec<u8>>,
) -> Result<Outcome, Error> {
    match model {
        Model::Swarm => swarm(scenario, &folder.join(NAME), content),
        Model::Server => server_client(scenario, folder, content),
        Model::Relay => relay(scenario, content),
    }
}

fn swarm(scenario: &Scenario, path: &Path, content: &[u8]) -> Result<Outcome, Error> {
    let tracker = Arc::new(Tracker::new(TRACKER_RATE, TRACKER_RATE, None)?);
    let serving = Arc::clone(&tracker);
    let serving = thread::spawn(move || serving.start());
    let addr = tracker.local_addr();
    let source = PClient::new(addr, None, None, scenario.source_rate, 0)?;
    let fid = source.register(path)?;
    let receivers = (0..scenario.receivers)
        .map(|_| PClient::new(addr, None, None, scenario.rate, scenario.rate))
        .collect::<Result<Vec<_>, _>>()?;
    let outcome = race(&receivers, |receiver| match receiver.download(fid)? == content {
        true => Ok(()),
        false => Err(Error::Integrity(fid)),
    });
    let accounts: Vec<Account> = receivers.iter().filter_map(|receiver| receiver.account(fid)).collect();
    // At once: each waits for the tracker's word.
    thread::scope(|scope| {
        for client in receivers.iter().chain([&source]) {
            scope.spawn(|| client.close());
        }
    });
    tracker.close();
    // Its own end; a failure would have shown in the race.
    let _ = serving.join();
    Ok(outcome?.with_accounts(accounts))
}

fn server_client(scenario: &Scenario, root: &Path, content: &[u8]) -> Result<Outcome, Error> {
    let server = Arc::new(Server::new(root, scenario.source_rate, 0, None)?);
    let serving = Arc::clone(&server);
    let serving = thread::spawn(move || serving.start());
    let addr = server.local_addr();
    let clients = (0..scenario.receivers)
        .map(|_| Client::with_rates(addr, scenario.rate, scenario.rate))
        .collect::<Result<Vec<_>, _>>()?;
    let outcome = race(&clients, |client| match client.download(NAME)? == content {
        true => Ok(()),
        false => Err(Error::Integrity(Fid::of(content))),
    });
    server.close();
    // As above.
    let _ = serving.join();
    outcome
}

fn relay(scenario: &Scenario, content: &Arc<Vec<u8>>) -> Result<Outcome, Error> {
    let spread = scenario.spread as usize;
    let source = relay::Source::new(Arc::clone(content), spread, scenario.source_rate, 0, None)?;
    let receivers = (0..scenario.receivers)
        .map(|_| relay::Receiver::new(source.local_addr(), scenario.rate, scenario.rate))
        .collect::<Result<Vec<_>, _>>()?;
    let outcome = race(&receivers, |receiver| match receiver.fetch()? == *content {
        true => Ok(()),
        false => Err(Error::Integrity(Fid::of(content))),
    });
    receivers.iter().for_each(relay::Receiver::close);
    source.close();
    outcome
}

/// Has all of `receivers` do `receive` at once, and takes the time of each.
///
/// # Errors
/// The first one's.
fn race<R: Sync>(
    receivers: &[R],
    receive: impl Fn(&R) -> Result<(), Error> + Sync,
) -> Result<Outcome, Error> {
    let clock = Clock::new();
    let times = Mutex::new(Vec::with_capacity(receivers.len()));
    thread::scope(|scope| {
        for receiver in receivers {
            scope.spawn(|| {
                let result = receive(receiver).map(|()| clock.now().since(Instant::ORIGIN).as_secs_f64());
                times.lock().unwrap_or_else(PoisonError::into_inner).push(result);
            });
        }
    });
    let times = times.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Outcome::of(times.into_iter().collect::<Result<Vec<f64>, Error>>()?))
}
