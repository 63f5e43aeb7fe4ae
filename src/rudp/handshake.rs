//! The bodies of the handshake datagrams; the diagrams stand in [`crate::rudp`].

use super::clock::Ticks;
use super::cookie::Cookie;
use crate::coding::{Malformed, Reader, Writer};

/// Asks for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What the other side handed out, once it has; its room is taken up before that too, so that no answer is longer
    /// than the question.
    pub cookie: Option<Cookie>,
    /// The credit to begin with, B.
    pub receive_window: u32,
    /// The largest datagram that the sender of this takes in, B.
    pub datagram_size: u16,
    /// When this was sent, by its sender's clock.
    pub sent: Ticks,
}

impl Hello {
    /// Appends the body.
    pub fn encode(&self, buf: &mut Vec<u8>) {
        buf.u32(self.receive_window);
        buf.u16(self.datagram_size);
        buf.u32(self.sent);
        match &self.cookie {
            Some(cookie) => {
                buf.u8(1);
                cookie.encode(buf);
            }
            None => buf.bytes(&[0; 1 + Cookie::LEN]),
        }
    }

    /// Reads the body, and gives the frames that follow it.
    pub fn decode(body: &[u8]) -> Result<(Hello, &[u8]), Malformed> {
        let mut reader = Reader::new(body);
        let (receive_window, datagram_size, sent) = (reader.u32()?, reader.u16()?, reader.u32()?);
        let has_cookie = reader.u8()? == 1;
        let cookie = Cookie::decode(&mut reader)?;
        let hello = Hello { cookie: has_cookie.then_some(cookie), receive_window, datagram_size, sent };
        Ok((hello, reader.rest()))
    }
}

/// Accepts a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The credit to begin with, B.
    pub receive_window: u32,
    /// The largest datagram that the sender of this takes in, B.
    pub datagram_size: u16,
    /// The timestamp of the hello that this answers.
    pub hello_sent: Ticks,
    /// When that hello arrived, by this side's clock.
    pub hello_received: Ticks,
    /// When this was sent, by the same clock.
    pub sent: Ticks,
    /// The standing queue on this side's downlink, as far as it is known, µs.
    pub downlink_queue: u32,
}

impl Welcome {
    /// Appends the body.
    pub fn encode(&self, buf: &mut Vec<u8>) {
        buf.u32(self.receive_window);
        buf.u16(self.datagram_size);
        buf.u32(self.hello_sent);
        buf.u32(self.hello_received);
        buf.u32(self.sent);
        buf.u32(self.downlink_queue);
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Welcome, Malformed> {
        let mut reader = Reader::new(body);
        Ok(Welcome {
            receive_window: reader.u32()?,
            datagram_size: reader.u16()?,
            hello_sent: reader.u32()?,
            hello_received: reader.u32()?,
            sent: reader.u32()?,
            downlink_queue: reader.u32()?,
        })
    }
}

/// The smallest datagram that a peer may ask for, B: the base of RFC 8899 less some room for tunnels.
pub const MIN_DATAGRAM_SIZE: u16 = 512;

/// What every peer holds of messages before it has said how much it does, B.
pub const MIN_RECEIVE_WINDOW: u64 = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rand::Rng;
    use crate::rudp::cookie::CookieJar;
    use crate::time::Instant;

    #[test]
    fn handshakes_come_back_and_a_cut_one_does_not() {
        let cookie =
            CookieJar::new(&mut Rng::from_seed(1)).make(Instant::ORIGIN, "127.0.0.1:1".parse().unwrap());
        for cookie in [None, Some(cookie)] {
            let hello = Hello { cookie, receive_window: 1 << 20, datagram_size: 1_200, sent: 77 };
            let mut buf = Vec::new();
            hello.encode(&mut buf);
            assert!((0..buf.len()).all(|len| Hello::decode(&buf[..len]).is_err()));
            assert_eq!(Hello::decode(&buf), Ok((hello, &[][..])));
            buf.extend([1, 2]);
            assert_eq!(Hello::decode(&buf), Ok((hello, &[1, 2][..])));
        }
        let welcome = Welcome {
            receive_window: 5,
            datagram_size: 1_200,
            hello_sent: 7,
            hello_received: 8,
            sent: 9,
            downlink_queue: 10,
        };
        let mut buf = Vec::new();
        welcome.encode(&mut buf);
        assert_eq!(Welcome::decode(&buf), Ok(welcome));
        assert!((0..buf.len()).all(|len| Welcome::decode(&buf[..len]).is_err()));
    }
}
