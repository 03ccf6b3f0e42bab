// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Region`]: one mapping, where each part lies in it, and all pointer arithmetic;
//! [`SharedWords`]: a mapping of words alone.

mod huge;

use core::ffi::c_void;
use core::fmt;
use core::mem::{align_of, size_of};
use core::ptr::{NonNull, null_mut};
use std::io;

use super::layout::{ACCEPTOR_ROW, Bucket, Detail, Geometry, Header, MAX_RULES, ROWS, RuleEntry};
use crate::shared::sync::{AtomicI32, AtomicU64, Ordering};

/// At most this much is populated: the buckets of 19 million connections. A page of 4 KiB
/// takes a microsecond or a few, so this bounds the start of the process that accepts to
/// about a second. What lies beyond is allocated as it is touched.
const MAX_POPULATED: usize = 1 << 30;

/// The smallest page. Larger ones are touched more than once.
const PAGE: usize = 4096;

impl Geometry {
    fn buckets_at(self) -> usize {
        size_of::<Header>().next_multiple_of(align_of::<Bucket>())
    }

    fn cells_at(self) -> usize {
        self.buckets_at() + self.buckets * size_of::<Bucket>()
    }

    fn details_at(self) -> usize {
        let cells = (ROWS - 1) * self.slots() * size_of::<AtomicI32>();
        // see `Detail` on cache lines
        (self.cells_at() + cells).next_multiple_of(align_of::<Bucket>())
    }

    /// Bytes from the start of the mapping that [`Region::populate`] populates: the
    /// header and the buckets.
    fn populated(self) -> usize {
        self.cells_at().min(MAX_POPULATED)
    }

    /// Bytes from the start of the mapping that huge pages may hold: what is populated,
    /// rounded up, if that fills one.
    fn huge(self) -> usize {
        match self.populated() {
            ..huge::PAGE => 0,
            populated => populated.next_multiple_of(huge::PAGE).min(self.bytes()),
        }
    }

    fn rules_at(self) -> usize {
        let end = self.details_at() + self.slots() * size_of::<Detail>();
        end.next_multiple_of(align_of::<RuleEntry>())
    }

    fn bytes(self) -> usize {
        self.rules_at() + 2 * MAX_RULES * size_of::<RuleEntry>()
    }
}

/// Why there is no mapping: the system refused to map so many bytes.
#[derive(Debug)]
pub(crate) struct RegionError(usize, std::io::Error);

impl fmt::Display for RegionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RegionError(bytes, error) = self;
        write!(f, "cannot map {bytes} bytes of shared memory: {error}")
    }
}

/// An anonymous mapping that all processes forked after its creation share. Its pages are
/// zero, and each takes memory at its first use.
struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the Mapping alone owns its memory; it hands out only shared references to
// atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `bytes` bytes, at `hint` if these addresses are free and it is not null.
    fn create(bytes: usize, hint: *mut c_void) -> Result<Mapping, RegionError> {
        // SAFETY: a new anonymous mapping touches no existing memory. Without MAP_FIXED
        // it replaces nothing, even if the hint is in use by now.
        let base = unsafe {
            libc::mmap(
                hint,
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(RegionError(bytes, std::io::Error::last_os_error()));
        }
        let Some(base) = NonNull::new(base.cast::<u8>()) else {
            return Err(RegionError(bytes, std::io::ErrorKind::Other.into()));
        };
        Ok(Mapping { base, bytes })
    }

    /// `count` items of type `T` from byte `at` on.
    ///
    /// # Safety
    ///
    /// `T` consists of atomics for which zeroed memory is valid. The items are in
    /// bounds, and every use of these bytes is as items of type `T`.
    #[inline]
    unsafe fn slice<T>(&self, at: usize, count: usize) -> &[T] {
        debug_assert!(at.is_multiple_of(align_of::<T>()));
        debug_assert!(at + count * size_of::<T>() <= self.bytes);
        // SAFETY: in bounds and aligned by the caller's arithmetic (asserted above);
        // valid as the caller promises; alive as long as the mapping, which is as
        // long as `self`.
        unsafe { core::slice::from_raw_parts(self.base.add(at).cast::<T>().as_ptr(), count) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: base and length are those that mmap gave to `create`, and no
        // reference into the mapping outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// Words, at first 0, that all processes forked after their creation share.
pub(crate) struct SharedWords {
    mapping: Mapping,
    count: usize,
}

impl SharedWords {
    pub(crate) fn create(count: usize) -> Result<SharedWords, RegionError> {
        // A size that does not fit is one that the system refuses.
        let mapping = Mapping::create(count.saturating_mul(size_of::<AtomicU64>()), null_mut())?;
        Ok(SharedWords { mapping, count })
    }

    #[inline]
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: AtomicU64 is an atomic, for which zeroed memory is valid; the
        // mapping has this size and is used as words only.
        unsafe { self.mapping.slice(0, self.count) }
    }
}

/// The shared memory of the table, the rules and the settings.
pub(crate) struct Region {
    mapping: Mapping,
    geometry: Geometry,
}

impl Region {
    pub(crate) fn create(geometry: Geometry) -> Result<Region, RegionError> {
        let bytes = geometry.bytes();
        let hint = match geometry.huge() {
            0 => null_mut(),
            _ => huge::boundary(bytes),
        };
        let mapping = Mapping::create(bytes, hint)?;
        let region = Region { mapping, geometry };
        region.advise_huge();
        Ok(region)
    }

    /// Lets the system use huge pages for what is populated, where the administrator
    /// has allowed them for shared memory. Not for the rest: that is allocated while
    /// connections come, and to clear, or first to assemble, 2 MiB then would stop TCP
    /// main for longer than a small page does.
    fn advise_huge(&self) {
        let bytes = self.geometry.huge();
        if bytes > 0 {
            // SAFETY: a part of the mapping. The advice changes none of its bytes; where
            // the system does not know it, pages stay small.
            unsafe {
                libc::madvise(
                    self.mapping.base.as_ptr().cast(),
                    bytes,
                    libc::MADV_HUGEPAGE,
                )
            };
        }
    }

    /// Bytes of the mapping that are in huge pages; 0 as well where /proc does not show
    /// it. Reads a file.
    pub(crate) fn huge_bytes(&self) -> u64 {
        if self.geometry.huge() == 0 {
            return 0;
        }
        // The system reports what this process has touched, so touch all that may be.
        self.touch(huge::PAGE);
        let start = self.mapping.base.as_ptr().addr();
        let smaps = std::fs::read("/proc/self/smaps").unwrap_or_default();
        huge::mapped(&smaps, start..start + self.geometry.bytes())
    }

    /// Allocates header and buckets, up to [`MAX_POPULATED`] bytes, on the memory node
    /// of this CPU, and maps them in this process. Changes no data.
    ///
    /// # Errors
    ///
    /// The system's error. Nothing depends on it: pages that are missing are allocated
    /// when they are first touched.
    pub(crate) fn populate(&self) -> io::Result<()> {
        let bytes = self.geometry.populated();
        let base = self.mapping.base.as_ptr().cast();
        // SAFETY: a part of the mapping. The advice changes none of its bytes.
        if unsafe { libc::madvise(base, bytes, libc::MADV_POPULATE_WRITE) } == 0 {
            return Ok(());
        }
        match io::Error::last_os_error() {
            // Linux before 5.14 does not have this advice.
            error if error.raw_os_error() == Some(libc::EINVAL) => {
                self.touch(PAGE);
                Ok(())
            }
            error => Err(error),
        }
    }

    /// Touches one word in every `step` bytes of what is populated, as a write does,
    /// and changes none.
    fn touch(&self, step: usize) {
        let bytes = self.geometry.populated() - self.geometry.buckets_at();
        let buckets = &self.buckets()[..bytes / size_of::<Bucket>()];
        // The last bucket may lie on a page that the steps do not reach.
        let touched = buckets.iter().step_by(step / size_of::<Bucket>());
        for bucket in touched.chain(buckets.last()) {
            // At most replaces 0 by 0, in one atomic step: no other process can see it
            // or lose a write to it. Relaxed: it publishes nothing. An addition of 0
            // would not do, since compilers make a mere load of it.
            let word = &bucket.slots[0].word;
            let _ = word.compare_exchange(0, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Bytes of address space for sources, without those for rules.
    pub(crate) fn table_bytes(&self) -> usize {
        self.geometry.rules_at()
    }

    #[inline]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: the mapping begins with a Header, which consists of atomics, for
        // which zeroed memory is valid.
        unsafe { self.mapping.base.cast::<Header>().as_ref() }
    }

    #[inline]
    pub(crate) fn buckets(&self) -> &[Bucket] {
        // SAFETY: Bucket consists of atomics, for which zeroed memory is valid.
        unsafe { self.slice(self.geometry.buckets_at(), self.geometry.buckets) }
    }

    /// The cells of a row other than the acceptor row.
    #[inline]
    pub(crate) fn cells(&self, row: usize) -> &[AtomicI32] {
        assert!(row != ACCEPTOR_ROW && row < ROWS);
        let slots = self.geometry.slots();
        let at = self.geometry.cells_at() + (row - 1) * slots * size_of::<AtomicI32>();
        // SAFETY: AtomicI32 is an atomic, for which zeroed memory is valid.
        unsafe { self.slice(at, slots) }
    }

    #[inline]
    pub(crate) fn details(&self) -> &[Detail] {
        // SAFETY: Detail consists of atomics, for which zeroed memory is valid.
        unsafe { self.slice(self.geometry.details_at(), self.geometry.slots()) }
    }

    /// Both halves of the rules.
    pub(crate) fn rules(&self) -> [&[RuleEntry]; 2] {
        let half = MAX_RULES * size_of::<RuleEntry>();
        [0, half].map(|offset| {
            // SAFETY: RuleEntry consists of atomics, for which zeroed memory is
            // valid.
            unsafe { self.slice(self.geometry.rules_at() + offset, MAX_RULES) }
        })
    }

    /// `count` items of type `T` from byte `at` on.
    ///
    /// # Safety
    ///
    /// `T` consists of atomics for which zeroed memory is valid, and nothing else
    /// is ever made of these bytes: [`Geometry`] gives each array its own.
    #[inline]
    unsafe fn slice<T>(&self, at: usize, count: usize) -> &[T] {
        // SAFETY: in bounds by Geometry's arithmetic; the rest as the caller promises.
        unsafe { self.mapping.slice(at, count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Region {
        /// The system cannot give memory for the second page from here on: it is one of
        /// an empty file.
        pub(crate) fn make_unpopulatable(&self) {
            // SAFETY: a new file; its name is a string.
            let file = unsafe { libc::memfd_create(c"empty".as_ptr(), libc::MFD_CLOEXEC) };
            assert!(file >= 0);
            let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
            // SAFETY: replaces a page of the mapping, in which no reference is used again.
            let page = unsafe {
                let page = self.mapping.base.as_ptr().add(PAGE).cast();
                libc::mmap(page, PAGE, access, kind | libc::MAP_FIXED, file, 0)
            };
            assert_ne!(page, libc::MAP_FAILED);
            // SAFETY: opened above; the mapping does not need it.
            unsafe { libc::close(file) };
        }

        /// Whether each page of the mapping is allocated.
        fn allocated(&self) -> Vec<bool> {
            let bytes = self.geometry.bytes();
            let mut pages = vec![0; bytes.div_ceil(PAGE)];
            let base = self.mapping.base.as_ptr().cast();
            // SAFETY: the mapping, and a byte for each of its pages.
            let done = unsafe { libc::mincore(base, bytes, pages.as_mut_ptr()) };
            assert_eq!(done, 0);
            pages.iter().map(|page| page & 1 != 0).collect()
        }
    }

    #[test]
    fn populate_and_touch_allocate_header_and_buckets_only() {
        let populate = |region: &Region| region.populate().unwrap();
        let touch = |region: &Region| region.touch(PAGE);
        for allocate in [&populate as &dyn Fn(&Region), &touch] {
            let region = Region::create(Geometry::of_buckets(10_000 + 1)).unwrap();
            region.header().settings.limit.store(7, Ordering::Relaxed);
            let slot = &region.buckets()[6_400].slots[0];
            slot.word.store(u64::MAX, Ordering::Relaxed);
            allocate(&region);
            let pages = region.allocated();
            let populated = region.geometry.cells_at().div_ceil(PAGE);
            assert!(pages[..populated].iter().all(|&page| page));
            // A page of 2 MiB, where the system gives such to all, reaches further.
            let beyond = &pages[populated + (2 << 20) / PAGE..];
            assert!(!beyond.iter().any(|&page| page));
            assert_eq!(region.header().settings.limit.load(Ordering::Relaxed), 7);
            assert_eq!(slot.word.load(Ordering::Relaxed), u64::MAX);
            let words = region.buckets().iter().map(|bucket| &bucket.slots[0].word);
            let set = words.filter(|word| word.load(Ordering::Relaxed) != 0);
            assert_eq!(set.count(), 1);
        }
    }

    #[test]
    fn populate_is_bounded() {
        let bytes = |connections| {
            let geometry = Geometry::for_connections(connections).unwrap();
            geometry.populated()
        };
        assert_eq!(bytes(1_000_000) >> 20, 53);
        assert_eq!(bytes(100_000_000), MAX_POPULATED);
    }

    #[test]
    fn only_large_tables_may_have_huge_pages() {
        let bytes = |connections| Geometry::for_connections(connections).unwrap().huge();
        assert_eq!(bytes(35_000), 0);
        assert_eq!(bytes(45_000), 2 * huge::PAGE);
        assert_eq!(bytes(1_000_000), 27 * huge::PAGE);
        assert_eq!(bytes(100_000_000), MAX_POPULATED);
    }

    #[test]
    fn large_tables_begin_at_a_huge_page() {
        // Another test may map something there first, but not each time.
        assert!((0..100).any(|_| {
            let geometry = Geometry::for_connections(1_000_000).unwrap();
            let region = Region::create(geometry).unwrap();
            region
                .mapping
                .base
                .as_ptr()
                .addr()
                .is_multiple_of(huge::PAGE)
        }));
    }

    #[test]
    fn huge_pages_are_those_the_system_gives() {
        let setting = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
        let setting = setting.unwrap_or_default();
        let allowed = ["[advise]", "[always]", "[force]", "[within_size]"];
        let is_allowed = allowed.iter().any(|word| setting.contains(word));

        let region = Region::create(Geometry::for_connections(100_000).unwrap()).unwrap();
        region.populate().unwrap();
        let bytes = region.huge_bytes();
        assert!(bytes <= region.geometry.bytes() as u64, "{bytes}");
        // Where memory is scattered the system may have none to give.
        assert!(is_allowed || bytes == 0, "{bytes}, {setting}");

        let small = Region::create(Geometry::for_connections(10_000).unwrap()).unwrap();
        assert_eq!(small.huge_bytes(), 0);
    }

    #[test]
    fn populate_reports_what_the_system_says() {
        let region = Region::create(Geometry::of_buckets(1_000)).unwrap();
        region.make_unpopulatable();
        let error = region.populate().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EFAULT));
    }

    #[test]
    fn at_most_272_bytes_for_a_connection() {
        // below a thousand the header and the few extra buckets weigh more
        for connections in [1_000, 2_048, 35_000, 1_000_000, 100_000_000] {
            let geometry = Geometry::for_connections(connections).unwrap();
            // the rules' part is the same for any number of connections
            let each = geometry.rules_at() as f64 / f64::from(connections);
            assert!(each <= 272.0, "{connections}: {each}");
        }
    }

    #[test]
    fn parts_do_not_overlap() {
        let region = Region::create(Geometry::of_buckets(3)).unwrap();
        for (i, bucket) in region.buckets().iter().enumerate() {
            for slot in &bucket.slots {
                slot.word.store(i as u64, Ordering::Relaxed);
            }
        }
        for row in 1..ROWS {
            for cell in region.cells(row) {
                cell.store(-(row as i32), Ordering::Relaxed);
            }
        }
        for detail in region.details() {
            detail.low.store(u64::MAX, Ordering::Relaxed);
        }
        assert_eq!(region.header().settings.limit.load(Ordering::Relaxed), 0);
        assert_eq!(region.buckets().len(), 3);
        assert_eq!(region.details().len(), 12);
        for (i, bucket) in region.buckets().iter().enumerate() {
            for slot in &bucket.slots {
                assert_eq!(slot.word.load(Ordering::Relaxed), i as u64);
                assert_eq!(slot.control.load(Ordering::Relaxed), 0);
            }
        }
        for row in 1..ROWS {
            for cell in region.cells(row) {
                assert_eq!(cell.load(Ordering::Relaxed), -(row as i32));
            }
        }
    }
}
