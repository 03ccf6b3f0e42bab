// SPDX-License-Identifier: GPL-2.0-or-later
//! The wording of all lines that the library writes to the host's log.
//!
//! The `Display` of each type is a line: lower-case start, no full stop, and for a problem
//! the remedy. Log filters depend on these words.

#![forbid(unsafe_code)]

use core::fmt;
use std::io;
use std::panic::PanicHookInfo;

use crate::observe::report::{RuleName, SourceReport};
use crate::policy::limit_text::LimitName;
use crate::source::{Prefix, PrefixLengths, Source};

/// What [`watch`](crate::observe::watch) has to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The first rejection of a source in an interval.
    First {
        /// The source.
        report: SourceReport,
        /// Its rule now; `None`: the default.
        rule: Option<Prefix>,
        /// Its limit now, in connections; 0: no limit. It may have changed since the
        /// rejection.
        limit: i32,
        /// The connection was admitted, in monitor mode.
        would: bool,
    },
    /// The rejections without a line of their own, at the end of an interval.
    Summary(Summary),
    /// In the last interval the table had no slot for new sources.
    Full {
        /// Connections of such sources that were admitted uncounted.
        admitted: u64,
        /// Connections of such sources that were rejected.
        rejected: u64,
    },
    /// In the last interval connections had descriptors that are not tracked.
    Untracked {
        /// Such connections that were admitted uncounted.
        admitted: u64,
        /// Such connections that were rejected.
        rejected: u64,
    },
}

/// The rejections without a line of their own, including connections that would have been
/// rejected, in monitor mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The source with the most of them.
    pub most: Source,
    /// The number that this source has.
    pub more: u64,
    /// The number of other sources.
    pub others: u64,
    /// The number that the other sources have.
    pub more_of_others: u64,
    /// Some of these connections were rejected.
    pub rejected: bool,
    /// Some would have been rejected.
    pub would_reject: bool,
    /// The length of the interval in seconds.
    pub seconds: u32,
}

impl Notice {
    /// The log line. `first_untracked` is the lowest descriptor that is not tracked.
    pub fn line(&self, prefixes: PrefixLengths, first_untracked: usize) -> NoticeLine<'_> {
        NoticeLine {
            notice: self,
            prefixes,
            first_untracked,
        }
    }
}

/// The log line of a [`Notice`].
#[derive(Debug)]
pub struct NoticeLine<'a> {
    notice: &'a Notice,
    prefixes: PrefixLengths,
    first_untracked: usize,
}

impl fmt::Display for NoticeLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.notice {
            Notice::First {
                report,
                rule,
                limit,
                would,
            } => {
                let verb = if *would { "would reject" } else { "rejected" };
                let source = report.source.display(self.prefixes);
                let connections = report.rejected_at;
                let (limit, rule) = (LimitName(*limit), RuleName(*rule));
                write!(
                    f,
                    "{verb} connection from {source}: {connections} connections, limit {limit}, \
                     rule {rule}"
                )
            }
            Notice::Summary(summary) => {
                let most = summary.most.display(self.prefixes);
                let verb = match (summary.rejected, summary.would_reject) {
                    (true, false) => "rejected",
                    (true, true) => "rejected or would reject",
                    (false, _) => "would reject",
                };
                write!(
                    f,
                    "{verb} {} more connections from {most} and {} from {} other sources in {} s",
                    summary.more, summary.more_of_others, summary.others, summary.seconds
                )
            }
            Notice::Full { admitted, rejected } => write!(
                f,
                "the table had no slot for new sources: admitted {admitted} connections \
                 uncounted and rejected {rejected}; raise tcp_max_connections"
            ),
            Notice::Untracked { admitted, rejected } => write!(
                f,
                "file descriptors from {} up are not tracked, and TCP main has too many \
                 other open files: admitted {admitted} connections uncounted and rejected \
                 {rejected}; raise tcp_max_connections or attach via hooks",
                self.first_untracked
            ),
        }
    }
}

/// The system did not allocate the table's buckets in advance.
#[derive(Debug)]
pub struct NotPopulated(pub io::Error);

impl fmt::Display for NotPopulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot allocate the table's buckets in advance: {}; each page will be \
             allocated when a connection first needs it; give the server more memory or \
             lower tcp_max_connections",
            self.0
        )
    }
}

/// The library panicked.
#[derive(Debug)]
pub struct Panicked<'a>(pub &'a PanicHookInfo<'a>);

impl fmt::Display for Panicked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "internal error; connections that hit it are admitted unchecked: {}",
            self.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(notice: &Notice) -> String {
        notice.line(PrefixLengths::DEFAULT, 65_636).to_string()
    }

    fn source(octets: &[u8]) -> Source {
        Source::new(octets, PrefixLengths::DEFAULT).unwrap()
    }

    #[test]
    fn first_rejection_names_source_limit_and_rule() {
        let mut first = Notice::First {
            report: SourceReport {
                source: source(&[192, 0, 2, 1]),
                connections: 9,
                rejected: 5,
                would_reject: 0,
                rejected_at: 1024,
                peak: 1024,
                first_seen: 1,
                last_seen: 1,
            },
            rule: None,
            limit: 1024,
            would: false,
        };
        assert_eq!(
            line(&first),
            "rejected connection from 192.0.2.1: 1024 connections, limit 1024, rule default"
        );
        if let Notice::First {
            report,
            rule,
            limit,
            would,
        } = &mut first
        {
            report.source = source(&[0x20; 16]);
            let prefix = Prefix::parse("2020::/16", PrefixLengths::DEFAULT);
            (*rule, *limit, *would) = (Some(prefix.unwrap()), 0, true);
        }
        assert_eq!(
            line(&first),
            "would reject connection from 2020:2020:2020:2020::/64: 1024 connections, \
             limit none, rule 2020::/16"
        );
    }

    #[test]
    fn summary_says_what_was_rejected_and_what_would_be() {
        for (rejected, would_reject, verb) in [
            (true, false, "rejected"),
            (true, true, "rejected or would reject"),
            (false, true, "would reject"),
        ] {
            let summary = Notice::Summary(Summary {
                most: source(&[192, 0, 2, 1]),
                more: 5120,
                others: 12,
                more_of_others: 803,
                rejected,
                would_reject,
                seconds: 60,
            });
            assert_eq!(
                line(&summary),
                format!(
                    "{verb} 5120 more connections from 192.0.2.1 and 803 from 12 other sources \
                     in 60 s"
                )
            );
        }
    }

    #[test]
    fn uncounted_connections_are_reported_with_a_remedy() {
        let (admitted, rejected) = (2, 3);
        assert_eq!(
            line(&Notice::Full { admitted, rejected }),
            "the table had no slot for new sources: admitted 2 connections uncounted and \
             rejected 3; raise tcp_max_connections"
        );
        assert_eq!(
            line(&Notice::Untracked { admitted, rejected }),
            "file descriptors from 65636 up are not tracked, and TCP main has too many other \
             open files: admitted 2 connections uncounted and rejected 3; raise \
             tcp_max_connections or attach via hooks"
        );
    }
}
