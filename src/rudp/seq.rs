//! Packet numbers: 64 bits inside, 32 bits in headers and 24 in acks on the wire.
//!
//! They begin at a random value and are never used twice, a retransmission included, so an acknowledgement always
//! says which copy arrived.

use crate::rand::Rng;

/// The full number of the first packet of one direction, drawn at random.
///
/// Lies above 2³² so that the expansion of a wire number never reaches below zero.
pub fn first(rng: &mut Rng) -> u64 {
    from_wire(rng.u32())
}

/// The full number that the other side begins with, from the wire number of its first packet.
pub fn from_wire(wire: u32) -> u64 {
    (1 << 32) + u64::from(wire)
}

/// What goes on the wire.
pub fn to_wire(number: u64) -> u32 {
    number as u32
}

/// The full number nearest to `expected` whose low 32 bits are `wire` (RFC 9000 §A.3).
pub fn expand(wire: u32, expected: u64) -> u64 {
    let distance = wire.wrapping_sub(expected as u32) as i32;
    expected.saturating_add_signed(i64::from(distance))
}

/// The full number nearest to `expected` whose low 24 bits are `wire`.
pub fn expand_u24(wire: u32, expected: u64) -> u64 {
    let distance = (wire.wrapping_sub(expected as u32) << 8) as i32 >> 8;
    expected.saturating_add_signed(i64::from(distance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wire_number_expands_to_the_nearest_one() {
        for expected in [1u64 << 32, (1 << 32) + 5, (3 << 32) - 1, (7 << 32) + (1 << 31)] {
            for distance in [-(1i64 << 31), -70_000, -1, 0, 1, 70_000, (1 << 31) - 1] {
                let number = expected.checked_add_signed(distance).unwrap();
                assert_eq!(expand(to_wire(number), expected), number, "{expected:#x} {distance}");
            }
        }
    }

    #[test]
    fn so_does_one_of_24_bits() {
        for expected in [1u64 << 32, (1 << 32) + 5, (3 << 32) - 1, (7 << 32) + (1 << 23)] {
            for distance in [-(1i64 << 23), -70_000, -1, 0, 1, 70_000, (1 << 23) - 1] {
                let number = expected.checked_add_signed(distance).unwrap();
                assert_eq!(
                    expand_u24(to_wire(number) & 0xff_ffff, expected),
                    number,
                    "{expected:#x} {distance}"
                );
            }
        }
    }

    #[test]
    fn both_ends_agree_on_the_first_number() {
        let number = first(&mut Rng::from_seed(1));
        assert_eq!(from_wire(to_wire(number)), number);
    }
}
