// SPDX-License-Identifier: GPL-2.0-or-later
//! The log lines about the kernel shield.

#![forbid(unsafe_code)]

use core::fmt;

use crate::observe::watch::FloodThreshold;
use crate::source::Prefix;

/// The line about a flood of `source`.
pub(super) fn flood(
    f: &mut fmt::Formatter<'_>,
    source: impl fmt::Display,
    rejections: u32,
    threshold: FloodThreshold,
    would: bool,
) -> fmt::Result {
    let does = match would {
        true => "would drop",
        false => "drops",
    };
    let FloodThreshold {
        per_second,
        seconds,
    } = threshold;
    write!(
        f,
        "the kernel shield {does} new connections from {source} for {seconds} s: {rejections} \
         rejections in a second, shield_threshold {per_second}"
    )
}

/// What the kernel dropped in an interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShieldDropped {
    /// SYN packets in all.
    pub packets: u64,
    /// The length of the interval in seconds.
    pub seconds: u32,
    /// The entries with the most of them, most first.
    pub most: Vec<(Prefix, u64)>,
    /// How many other entries had some.
    pub others: usize,
}

impl fmt::Display for ShieldDropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            packets,
            seconds,
            most,
            others,
        } = self;
        let s = if *packets == 1 { "" } else { "s" };
        write!(
            f,
            "the kernel shield dropped {packets} connection attempt{s} (SYN packets) in \
             {seconds} s"
        )?;
        for (at, (entry, packets)) in most.iter().enumerate() {
            let before = if at == 0 { ": " } else { ", " };
            write!(f, "{before}{packets} from {entry}")?;
        }
        match others {
            0 => Ok(()),
            1 => f.write_str(", others from 1 more"),
            others => write!(f, ", others from {others} more"),
        }
    }
}

/// There are more entries than the kernel's maps have room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShieldFull {
    /// Sources and prefixes without an entry.
    pub unlisted: u32,
}

impl fmt::Display for ShieldFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the kernel shield has no room for {} more sources; the server rejects their \
             connections itself; ban prefixes instead",
            self.unlisted
        )
    }
}

/// The kernel refused to change a map.
#[derive(Debug)]
pub struct ShieldFailed<'a>(pub &'a std::io::Error);

impl fmt::Display for ShieldFailed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the kernel shield cannot change its list: {}; the next tick tries again",
            self.0
        )
    }
}

/// Why the shield is not active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShieldUnavailable<'a> {
    /// What failed.
    pub step: &'a str,
    /// The system's error.
    pub error: &'a str,
    /// What helps.
    pub remedy: &'a str,
}

impl fmt::Display for ShieldUnavailable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            step,
            error,
            remedy,
        } = self;
        write!(f, "cannot {step}: {error}; {remedy}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_packets_are_named_with_their_entries() {
        let entry = |text: &str| Prefix::parse_any(text).unwrap();
        let mut dropped = ShieldDropped {
            packets: 1,
            seconds: 60,
            most: vec![(entry("192.0.2.1"), 1)],
            others: 0,
        };
        assert_eq!(
            dropped.to_string(),
            "the kernel shield dropped 1 connection attempt (SYN packets) in 60 s: 1 from \
             192.0.2.1"
        );
        dropped.packets = 90;
        dropped.most = vec![(entry("2001:db8::/64"), 50), (entry("192.0.2.0/24"), 30)];
        dropped.others = 4;
        assert_eq!(
            dropped.to_string(),
            "the kernel shield dropped 90 connection attempts (SYN packets) in 60 s: 50 from \
             2001:db8::/64, 30 from 192.0.2.0/24, others from 4 more"
        );
    }
}
