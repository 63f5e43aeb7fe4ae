//! The source as a machine: it has the file, keeps the line, and serves as a producer among others.
//!
//! No socket, no clock, no thread and no disk here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::CODE_MALFORMED;
use super::protocol::Word;
use super::roster::Roster;
use super::uplink::{CONTROL, Uplink};
use crate::Fid;
use crate::machine::Machine;
use crate::rand::Rng;
use crate::rudp::{Class, Config, Endpoint, Event, Handle};
use crate::time::Instant;

/// The source's machine.
#[derive(Debug)]
pub struct SourceNode {
    endpoint: Endpoint,
    content: Arc<Vec<u8>>,
    fid: Fid,
    roster: Roster<Handle>,
    /// Where each receiver was reached last, which is where others find it.
    addrs: BTreeMap<Handle, SocketAddr>,
    uplink: Uplink,
}

impl SourceNode {
    /// A source of `content`, for `spread` receivers at a time (at least one) at each producer.
    pub fn new(content: Arc<Vec<u8>>, spread: usize, rng: Rng) -> SourceNode {
        SourceNode {
            endpoint: Endpoint::new(Config::default(), rng),
            fid: Fid::of(&content),
            content,
            roster: Roster::new(spread),
            addrs: BTreeMap::new(),
            uplink: Uplink::default(),
        }
    }

    /// The most receivers that this source itself has served at the same time.
    pub fn peak(&self) -> usize {
        self.uplink.peak
    }

    fn handle_events(&mut self) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Connected { handle, remote, .. } => {
                    self.addrs.insert(handle, remote);
                    // Who vanishes must free its place, and not be named as a producer.
                    self.endpoint.set_keep_alive(handle, true);
                }
                Event::Answered { .. } => {}
                Event::Moved { handle, remote } => {
                    self.addrs.insert(handle, remote);
                }
                Event::Message { handle, data } => match Word::decode(&data) {
                    Ok(Word::Want) => self.roster.want(handle),
                    Ok(Word::Have) => self.roster.have(handle),
                    Ok(Word::Lost { number }) => self.roster.lost(handle, number),
                    Ok(Word::Get { offset }) => {
                        self.uplink.start(&mut self.endpoint, handle, offset, self.content.len());
                    }
                    Ok(Word::Fetch { .. }) | Err(_) => self.endpoint.close(handle, CODE_MALFORMED),
                },
                Event::Closed { handle, .. } => {
                    self.addrs.remove(&handle);
                    self.uplink.forget(handle);
                    self.roster.gone(handle);
                }
            }
        }
        for order in self.roster.assign() {
            let from = order.producer.and_then(|producer| self.addrs.get(&producer).copied());
            let (size, fid) = (self.content.len() as u64, self.fid);
            let fetch = Word::Fetch { number: order.number, size, fid, from };
            self.endpoint.send(order.receiver, Class::Control, CONTROL, fetch.encode());
        }
    }
}

impl Machine for SourceNode {
    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.endpoint.handle_datagram(now, from, datagram);
        self.handle_events();
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        self.handle_events();
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        loop {
            if let Some(to) = self.endpoint.poll_transmit(now, buf) {
                return Some(to);
            }
            // Blocks are chosen as late as can be: when there is nothing else to send.
            if !self.uplink.serve(&mut self.endpoint, &self.content) {
                return None;
            }
        }
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.endpoint.poll_timeout()
    }
}
