//! Rates, limits and the end of real sockets on loopback.

use std::net::Ipv6Addr;
use std::thread;

use super::*;
use crate::time::{Clock, Instant};

const LONG: Duration = Duration::from_secs(20);

fn unlimited() -> Proxy {
    Proxy::new(0, 0, None).unwrap()
}

/// Sends `count` datagrams of `len` B, numbered in their first bytes.
fn send_numbered(from: &Proxy, to: &Proxy, count: u32, len: usize) {
    let mut datagram = vec![0; len];
    for number in 0..count {
        datagram[..4].copy_from_slice(&number.to_be_bytes());
        from.send(&datagram, to.local_addr()).unwrap();
    }
}

/// Receives the datagrams `numbers`, in this order, and tells when each came.
fn recv_numbered(proxy: &Proxy, clock: &Clock, numbers: std::ops::Range<u32>) -> Vec<Instant> {
    let recv = |number: u32| {
        let (datagram, _) = proxy.recv(Some(LONG)).unwrap();
        assert_eq!(datagram[..4], number.to_be_bytes());
        clock.now()
    };
    numbers.map(recv).collect()
}

/// Sees that `transfer` takes the time that `bytes` have to take at `rate` B/s: never 0.5 % less, and not 5 % more. The
/// latter also depends on how busy the computer is, so it may be tried again.
fn assert_rate(bytes: u64, rate: u64, transfer: impl Fn() -> Duration) {
    let law = bytes as f64 / rate as f64;
    let mut ratio = 0.0;
    for _ in 0..4 {
        ratio = transfer().as_secs_f64() / law;
        assert!(ratio >= 0.995, "{bytes} B at {rate} B/s took only {ratio:.4} of the law's {law} s");
        if ratio < 1.05 {
            return;
        }
    }
    panic!("{bytes} B at {rate} B/s took {ratio:.4} of the law's {law} s");
}

/// Waits until `condition` holds.
fn until(condition: impl Fn() -> bool) {
    let clock = Clock::new();
    while !condition() {
        assert!(clock.now() < Instant::ORIGIN + LONG, "it never came to be");
        thread::yield_now();
    }
}

#[test]
fn the_uplink_keeps_its_rate() {
    let (clock, from, to) = (Clock::new(), Proxy::new(400_000, 0, None).unwrap(), unlimited());
    assert_rate(400_000, 400_000, || {
        let start = clock.now();
        send_numbered(&from, &to, 400, 1_000);
        assert!(clock.now().since(start) < Duration::from_millis(500), "send returns at once");
        let arrivals = recv_numbered(&to, &clock, 0..400);
        for (count, arrival) in (1..).zip(&arrivals) {
            let law = Duration::from_micros(2_500) * count;
            assert!(arrival.since(start) >= law.mul_f64(0.995), "datagram {count} came at {arrival:?}");
        }
        arrivals[399].since(start)
    });
}

#[test]
fn the_downlink_keeps_its_rate() {
    let (clock, from, to) = (Clock::new(), unlimited(), Proxy::new(0, 400_000, None).unwrap());
    assert_rate(400_000, 400_000, || {
        let (start, before) = (clock.now(), to.stats().datagrams_received);
        for sent in 1..=50 {
            // One at a time, for the socket's buffer may be small.
            from.send(&[0; 8_000], to.local_addr()).unwrap();
            until(|| to.stats().datagrams_received == before + sent);
        }
        for count in 1..=50 {
            to.recv(Some(LONG)).unwrap();
            let law = Duration::from_millis(20) * count;
            assert!(clock.now().since(start) >= law.mul_f64(0.995), "datagram {count} came early");
        }
        clock.now().since(start)
    });
}

#[test]
fn a_fast_link_keeps_its_rate_though_no_timer_is_as_fine() {
    let (clock, from, to) = (Clock::new(), Proxy::new(20_000_000, 0, None).unwrap(), unlimited());
    assert_rate(10_000_000, 20_000_000, || {
        let start = clock.now();
        send_numbered(&from, &to, 10_000, 1_000);
        recv_numbered(&to, &clock, 0..10_000)[9_999].since(start)
    });
}

#[test]
fn a_new_rate_holds_for_what_is_queued() {
    let clock = Clock::new();
    let (from, to) = (Proxy::new(1_000, 0, None).unwrap(), Proxy::new(0, 1_000, None).unwrap());
    let start = clock.now();
    // At 1 kB/s this would take 60 s on each of the two links.
    send_numbered(&from, &to, 60, 1_000);
    from.set_upload_rate(300_000);
    until(|| to.stats().datagrams_received == 60);
    assert!(clock.now().since(start) >= Duration::from_millis(190));
    to.set_download_rate(0);
    recv_numbered(&to, &clock, 0..60);
    assert!(clock.now().since(start) < Duration::from_secs(10));
}

#[test]
fn order_is_kept_when_the_rate_changes_under_way() {
    let (clock, from, to) = (Clock::new(), Proxy::new(10_000, 0, None).unwrap(), unlimited());
    let mut datagram = vec![0; 100];
    for number in 0..300u32 {
        match number {
            100 => from.set_upload_rate(0),
            200 => from.set_upload_rate(1_000_000),
            _ => {}
        }
        datagram[..4].copy_from_slice(&number.to_be_bytes());
        from.send(&datagram, to.local_addr()).unwrap();
    }
    recv_numbered(&to, &clock, 0..300);
}

#[test]
fn without_limit_there_is_no_delay() {
    let (clock, from, to) = (Clock::new(), unlimited(), unlimited());
    let mut delays: Vec<_> = (0..1_000)
        .map(|_| {
            let start = clock.now();
            from.send(b"ping", to.local_addr()).unwrap();
            let (datagram, sender) = to.recv(Some(LONG)).unwrap();
            assert_eq!((&*datagram, sender), (&b"ping"[..], from.local_addr()));
            clock.now().since(start)
        })
        .collect();
    delays.sort();
    // Waiting for any timer of the selector would take a millisecond.
    assert!(delays[500] < Duration::from_micros(900), "half of them took {:?} or more", delays[500]);
    let (sent, received) = (from.stats(), to.stats());
    assert_eq!((sent.datagrams_sent, sent.bytes_sent, sent.refused), (1_000, 4_000, 0));
    assert_eq!((received.datagrams_received, received.bytes_received, received.dropped), (1_000, 4_000, 0));
}

#[test]
fn the_largest_and_the_smallest_datagram_arrive_whole() {
    let (from, to) = (unlimited(), unlimited());
    let largest: Vec<u8> = (0..MAX_DATAGRAM).map(|i| (i % 251) as u8).collect();
    from.send(&largest, to.local_addr()).unwrap();
    assert_eq!(to.recv(Some(LONG)).unwrap().0, largest);
    from.send(&[], to.local_addr()).unwrap();
    assert!(to.recv(Some(LONG)).unwrap().0.is_empty());
    let error = from.send(&vec![0; MAX_DATAGRAM + 1], to.local_addr()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

/// Unlimited proxies to send and to receive, with and without segmentation offload at either end.
fn pairs() -> impl Iterator<Item = (Proxy, Proxy)> {
    let open = |offload| {
        Proxy::open(SocketAddr::from(([127, 0, 0, 1], 0)), Rate::UNLIMITED, Rate::UNLIMITED, offload).unwrap()
    };
    [(true, true), (true, false), (false, true), (false, false)]
        .into_iter()
        .map(move |(a, b)| (open(a), open(b)))
}

/// A datagram that is told from all others of its test.
fn numbered(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (number * 31 + at * 7 + at / 251) as u8).collect()
}

#[test]
fn bursts_arrive_whole_and_in_order_whatever_the_lengths() {
    let around = |count: usize, len: usize| {
        (count - 1..=count + 1).flat_map(move |n| [vec![len; n], vec![len - 1], vec![len; n]].concat())
    };
    let bursts: [Vec<usize>; 7] = [
        vec![1_200; 100],
        // 64 datagrams are the limit of a train, 65,507 B (44 times 1,472 B) the other.
        around(64, 64).collect(),
        [vec![1_472; 44], vec![1, 1, 1_472], vec![1_472; 43], vec![739], vec![1_472]].concat(),
        vec![32_753, 32_753, 1, 32_754, 32_753, 32_754],
        vec![0, 0, 5, 5, 0, 5, 3, 0, 3, 5],
        vec![MAX_DATAGRAM, 1, MAX_DATAGRAM],
        (0..150).map(|n| 1 + n * n * 37 % 1_900).collect(),
    ];
    for (from, to) in pairs() {
        for burst in &bursts {
            let datagrams: Vec<_> = burst.iter().enumerate().map(|(n, &len)| numbered(n, len)).collect();
            for datagram in &datagrams {
                from.send(datagram, to.local_addr()).unwrap();
            }
            for datagram in &datagrams {
                let (received, sender) = to.recv(Some(LONG)).unwrap();
                assert!(received == datagram, "{} B came, not {}", received.len(), datagram.len());
                assert_eq!(sender, from.local_addr());
            }
        }
        let datagrams: usize = bursts.iter().map(Vec::len).sum();
        let bytes: usize = bursts.iter().flatten().sum();
        let (sent, received) = (from.stats(), to.stats());
        assert_eq!((sent.datagrams_sent, sent.bytes_sent), (datagrams as u64, bytes as u64));
        assert_eq!((received.datagrams_received, received.bytes_received), (datagrams as u64, bytes as u64));
    }
}

#[test]
fn everyone_gets_their_own_of_a_burst_and_nobody_spoils_it() {
    for (from, first) in pairs() {
        let (second, gone) = (unlimited(), unlimited());
        gone.close();
        for n in 0..90 {
            let to = [&first, &first, &second][n % 3].local_addr();
            from.send(&numbered(n, 900), to).unwrap();
            from.send(b"anybody there?", gone.local_addr()).unwrap();
            from.send(b"nowhere", SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        }
        for n in 0..90 {
            let at = [&first, &first, &second][n % 3];
            assert!(at.recv(Some(LONG)).unwrap().0 == numbered(n, 900), "number {n}");
        }
        assert_eq!(from.stats().refused, 90);
        // Trains are made still.
        for n in 0..100 {
            from.send(&numbered(n, 1_000), second.local_addr()).unwrap();
        }
        for n in 0..100 {
            assert!(second.recv(Some(LONG)).unwrap().0 == numbered(n, 1_000), "number {n}");
        }
    }
}

#[test]
fn the_end_of_a_burst_does_not_wait_for_another_send() {
    let (clock, from, to) = (Clock::new(), unlimited(), unlimited());
    let mut delays: Vec<_> = (0..200)
        .map(|_| {
            let start = clock.now();
            send_numbered(&from, &to, 7, 500);
            recv_numbered(&to, &clock, 0..7)[6].since(start)
        })
        .collect();
    delays.sort();
    // One that waited would always take longer; of those that don't, a busy machine holds up many.
    assert!(delays[20] < Duration::from_micros(900), "nine tenths took {:?} or more", delays[20]);
}

#[test]
fn a_burst_that_was_sent_before_close_has_left() {
    let to = unlimited();
    for _ in 0..20 {
        let from = unlimited();
        send_numbered(&from, &to, 10, 300);
        from.close();
        assert_eq!(from.stats().datagrams_sent, 10);
        recv_numbered(&to, &Clock::new(), 0..10);
    }
}

#[test]
fn what_is_too_long_for_the_path_is_dropped_and_not_cut_up() {
    if !cfg!(target_os = "linux") {
        return;
    }
    // With IPv6's longer header the largest datagram of IPv4 is too much for a loopback of 65,536 B.
    let (from, to) = (Proxy::bind("[::1]:0", 0, 0).unwrap(), Proxy::bind("[::1]:0", 0, 0).unwrap());
    from.send(&[1; MAX_DATAGRAM], to.local_addr()).unwrap();
    send_numbered(&from, &to, 60, 1_400);
    recv_numbered(&to, &Clock::new(), 0..60);
    let sent = from.stats();
    assert_eq!((sent.refused, sent.datagrams_sent), (1, 60));
}

#[test]
fn recv_gives_up_when_its_time_is_over() {
    let (clock, proxy) = (Clock::new(), unlimited());
    let timeout = Duration::from_millis(50);
    let start = clock.now();
    assert_eq!(proxy.recv(Some(timeout)).unwrap_err().kind(), io::ErrorKind::TimedOut);
    let took = clock.now().since(start);
    assert!(took >= timeout && took < Duration::from_secs(2), "{took:?}");
    assert_eq!(proxy.recv(Some(Duration::ZERO)).unwrap_err().kind(), io::ErrorKind::TimedOut);
    proxy.send(&[1], proxy.local_addr()).unwrap();
    assert!(proxy.recv(Some(Duration::MAX)).is_ok(), "a time-out without end is one");
}

#[test]
fn close_wakes_every_recv_and_stops_every_call() {
    let (clock, proxy) = (Clock::new(), unlimited());
    thread::scope(|scope| {
        let (proxy, clock) = (&proxy, &clock);
        let waiting = [Some(LONG), None].map(|timeout| scope.spawn(move || proxy.recv(timeout)));
        // Both are likely asleep by then; if one is not, it must find the proxy closed.
        assert!(proxy.recv(Some(Duration::from_millis(50))).is_err());
        let start = clock.now();
        let closers = [(); 3].map(|()| scope.spawn(move || proxy.close()));
        for receiver in waiting {
            assert_eq!(receiver.join().unwrap().unwrap_err().kind(), io::ErrorKind::NotConnected);
        }
        for closer in closers {
            closer.join().unwrap();
        }
        assert!(clock.now().since(start) < Duration::from_secs(1));
    });
    proxy.close();
    assert_eq!(proxy.send(&[1], proxy.local_addr()).unwrap_err().kind(), io::ErrorKind::NotConnected);
    assert_eq!(proxy.recv(None).unwrap_err().kind(), io::ErrorKind::NotConnected);
    proxy.set_upload_rate(1);
    proxy.set_download_rate(1);
}

#[test]
fn the_port_is_taken_until_close_and_free_at_once_after() {
    let mut holder = Proxy::new(1, 1, None).unwrap();
    let port = holder.port();
    assert_eq!(holder.local_addr(), SocketAddr::from(([127, 0, 0, 1], port)));
    let is_taken =
        || Proxy::new(0, 0, Some(port)).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
    for _ in 0..50 {
        assert!(is_taken());
        holder.send(&[1; 1_000], holder.local_addr()).unwrap();
        holder.close();
        let first = Proxy::new(0, 0, Some(port)).unwrap();
        // Dropping the last of the handles closes as well.
        let second = first.clone();
        drop(first);
        assert!(is_taken());
        drop(second);
        holder = Proxy::new(1, 1, Some(port)).unwrap();
    }
}

#[test]
fn what_is_queued_at_close_never_leaves() {
    let (from, to) = (Proxy::new(1_000, 0, None).unwrap(), unlimited());
    send_numbered(&from, &to, 10, 100);
    from.close();
    // None, unless this thread was held up for the 100 ms that the first one takes.
    for _ in 0..from.stats().datagrams_sent {
        to.recv(Some(LONG)).unwrap();
    }
    assert_eq!(to.recv(Some(Duration::from_millis(300))).unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[test]
fn a_refusal_by_the_other_host_or_by_the_system_is_survived() {
    let (proxy, friend) = (Proxy::bind("127.0.0.1:0", 0, 0).unwrap(), unlimited());
    let nobody = unlimited();
    nobody.close();
    for turn in 1..=20 {
        proxy.send(b"anybody there?", nobody.local_addr()).unwrap();
        // No socket sends to port 0.
        proxy.send(b"nowhere", SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        assert_eq!(proxy.stats().refused, turn);
        proxy.send(&[1], friend.local_addr()).unwrap();
        friend.recv(Some(LONG)).unwrap();
        friend.send(&[2], proxy.local_addr()).unwrap();
        assert_eq!(*proxy.recv(Some(LONG)).unwrap().0, [2]);
    }
    // The same from the I/O thread.
    proxy.set_upload_rate(1_000_000);
    proxy.send(b"nowhere", SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    proxy.send(&[3], friend.local_addr()).unwrap();
    assert_eq!(*friend.recv(Some(LONG)).unwrap().0, [3]);
    assert_eq!(proxy.stats().refused, 21);
}

#[test]
fn ipv6_and_both_at_once() {
    let (a, b) = (Proxy::bind("[::1]:0", 0, 0).unwrap(), Proxy::bind("[::1]:0", 0, 0).unwrap());
    assert_eq!(a.local_addr().ip(), Ipv6Addr::LOCALHOST);
    a.send(b"six", b.local_addr()).unwrap();
    let (datagram, from) = b.recv(Some(LONG)).unwrap();
    assert_eq!((&*datagram, from), (&b"six"[..], a.local_addr()));

    let (both, four) = (Proxy::bind("[::]:0", 0, 0).unwrap(), unlimited());
    four.send(b"four", SocketAddr::from(([127, 0, 0, 1], both.port()))).unwrap();
    assert_eq!(both.recv(Some(LONG)).unwrap().1, four.local_addr());
    both.send(b"back", four.local_addr()).unwrap();
    assert_eq!(&*four.recv(Some(LONG)).unwrap().0, b"back");
}

#[test]
fn many_threads_may_send_and_receive_at_once() {
    let (from, to) = (Proxy::new(2_000_000, 0, None).unwrap(), unlimited());
    thread::scope(|scope| {
        for thread in 0..4u8 {
            let (from, to) = (&from, &to);
            scope.spawn(move || {
                for number in 0..100u8 {
                    from.send(&[thread, number], to.local_addr()).unwrap();
                }
            });
        }
        let receivers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..100).map(|_| to.recv(Some(LONG)).unwrap().0).collect::<Vec<_>>()))
            .collect();
        let mut all: Vec<_> = receivers.into_iter().flat_map(|receiver| receiver.join().unwrap()).collect();
        all.sort();
        let expected: Vec<_> = (0..4).flat_map(|t| (0..100).map(move |n| Bytes::from(vec![t, n]))).collect();
        assert_eq!(all, expected);
    });
}

#[test]
fn a_name_without_an_address_is_an_error() {
    let error = Proxy::bind(&[][..] as &[SocketAddr], 0, 0).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(Proxy::bind("203.0.113.1:0", 0, 0).is_err(), "not an address of this host");
}

#[test]
fn a_handle_goes_to_any_thread() {
    fn any_thread<T: Send + Sync + Clone + 'static>() {}
    any_thread::<Proxy>();
}
