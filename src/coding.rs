//! Reading and writing of wire formats: a bounded reader that can fail, writers that can't.
//!
//! All integers are big-endian. Variable-length integers are QUIC's (RFC 9000 §16). No format is known here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// The largest value that a variable-length integer holds: 2⁶² − 1.
pub const VARINT_MAX: u64 = (1 << 62) - 1;

/// The input ended early, or holds a value that the format doesn't allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed: the input is too short or holds a value outside its range")]
pub struct Malformed;

/// Takes values off the front of a slice and never reads beyond it.
#[derive(Clone, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// A reader of `input`.
    pub const fn new(input: &'a [u8]) -> Reader<'a> {
        Reader(input)
    }

    /// How many bytes are left.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether all has been read.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// Three bytes.
    pub fn u24(&mut self) -> Result<u32, Malformed> {
        self.array().map(|[high, middle, low]| u32::from_be_bytes([0, high, middle, low]))
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// A variable-length integer of 1, 2, 4 or 8 bytes (RFC 9000 §16).
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let &first = self.0.first().ok_or(Malformed)?;
        let len = 1 << (first >> 6);
        let bytes = self.bytes(len)?;
        Ok(bytes[1..].iter().fold(u64::from(first & 0x3f), |value, &byte| value << 8 | u64::from(byte)))
    }

    /// A variable-length integer that must fit `T`.
    pub fn varint_as<T: TryFrom<u64>>(&mut self) -> Result<T, Malformed> {
        T::try_from(self.varint()?).map_err(|_| Malformed)
    }

    /// An address as [`Writer::socket_addr`] writes it.
    pub fn socket_addr(&mut self) -> Result<SocketAddr, Malformed> {
        let ip = match self.u8()? {
            4 => IpAddr::V4(Ipv4Addr::from(self.array::<4>()?)),
            6 => IpAddr::V6(Ipv6Addr::from(self.array::<16>()?)),
            _ => return Err(Malformed),
        };
        Ok(SocketAddr::new(ip, self.u16()?))
    }
}

/// `addr` as it is to be called by who has read it in a datagram from `teller`: an IPv6 address of link-local scope is one on the
/// teller's link.
pub fn on_link_of(teller: SocketAddr, addr: SocketAddr) -> SocketAddr {
    match (addr, teller) {
        (SocketAddr::V6(addr), SocketAddr::V6(teller)) if addr.ip().is_unicast_link_local() => {
            SocketAddrV6::new(*addr.ip(), addr.port(), 0, teller.scope_id()).into()
        }
        _ => addr,
    }
}

/// Appends values to a buffer.
pub trait Writer {
    /// One byte.
    fn u8(&mut self, value: u8);
    /// Two bytes.
    fn u16(&mut self, value: u16);
    /// The three lower bytes.
    fn u24(&mut self, value: u32);
    /// Four bytes.
    fn u32(&mut self, value: u32);
    /// Eight bytes.
    fn u64(&mut self, value: u64);
    /// A variable-length integer in its shortest form (RFC 9000 §16). Panics above [`VARINT_MAX`].
    fn varint(&mut self, value: u64);
    /// Bytes as they are.
    fn bytes(&mut self, bytes: &[u8]);
    /// Family (4 or 6), address, port: 7 or 19 B. Scope and flow of IPv6 are local and not written.
    fn socket_addr(&mut self, addr: SocketAddr);
}

impl Writer for Vec<u8> {
    fn u8(&mut self, value: u8) {
        self.push(value);
    }

    fn u16(&mut self, value: u16) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn u24(&mut self, value: u32) {
        self.extend_from_slice(&value.to_be_bytes()[1..]);
    }

    fn u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn varint(&mut self, value: u64) {
        match varint_len(value) {
            1 => self.u8(value as u8),
            2 => self.u16(value as u16 | 0b01 << 14),
            4 => self.u32(value as u32 | 0b10 << 30),
            _ => self.u64(value | 0b11 << 62),
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn socket_addr(&mut self, addr: SocketAddr) {
        match addr.ip() {
            IpAddr::V4(ip) => {
                self.u8(4);
                self.bytes(&ip.octets());
            }
            IpAddr::V6(ip) => {
                self.u8(6);
                self.bytes(&ip.octets());
            }
        }
        self.u16(addr.port());
    }
}

/// How many bytes [`Writer::varint`] takes for `value`. Panics above [`VARINT_MAX`].
pub const fn varint_len(value: u64) -> usize {
    match value {
        0..0x40 => 1,
        0x40..0x4000 => 2,
        0x4000..0x4000_0000 => 4,
        0x4000_0000..=VARINT_MAX => 8,
        _ => panic!("a variable-length integer has at most 62 bits"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_take_their_shortest_form_and_come_back() {
        for (value, len) in
            [(0, 1), (63, 1), (64, 2), (16_383, 2), (16_384, 4), (1 << 30, 8), (VARINT_MAX, 8)]
        {
            let mut buf = Vec::new();
            buf.varint(value);
            assert_eq!((buf.len(), varint_len(value)), (len, len));
            let mut reader = Reader::new(&buf);
            assert_eq!(reader.varint(), Ok(value));
            assert!(reader.is_empty());
            assert_eq!(Reader::new(&buf[..len - 1]).varint(), Err(Malformed));
        }
    }

    #[test]
    fn addresses_of_both_families_come_back() {
        for addr in ["127.0.0.1:10086", "[2001:db8::1]:65535"] {
            let addr: SocketAddr = addr.parse().unwrap();
            let mut buf = Vec::new();
            buf.socket_addr(addr);
            assert_eq!(Reader::new(&buf).socket_addr(), Ok(addr));
        }
        assert_eq!(Reader::new(&[5, 0, 0, 0, 0, 0, 0]).socket_addr(), Err(Malformed));
    }

    #[test]
    fn what_counts_on_one_link_only_gets_the_scope_of_who_tells_of_it() {
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        for (teller, told, called) in [
            ("[fe80::1%3]:9", "[fe80::2]:7", "[fe80::2%3]:7"),
            ("[fe80::1%3]:9", "[2001:db8::2]:7", "[2001:db8::2]:7"),
            ("[fe80::1%3]:9", "10.0.0.2:7", "10.0.0.2:7"),
            ("[2001:db8::1]:9", "[fe80::2]:7", "[fe80::2]:7"),
            ("10.0.0.1:9", "[fe80::2]:7", "[fe80::2]:7"),
        ] {
            assert_eq!(on_link_of(addr(teller), addr(told)), addr(called), "{teller} tells of {told}");
        }
    }

    #[test]
    fn nothing_is_read_beyond_the_end() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u32(), Err(Malformed));
        assert_eq!(reader.bytes(3), Ok(&[1, 2, 3][..]));
        assert_eq!(reader.u8(), Err(Malformed));
        assert_eq!(reader.rest(), &[] as &[u8]);
    }
}
