//! What is said before the handshake is over: it goes with the hello that has the cookie, and arrives once.

use std::net::SocketAddr;

use super::super::cookie::CookieJar;
use super::super::frame::{Fragment, Frame};
use super::super::handshake::Hello;
use super::super::packet::{self, Kind};
use super::super::recv_window::MESSAGE_WINDOW;
use super::hardening::{cookie_for, datagram, drain, stranger};
use super::{LATENCY, addr, link, message, secs, world};
use crate::rand::Rng;
use crate::rudp::{Class, CloseReason, Config, Endpoint, Event, Handle};
use crate::sim::Faults;
use crate::time::{Duration, Instant};

/// Hands all that `from` sends now to `to`, as datagrams from `addr`.
fn pass(now: Instant, from: &mut Endpoint, addr: SocketAddr, to: &mut Endpoint) {
    for (_, datagram) in drain(from, now) {
        to.handle_datagram(now, addr, &datagram);
    }
}

#[test]
fn who_is_answered_says_what_it_wants_with_its_second_hello() {
    let now = secs(5.0);
    let [mut here, mut there] = [1, 2].map(|seed| Endpoint::new(Config::default(), Rng::from_seed(seed)));
    let handle = here.connect(now, addr(1));
    pass(now, &mut here, addr(0), &mut there);
    pass(now, &mut there, addr(1), &mut here);
    assert_eq!(here.poll_event(), Some(Event::Answered { handle }));
    here.send(handle, Class::Control, 0, &b"question"[..]);
    here.send(handle, Class::Bulk, 0, &b"content"[..]);
    pass(now, &mut here, addr(0), &mut there);
    let Some(Event::Connected { handle: inbound, .. }) = there.poll_event() else { panic!("not connected") };
    assert_eq!(
        there.poll_event(),
        Some(Event::Message { handle: inbound, data: b"question".to_vec() }),
        "with the connection"
    );
    assert_eq!(there.poll_event(), None, "content waits for the windows");
    pass(now, &mut there, addr(1), &mut here);
    assert!(matches!(here.poll_event(), Some(Event::Connected { .. })));
    pass(now, &mut here, addr(0), &mut there);
    assert_eq!(there.poll_event(), Some(Event::Message { handle: inbound, data: b"content".to_vec() }));
}

#[test]
fn it_arrives_once_whichever_datagram_is_lost() {
    // Hello, retry, hello, welcome, and the two that follow; or none.
    for lost in 0..=6 {
        let (mut world, nodes) = world(1, Faults::none(), &[link(0, 0, LATENCY); 2]);
        let mut sent = 0;
        world.set_filter(move |_, _, _, _| {
            sent += 1;
            sent != lost
        });
        let said: Vec<Vec<u8>> = [40, 50, 60, 3_000].iter().map(|&len| message(len as u32, len)).collect();
        let handle: Handle = world.with_node(nodes[0], |a, now| {
            let handle = a.endpoint.connect(now, addr(1));
            // The last doesn't fit: it begins with the hello and goes on after the welcome.
            for data in &said {
                a.endpoint.send(handle, Class::Control, 0, data.clone());
            }
            handle
        });
        world.run_until(secs(4.0));
        let mut got: Vec<Vec<u8>> =
            world.node(nodes[1]).received.iter().map(|(_, data)| data.clone()).collect();
        got.sort_by_key(Vec::len);
        assert_eq!(got, said, "datagram {lost} is lost");
        let stats = world.with_node(nodes[0], |a, now| a.endpoint.stats(now, handle));
        assert_eq!(stats.map(|stats| stats.in_flight), Some(0), "datagram {lost} is lost");
    }
}

#[test]
fn it_counts_as_arrived_when_the_welcome_has() {
    // Else it would stand for ever at the end of the window of messages.
    let (mut world, nodes) = world(1, Faults::none(), &[link(0, 0, LATENCY); 2]);
    let many = MESSAGE_WINDOW as usize + 1;
    world.with_node(nodes[0], |a, now| {
        let handle = a.endpoint.connect(now, addr(1));
        (0..=many).for_each(|_| a.endpoint.send(handle, Class::Control, 0, vec![1]));
    });
    world.run_until(secs(4.0));
    assert_eq!(world.node(nodes[1]).received.len(), many + 1);
}

#[test]
fn who_is_never_content_with_a_cookie_is_given_up() {
    let (mut now, config) = (secs(5.0), Config::default());
    let mut here = Endpoint::new(config.clone(), Rng::from_seed(1));
    let handle = here.connect(now, addr(1));
    here.send(handle, Class::Control, 0, vec![1; 300]);
    let (start, mut hellos) = (now, Vec::new());
    // It takes a millisecond to be asked for another one.
    while here.connection_count() > 0 {
        for (_, hello) in drain(&mut here, now) {
            let (header, body) = packet::open(&hello).unwrap();
            hellos.push(Hello::decode(body).unwrap().1.to_vec());
            let mut retry = Vec::new();
            let jar = CookieJar::new(&mut Rng::from_seed(hellos.len() as u64));
            jar.make(now, addr(0)).encode(&mut retry);
            let retry = datagram(Kind::Retry, header.connection.0, 0, &retry);
            here.handle_datagram(now, addr(1), &retry);
        }
        now += Duration::from_millis(1);
        here.handle_timeout(now);
        assert!(now.since(start) < 2 * config.handshake_timeout, "it never ends");
    }
    assert!(hellos.len() < 20, "{} hellos", hellos.len());
    assert_eq!(hellos[0], []);
    assert!(
        hellos[1].len() > 300 && hellos[2..].iter().all(|early| *early == hellos[1]),
        "each time the same"
    );
}

/// What becomes of a hello with a good cookie and these bytes behind it.
fn hello_with(frames: &[u8]) -> (Endpoint, Option<CloseReason>, usize) {
    let (now, from) = (secs(5.0), stranger(1));
    let mut endpoint = Endpoint::new(Config::default(), Rng::from_seed(1));
    let cookie = Some(cookie_for(&mut endpoint, now, from));
    let mut body = Vec::new();
    Hello { cookie, receive_window: 1 << 20, datagram_size: 1_200, sent: 0 }.encode(&mut body);
    body.extend(frames);
    let hello = datagram(Kind::Hello, 9, 7, &body);
    // Twice, as if the welcome had been lost.
    endpoint.handle_datagram(now, from, &hello);
    endpoint.handle_datagram(now, from, &hello);
    let (mut closed, mut messages) = (None, 0);
    while let Some(event) = endpoint.poll_event() {
        match event {
            Event::Closed { reason, .. } => closed = Some(reason),
            Event::Message { .. } => messages += 1,
            _ => {}
        }
    }
    (endpoint, closed, messages)
}

#[test]
fn what_can_t_be_read_or_breaks_the_rules_is_treated_as_in_any_packet() {
    let fragment = |message, data| Frame::Fragment(Fragment { message, offset: 0, fin: true, data });
    let encoded = |frames: &[Frame<'_>]| {
        let mut buf = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut buf));
        buf
    };
    let (endpoint, closed, messages) = hello_with(&encoded(&[fragment(0, b"a"), fragment(1, b"b")]));
    assert_eq!((endpoint.connection_count(), closed, messages), (1, None, 2), "each once");
    let (endpoint, closed, messages) = hello_with(&[0xff, 1, 2, 3]);
    assert_eq!((endpoint.connection_count(), closed, messages), (1, None, 0), "what can't be read");
    let (_, closed, messages) = hello_with(&encoded(&[fragment(1 << 40, b"a")]));
    assert!(matches!(closed, Some(CloseReason::Violation(_))) && messages == 0, "far ahead: {closed:?}");
}
