// SPDX-License-Identifier: GPL-2.0-or-later
//! The wording of all lines that the library writes to the host's log.
//!
//! The `Display` of each type is a line: lower-case start, no full stop, and for a problem
//! the remedy. Log filters depend on these words.

#![forbid(unsafe_code)]

mod cluster;
mod shield;
mod trust;

pub use shield::{ShieldDropped, ShieldFailed, ShieldFull, ShieldUnavailable};

use core::fmt;
use std::io;
use std::panic::PanicHookInfo;

use crate::observe::load_notices::LoadNotice;
use crate::observe::report::{ClusterSum, PenaltyReport, RuleName, SourceReport};
use crate::observe::watch::FloodThreshold;
use crate::policy::limit_text::LimitName;
use crate::policy::listener::ListenerName;
use crate::policy::rate_text::RateName;
use crate::policy::rule_words::TermsText;
use crate::policy::rules::Rule;
use crate::policy::terms::{Rate, Terms};
use crate::shared::visible::Excerpt;
use crate::source::{Prefix, PrefixLengths, Source};

use cluster::OverCluster;
pub use cluster::{ClusterRejected, NodeBanned, NodeChanged, NodeLimited};
pub use trust::{MoreTimedOut, NeverTrusted, TimedOut};

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
        /// rejection, and so may its rate.
        limit: i32,
        /// Why it was rejected.
        why: Why,
        /// The connection was admitted, in monitor mode.
        would: bool,
    },
    /// The rejections without a line of their own, at the end of an interval.
    Summary(Summary),
    /// A source that had a first line is back under its limit or its rate.
    Released {
        /// The source.
        report: SourceReport,
        /// Its rule now; `None`: the default.
        rule: Option<Prefix>,
        /// Its limit now, in connections; 0: no limit.
        limit: i32,
        /// The rate that it was over; `None`: it was over its limit.
        rate: Option<Rate>,
        /// Its first line was about a connection that was admitted, in monitor mode.
        would: bool,
    },
    /// A source that had a first line about its untrusted connections is back under the limit
    /// of these.
    TrustedEnough {
        /// The source.
        report: SourceReport,
        /// Its rule now; `None`: the default.
        rule: Option<Prefix>,
        /// Its limit of untrusted connections now; 0: no limit.
        limit: u32,
        /// Its first line was about a connection that was admitted, in monitor mode.
        would: bool,
    },
    /// Connections were not trusted in time.
    TimedOut(TimedOut),
    /// More connections were not trusted in time.
    MoreTimedOut(MoreTimedOut),
    /// No connection was ever trusted.
    NeverTrusted(NeverTrusted),
    /// A source was banned by its offences or by the script.
    Banned {
        /// The source.
        report: SourceReport,
        /// The ban.
        ban: PenaltyReport,
        /// Its connections are admitted, in monitor mode.
        would: bool,
    },
    /// The ban of a source has ended, or was lifted.
    Unbanned {
        /// The source.
        report: SourceReport,
        /// The ban, as it was last seen.
        ban: PenaltyReport,
        /// Its connections were admitted, in monitor mode.
        would: bool,
        /// A command lifted it and logged that, so this needs no line.
        is_logged: bool,
    },
    /// A source that had a line is below its limit over all nodes of the cluster.
    FewerInCluster {
        /// Its present numbers.
        report: SourceReport,
        /// Its rule; `None`: it has no rule.
        rule: Option<Prefix>,
        /// What the other nodes have of it, and the limit.
        sum: ClusterSum,
        /// Its connection was admitted, in monitor mode.
        would: bool,
    },
    /// Bans of sources that began in an interval and have no line of their own.
    MoreBanned {
        /// The number of sources.
        sources: u64,
        /// The length of the interval in seconds.
        seconds: u32,
        /// Their connections are admitted, in monitor mode.
        would: bool,
    },
    /// A source floods, and the kernel drops its connections for a time.
    Flood {
        /// The source.
        report: SourceReport,
        /// Its rejections in a second.
        rejections: u32,
        /// What they exceed, and for how long it is listed.
        threshold: FloodThreshold,
        /// It is not listed, in monitor mode.
        would: bool,
    },
    /// A rule that was set for some time has ended.
    RuleEnded(RuleEnded),
    /// The host is nearly full, or no longer.
    Load(LoadNotice),
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
    /// In the last interval connections closed that were not counted where their tokens or
    /// records said.
    Stale {
        /// The number of these.
        releases: u64,
    },
}

/// Why a connection was rejected, with the numbers of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its source was at its limit.
    Limit,
    /// Its source was over this rate.
    Rate(Rate),
    /// Its source was banned; `None`: the ban has ended meanwhile.
    Ban(Option<PenaltyReport>),
    /// Its source was at this limit of untrusted connections; 0: there is no limit any more.
    Untrusted(u32),
    /// Only connections of the reserve were left.
    Reserve,
    /// It was at the effective limit under pressure, which is the limit of the notice.
    Pressure,
    /// It was at its limit over all nodes of the cluster.
    Cluster(ClusterSum),
}

/// A command banned a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BanSetByCommand<'a> {
    /// The source, as text.
    pub who: &'a str,
    /// For how many seconds.
    pub seconds: u32,
    /// The ban that it replaces.
    pub was: Option<PenaltyReport>,
    /// Why, if the command said it.
    pub reason: Option<&'a str>,
    /// Who gave the command.
    pub by: &'a str,
}

impl fmt::Display for BanSetByCommand<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BanSetByCommand {
            who, seconds, by, ..
        } = self;
        write!(f, "ban of {who} set for {seconds} s by {by}")?;
        if let Some(was) = self.was {
            let (left, cause) = (was.seconds_left(), was.cause);
            write!(f, ", was: {left} s, reason {cause}")?;
        }
        match self.reason {
            Some(reason) => write!(f, ": {}", Excerpt::of(reason.as_bytes())),
            None => Ok(()),
        }
    }
}

/// A command lifted bans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BanLifted<'a> {
    /// The source, as text; `None`: all bans.
    pub who: Option<&'a str>,
    /// How many bans ended.
    pub lifted: u32,
    /// Who gave the command.
    pub by: &'a str,
}

impl fmt::Display for BanLifted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BanLifted { who, lifted, by } = self;
        match who {
            Some(who) if *lifted == 1 => write!(f, "ban of {who} lifted by {by}"),
            Some(who) => write!(f, "{lifted} bans in {who} lifted by {by}"),
            None => write!(f, "all {lifted} bans lifted by {by}"),
        }
    }
}

/// A rate with its burst.
#[derive(Clone, Copy, Debug)]
pub struct RateAsText(pub Rate);

impl fmt::Display for RateAsText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = RateName(self.0.interval_us);
        match self.0.is_none() {
            true => rate.fmt(f),
            false => write!(f, "{rate}, burst {}", self.0.burst),
        }
    }
}

/// A rule that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleEnded {
    /// The rule.
    pub rule: Rule,
    /// The rule that its sources have now, except those with rules for longer prefixes;
    /// `None`: the default.
    pub now: Option<Prefix>,
    /// The limit that they have now; 0 or less: no limit.
    pub limit: i32,
}

/// A command set a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleSetByCommand<'a> {
    /// The sources that have the rule.
    pub prefix: Prefix,
    /// What each source may do.
    pub terms: Terms,
    /// For how many seconds; `None`: until it is removed.
    pub seconds: Option<u32>,
    /// The rule that the prefix itself had before.
    pub was: Option<Rule>,
    /// Who gave the command.
    pub by: &'a str,
}

/// A command removed a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleRemoved<'a> {
    /// The rule, and what its sources have now.
    pub ended: RuleEnded,
    /// Who gave the command.
    pub by: &'a str,
}

/// A rule in the grammar of rules.
struct RuleAsText(Prefix, Terms);

impl fmt::Display for RuleAsText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.0, TermsText(self.1))
    }
}

/// The rule that a prefix had before: its terms and its origin, or `no rule`.
#[derive(Clone, Copy, Debug)]
pub struct Was(pub Option<Rule>);

impl fmt::Display for Was {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("no rule"),
            Some(Rule { terms, origin, .. }) => {
                write!(f, "{} from {origin}", TermsText(terms))
            }
        }
    }
}

impl fmt::Display for RuleSetByCommand<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = RuleAsText(self.prefix, self.terms);
        write!(f, "rule {rule} set")?;
        if let Some(seconds) = self.seconds {
            write!(f, " for {seconds} s")?;
        }
        write!(f, " by {}, was: {}", self.by, Was(self.was))
    }
}

impl fmt::Display for RuleRemoved<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = format_args!("removed by {}", self.by);
        self.ended.write(f, verb)
    }
}

impl fmt::Display for RuleEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "ended")
    }
}

impl RuleEnded {
    fn write(&self, f: &mut fmt::Formatter<'_>, verb: impl fmt::Display) -> fmt::Result {
        let Rule {
            prefix,
            terms,
            origin,
            ..
        } = self.rule;
        match origin.is_ban() {
            true => write!(f, "ban of {prefix} {verb}")?,
            false => write!(f, "rule {} {verb}", RuleAsText(prefix, terms))?,
        }
        let (now, limit) = (RuleName(self.now), LimitName(self.limit));
        write!(f, ", now: limit {limit}, rule {now}")
    }
}

/// A number of connections, with a word between the number and the noun.
struct Connections<N>(N, &'static str);

impl<N: fmt::Display + Into<u64> + Copy> fmt::Display for Connections<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.into() == 1 { "" } else { "s" };
        write!(f, "{}{} connection{plural}", self.0, self.1)
    }
}

/// A listener, if connections are counted there apart.
struct OnListener(Option<ListenerName>);

impl fmt::Display for OnListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(listener) => write!(f, " on {listener}"),
            None => Ok(()),
        }
    }
}

/// Uncounted connections: those admitted and those rejected, of which one is above 0.
struct Uncounted(u64, u64);

impl fmt::Display for Uncounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Uncounted(admitted, rejected) = *self;
        if admitted > 0 {
            write!(f, "admitted {} uncounted", Connections(admitted, ""))?;
        }
        match (admitted, rejected) {
            (_, 0) => Ok(()),
            (0, _) => write!(f, "rejected {}", Connections(rejected, "")),
            _ => write!(f, " and rejected {rejected}"),
        }
    }
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
                why,
                would,
            } => {
                let verb = if *would { "would reject" } else { "rejected" };
                let source = report.source.display(self.prefixes);
                let (rule, limit) = (RuleName(*rule), LimitName(*limit));
                let on = OnListener(report.listener);
                write!(f, "{verb} connection from {source}{on}: ")?;
                match why {
                    Why::Limit => {
                        let connections = Connections(report.rejected_at, "");
                        write!(f, "{connections}, limit {limit}, rule {rule}")
                    }
                    Why::Rate(rate) => {
                        write!(f, "more than {}, rule {rule}", RateAsText(*rate))
                    }
                    Why::Ban(Some(ban)) => {
                        let (cause, seconds) = (ban.cause, ban.seconds_left());
                        write!(f, "banned, reason {cause}, {seconds} s left")
                    }
                    Why::Ban(None) => f.write_str("banned, and the ban has ended since"),
                    Why::Untrusted(limit) => {
                        let untrusted = Connections(report.rejected_at, " untrusted");
                        let limit = LimitName(limit.cast_signed());
                        write!(f, "{untrusted}, untrusted limit {limit}, rule {rule}")
                    }
                    Why::Reserve => write!(f, "only the reserve was left, rule {rule}"),
                    Why::Pressure => {
                        let connections = Connections(report.rejected_at, "");
                        write!(
                            f,
                            "{connections}, limit {limit} under pressure, rule {rule}"
                        )
                    }
                    Why::Cluster(sum) => {
                        let sum = OverCluster(report.rejected_at, *sum);
                        write!(f, "{sum}, rule {rule}")
                    }
                }
            }
            Notice::Released {
                report,
                rule,
                limit,
                rate,
                ..
            } => {
                let source = report.source.display(self.prefixes);
                let on = OnListener(report.listener);
                if let Some(rate) = rate {
                    let (rule, rate) = (RuleName(*rule), RateAsText(*rate));
                    return write!(
                        f,
                        "source {source}{on} is back under its rate: {rate}, rule {rule}"
                    );
                }
                let connections = Connections(report.connections, "");
                let (rule, limit) = (RuleName(*rule), LimitName(*limit));
                write!(
                    f,
                    "source {source}{on} is back under its limit: {connections}, limit {limit}, \
                     rule {rule}"
                )
            }
            Notice::TrustedEnough {
                report,
                rule,
                limit,
                ..
            } => {
                let source = report.source.display(self.prefixes);
                let untrusted = Connections(report.untrusted(), " untrusted");
                let (rule, limit) = (RuleName(*rule), LimitName(limit.cast_signed()));
                write!(
                    f,
                    "source {source} is back under its untrusted limit: {untrusted}, untrusted \
                     limit {limit}, rule {rule}"
                )
            }
            Notice::FewerInCluster {
                report, rule, sum, ..
            } => {
                let source = report.source.display(self.prefixes);
                let connections = report.connections.saturating_add(sum.others);
                let (rule, sum) = (RuleName(*rule), OverCluster(connections, *sum));
                write!(
                    f,
                    "source {source} is back under its cluster limit: {sum}, rule {rule}"
                )
            }
            Notice::TimedOut(timed_out) => timed_out.write(f, self.prefixes),
            Notice::MoreTimedOut(more) => more.fmt(f),
            Notice::NeverTrusted(never) => never.fmt(f),
            Notice::Banned { report, ban, would } => {
                let verb = if *would { "would ban" } else { "banned" };
                let source = report.source.display(self.prefixes);
                let (seconds, cause) = (ban.seconds_left(), ban.cause);
                write!(f, "{verb} source {source} for {seconds} s, reason {cause}")
            }
            Notice::Unbanned {
                report, ban, would, ..
            } => {
                let verb = match would {
                    true => "would have rejected",
                    false => "rejected",
                };
                let source = report.source.display(self.prefixes);
                let (rejected, cause) = (Connections(ban.rejected, ""), ban.cause);
                write!(
                    f,
                    "source {source} is no longer banned: {verb} {rejected}, reason {cause}"
                )
            }
            Notice::MoreBanned {
                sources,
                seconds,
                would,
            } => {
                let verb = if *would { "would ban" } else { "banned" };
                let plural = if *sources == 1 { "" } else { "s" };
                write!(f, "{verb} {sources} more source{plural} in {seconds} s")
            }
            Notice::RuleEnded(ended) => ended.fmt(f),
            Notice::Load(notice) => notice.fmt(f),
            Notice::Summary(summary) => {
                let most = summary.most.display(self.prefixes);
                let verb = match (summary.rejected, summary.would_reject) {
                    (true, false) => "rejected",
                    (true, true) => "rejected or would reject",
                    (false, _) => "would reject",
                };
                let more = Connections(summary.more, " more");
                write!(f, "{verb} {more} from {most}")?;
                if summary.others > 0 {
                    let (more, others) = (summary.more_of_others, summary.others);
                    let plural = if others == 1 { "" } else { "s" };
                    write!(f, " and {more} from {others} other source{plural}")?;
                }
                write!(f, " in {} s", summary.seconds)
            }
            Notice::Full { admitted, rejected } => write!(
                f,
                "the table had no slot for new sources: {}; raise tcp_max_connections",
                Uncounted(*admitted, *rejected)
            ),
            Notice::Flood {
                report,
                rejections,
                threshold,
                would,
            } => shield::flood(
                f,
                report.source.display(self.prefixes),
                *rejections,
                *threshold,
                *would,
            ),
            Notice::Untracked { admitted, rejected } => write!(
                f,
                "file descriptors from {} up are not tracked, and TCP main has too many \
                 other open files: {}; raise tcp_max_connections",
                self.first_untracked,
                Uncounted(*admitted, *rejected)
            ),
            Notice::Stale { releases } => write!(
                f,
                "released {} without a count: the server released them twice, or shared memory \
                 is damaged; compare the counts with tcp_conn_limit.audit, and restart the \
                 server if they differ",
                Connections(*releases, "")
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
    use crate::limiter::RejectedFor;
    use crate::policy::origin::{BanReason, RuleOrigin};
    use crate::policy::penalties::Cause;
    use crate::policy::rules::UNLIMITED;

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
                rejected_for: Some(RejectedFor::Limit),
                peak: 1024,
                first_seen: 1,
                last_seen: 1,
                owed_us: 0,
                penalty: None,
                listener: None,
                trusted: 0,
            },
            rule: None,
            limit: 1024,
            why: Why::Limit,
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
            ..
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
        if let Notice::First { report, limit, .. } = &mut first {
            (report.rejected_at, *limit) = (1, 1);
        }
        assert_eq!(
            line(&first),
            "would reject connection from 2020:2020:2020:2020::/64: 1 connection, limit 1, \
             rule 2020::/16"
        );
    }

    #[test]
    fn released_source_is_named_with_its_connections() {
        let mut report = SourceReport {
            source: source(&[192, 0, 2, 1]),
            connections: 1,
            rejected: 5,
            would_reject: 0,
            rejected_at: 10,
            rejected_for: Some(RejectedFor::Limit),
            peak: 10,
            first_seen: 1,
            last_seen: 1,
            owed_us: 0,
            penalty: None,
            listener: None,
            trusted: 0,
        };
        let released = |report, limit| Notice::Released {
            report,
            rule: None,
            limit,
            rate: None,
            would: false,
        };
        assert_eq!(
            line(&released(report, 10)),
            "source 192.0.2.1 is back under its limit: 1 connection, limit 10, rule default"
        );
        report.connections = 12;
        assert_eq!(
            line(&released(report, 0)),
            "source 192.0.2.1 is back under its limit: 12 connections, limit none, rule default"
        );
    }

    #[test]
    fn rates_and_bans_are_named_with_their_numbers() {
        let report = SourceReport {
            source: source(&[192, 0, 2, 1]),
            connections: 1,
            rejected: 5,
            would_reject: 0,
            rejected_at: 1,
            rejected_for: Some(RejectedFor::Rate),
            peak: 2,
            first_seen: 1,
            last_seen: 1,
            owed_us: 0,
            penalty: None,
            listener: None,
            trusted: 0,
        };
        let rate = Rate {
            interval_us: 100_000,
            burst: 20,
        };
        let ban = PenaltyReport {
            left_ms: 33_001,
            banned: true,
            cause: Cause::Silent,
            node: 0,
            rejected: 1,
        };
        let first = |why, would| Notice::First {
            report,
            rule: None,
            limit: 9,
            why,
            would,
        };
        let (would, seconds, sources) = (true, 60, 7);
        for (notice, text) in [
            (
                first(Why::Rate(rate), false),
                "rejected connection from 192.0.2.1: more than 10/s, burst 20, rule default",
            ),
            (
                first(Why::Ban(Some(ban)), true),
                "would reject connection from 192.0.2.1: banned, reason silent, 34 s left",
            ),
            (
                first(Why::Ban(None), false),
                "rejected connection from 192.0.2.1: banned, and the ban has ended since",
            ),
            (
                first(Why::Untrusted(20), false),
                "rejected connection from 192.0.2.1: 1 untrusted connection, untrusted limit 20, \
                 rule default",
            ),
            (
                Notice::TrustedEnough {
                    report,
                    rule: None,
                    limit: 20,
                    would: false,
                },
                "source 192.0.2.1 is back under its untrusted limit: 1 untrusted connection, \
                 untrusted limit 20, rule default",
            ),
            (
                Notice::Released {
                    report,
                    rule: None,
                    limit: 9,
                    rate: Some(rate),
                    would: false,
                },
                "source 192.0.2.1 is back under its rate: 10/s, burst 20, rule default",
            ),
            (
                Notice::Banned {
                    report,
                    ban,
                    would: false,
                },
                "banned source 192.0.2.1 for 34 s, reason silent",
            ),
            (
                Notice::Banned { report, ban, would },
                "would ban source 192.0.2.1 for 34 s, reason silent",
            ),
            (
                Notice::Unbanned {
                    report,
                    ban,
                    would,
                    is_logged: false,
                },
                "source 192.0.2.1 is no longer banned: would have rejected 1 connection, \
                 reason silent",
            ),
            (
                Notice::MoreBanned {
                    sources,
                    seconds,
                    would: false,
                },
                "banned 7 more sources in 60 s",
            ),
        ] {
            assert_eq!(line(&notice), text);
        }
        let mut set = BanSetByCommand {
            who: "192.0.2.1",
            seconds,
            was: None,
            reason: Some("scanner\n"),
            by: "RPC",
        };
        assert_eq!(
            set.to_string(),
            "ban of 192.0.2.1 set for 60 s by RPC: scanner\\n"
        );
        set.was = Some(ban);
        assert_eq!(
            set.to_string(),
            "ban of 192.0.2.1 set for 60 s by RPC, was: 34 s, reason silent: scanner\\n"
        );
        (set.was, set.reason) = (None, None);
        assert_eq!(set.to_string(), "ban of 192.0.2.1 set for 60 s by RPC");
        for (who, lifted, text) in [
            (Some("192.0.2.1"), 1, "ban of 192.0.2.1 lifted by RPC"),
            (Some("10.0.0.0/8"), 3, "3 bans in 10.0.0.0/8 lifted by RPC"),
            (None, 3, "all 3 bans lifted by RPC"),
        ] {
            let by = "RPC";
            assert_eq!(BanLifted { who, lifted, by }.to_string(), text);
        }
    }

    #[test]
    fn change_of_a_rule_shows_what_was_and_what_is() {
        let prefix = |text| Prefix::parse(text, PrefixLengths::DEFAULT).unwrap();
        let rule = |limit, origin| Rule {
            prefix: prefix("192.0.2.0/24"),
            terms: Terms::of_limit(limit),
            origin,
            parent: None,
            scope: 0,
        };
        let mut set = RuleSetByCommand {
            prefix: prefix("192.0.2.0/24"),
            terms: Terms::of_limit(5),
            seconds: Some(60),
            was: Some(rule(UNLIMITED, RuleOrigin::Line(7))),
            by: "RPC",
        };
        assert_eq!(
            set.to_string(),
            "rule 192.0.2.0/24 = 5 set for 60 s by RPC, was: none from file:7"
        );
        set.terms.exempt = true;
        assert_eq!(
            set.to_string(),
            "rule 192.0.2.0/24 = 5 exempt set for 60 s by RPC, was: none from file:7"
        );
        (set.terms, set.seconds, set.was) = (Terms::of_limit(UNLIMITED), None, None);
        assert_eq!(
            set.to_string(),
            "rule 192.0.2.0/24 = none set by RPC, was: no rule"
        );
        set.was = Some(rule(9, RuleOrigin::Modparam(3)));
        assert_eq!(
            set.to_string(),
            "rule 192.0.2.0/24 = none set by RPC, was: 9 from modparam 3"
        );
        let mut ended = RuleEnded {
            rule: rule(5, RuleOrigin::Rpc { end: Some(1) }),
            now: None,
            limit: 1024,
        };
        assert_eq!(
            line(&Notice::RuleEnded(ended)),
            "rule 192.0.2.0/24 = 5 ended, now: limit 1024, rule default"
        );
        let mut ban = ended;
        ban.rule.origin = RuleOrigin::Ban {
            end: 1,
            reason: BanReason::Rpc,
        };
        assert_eq!(
            line(&Notice::RuleEnded(ban)),
            "ban of 192.0.2.0/24 ended, now: limit 1024, rule default"
        );
        (ended.now, ended.limit) = (Some(prefix("192.0.0.0/16")), UNLIMITED);
        assert_eq!(
            RuleRemoved { ended, by: "RPC" }.to_string(),
            "rule 192.0.2.0/24 = 5 removed by RPC, now: limit none, rule 192.0.0.0/16"
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
    fn summary_has_no_empty_parts_and_no_wrong_plurals() {
        for (more, others, more_of_others, text) in [
            (1, 0, 0, "1 more connection from 192.0.2.1"),
            (2, 0, 0, "2 more connections from 192.0.2.1"),
            (
                2,
                1,
                1,
                "2 more connections from 192.0.2.1 and 1 from 1 other source",
            ),
            (
                1,
                2,
                2,
                "1 more connection from 192.0.2.1 and 2 from 2 other sources",
            ),
        ] {
            let summary = Notice::Summary(Summary {
                most: source(&[192, 0, 2, 1]),
                more,
                others,
                more_of_others,
                rejected: true,
                would_reject: false,
                seconds: 1,
            });
            assert_eq!(line(&summary), format!("rejected {text} in 1 s"));
        }
    }

    #[test]
    fn stale_tokens_are_reported_with_a_remedy() {
        assert_eq!(
            line(&Notice::Stale { releases: 2 }),
            "released 2 connections without a count: the server released them twice, or shared \
             memory is damaged; compare the counts with tcp_conn_limit.audit, and restart the \
             server if they differ"
        );
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
             tcp_max_connections"
        );
        for (admitted, rejected, text) in [
            (1, 0, "admitted 1 connection uncounted"),
            (2, 0, "admitted 2 connections uncounted"),
            (0, 1, "rejected 1 connection"),
            (0, 2, "rejected 2 connections"),
            (1, 1, "admitted 1 connection uncounted and rejected 1"),
        ] {
            assert_eq!(
                line(&Notice::Full { admitted, rejected }),
                format!("the table had no slot for new sources: {text}; raise tcp_max_connections")
            );
        }
    }
}
