//! HOST:PORT as people write it: a bare port, a bare IP address, a name. Nothing is bound here.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs as _};

use swarmcast::proxy::lan;

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Ip(IpAddr),
    /// An IPv6 address on one of this machine's links: `fe80::1%eth0`.
    Scoped {
        ip: Ipv6Addr,
        /// The link's name or number: letters, digits, `-`, `_` and `.`.
        link: String,
    },
    /// A name that a resolver knows: letters, digits, `-`, `_` and `.`, at most [`MAX_NAME`] of them.
    Name(String),
}

/// The longest host name, B: it has to fit into a ticket.
pub(crate) const MAX_NAME: usize = 60;

/// The longest name of a link, B (Linux: IFNAMSIZ less the final 0).
const MAX_LINK: usize = 15;

/// An address that may be written without its port, or without its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: Option<Host>,
    pub(crate) port: Option<u16>,
}

/// A machine and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    pub(crate) host: Host,
    pub(crate) port: u16,
}

/// Text that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no address: write HOST:PORT such as 127.0.0.1:10086, [::1]:10086 or host.example:10086")]
pub(crate) struct ParseAddressError;

impl std::str::FromStr for Address {
    type Err = ParseAddressError;
    fn from_str(text: &str) -> Result<Address, ParseAddressError> {
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return Ok(Address { host: Some(HostPort::from(addr).host), port: Some(addr.port()) });
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Address { host: None, port: Some(parse_port(text)?) });
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(Address { host: Some(Host::Ip(ip)), port: None });
        }
        if bare.contains('%') {
            let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
                Some((host, port)) => (host, Some(parse_port(port)?)),
                None => (bare, None),
            };
            return Ok(Address { host: Some(Host::scoped(host)?), port });
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(parse_port(port)?)),
            None => (text, None),
        };
        Ok(Address { host: Some(Host::name(name)?), port })
    }
}

fn parse_port(text: &str) -> Result<u16, ParseAddressError> {
    // The standard library would take `+80`.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ParseAddressError);
    }
    text.parse().map_err(|_| ParseAddressError)
}

impl Host {
    /// The host that `fe80::1%eth0` stands for.
    fn scoped(text: &str) -> Result<Host, ParseAddressError> {
        let (ip, link) = text.split_once('%').ok_or(ParseAddressError)?;
        let ip = ip.parse().map_err(|_| ParseAddressError)?;
        let is_link = (1..=MAX_LINK).contains(&link.len())
            && link.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if is_link { Ok(Host::Scoped { ip, link: link.to_owned() }) } else { Err(ParseAddressError) }
    }

    /// A host called `name`.
    ///
    /// # Errors
    /// For what no machine can be called, and for what looks like an IP address but is none.
    pub(crate) fn name(name: &str) -> Result<Host, ParseAddressError> {
        let is_made_of = |allowed: fn(u8) -> bool| name.bytes().all(allowed);
        let fits = (1..=MAX_NAME).contains(&name.len());
        if fits
            && is_made_of(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            && !is_made_of(|byte| byte.is_ascii_digit() || byte == b'.')
        {
            Ok(Host::Name(name.to_owned()))
        } else {
            Err(ParseAddressError)
        }
    }
}

impl Address {
    /// The same, with what was not written filled in.
    pub(crate) fn or(&self, host: IpAddr, port: u16) -> HostPort {
        HostPort { host: self.host.clone().unwrap_or(Host::Ip(host)), port: self.port.unwrap_or(port) }
    }
}

impl HostPort {
    /// The addresses that it stands for; at least one.
    ///
    /// # Errors
    /// The resolver's.
    pub(crate) fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let addrs: Vec<SocketAddr> = match &self.host {
            // It was not said which link is meant.
            Host::Ip(IpAddr::V6(ip)) if ip.is_unicast_link_local() => {
                let links = lan::addresses()?.into_iter().filter_map(|addr| match addr {
                    SocketAddr::V6(addr) if addr.scope_id() != 0 => Some(addr.scope_id()),
                    _ => None,
                });
                links.map(|link| SocketAddrV6::new(*ip, self.port, 0, link).into()).collect()
            }
            Host::Ip(ip) => vec![(*ip, self.port).into()],
            Host::Scoped { ip, link } => {
                (format!("{ip}%{link}").as_str(), self.port).to_socket_addrs()?.collect()
            }
            Host::Name(name) => (name.as_str(), self.port).to_socket_addrs()?.collect(),
        };
        if addrs.is_empty() { Err(io::Error::other("the name has no address")) } else { Ok(addrs) }
    }
}

impl From<SocketAddr> for HostPort {
    fn from(addr: SocketAddr) -> HostPort {
        let host = match addr {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => {
                Host::Scoped { ip: *v6.ip(), link: v6.scope_id().to_string() }
            }
            _ => Host::Ip(addr.ip()),
        };
        HostPort { host, port: addr.port() }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(f),
            Host::Scoped { ip, link } => write!(f, "[{ip}%{link}]:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn what_is_missing_is_filled_in() {
        for (text, full) in [
            ("127.0.0.1:99", "127.0.0.1:99"),
            ("99", "127.0.0.1:99"),
            ("0", "127.0.0.1:0"),
            ("10.1.2.3", "10.1.2.3:7"),
            ("::1", "[::1]:7"),
            ("[::1]", "[::1]:7"),
            ("[::1]:99", "[::1]:99"),
            ("fe80::1%eth0", "[fe80::1%eth0]:7"),
            ("[fe80::1%eth0.7]:99", "[fe80::1%eth0.7]:99"),
            ("[fe80::1%2]:99", "[fe80::1%2]:99"),
            ("[fe80::1%2]", "[fe80::1%2]:7"),
            ("host.example", "host.example:7"),
            ("host-1:99", "host-1:99"),
        ] {
            let address: Address = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(address.or(Ipv4Addr::LOCALHOST.into(), 7).to_string(), full, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = "x".repeat(MAX_NAME + 1);
        for text in [
            "",
            ":",
            ":80",
            "65536",
            "1.2.3.4:65536",
            "1.2.3.4:",
            "1.2.3.4.5:80",
            "1.2.3",
            "a b:80",
            "a:b:80",
            "host:+80",
            "+80",
            "-1:x",
            "http://a:80",
            "ü:80",
            "fe80::1%",
            "fe80::1%a b",
            "[fe80::1%eth0]:x",
            "10.0.0.1%eth0",
            "host%eth0",
            &long,
        ] {
            assert_eq!(text.parse::<Address>(), Err(ParseAddressError), "{text}");
        }
    }
}
