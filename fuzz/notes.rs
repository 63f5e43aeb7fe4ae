//! What a target tells about its input, so that the driver can tell an interesting one from the rest.

use std::cell::RefCell;

thread_local! {
    static NOTES: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// The run came to a place, with a value there. Few different values, please: see [`magnitude`].
pub(crate) fn reached(place: u32, value: u64) {
    NOTES.with_borrow_mut(|notes| notes.push(u64::from(place) << 32 | (value & 0xffff_ffff)));
}

/// A number's bit length: values that differ by less are alike.
pub(crate) fn magnitude(value: u64) -> u64 {
    u64::from(u64::BITS - value.leading_zeros())
}

/// Takes what was noted since the last call.
pub(crate) fn take() -> Vec<u64> {
    NOTES.take()
}
