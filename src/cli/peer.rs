//! A peer for one command: from `--bind`, the limits and a tracker to a client. No file here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use swarmcast::pclient::node::Config;
use swarmcast::units::Rate;
use swarmcast::{PClient, Proxy};

use super::address::{Address, HostPort};
use super::failure::{Code, Failure};
use super::fairness::Fairness;

/// How fast this machine may send and receive.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Limits {
    /// Send at most this fast, such as 800k or 2.5MB (per second)
    #[arg(long, value_name = "RATE", default_value = "unlimited")]
    pub(super) limit_up: Rate,

    /// Receive at most this fast
    #[arg(long, value_name = "RATE", default_value = "unlimited")]
    pub(super) limit_down: Rate,
}

/// A client, and the proxy that it lives on, for its counters.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) client: Arc<PClient>,
    pub(super) proxy: Proxy,
    /// The trackers' addresses that are used.
    pub(super) trackers: Vec<SocketAddr>,
}

impl Peer {
    /// A client of `trackers`, at `bind` or else at an address from which they can be reached. Of several trackers, those
    /// that can't be found or reached from there are left out.
    ///
    /// # Errors
    /// If no tracker's name has an address, or `bind` has none, can't be had or can't reach any tracker.
    pub(super) fn open(
        bind: Option<&Address>,
        trackers: &[HostPort],
        limits: Limits,
        fairness: Fairness,
    ) -> Result<Peer, Failure> {
        let found = find(trackers)?;
        let all = || found.iter().flatten().copied();
        let local = |addr: SocketAddr| local_ip(addr.ip());
        // What reaches another machine reaches this one, too.
        let first = all().find(|addr| !addr.ip().is_loopback()).unwrap_or(found[0][0]);
        let wanted = match bind {
            Some(bind) => resolve(&bind.or(local(first), 0))?[0],
            None => SocketAddr::new(local(first), 0),
        };
        let of_kind =
            |addr: &&SocketAddr| addr.is_ipv4() == wanted.is_ipv4() || wanted.ip() == Ipv6Addr::UNSPECIFIED;
        // What counts on one link only may be meant on any; of a name, one address is enough.
        let most = |addrs: &[SocketAddr]| if is_link_local(addrs[0]) { addrs.len() } else { 1 };
        let used = found.iter().flat_map(|addrs| addrs.iter().filter(of_kind).copied().take(most(addrs)));
        let used: Vec<SocketAddr> = used.collect();
        if used.is_empty() {
            return Err(Failure::usage(format!(
                "{} can't reach the tracker at {}: give --bind an address of the same kind (IPv4 or IPv6)",
                wanted.ip(),
                found[0][0]
            )));
        }
        Peer::bound(wanted, used, limits, fairness)
    }

    /// A client of the trackers at `used`, of which there is one at least, at `wanted`.
    ///
    /// # Errors
    /// If `wanted` can't be had.
    pub(super) fn bound(
        wanted: SocketAddr,
        used: Vec<SocketAddr>,
        limits: Limits,
        fairness: Fairness,
    ) -> Result<Peer, Failure> {
        let (up, down) = (limits.limit_up.bytes_per_sec(), limits.limit_down.bytes_per_sec());
        let proxy =
            Proxy::bind(wanted, up, down).map_err(|error| Failure::bind(wanted, "--bind", &error.into()))?;
        let (download_limit, choking) = (limits.limit_down, !fairness.no_choking);
        let config = Config { download_limit, choking, ..Config::default() };
        let client = PClient::with_trackers(&used, proxy.clone(), config)?;
        Ok(Peer { client: Arc::new(client), proxy, trackers: used })
    }

    /// Leaves everything and gives the port back.
    pub(super) fn close(&self) {
        if let Err(error) = self.client.close() {
            log::warn!("leaving: {error}");
        }
    }
}

fn is_link_local(addr: SocketAddr) -> bool {
    matches!(addr.ip(), IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// The addresses of each of `trackers` that can be found; at least one of one.
///
/// # Errors
/// If none can be found: what is wrong with the first.
fn find(trackers: &[HostPort]) -> Result<Vec<Vec<SocketAddr>>, Failure> {
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for tracker in trackers {
        match resolve(tracker) {
            Ok(addrs) => found.push(addrs),
            Err(failure) => failures.push(Failure { code: Code::TrackerUnreachable, ..failure }),
        }
    }
    match failures.into_iter().next() {
        Some(failure) if found.is_empty() => Err(failure),
        Some(failure) => {
            log::warn!("{}", failure.message);
            Ok(found)
        }
        None => Ok(found),
    }
}

/// The addresses of `wanted`; at least one.
///
/// # Errors
/// If the resolver knows none.
pub(super) fn resolve(wanted: &HostPort) -> Result<Vec<SocketAddr>, Failure> {
    wanted.resolve().map_err(|error| {
        Failure::new(
            Code::Other,
            format!("{wanted} can't be found ({error}): check the name, or give its IP address"),
        )
    })
}

/// The address to bind to reach `remote`: what is on this machine needs no port that others can reach.
pub(super) fn local_ip(remote: IpAddr) -> IpAddr {
    match (remote, remote.is_loopback()) {
        (IpAddr::V4(_), true) => Ipv4Addr::LOCALHOST.into(),
        (IpAddr::V4(_), false) => Ipv4Addr::UNSPECIFIED.into(),
        (IpAddr::V6(_), true) => Ipv6Addr::LOCALHOST.into(),
        (IpAddr::V6(_), false) => Ipv6Addr::UNSPECIFIED.into(),
    }
}
