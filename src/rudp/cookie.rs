//! Address cookies: proof that whoever asks receives at the address it asks from, at no cost in memory.
//!
//! A cookie is the time it was made and a keyed BLAKE3 hash over that time and the address (RFC 9000 §8.1 gives the
//! idea). The one who hands it out remembers only the key. Not an identity: whoever sees it on the way can use it.

use std::net::{IpAddr, SocketAddr};

use crate::coding::{Malformed, Reader, Writer};
use crate::rand::Rng;
use crate::time::{Duration, Instant};

/// How long a cookie is accepted (BEP 15 gives its tokens 2 minutes).
const LIFETIME: Duration = Duration::from_secs(120);

const TAG_LEN: usize = 16;

/// What comes back from an address that can receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// When it was made, in whole seconds of the maker's clock.
    seconds: u32,
    tag: [u8; TAG_LEN],
}

impl Cookie {
    /// Length on the wire, B.
    pub const LEN: usize = 4 + TAG_LEN;

    /// Reads a cookie; whether it is a valid one, only its maker knows.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Cookie, Malformed> {
        Ok(Cookie { seconds: reader.u32()?, tag: reader.array()? })
    }

    /// Appends the cookie.
    pub fn encode(&self, buf: &mut Vec<u8>) {
        buf.u32(self.seconds);
        buf.bytes(&self.tag);
    }
}

/// Makes cookies and recognises its own.
#[derive(Clone)]
pub struct CookieJar {
    key: [u8; 32],
}

impl CookieJar {
    /// A jar with a fresh key; cookies of an earlier jar are strangers to it.
    pub fn new(rng: &mut Rng) -> CookieJar {
        CookieJar { key: rng.bytes() }
    }

    /// A cookie for `addr`, made at `now`.
    pub fn make(&self, now: Instant, addr: SocketAddr) -> Cookie {
        let seconds = whole_seconds(now);
        Cookie { seconds, tag: self.tag(seconds, addr) }
    }

    /// Whether `cookie` was made here for `addr` within the last 120 s. Takes the same time wherever the bytes differ.
    pub fn accepts(&self, now: Instant, addr: SocketAddr, cookie: &Cookie) -> bool {
        let age = whole_seconds(now).checked_sub(cookie.seconds);
        age.is_some_and(|age| u64::from(age) <= LIFETIME.as_secs())
            && constant_time_eq::constant_time_eq_16(&self.tag(cookie.seconds, addr), &cookie.tag)
    }

    fn tag(&self, seconds: u32, addr: SocketAddr) -> [u8; TAG_LEN] {
        let mut input = Vec::with_capacity(4 + 16 + 2);
        input.u32(seconds);
        // An IPv4 address is the same one when a dual-stack socket shows it mapped into IPv6.
        let ip = match addr.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        input.bytes(&ip.octets());
        input.u16(addr.port());
        let hash = blake3::keyed_hash(&self.key, &input);
        *hash.as_bytes().first_chunk().expect("a hash is longer than a tag")
    }
}

impl std::fmt::Debug for CookieJar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CookieJar(key withheld)")
    }
}

fn whole_seconds(now: Instant) -> u32 {
    (now.as_nanos() / 1_000_000_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_cookie_is_good_for_its_address_and_its_time_only() {
        let mut rng = Rng::from_seed(1);
        let jar = CookieJar::new(&mut rng);
        let (made, home) = (Instant::ORIGIN + Duration::from_secs(1_000), addr("10.0.0.1:5000"));
        let cookie = jar.make(made, home);
        assert!(jar.accepts(made, home, &cookie));
        assert!(jar.accepts(made, addr("[::ffff:10.0.0.1]:5000"), &cookie));
        assert!(jar.accepts(made + LIFETIME, home, &cookie));
        assert!(!jar.accepts(made + LIFETIME + Duration::from_secs(1), home, &cookie));
        assert!(!jar.accepts(made - Duration::from_secs(1), home, &cookie));
        assert!(!jar.accepts(made, addr("10.0.0.1:5001"), &cookie));
        assert!(!jar.accepts(made, addr("10.0.0.2:5000"), &cookie));
        assert!(!CookieJar::new(&mut rng).accepts(made, home, &cookie));
    }

    #[test]
    fn every_flipped_bit_spoils_it() {
        let jar = CookieJar::new(&mut Rng::from_seed(2));
        let (now, home) = (Instant::ORIGIN + Duration::from_secs(9), addr("[2001:db8::1]:9"));
        let mut bytes = Vec::new();
        jar.make(now, home).encode(&mut bytes);
        assert_eq!(bytes.len(), Cookie::LEN);
        for bit in 0..Cookie::LEN * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let cookie = Cookie::decode(&mut Reader::new(&bad)).unwrap();
            assert!(!jar.accepts(now, home, &cookie), "bit {bit}");
        }
    }
}
