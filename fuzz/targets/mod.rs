//! What is fuzzed: each target takes any bytes, and panics if what it calls breaks a promise.

mod codecs;
mod lone;
mod pair;
mod record;
mod ticket;

/// A function of bytes, and what the driver has to know of it.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&[u8]),
    /// Well-formed inputs to begin with.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
    /// Whether inputs are datagrams, whose crc is to be made to fit.
    pub(crate) sealed: bool,
    pub(crate) max_len: usize,
    /// How many runs `cargo test` has time for.
    pub(crate) short_runs: u64,
}

const CODEC: Target =
    Target { name: "", run: |_| {}, seeds: Vec::new, sealed: false, max_len: 1_500, short_runs: 20_000 };

/// All targets.
pub(crate) const TARGETS: &[Target] = &[
    Target { name: "packet", run: codecs::packet, seeds: codecs::packet_seeds, sealed: true, ..CODEC },
    Target { name: "frames", run: codecs::frames, seeds: codecs::frame_seeds, ..CODEC },
    Target { name: "handshake", run: codecs::handshake, seeds: codecs::handshake_seeds, ..CODEC },
    Target {
        name: "tracker_request",
        run: codecs::tracker_request,
        seeds: codecs::tracker_request_seeds,
        ..CODEC
    },
    Target {
        name: "tracker_response",
        run: codecs::tracker_response,
        seeds: codecs::tracker_response_seeds,
        ..CODEC
    },
    Target {
        name: "discovery",
        run: codecs::discovery,
        seeds: codecs::discovery_seeds,
        sealed: true,
        max_len: 100,
        ..CODEC
    },
    Target { name: "message", run: codecs::message, seeds: codecs::message_seeds, ..CODEC },
    Target {
        name: "size_proof",
        run: codecs::size_proof,
        seeds: codecs::size_proof_seeds,
        max_len: 3_000,
        ..CODEC
    },
    Target { name: "collection", run: codecs::collection, seeds: codecs::collection_seeds, ..CODEC },
    Target { name: "ticket", run: ticket::ticket, seeds: ticket::seeds, max_len: 300, ..CODEC },
    Target { name: "resume_record", run: record::record, seeds: record::seeds, max_len: 120, ..CODEC },
    Target { name: "lone", run: lone::lone, seeds: lone::seeds, max_len: 2_000, short_runs: 2_000, ..CODEC },
    Target { name: "pair", run: pair::pair, seeds: pair::seeds, max_len: 600, short_runs: 500, ..CODEC },
];
