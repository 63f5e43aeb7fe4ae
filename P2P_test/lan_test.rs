//! `share --lan` and `get` on two machines of one local network: two network namespaces with a cable between them, real processes.
//!
//! Where namespaces can't be made (without root, or without `ip`), a test says so and passes.

use std::fs;

use data_encoding::BASE32_NOPAD;
use swarmcast::Fid;
use swarmcast::coding::Writer as _;

use self::processes::lan::Lan;
use self::processes::{Sandbox, Stream};

mod processes;

/// Long enough for hundreds of datagrams, B.
const SIZE: usize = 2_000_000;

/// Shares a file on one machine with `share`, and gets it on the other by what `wanted` makes of the ticket and the fid.
fn is_found(lan: &Lan, share: &[&str], wanted: impl Fn(String, String) -> String) {
    let (near, far) = (Sandbox::on(&lan.near), Sandbox::on(&lan.far));
    let content = near.file("f", SIZE, 90);
    let (sharing, ticket) = near.share(&[&["f"], share].concat());
    let fid = swarmcast::Fid::of(&content).to_string();
    let get = far.run(&["get", &wanted(ticket, fid), "-o", "g"]);
    get.succeeded();
    assert!(fs::read(far.0.join("g")).unwrap() == content, "the copy differs");
    println!("{:.3} s from the start of get to its end: {}", get.seconds, get.stderr.lines().next().unwrap());
    assert!(get.seconds < 3.0, "{get:?}");
    sharing.interrupt().succeeded();
}

#[test]
fn a_ticket_or_a_fid_is_enough_over_ipv4() {
    let Some(lan) = Lan::new(&["10.99.0.1/24"], &["10.99.0.2/24"]) else { return };
    is_found(&lan, &["--lan"], |ticket, _| ticket);
    is_found(&lan, &["--lan"], |_, fid| fid);
}

/// A ticket for the file that is shared, which names a tracker that can't be found.
fn astray(fid: &str) -> String {
    let (fid, host): (Fid, &str) = (fid.parse().unwrap(), "nobody.invalid");
    let mut bytes = fid.as_bytes().to_vec();
    bytes.varint(SIZE as u64);
    bytes.bytes(&[1, host.len() as u8]);
    bytes.bytes(host.as_bytes());
    bytes.u16(10086);
    let checksum = crc32fast::hash(&bytes);
    bytes.u32(checksum);
    format!("swarmcast1:{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
}

#[test]
fn where_the_tickets_tracker_cant_be_found_the_local_network_is_asked() {
    let Some(lan) = Lan::new(&["10.99.0.1/24"], &["10.99.0.2/24"]) else { return };
    is_found(&lan, &["--lan"], |_, fid| astray(&fid));
}

#[test]
fn a_ticket_is_enough_over_ipv6_with_addresses_that_count_on_the_link_only() {
    let Some(lan) = Lan::new(&[], &[]) else { return };
    is_found(&lan, &["--lan"], |ticket, _| ticket);
}

#[test]
fn a_tracker_can_have_any_kind_of_ipv6_address() {
    let Some(lan) = Lan::new(&["fd00:99::1/64"], &["fd00:99::2/64"]) else { return };
    is_found(&lan, &["--bind", "fd00:99::1"], |ticket, _| ticket);
    // The ticket doesn't say on which link, as that has another name elsewhere.
    let machine = Sandbox::on(&lan.near);
    let mut tracker = machine.start(&["tracker", "--bind", "[::]:20086"]);
    tracker.line(Stream::Stdout, "tracker at ");
    let addr = format!("[fe80::1%{}]:20086", lan.near.link);
    is_found(&lan, &["--tracker", &addr], |ticket, _| ticket);
}

#[test]
fn where_nobody_answers_it_is_said_what_to_do() {
    let Some(lan) = Lan::new(&["10.99.0.1/24"], &[]) else { return };
    let machine = Sandbox::on(&lan.near);
    let fid = swarmcast::Fid::of(b"nobody shares this").to_string();
    let get = machine.run(&["get", &fid]);
    get.failed(5, &["nobody in the local network answers", "share --lan", "--bind ADDRESS"]);
    lan.cut();
    machine.run(&["get", &fid]).failed(5, &["can't use the local network", "connect it"]);
    machine.file("f", 10, 91);
    machine.run(&["share", "f", "--lan"]).failed(1, &["can't use the local network", "connect it"]);
}
