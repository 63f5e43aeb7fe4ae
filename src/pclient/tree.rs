//! BLAKE3's hash tree at the grain of pieces and of its right edge. No I/O, no trust: callers compare and decide.
//!
//! BLAKE3 hashes chunks of 1 KiB and joins them in a binary tree whose left subtrees are as large as a power of two
//! chunks allows (BLAKE3 paper, §2.1). The hash of a subtree that is not the root is its *chaining value*; the root's
//! is made in another way, so that the one can't be passed off as the other.

use std::ops::Range;

use blake3::hazmat::{
    self, ChainingValue, HasherExt as _, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};

/// The chaining value of the subtree made up of `bytes`, which begin at `offset` of the file.
///
/// # Panics
/// If `bytes` is empty or no subtree begins there that could hold it.
pub(super) fn subtree(offset: u64, bytes: &[u8]) -> ChainingValue {
    debug_assert!(hazmat::max_subtree_len(offset).is_none_or(|max| bytes.len() as u64 <= max));
    blake3::Hasher::new().set_input_offset(offset).update(bytes).finalize_non_root()
}

/// The chaining value of a subtree of `len` B from those of its pieces, of `piece_len` B each but the last.
///
/// # Panics
/// If the number of hashes is not `len` ÷ `piece_len`, rounded up, or is zero.
pub(super) fn merge(hashes: &[ChainingValue], len: u64, piece_len: u64) -> ChainingValue {
    if len <= piece_len {
        assert_eq!(hashes.len(), 1, "one hash for each piece");
        return hashes[0];
    }
    let [left, right] = merge_children(hashes, len, piece_len);
    merge_subtrees_non_root(&left, &right, Mode::Hash)
}

/// The hash of a file of `len` B from the chaining values of its pieces: as [`merge`], for more than one piece.
pub(super) fn merge_root(hashes: &[ChainingValue], len: u64, piece_len: u64) -> blake3::Hash {
    let [left, right] = merge_children(hashes, len, piece_len);
    merge_subtrees_root(&left, &right, Mode::Hash)
}

fn merge_children(hashes: &[ChainingValue], len: u64, piece_len: u64) -> [ChainingValue; 2] {
    // As `len > piece_len` and both are counted in powers of two, the left subtree is a whole number of pieces.
    let left_len = left_subtree_len(len);
    let (left, right) = hashes.split_at((left_len / piece_len) as usize);
    [merge(left, left_len, piece_len), merge(right, len - left_len, piece_len)]
}

/// The right edge of the tree of `size` B: the ranges of the left siblings on the way from the root to the last chunk,
/// outermost first, and that of the last chunk. They tile the file.
pub(super) fn right_edge(size: u64) -> (Vec<Range<u64>>, Range<u64>) {
    let mut siblings = Vec::new();
    let mut start = 0;
    while size - start > blake3::CHUNK_LEN as u64 {
        let end = start + left_subtree_len(size - start);
        siblings.push(start..end);
        start = end;
    }
    (siblings, start..size)
}

/// The hash of a file from the chaining values along its right edge (see [`right_edge`]) and its last chunk, which
/// begins at `offset`.
pub(super) fn root_of_edge(siblings: &[ChainingValue], offset: u64, last_chunk: &[u8]) -> blake3::Hash {
    let Some((outermost, inner)) = siblings.split_first() else {
        return blake3::hash(last_chunk);
    };
    let right = inner
        .iter()
        .rev()
        .fold(subtree(offset, last_chunk), |right, left| merge_subtrees_non_root(left, &right, Mode::Hash));
    merge_subtrees_root(outermost, &right, Mode::Hash)
}
