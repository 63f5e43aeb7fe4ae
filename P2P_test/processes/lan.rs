//! A local network for tests: two network namespaces of Linux with a cable (veth) between them, gone when it is dropped.
//!
//! No test here.

use std::process::Command;

use swarmcast::rand::Rng;

/// One end of the cable.
pub(crate) struct Machine {
    /// Its network namespace.
    pub(crate) namespace: String,
    /// What its only link is called.
    pub(crate) link: &'static str,
}

/// Two machines that have each other, and no other network. Both have link-local IPv6 addresses.
pub(crate) struct Lan {
    pub(crate) near: Machine,
    pub(crate) far: Machine,
}

impl Lan {
    /// With these addresses, `10.99.0.1/24` for one, on its machines; `None`, and a reason on stderr, where that can't be had.
    pub(crate) fn new(near: &[&str], far: &[&str]) -> Option<Lan> {
        let machine = |side: &str, link| Machine {
            namespace: format!("swarmcast-{side}-{:08x}", Rng::from_os().u32()),
            link,
        };
        let lan = Lan { near: machine("near", "lan0"), far: machine("far", "lan7") };
        for machine in [&lan.near, &lan.far] {
            if let Err(why) = ip(&["netns", "add", &machine.namespace]) {
                eprintln!("skipped, as this system gives no network namespace: {why}");
                return None;
            }
        }
        lan.connect(near, far).unwrap();
        Some(lan)
    }

    fn connect(&self, near: &[&str], far: &[&str]) -> Result<(), String> {
        let Lan { near: one, far: other } = self;
        let peer = ["peer", "name", other.link, "netns", &other.namespace];
        let cable = ["link", "add", one.link, "netns", &one.namespace, "type", "veth"];
        ip(&[&cable[..], &peer].concat())?;
        for (machine, addrs) in [(one, near), (other, far)] {
            // What a machine says to itself goes by way of loopback, whatever the address.
            machine.ip(&["link", "set", "dev", "lo", "up"])?;
            for addr in addrs {
                // `nodad`: nobody else can have it, and nobody has to wait until that is known.
                let is_v6 = addr.contains(':');
                let add = ["addr", "add", addr, "dev", machine.link];
                machine.ip(&[&add[..], if is_v6 { &["nodad"] } else { &[] }].concat())?;
            }
            // The same for the address that the link gets by itself.
            machine.ip(&["link", "set", "dev", machine.link, "addrgenmode", "none"])?;
            machine.ip(&["link", "set", "dev", machine.link, "up"])?;
        }
        for (machine, addr) in [(one, "fe80::1/64"), (other, "fe80::2/64")] {
            machine.ip(&["addr", "add", addr, "dev", machine.link, "nodad"])?;
        }
        Ok(())
    }

    /// Takes the cable away.
    pub(crate) fn cut(&self) {
        self.near.ip(&["link", "del", "dev", self.near.link]).unwrap();
    }
}

impl Machine {
    fn ip(&self, args: &[&str]) -> Result<(), String> {
        ip(&[&["-n", &self.namespace], args].concat())
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for machine in [&self.near, &self.far] {
            // It may never have been made.
            let _ = ip(&["netns", "del", &machine.namespace]);
        }
    }
}

/// `program` in the network namespace `name`.
pub(crate) fn inside(name: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", name, program]);
    command
}

/// Runs `ip`; what it has to complain about is the error.
fn ip(args: &[&str]) -> Result<(), String> {
    let ended = Command::new("ip").args(args).output().map_err(|error| format!("ip: {error}"))?;
    let complaint = String::from_utf8_lossy(&ended.stderr);
    if ended.status.success() { Ok(()) } else { Err(format!("ip {}: {}", args.join(" "), complaint.trim())) }
}
