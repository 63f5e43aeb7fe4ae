//! Changes to an input that keep most of its structure: bits, numbers, pieces of itself and of others.

use swarmcast::coding::{VARINT_MAX, Writer as _};
use swarmcast::rand::Rng;
use swarmcast::rudp::packet::{HEADER_LEN, VERSION, seal};

/// Values at which arithmetic and lengths break.
const INTERESTING: [u64; 22] = [
    0,
    1,
    2,
    15,
    16,
    63,
    64,
    127,
    128,
    255,
    256,
    1_199,
    1_200,
    16_383,
    16_384,
    65_535,
    (1 << 30) - 1,
    1 << 31,
    u32::MAX as u64,
    1 << 32,
    VARINT_MAX - 1,
    VARINT_MAX,
];

/// Changes `input` in one to eight ways, with pieces of `others` among them.
pub(crate) fn mutate(rng: &mut Rng, input: &mut Vec<u8>, others: &[Vec<u8>], max_len: usize) {
    for _ in 0..1 + rng.below(8) {
        let other = &others[rng.index(others.len())];
        once(rng, input, other);
        input.truncate(max_len);
    }
}

/// Gives a datagram a version and a crc that fit, so that what lies behind them is reached.
pub(crate) fn reseal(input: &mut [u8]) {
    if input.len() >= HEADER_LEN {
        input[0] = VERSION << 4 | (input[0] & 0x7);
        seal(input);
    }
}

fn once(rng: &mut Rng, input: &mut Vec<u8>, other: &[u8]) {
    let at = rng.index(input.len() + 1);
    let span = |rng: &mut Rng, len: usize| {
        let start = rng.index(len + 1);
        let most = if rng.chance(0.75) { 16 } else { len };
        start..(start + rng.index(most + 1)).min(len)
    };
    match rng.below(11) {
        0 | 1 => change(input, at, |byte| byte ^ 1 << rng.below(8)),
        2 => change(input, at, |_| rng.u32() as u8),
        3 => change(input, at, |byte| byte.wrapping_add(1 + rng.below(4) as u8)),
        4 => change(input, at, |byte| byte.wrapping_sub(1 + rng.below(4) as u8)),
        5 => {
            let number = interesting(rng);
            let end = (at + number.len()).min(input.len());
            input.splice(at..end, number);
        }
        6 => {
            let number = interesting(rng);
            input.splice(at..at, number);
        }
        7 => {
            let cut = span(rng, input.len());
            input.drain(cut);
        }
        8 => {
            let own = input[span(rng, input.len())].to_vec();
            input.splice(at..at, own);
        }
        9 => {
            let piece = &other[span(rng, other.len())];
            let end = if rng.chance(0.5) { at } else { (at + piece.len()).min(input.len()) };
            input.splice(at..end, piece.iter().copied());
        }
        // The beginning of one, the end of another.
        _ => {
            let from = at.min(other.len());
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
    }
}

fn change(input: &mut [u8], at: usize, new: impl FnOnce(u8) -> u8) {
    if let Some(byte) = input.get_mut(at) {
        *byte = new(*byte);
    }
}

fn interesting(rng: &mut Rng) -> Vec<u8> {
    let value = INTERESTING[rng.index(INTERESTING.len())];
    let mut bytes = Vec::new();
    match rng.below(5) {
        0 => bytes.u8(value as u8),
        1 => bytes.u16(value as u16),
        2 => bytes.u32(value as u32),
        3 => bytes.u64(value),
        _ => bytes.varint(value),
    }
    bytes
}
