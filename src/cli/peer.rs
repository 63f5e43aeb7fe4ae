//! A peer for one command: from `--bind`, the limits and a tracker to a client. No file here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use swarmcast::pclient::node::Config;
use swarmcast::units::Rate;
use swarmcast::{PClient, Proxy};

use super::address::{Address, HostPort};
use super::failure::{Code, Failure};

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
    /// The tracker's address that is used.
    pub(super) tracker: SocketAddr,
}

impl Peer {
    /// A client of `tracker`, at `bind` or else at an address from which the tracker can be reached.
    ///
    /// # Errors
    /// If the tracker's name or `bind` has no address, or `bind` can't be had or can't reach the tracker.
    pub(super) fn open(bind: Option<&Address>, tracker: &HostPort, limits: Limits) -> Result<Peer, Failure> {
        let trackers = resolve(tracker)?;
        let wanted = match bind {
            Some(bind) => resolve(&bind.or(local_ip(trackers[0].ip()), 0))?[0],
            None => SocketAddr::new(local_ip(trackers[0].ip()), 0),
        };
        let Some(&tracker) = trackers.iter().find(|addr| addr.is_ipv4() == wanted.is_ipv4()) else {
            return Err(Failure::usage(format!(
                "{} can't reach the tracker at {tracker}: give --bind an address of the same kind (IPv4 or IPv6)",
                wanted.ip()
            )));
        };
        let (up, down) = (limits.limit_up.bytes_per_sec(), limits.limit_down.bytes_per_sec());
        let proxy =
            Proxy::bind(wanted, up, down).map_err(|error| Failure::bind(wanted, "--bind", &error.into()))?;
        let config = Config { download_limit: limits.limit_down, ..Config::default() };
        let client = PClient::with_config(tracker, proxy.clone(), config)?;
        Ok(Peer { client: Arc::new(client), proxy, tracker })
    }

    /// Leaves everything and gives the port back.
    pub(super) fn close(&self) {
        if let Err(error) = self.client.close() {
            log::warn!("leaving: {error}");
        }
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
