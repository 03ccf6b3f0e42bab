// SPDX-License-Identifier: GPL-2.0-or-later
//! The lines about connections that are not trusted.

#![forbid(unsafe_code)]

use core::fmt;

use super::Connections;
use crate::source::{PrefixLengths, Source};

/// Connections of one source that were not trusted in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut {
    /// The source.
    pub source: Source,
    /// Its connections that timed out within a second.
    pub connections: u32,
    /// The seconds in which they should have been trusted.
    pub timeout: u32,
    /// They stay open, in monitor mode.
    pub would: bool,
}

/// Connections that were not trusted in time and have no line of their own, in an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoreTimedOut {
    /// The connections.
    pub connections: u64,
    /// The sources that have them.
    pub sources: u64,
    /// The length of the interval in seconds.
    pub seconds: u32,
    /// They stay open, in monitor mode.
    pub would: bool,
}

/// Connections live on, but none was ever trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeverTrusted {
    /// The connections that are open for [`Self::AGE`] or longer.
    pub connections: u64,
}

impl NeverTrusted {
    /// Seconds from which on a connection lives on: long enough for a client to register.
    pub const AGE: u32 = 60;
}

fn verb(would: bool) -> &'static str {
    match would {
        true => "would close",
        false => "closing",
    }
}

impl TimedOut {
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>, lengths: PrefixLengths) -> fmt::Result {
        let (verb, source) = (verb(self.would), self.source.display(lengths));
        let connections = Connections(self.connections, "");
        let timeout = self.timeout;
        write!(
            f,
            "{verb} {connections} from {source}: not trusted within {timeout} s"
        )
    }
}

impl fmt::Display for MoreTimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.would {
            true => "would close",
            false => "closed",
        };
        let more = Connections(self.connections, " more");
        let (sources, seconds) = (self.sources, self.seconds);
        let plural = if sources == 1 { "" } else { "s" };
        write!(
            f,
            "{verb} {more} from {sources} source{plural} that were not trusted in time, in \
             {seconds} s"
        )
    }
}

impl fmt::Display for NeverTrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connections = Connections(self.connections, "");
        let minute = Self::AGE;
        write!(
            f,
            "{connections} open for {minute} s or longer, but none was ever trusted: call \
             tcp_conn_limit_trust() in the script after a user is authenticated, write the word \
             `trusted` into the rules of trunks, or remove untrusted_limit and trust_timeout"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::notices::Notice;

    #[test]
    fn lines_name_what_was_not_trusted() {
        let source = Source::new(&[192, 0, 2, 1], PrefixLengths::DEFAULT).unwrap();
        let timed_out = |connections, would| {
            Notice::TimedOut(TimedOut {
                source,
                connections,
                timeout: 30,
                would,
            })
        };
        let more = |connections, sources, would| {
            Notice::MoreTimedOut(MoreTimedOut {
                connections,
                sources,
                seconds: 60,
                would,
            })
        };
        let never = Notice::NeverTrusted(NeverTrusted { connections: 400 });
        for (notice, text) in [
            (
                timed_out(2, false),
                "closing 2 connections from 192.0.2.1: not trusted within 30 s",
            ),
            (
                timed_out(1, true),
                "would close 1 connection from 192.0.2.1: not trusted within 30 s",
            ),
            (
                more(5, 2, false),
                "closed 5 more connections from 2 sources that were not trusted in time, in 60 s",
            ),
            (
                more(1, 1, true),
                "would close 1 more connection from 1 source that were not trusted in time, in \
                 60 s",
            ),
            (
                never,
                "400 connections open for 60 s or longer, but none was ever trusted: call \
                 tcp_conn_limit_trust() in the script after a user is authenticated, write the \
                 word `trusted` into the rules of trunks, or remove untrusted_limit and \
                 trust_timeout",
            ),
        ] {
            assert_eq!(notice.line(PrefixLengths::DEFAULT, 0).to_string(), text);
        }
    }
}
