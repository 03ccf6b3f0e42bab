// SPDX-License-Identifier: GPL-2.0-or-later
//! [`OthersRegion`]: the mapping of what the other nodes of a cluster have. It exists only in
//! a cluster, so a server without one has no memory for it.

use core::mem::{align_of, size_of};
use core::ptr::null_mut;

use super::{Mapping, RegionError};
use crate::shared::layout::{Board, OTHERS_PER_BUCKET, OthersBucket, OthersDetail};

/// The shared memory about the other nodes.
pub(crate) struct OthersRegion {
    mapping: Mapping,
    buckets: usize,
}

/// The board comes first.
const BUCKETS_AT: usize = size_of::<Board>().next_multiple_of(align_of::<OthersBucket>());

fn details_at(buckets: usize) -> usize {
    (BUCKETS_AT + buckets * size_of::<OthersBucket>()).next_multiple_of(align_of::<OthersDetail>())
}

impl OthersRegion {
    /// A mapping with room for as many sources as there may be connections on this node. If
    /// there are that many, a bucket has two of them on average, so fewer than 1 in 100,000
    /// find both their buckets full.
    pub(crate) fn create(max_connections: u32) -> Result<OthersRegion, RegionError> {
        // At most half of `Limiter::MAX_CONNECTIONS`, so it fits.
        let buckets = max_connections as usize / 2 + 16;
        let details = buckets * OTHERS_PER_BUCKET * size_of::<OthersDetail>();
        let mapping = Mapping::create(details_at(buckets) + details, null_mut())?;
        Ok(OthersRegion { mapping, buckets })
    }

    pub(crate) fn board(&self) -> &Board {
        // SAFETY: Board consists of atomics for which zeroed memory is valid. The mapping
        // begins with it.
        unsafe { &self.mapping.slice(0, 1)[0] }
    }

    #[inline]
    pub(crate) fn buckets(&self) -> &[OthersBucket] {
        // SAFETY: OthersBucket consists of atomics for which zeroed memory is valid. This
        // many follow the board, at an offset that is aligned for them.
        unsafe { self.mapping.slice(BUCKETS_AT, self.buckets) }
    }

    /// One for each entry of [`buckets`](Self::buckets).
    pub(crate) fn details(&self) -> &[OthersDetail] {
        let entries = self.buckets * OTHERS_PER_BUCKET;
        // SAFETY: OthersDetail consists of atomics for which zeroed memory is valid. This
        // many follow the buckets, at an offset that is aligned for them.
        unsafe { self.mapping.slice(details_at(self.buckets), entries) }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.mapping.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::sync::Ordering;

    #[test]
    fn parts_do_not_overlap() {
        let region = OthersRegion::create(1).unwrap();
        assert_eq!(region.buckets().len(), 16);
        assert_eq!(region.details().len(), 16 * 7);
        for detail in region.details() {
            detail.word.store(u64::MAX, Ordering::Relaxed);
            detail.of_nodes[31].store(u16::MAX, Ordering::Relaxed);
        }
        for bucket in region.buckets() {
            let words = bucket.entries.iter().chain([&bucket.elsewhere]);
            for word in words {
                assert_eq!(word.swap(1, Ordering::Relaxed), 0);
            }
        }
        let details = region.details().iter();
        assert!(
            details
                .map(|d| d.word.load(Ordering::Relaxed))
                .all(|w| w == u64::MAX)
        );
        let row = &region.board().nodes[31];
        assert_eq!(row.words[0].swap(1, Ordering::Relaxed), 0);
        assert_eq!(region.buckets()[0].entries[0].load(Ordering::Relaxed), 1);
        let last: *const OthersDetail = &raw const region.details()[16 * 7 - 1];
        let end = last.addr() + size_of::<OthersDetail>();
        assert!(end <= region.mapping.base.as_ptr().addr() + region.bytes());
    }
}
