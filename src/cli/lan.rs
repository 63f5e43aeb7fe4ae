//! The local network: what `share --lan` opens to it, and how `get` finds that. Nothing is fetched here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::mpsc;

use swarmcast::discovery::service::{Responder, find};
use swarmcast::proxy::lan::addresses;
use swarmcast::{Fid, Tracker};

use super::address::HostPort;
use super::failure::{Code, Failure};
use super::fairness::Fairness;
use super::get::Event;
use super::peer::{Limits, Peer};

/// The addresses of this machine in its networks, and the one that means all of them.
///
/// # Errors
/// If it is in none.
pub(super) fn place() -> Result<(IpAddr, Vec<SocketAddr>), Failure> {
    let addrs = addresses().map_err(|error| unusable(Code::Other, &error))?;
    let any: IpAddr = match addrs.iter().any(SocketAddr::is_ipv6) {
        true => Ipv6Addr::UNSPECIFIED.into(),
        false => Ipv4Addr::UNSPECIFIED.into(),
    };
    if addrs.is_empty() { Err(unusable(Code::Other, &"it has no address")) } else { Ok((any, addrs)) }
}

/// A peer at every address, which `tracker` then lists by each of `addrs`.
pub(super) fn peer(
    any: IpAddr,
    addrs: &[SocketAddr],
    tracker: &Tracker,
    limits: Limits,
    fairness: Fairness,
) -> Result<Peer, Failure> {
    let trackers = addrs.iter().map(|&addr| {
        let mut addr = addr;
        addr.set_port(tracker.local_addr().port());
        addr
    });
    Peer::bound(SocketAddr::new(any, 0), trackers.collect(), limits, fairness)
}

/// Has whoever asks for `fid` find `tracker`, until what it gives is dropped.
pub(super) fn answer(fid: Fid, tracker: &Tracker) -> Result<Responder, Failure> {
    let port = NonZeroU16::new(tracker.local_addr().port()).expect("what is bound has a port");
    Responder::start(fid, port).map_err(|error| unusable(Code::Other, &error))
}

/// Who knows a tracker for `fid`; ends early when the user wants an end.
///
/// # Errors
/// If nobody answers.
pub(super) fn look_for(fid: Fid, events: &mpsc::Receiver<Event>) -> Result<Vec<HostPort>, Failure> {
    let is_interrupted = std::cell::Cell::new(false);
    let found = find(&fid, || {
        is_interrupted.set(is_interrupted.get() || events.try_recv().is_ok());
        !is_interrupted.get()
    });
    if is_interrupted.get() {
        return Err(Failure::interrupted("interrupted: nothing was written"));
    }
    let found = found.map_err(|error| unusable(Code::TrackerUnreachable, &error))?;
    if found.is_empty() {
        return Err(Failure::new(
            Code::TrackerUnreachable,
            format!(
                "nobody in the local network answers for {}: see that `swarmcast share --lan` runs there, in the same network; \
                 where it blocks multicast, or across routers, share with --bind ADDRESS instead",
                fid.short()
            ),
        ));
    }
    Ok(found.into_iter().map(HostPort::from).collect())
}

fn unusable(code: Code, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        code,
        format!(
            "this machine can't use the local network ({why}): connect it to one, or name an address instead"
        ),
    )
}
