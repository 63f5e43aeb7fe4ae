//! A client put together piece by piece: trackers, address, rates, parameters. No protocol here.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};

use super::{PClient, resolve};
use crate::pclient::node::Config;
use crate::units::Rate;
use crate::{Proxy, Result};

/// What a [`PClient`] is to be, from [`PClient::builder`]. All but a tracker may be left out.
///
/// ```
/// use swarmcast::PClient;
/// let client = PClient::builder()
///     .tracker("127.0.0.1:10086")
///     .tracker("127.0.0.1:10087") // one that answers is enough
///     .upload_rate(5_000_000)
///     .build()?;
/// assert!(client.local_addr().ip().is_loopback());
/// # Ok::<(), swarmcast::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is there before `build`"]
pub struct ClientBuilder {
    /// What each name stands for, or why it stands for nothing.
    trackers: Vec<Named>,
    bind: Option<Named>,
    proxy: Option<Proxy>,
    upload_rate: u64,
    download_rate: u64,
    config: Config,
}

/// The addresses of a name, or why it has none.
type Named = std::result::Result<Vec<SocketAddr>, String>;

impl ClientBuilder {
    /// A tracker, one of several if this is called again. At most [`Trackers::MAX`](crate::tracker::Trackers::MAX) are used.
    pub fn tracker(mut self, tracker: impl ToSocketAddrs) -> ClientBuilder {
        self.trackers.push(look_up(tracker));
        self
    }

    /// The address to send and receive at; without it, 127.0.0.1 and any free port. Others reach a client at what is named here,
    /// so it is an address of this machine, or 0.0.0.0 for all of them.
    pub fn bind(mut self, addr: impl ToSocketAddrs) -> ClientBuilder {
        self.bind = Some(look_up(addr));
        self
    }

    /// Sends at most so fast, B/s (0: no limit).
    pub fn upload_rate(mut self, rate: u64) -> ClientBuilder {
        self.upload_rate = rate;
        self
    }

    /// Receives at most so fast, B/s (0: no limit).
    pub fn download_rate(mut self, rate: u64) -> ClientBuilder {
        self.download_rate = rate;
        self
    }

    /// A socket of the caller's own, whose rates can then be changed while the client runs. Its address and rates count, not those
    /// that are told here.
    pub fn proxy(mut self, proxy: Proxy) -> ClientBuilder {
        self.proxy = Some(proxy);
        self
    }

    /// Everything else. [`download_limit`](Config::download_limit) is taken from [`download_rate`](ClientBuilder::download_rate), if that is told.
    pub fn config(mut self, config: Config) -> ClientBuilder {
        self.config = config;
        self
    }

    /// The client. Nothing is sent yet, so no tracker need be there.
    ///
    /// # Errors
    /// [`Error::BadAddress`](crate::Error::BadAddress) if no tracker was named, or a name stands for no address;
    /// [`Error::Io`](crate::Error::Io) if the address can't be had.
    pub fn build(self) -> Result<PClient> {
        let mut config = self.config;
        let proxy = match (self.proxy, self.bind) {
            (Some(proxy), _) => proxy,
            (None, bind) => {
                if self.download_rate != 0 {
                    config.download_limit = Rate::new(self.download_rate);
                }
                let bind = bind.unwrap_or_else(|| Ok(vec![(Ipv4Addr::LOCALHOST, 0).into()]));
                let bind = bind.map_err(crate::Error::BadAddress)?;
                Proxy::bind(&bind[..], self.upload_rate, self.download_rate)?
            }
        };
        let local = proxy.local_addr();
        let trackers = self.trackers.into_iter().map(|named| {
            let addrs = named.map_err(crate::Error::BadAddress)?;
            resolve(&addrs[..], local)
        });
        let trackers: Vec<SocketAddr> = trackers.collect::<Result<_>>()?;
        PClient::with_trackers(&trackers, proxy, config)
    }
}

fn look_up(addr: impl ToSocketAddrs) -> Named {
    Ok(addr.to_socket_addrs().map_err(|error| error.to_string())?.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn what_is_missing_or_wrong_is_an_error_that_says_so() {
        let says = |builder: ClientBuilder| match builder.build() {
            Err(Error::BadAddress(why)) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(says(PClient::builder()), "no tracker");
        assert_eq!(says(PClient::builder().tracker(&[][..])), "no address");
        assert!(!says(PClient::builder().tracker("127.0.0.1")).is_empty(), "a port is missing");
        let taken = Proxy::new(0, 0, None).unwrap();
        let second = PClient::builder().tracker(taken.local_addr()).bind(taken.local_addr()).build();
        assert!(matches!(second, Err(Error::Io(_))), "{second:?}");
    }

    #[test]
    fn a_proxy_of_ones_own_is_used() {
        let proxy = Proxy::new(0, 0, None).unwrap();
        let client = PClient::builder().tracker("127.0.0.1:1").proxy(proxy.clone()).build().unwrap();
        assert_eq!(client.local_addr(), proxy.local_addr());
    }
}
