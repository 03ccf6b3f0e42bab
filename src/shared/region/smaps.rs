// SPDX-License-Identifier: GPL-2.0-or-later
//! Reads the contents of /proc/PID/smaps: which memory of a mapping is in use, and of which
//! kind.

use core::ops::Range;

/// Bytes that `field` reports, summed over the mappings that overlap `range`. A mapping
/// without the field, or with a value that is not a number, counts as 0. `smaps` is the
/// contents of /proc/PID/smaps; `field` is the name of a line whose value is in kB.
pub(crate) fn bytes(smaps: &[u8], field: &str, range: Range<usize>) -> u64 {
    let mut inside = false;
    let mut kilobytes = 0;
    for line in String::from_utf8_lossy(smaps).lines() {
        if let Some(mapping) = mapping(line) {
            inside = mapping.start < range.end && range.start < mapping.end;
        } else if inside
            && let Some((name, value)) = line.split_once(':')
            && name == field
        {
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
Rss:                 512 kB
ShmemPmdMapped:     1024 kB
";

    #[test]
    fn mappings_that_overlap_the_range_are_counted() {
        let huge = |range| bytes(SMAPS, "ShmemPmdMapped", range);
        assert_eq!(huge(0x7f00_0000_0000..0x7f00_0060_0000), 6 << 20);
        assert_eq!(huge(0x7f00_0040_0000..0x7f00_0060_0000), 2 << 20);
        assert_eq!(huge(0x7f00_0070_0000..0x7f00_0090_0000), 1 << 20);
        // This range begins and ends within one mapping.
        assert_eq!(huge(0x7f00_0000_1000..0x7f00_0010_0000), 4 << 20);
        assert_eq!(huge(0x7f00_0060_0000..0x7f00_0070_0000), 0);
    }

    #[test]
    fn only_the_requested_field_is_counted() {
        assert_eq!(bytes(SMAPS, "Rss", 0..usize::MAX), 4608 << 10);
        assert_eq!(bytes(SMAPS, "Pss", 0..usize::MAX), 0);
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
            assert_eq!(bytes(text, "ShmemPmdMapped", 0..usize::MAX), 0);
        }
    }
}
