// SPDX-License-Identifier: GPL-2.0-or-later
//! Huge pages: where a mapping must begin to have them, and how many bytes are in them.

use core::ffi::c_void;
use core::ops::Range;
use core::ptr::null_mut;

/// Bytes of a huge page if small pages have 4 KiB, on x86-64 and aarch64. With larger small
/// pages, huge pages are also larger, and a mapping might not begin at one.
pub(super) const PAGE: usize = 2 << 20;

/// An address, a multiple of [`PAGE`], from which `bytes` bytes were free just now; null if
/// there is no such address.
///
/// Not every kernel aligns shared mappings, and no kernel does while huge pages are
/// switched off. To map more and trim it would not help: the offset into the shared memory
/// must have the same alignment as the address.
pub(super) fn boundary(bytes: usize) -> *mut c_void {
    let room = bytes + PAGE;
    // SAFETY: a new mapping without MAP_FIXED touches no existing memory.
    let free = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        libc::mmap(null_mut(), room, libc::PROT_NONE, flags, -1, 0)
    };
    if free == libc::MAP_FAILED {
        return null_mut();
    }
    // SAFETY: the range was mapped above, and no reference into it exists.
    unsafe { libc::munmap(free, room) };
    free.wrapping_byte_add(free.addr().next_multiple_of(PAGE) - free.addr())
}

/// Bytes in huge pages of the mappings that overlap `range`, according to `smaps`, the
/// contents of /proc/PID/smaps.
pub(super) fn mapped(smaps: &[u8], range: Range<usize>) -> u64 {
    let mut inside = false;
    let mut kilobytes = 0;
    for line in String::from_utf8_lossy(smaps).lines() {
        if let Some(mapping) = mapping(line) {
            inside = mapping.start < range.end && range.start < mapping.end;
        } else if inside && let Some(value) = line.strip_prefix("ShmemPmdMapped:") {
            let value = value.trim_end_matches("kB").trim();
            kilobytes += value.parse().unwrap_or(0);
        }
    }
    kilobytes * 1024
}

/// The addresses of a mapping if `line` is its first line.
fn mapping(line: &str) -> Option<Range<usize>> {
    let (start, end) = line.split_once(' ')?.0.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    Some(address(start)?..address(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &[u8] = b"\
7f0000000000-7f0000400000 rw-s 00000000 00:01 1063 /dev/zero (deleted)
Size:               4096 kB
Rss:                4096 kB
ShmemPmdMapped:     4096 kB
VmFlags: rd wr sh mr mw me ms sd hg
7f0000400000-7f0000600000 rw-s 00400000 00:01 1063 /dev/zero (deleted)
ShmemPmdMapped:     2048 kB
7f0000700000-7f0000900000 rw-s 00000000 00:01 1064 /tmp/not utf-8 \xff
ShmemPmdMapped:     1024 kB
";

    #[test]
    fn mappings_that_overlap_the_range_are_counted() {
        let mapped = |range| mapped(SMAPS, range);
        assert_eq!(mapped(0x7f00_0000_0000..0x7f00_0060_0000), 6 << 20);
        assert_eq!(mapped(0x7f00_0040_0000..0x7f00_0060_0000), 2 << 20);
        assert_eq!(mapped(0x7f00_0070_0000..0x7f00_0090_0000), 1 << 20);
        // This range begins and ends within one mapping.
        assert_eq!(mapped(0x7f00_0000_1000..0x7f00_0010_0000), 4 << 20);
        assert_eq!(mapped(0x7f00_0060_0000..0x7f00_0070_0000), 0);
    }

    #[test]
    fn unknown_text_counts_as_zero() {
        for text in [
            &b""[..],
            b"1000-2000 rw-s\nShmemPmdMapped: many kB\n",
            b"1000-2000 rw-s\nRss: 8 kB\n",
            b"- rw-s\nShmemPmdMapped: 8 kB\n",
            b"ShmemPmdMapped: 8 kB\n",
        ] {
            assert_eq!(mapped(text, 0..usize::MAX), 0);
        }
    }
}
