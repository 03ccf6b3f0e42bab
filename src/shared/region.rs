// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Region`]: the shared mapping, the offset of each part in it, and all pointer
//! arithmetic.

mod huge;
mod others;
pub(crate) mod smaps;

use core::ffi::c_void;
use core::fmt;
use core::mem::{align_of, size_of};
use core::ptr::{NonNull, null_mut};
use std::io;

pub(crate) use others::OthersRegion;

use super::layout::{
    ACCEPTOR_ROW, Bucket, Connection, Detail, Geometry, Header, ListenerTable, MAX_RULES, ROWS,
    RuleEntry,
};
use crate::shared::sync::{AtomicI32, AtomicU64, Ordering, Statistic32};

/// At most this many bytes are populated: what 14 million connections need. A page of
/// 4 KiB takes one to a few microseconds, so this bounds the start of the accepting process
/// to about a second. Pages beyond are allocated when they are touched.
const MAX_POPULATED: usize = 1 << 30;

/// Bytes of the smallest page. Larger pages are touched more than once.
const PAGE: usize = 4096;

/// Bytes of a page on this system.
///
/// # Errors
///
/// If the system does not report its page size.
pub(crate) fn page_size() -> io::Result<usize> {
    // SAFETY: sysconf reads a constant of the system.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let size = usize::try_from(size).ok().filter(|&size| size > 0);
    size.ok_or_else(|| io::Error::other("the system does not report its page size"))
}

impl Geometry {
    fn buckets_at(self) -> usize {
        size_of::<Header>().next_multiple_of(align_of::<Bucket>())
    }

    #[inline]
    fn connections_at(self) -> usize {
        self.buckets_at() + self.buckets * size_of::<Bucket>()
    }

    #[inline]
    fn network_cells_at(self) -> usize {
        self.connections_at() + self.descriptors * size_of::<Connection>()
    }

    fn cells_at(self) -> usize {
        self.network_cells_at() + self.network_cells * size_of::<AtomicU64>()
    }

    fn details_at(self) -> usize {
        let cells = (ROWS - 1) * self.slots() * size_of::<AtomicI32>();
        // Aligned to a cache line, see `Detail`.
        (self.cells_at() + cells).next_multiple_of(align_of::<Bucket>())
    }

    /// Bytes from the start of the mapping that [`Region::populate`] populates: the
    /// header, the buckets, and the records of as many connections as are allowed. Few
    /// descriptors are higher, and their records are allocated when they are touched. If
    /// networks are counted, also all records, and the cells of as many connections.
    fn populated(self) -> usize {
        let end = match self.network_cells {
            0 => self.connections_at() + self.connections * size_of::<Connection>(),
            _ => self.network_cells_at() + self.connections * size_of::<AtomicU64>(),
        };
        end.min(MAX_POPULATED)
    }

    /// Bytes from the start of the mapping that may be in huge pages: the populated bytes,
    /// rounded up, or 0 if they do not fill one huge page.
    fn huge(self) -> usize {
        match self.populated() {
            ..huge::PAGE => 0,
            populated => populated.next_multiple_of(huge::PAGE).min(self.bytes()),
        }
    }

    fn ban_rejected_at(self) -> usize {
        self.details_at() + self.slots() * size_of::<Detail>()
    }

    fn trusted_at(self) -> usize {
        let end = self.ban_rejected_at() + self.slots() * size_of::<Statistic32>();
        end.next_multiple_of(align_of::<AtomicU64>())
    }

    fn moved_at(self) -> usize {
        self.trusted_at() + self.trusted_slots() * size_of::<AtomicU64>()
    }

    fn rules_at(self) -> usize {
        let words: usize = self.moved_words().iter().sum();
        let end = self.moved_at() + words * size_of::<AtomicU64>();
        end.next_multiple_of(align_of::<RuleEntry>())
    }

    fn listeners_at(self) -> usize {
        let end = self.rules_at() + 2 * MAX_RULES * size_of::<RuleEntry>();
        end.next_multiple_of(align_of::<ListenerTable>())
    }

    fn bytes(self) -> usize {
        self.listeners_at() + size_of::<ListenerTable>()
    }
}

/// The system refused to map this many bytes, with this error.
#[derive(Debug)]
pub(crate) struct RegionError(usize, std::io::Error);

impl fmt::Display for RegionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RegionError(bytes, error) = self;
        write!(f, "cannot map {bytes} bytes of shared memory: {error}")
    }
}

/// An anonymous mapping that all processes forked after its creation share. Its pages are
/// zero, and each page takes memory when it is first used.
struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: only the Mapping owns its memory, and it hands out only shared references to
// atomics.
unsafe impl Send for Mapping {}
// SAFETY: only the Mapping owns its memory, and it hands out only shared references to
// atomics, which any thread may use.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `bytes` bytes, at `hint` if it is not null and the addresses are free.
    fn create(bytes: usize, hint: *mut c_void) -> Result<Mapping, RegionError> {
        // SAFETY: a new anonymous mapping touches no existing memory. Without MAP_FIXED it
        // replaces no other mapping, even if the hint is in use by now.
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
    /// `T` must consist of atomics for which zeroed memory is valid. The items must be
    /// aligned and in bounds, and these bytes must be used only as items of type `T`.
    #[inline]
    unsafe fn slice<T>(&self, at: usize, count: usize) -> &[T] {
        debug_assert!(at.is_multiple_of(align_of::<T>()));
        debug_assert!(at + count * size_of::<T>() <= self.bytes);
        // SAFETY: the caller guarantees that the items are aligned and in bounds (also
        // asserted above) and valid as `T`. The memory stays mapped as long as `self`
        // lives, and the reference borrows from `self`.
        unsafe { core::slice::from_raw_parts(self.base.add(at).cast::<T>().as_ptr(), count) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `create` got this base and length from mmap, and no reference into the
        // mapping outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// The shared memory of the table, the rules and the settings.
pub(crate) struct Region {
    mapping: Mapping,
    geometry: Geometry,
    /// Where the details begin. They are read for each connection with a rate, and the sum takes
    /// longer than a load.
    details_at: usize,
}

impl Region {
    pub(crate) fn create(geometry: Geometry) -> Result<Region, RegionError> {
        let bytes = geometry.bytes();
        let hint = match geometry.huge() {
            0 => null_mut(),
            _ => huge::boundary(bytes),
        };
        let mapping = Mapping::create(bytes, hint)?;
        let details_at = geometry.details_at();
        let region = Region {
            mapping,
            geometry,
            details_at,
        };
        region.advise_huge();
        Ok(region)
    }

    /// Lets the system use huge pages for the populated bytes, if the administrator has
    /// allowed huge pages for shared memory. The rest gets small pages, because it is
    /// allocated while connections arrive: clearing 2 MiB, or assembling them first, would
    /// stop TCP main for longer than a small page does.
    fn advise_huge(&self) {
        let bytes = self.geometry.huge();
        if bytes > 0 {
            // SAFETY: this is a part of the mapping, and the advice does not change its
            // bytes. A system that does not know the advice keeps small pages.
            unsafe {
                libc::madvise(
                    self.mapping.base.as_ptr().cast(),
                    bytes,
                    libc::MADV_HUGEPAGE,
                )
            };
        }
    }

    /// Bytes of the mapping that are in huge pages, or 0 if /proc does not show it. Reads
    /// a file.
    pub(crate) fn huge_bytes(&self) -> u64 {
        if self.geometry.huge() == 0 {
            return 0;
        }
        // The system reports only pages that this process has touched, so touch every
        // page that may be huge.
        self.touch(huge::PAGE);
        let start = self.mapping.base.as_ptr().addr();
        let smaps = std::fs::read("/proc/self/smaps").unwrap_or_default();
        let range = start..start + self.geometry.bytes();
        smaps::bytes(&smaps, "ShmemPmdMapped", range)
    }

    /// Allocates header, buckets and records, up to [`MAX_POPULATED`] bytes, on the memory
    /// node of this CPU, and maps them in this process. Does not change data.
    ///
    /// # Errors
    ///
    /// The system's error. The region still works: missing pages are allocated when they
    /// are first touched.
    pub(crate) fn populate(&self) -> io::Result<()> {
        let bytes = self.geometry.populated();
        let base = self.mapping.base.as_ptr().cast();
        // SAFETY: this is a part of the mapping, and the advice does not change its bytes.
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

    /// Touches one word in every `step` populated bytes as a write does, without changing
    /// it.
    fn touch(&self, step: usize) {
        let bytes = self.geometry.populated() - self.geometry.buckets_at();
        let buckets = &self.buckets()[..self.geometry.buckets.min(bytes / size_of::<Bucket>())];
        let rest = bytes - size_of_val(buckets);
        let records = self.connections();
        let records = &records[..records.len().min(rest / size_of::<Connection>())];
        let left = (rest - size_of_val(records)) / size_of::<AtomicU64>();
        let networks = self.network_cells();
        let networks = &networks[..networks.len().min(left)];
        // The last item of each may lie on a page that the steps do not reach.
        let words = buckets.iter().step_by(step / size_of::<Bucket>());
        let words = words.chain(buckets.last());
        let cells = records.iter().step_by(step / size_of::<Connection>());
        let cells = cells.chain(records.last()).map(|record| &record.cell);
        let networks =
            (networks.iter().step_by(step / size_of::<AtomicU64>())).chain(networks.last());
        let words = words.map(|bucket| &bucket.slots[0].word);
        for word in words.chain(networks).chain(cells) {
            // This at most replaces 0 with 0 in one atomic step, so no other process can
            // see it or lose a write to it. Relaxed: it does not publish other memory. An
            // addition of 0 would not work, since compilers turn it into a mere load.
            let _ = word.compare_exchange(0, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Bytes of address space for sources and connections, without the rules.
    pub(crate) fn table_bytes(&self) -> usize {
        self.geometry.rules_at()
    }

    #[inline]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: the mapping begins with a Header, which consists of atomics for which
        // zeroed memory is valid.
        unsafe { self.mapping.base.cast::<Header>().as_ref() }
    }

    #[inline]
    pub(crate) fn buckets(&self) -> &[Bucket] {
        // SAFETY: Bucket consists of atomics for which zeroed memory is valid. Offset and
        // length are those that Geometry gives to the buckets.
        unsafe { self.slice(self.geometry.buckets_at(), self.geometry.buckets) }
    }

    /// The cell of each descriptor's network; empty if networks are not counted.
    #[inline]
    pub(crate) fn network_cells(&self) -> &[AtomicU64] {
        // SAFETY: AtomicU64 is an atomic for which zeroed memory is valid. Offset and length
        // are those that Geometry gives to this part.
        unsafe {
            self.slice(
                self.geometry.network_cells_at(),
                self.geometry.network_cells,
            )
        }
    }

    /// The record of each descriptor.
    #[inline]
    pub(crate) fn connections(&self) -> &[Connection] {
        // SAFETY: Connection consists of atomics for which zeroed memory is valid. Offset and
        // length are those that Geometry gives to the records.
        unsafe { self.slice(self.geometry.connections_at(), self.geometry.descriptors) }
    }

    /// The cells of a row other than the acceptor row.
    #[inline]
    pub(crate) fn cells(&self, row: usize) -> &[AtomicI32] {
        assert!(row != ACCEPTOR_ROW && row < ROWS);
        let slots = self.geometry.slots();
        let at = self.geometry.cells_at() + (row - 1) * slots * size_of::<AtomicI32>();
        // SAFETY: AtomicI32 is an atomic for which zeroed memory is valid. Offset and length
        // are those that Geometry gives to this row, since `row` is in range.
        unsafe { self.slice(at, slots) }
    }

    #[inline]
    pub(crate) fn details(&self) -> &[Detail] {
        // SAFETY: Detail consists of atomics for which zeroed memory is valid. Offset and
        // length are those that Geometry gives to the details.
        unsafe { self.slice(self.details_at, self.geometry.slots()) }
    }

    /// For each slot the rejections since its source's ban began, and in the upper bits
    /// more about the ban, see `Restraints`.
    pub(crate) fn ban_rejected(&self) -> &[Statistic32] {
        // SAFETY: Statistic32 is an atomic for which zeroed memory is valid. Offset and
        // length are those that Geometry gives to this part.
        unsafe { self.slice(self.geometry.ban_rejected_at(), self.geometry.slots()) }
    }

    /// The listening sockets, and those that rules name.
    #[inline]
    pub(crate) fn listeners(&self) -> &ListenerTable {
        // SAFETY: ListenerTable consists of atomics for which zeroed memory is valid. The
        // offset is the one that Geometry gives to the one table.
        unsafe { &self.slice(self.geometry.listeners_at(), 1)[0] }
    }

    /// For each descriptor where its moved connection is counted, and two words about the
    /// network of that; empty if connections cannot be moved, or networks are not counted.
    pub(crate) fn moved(&self) -> (&[AtomicU64], &[AtomicU64]) {
        let [words, networks] = self.geometry.moved_words();
        // SAFETY: AtomicU64 is an atomic for which zeroed memory is valid. Offset and length
        // are those that Geometry gives to this part, which consists of the two.
        let all = unsafe { self.slice(self.geometry.moved_at(), words + networks) };
        all.split_at(words)
    }

    /// For each slot the trusted connections of its source; empty if trust is off.
    pub(crate) fn trusted(&self) -> &[AtomicU64] {
        let slots = self.geometry.trusted_slots();
        // SAFETY: AtomicU64 is an atomic for which zeroed memory is valid. Offset and length
        // are those that Geometry gives to this part.
        unsafe { self.slice(self.geometry.trusted_at(), slots) }
    }

    /// Both halves of the rules.
    pub(crate) fn rules(&self) -> [&[RuleEntry]; 2] {
        let half = MAX_RULES * size_of::<RuleEntry>();
        [0, half].map(|offset| {
            // SAFETY: RuleEntry consists of atomics for which zeroed memory is valid. Offset
            // and length are those that Geometry gives to this half.
            unsafe { self.slice(self.geometry.rules_at() + offset, MAX_RULES) }
        })
    }

    /// `count` items of type `T` from byte `at` on.
    ///
    /// # Safety
    ///
    /// `T` must consist of atomics for which zeroed memory is valid. `at` and `count` must
    /// be those of an array of `T` in [`Geometry`], which gives each array its own bytes.
    #[inline]
    unsafe fn slice<T>(&self, at: usize, count: usize) -> &[T] {
        // SAFETY: the arithmetic of Geometry keeps each array aligned, in bounds and apart
        // from the others, and the caller guarantees that zeroed memory is a valid `T`.
        unsafe { self.mapping.slice(at, count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Region {
        /// Makes the second page impossible to allocate, by mapping an empty file there.
        pub(crate) fn make_unpopulatable(&self) {
            // SAFETY: the name is a string that ends with NUL.
            let file = unsafe { libc::memfd_create(c"empty".as_ptr(), libc::MFD_CLOEXEC) };
            assert!(file >= 0);
            let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
            // SAFETY: this replaces a page of the mapping, and no reference into that page is
            // used again.
            let page = unsafe {
                let page = self.mapping.base.as_ptr().add(PAGE).cast();
                libc::mmap(page, PAGE, access, kind | libc::MAP_FIXED, file, 0)
            };
            assert_ne!(page, libc::MAP_FAILED);
            // SAFETY: the descriptor was opened above, and the mapping does not need it.
            unsafe { libc::close(file) };
        }

        /// Whether each page of the mapping is allocated.
        fn allocated(&self) -> Vec<bool> {
            let bytes = self.geometry.bytes();
            let mut pages = vec![0; bytes.div_ceil(PAGE)];
            let base = self.mapping.base.as_ptr().cast();
            // SAFETY: the range is the mapping, and `pages` has a byte for each of its pages.
            let done = unsafe { libc::mincore(base, bytes, pages.as_mut_ptr()) };
            assert_eq!(done, 0);
            pages.iter().map(|page| page & 1 != 0).collect()
        }
    }

    #[test]
    fn populate_and_touch_allocate_what_connections_use() {
        let populate = |region: &Region| region.populate().unwrap();
        let touch = |region: &Region| region.touch(PAGE);
        for allocate in [&populate as &dyn Fn(&Region), &touch] {
            let region = Region::create(Geometry::of(10_000 + 1, 9_001)).unwrap();
            region.header().settings.limit.store(7, Ordering::Relaxed);
            let slot = &region.buckets()[6_400].slots[0];
            slot.word.store(u64::MAX, Ordering::Relaxed);
            let record = &region.connections()[9_000];
            record.cell.store(u64::MAX, Ordering::Relaxed);
            allocate(&region);
            let pages = region.allocated();
            let populated = region.geometry.cells_at().div_ceil(PAGE);
            assert!(pages[..populated].iter().all(|&page| page));
            // A huge page reaches up to 2 MiB further, if the system gives them to all
            // mappings.
            let beyond = &pages[populated + (2 << 20) / PAGE..];
            assert!(!beyond.iter().any(|&page| page));
            assert_eq!(region.header().settings.limit.load(Ordering::Relaxed), 7);
            assert_eq!(slot.word.load(Ordering::Relaxed), u64::MAX);
            assert_eq!(record.cell.load(Ordering::Relaxed), u64::MAX);
            let cells = region.connections().iter().map(|record| &record.cell);
            let set = cells.filter(|cell| cell.load(Ordering::Relaxed) != 0);
            assert_eq!(set.count(), 1);
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
        assert_eq!(bytes(1_000_000) >> 20, 68);
        assert_eq!(bytes(100_000_000), MAX_POPULATED);
    }

    #[test]
    fn spare_records_are_not_populated() {
        let geometry = Geometry::for_connections(35_000).unwrap();
        let spare = geometry.cells_at() - geometry.populated();
        assert_eq!(spare, 65_536 * size_of::<Connection>());
    }

    #[test]
    fn only_large_tables_may_have_huge_pages() {
        let bytes = |connections| Geometry::for_connections(connections).unwrap().huge();
        assert_eq!(bytes(29_000), 0);
        assert_eq!(bytes(29_200), 2 * huge::PAGE);
        assert_eq!(bytes(1_000_000), 35 * huge::PAGE);
        assert_eq!(bytes(100_000_000), MAX_POPULATED);
    }

    #[test]
    fn large_tables_begin_at_a_huge_page() {
        // Another test may map something at these addresses first, but not every time.
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
    fn huge_bytes_follow_the_system_setting() {
        let setting = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
        let setting = setting.unwrap_or_default();
        let allowed = ["[advise]", "[always]", "[force]", "[within_size]"];
        let is_allowed = allowed.iter().any(|word| setting.contains(word));

        let region = Region::create(Geometry::for_connections(100_000).unwrap()).unwrap();
        region.populate().unwrap();
        let bytes = region.huge_bytes();
        assert!(bytes <= region.geometry.bytes() as u64, "{bytes}");
        // If memory is fragmented the system may have no huge page to give.
        assert!(is_allowed || bytes == 0, "{bytes}, {setting}");

        let small = Region::create(Geometry::for_connections(10_000).unwrap()).unwrap();
        assert_eq!(small.huge_bytes(), 0);
    }

    #[test]
    fn populate_returns_the_system_error() {
        let region = Region::create(Geometry::of_buckets(1_000)).unwrap();
        region.make_unpopulatable();
        let error = region.populate().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EFAULT));
    }

    #[test]
    fn a_connection_takes_at_most_360_bytes() {
        assert!(size_of::<Header>() <= 3072);
        // Below a thousand the extra buckets weigh more.
        for connections in [1_000, 2_048, 35_000, 1_000_000, 100_000_000] {
            let geometry = Geometry::for_connections(connections).unwrap();
            // The header, the rules and the spare records take the same memory for any number
            // of connections.
            let spare = (geometry.descriptors - geometry.connections) * size_of::<Connection>();
            let table = geometry.rules_at() - geometry.buckets_at() - spare;
            let each = table as f64 / f64::from(connections);
            assert!(each <= 360.0, "{connections}: {each}");
        }
    }

    /// The documents name the present figure.
    #[test]
    fn documents_say_what_a_connection_takes() {
        let geometry = Geometry::for_connections(1_000_000).unwrap();
        let records = geometry.descriptors * size_of::<Connection>();
        let slots = (geometry.rules_at() - records) / 1_000_000;
        let (record, all) = (size_of::<Connection>(), slots + size_of::<Connection>());
        let figures = [
            format!("{all} bytes"),
            format!("{slots} for a slot"),
            format!("{record} for the record of"),
            format!("Of the {all} bytes"),
            format!("of the {all} bytes"),
        ];
        for (text, has) in [
            (include_str!("../../SECURITY.md"), &[0, 1, 2, 4][..]),
            (include_str!("../../CHANGELOG.md"), &[0]),
            (
                include_str!("../../kamailio-glue/tcp_conn_limit/doc/tcp_conn_limit_compare.xml"),
                &[0, 1, 2, 3],
            ),
        ] {
            let text = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
            for &figure in has {
                assert!(text.contains(&figures[figure]), "{}", figures[figure]);
            }
        }
    }

    #[test]
    fn trust_takes_28_bytes_more_for_a_connection() {
        let without = Geometry::for_connections(1_000_000).unwrap();
        let more = without.with_trust().bytes() - without.bytes();
        assert_eq!(more, without.slots() * 8);
        assert!(more as f64 / 1e6 <= 28.1, "{more}");
    }

    #[test]
    fn networks_take_at_most_640_bytes_a_connection() {
        for connections in [1_000, 2_048, 35_000, 1_000_000, 100_000_000] {
            let plain = Geometry::for_connections(connections).unwrap();
            let geometry = plain.with_networks();
            let each = size_of::<Connection>() + size_of::<AtomicU64>();
            let spare = (geometry.descriptors - geometry.connections) * each;
            let each = (geometry.rules_at() - spare) as f64 / f64::from(connections);
            assert!(each <= 640.0, "{connections}: {each}");
            assert_eq!(plain.network_cells, 0);
        }
    }

    #[test]
    fn cells_of_networks_are_a_part_of_their_own() {
        let region = Region::create(Geometry::of(3, 5).with_networks()).unwrap();
        let all_zero = |words: &[AtomicU64]| {
            let mut words = words.iter().map(|word| word.load(Ordering::Relaxed));
            words.all(|word| word == 0)
        };
        for cell in region.network_cells() {
            cell.store(u64::MAX, Ordering::Relaxed);
        }
        assert_eq!(region.network_cells().len(), 5);
        let words = region.buckets().iter().flat_map(|bucket| &bucket.slots);
        assert!(
            words
                .map(|slot| &slot.word)
                .all(|word| all_zero(core::slice::from_ref(word)))
        );
        let cells = region.connections().iter().map(|record| &record.cell);
        assert!(
            cells
                .clone()
                .all(|cell| all_zero(core::slice::from_ref(cell)))
        );
        for cell in cells {
            cell.store(1, Ordering::Relaxed);
        }
        let cells = region.network_cells().iter();
        assert!(
            cells
                .map(|cell| cell.load(Ordering::Relaxed))
                .all(|cell| cell == u64::MAX)
        );
    }

    #[test]
    fn parts_do_not_overlap() {
        let geometry = Geometry::of_buckets(3).with_network_cells();
        let region = Region::create(geometry.with_trust().with_moves()).unwrap();
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
        for rejected in region.ban_rejected() {
            rejected.store(u32::MAX, Ordering::Relaxed);
        }
        for trusted in region.trusted() {
            trusted.store(u64::MAX, Ordering::Relaxed);
        }
        for record in region.connections() {
            record.cell.store(u64::MAX - 1, Ordering::Relaxed);
        }
        let (moved, networks) = region.moved();
        for word in moved.iter().chain(networks) {
            word.store(u64::MAX, Ordering::Relaxed);
        }
        assert_eq!((moved.len(), networks.len()), (2, 4));
        assert_eq!(region.header().settings.limit.load(Ordering::Relaxed), 0);
        assert_eq!(region.buckets().len(), 3);
        assert_eq!(region.details().len(), 12);
        assert_eq!(region.trusted().len(), 12);
        let rules = region.rules();
        assert!(
            rules
                .iter()
                .all(|half| half[0].upper.load(Ordering::Relaxed) == 0)
        );
        assert_eq!(region.connections().len(), 2);
        for record in region.connections() {
            assert_eq!(record.cell.load(Ordering::Relaxed), u64::MAX - 1);
        }
        for detail in region.details() {
            assert_eq!(detail.low.load(Ordering::Relaxed), u64::MAX);
        }
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
