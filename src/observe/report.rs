// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Report`]: answers an operator. It reports one source, the busiest sources, the rules,
//! the number of sources and connections, and limits that would fit.
//!
//! The process that asks reads all of it from the live table, without a lock. Each line is
//! correct for the moment at which it was read.

#![forbid(unsafe_code)]

mod histogram;
mod percentiles;

use core::fmt;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet, TryReserveError};

use crate::limiter::cluster::OthersReport;
use crate::limiter::{Limiter, RejectedFor};
use crate::policy::listener::ListenerName;
use crate::policy::origin::{BanReason, RuleOrigin};
use crate::policy::penalties::Cause;
use crate::policy::terms::{Rate, Terms};
use crate::shared::sync::Ordering;
use crate::source::{Prefix, Source};
use crate::table::SlotRef;
use crate::table::details::{Numbers, Owner};
use percentiles::Percentiles;
pub(crate) use percentiles::percent_of;

pub use crate::policy::rulebook::RuleReport;
pub use crate::table::details::seconds_since;
pub use histogram::Histogram;

/// A source at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceReport {
    /// The source.
    pub source: Source,
    /// Its connections.
    pub connections: u32,
    /// Its rejections since it entered the table, or since the last reset.
    pub rejected: u32,
    /// Its connections that would have been rejected, in monitor mode.
    pub would_reject: u32,
    /// Its connections when one was last rejected or would have been; 0 if that never
    /// happened.
    pub rejected_at: u32,
    /// The most connections it had at a time: exact from 8 on, below that as sampled by
    /// [`watch`](crate::observe::watch).
    pub peak: u32,
    /// Why one was last rejected or would have been.
    pub rejected_for: Option<RejectedFor>,
    /// When it was first sampled, for [`seconds_since`].
    pub first_seen: u32,
    /// When it was last sampled with connections, or first sampled after its connections
    /// had closed, for [`seconds_since`].
    pub last_seen: u32,
    /// Microseconds until it has paid for its connections at its rate, and may open a whole
    /// burst again.
    pub owed_us: u64,
    /// Its offences, or its ban. `None` also if a rule exempts it.
    pub penalty: Option<PenaltyReport>,
    /// The listener of a source with a scope.
    pub listener: Option<ListenerName>,
    /// How many of its connections are trusted: all if its rule trusts it, none if the limiter
    /// has no trust.
    pub trusted: u32,
}

/// The connections of a source on the other nodes of the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterSum {
    /// Their number, as far as it is known.
    pub others: u32,
    /// The limit of the source over all nodes; 0: no limit.
    pub limit: u32,
}

/// A source and its connections on all nodes of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterSourceReport {
    /// The source.
    pub source: Source,
    /// Its connections here.
    pub own: u32,
    /// Those on the other nodes, and the limit.
    pub sum: ClusterSum,
    /// Its rejections while it had no connection here, and those that would have happened.
    pub rejected: u32,
}

/// The offences of a source, or its ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PenaltyReport {
    /// Milliseconds until it ends.
    pub left_ms: u64,
    /// The source is banned. Otherwise these are offences that do not suffice for a ban.
    pub banned: bool,
    /// Its cause; of offences, the last one.
    pub cause: Cause,
    /// The index of the node that set the ban, if its cause is [`Cause::Cluster`].
    pub node: u8,
    /// The connections that were rejected since the ban began, or would have been.
    pub rejected: u32,
}

impl PenaltyReport {
    /// The ban of a prefix at the time `now` of the host clock; `None` if the rule is not a ban.
    pub fn of_prefix(rule: &RuleReport, now: u32) -> Option<PenaltyReport> {
        let RuleOrigin::Ban { reason, .. } = rule.origin else {
            return None;
        };
        Some(PenaltyReport {
            left_ms: u64::from(rule.origin.seconds_left(now)?) * 1_000,
            banned: true,
            cause: match reason {
                BanReason::Rpc => Cause::Rpc,
                BanReason::Script => Cause::Script,
                BanReason::Cluster { .. } => Cause::Cluster,
            },
            node: match reason {
                BanReason::Cluster { node } => node,
                BanReason::Rpc | BanReason::Script => 0,
            },
            rejected: u32::try_from(rule.rejected + rule.would_reject).unwrap_or(u32::MAX),
        })
    }

    /// Seconds until it ends, rounded up.
    pub fn seconds_left(&self) -> u32 {
        u32::try_from(self.left_ms.div_ceil(1_000)).unwrap_or(u32::MAX)
    }
}

/// What a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Sources, without networks.
    Sources,
    /// Networks of sources.
    Networks,
}

impl Of {
    fn includes(self, source: Source) -> bool {
        source.is_network() == (self == Of::Networks)
    }
}

/// The number by which sources are ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Present connections.
    Connections,
    /// Rejections, including connections that would have been rejected.
    Rejected,
    /// The most connections at a time.
    Peak,
    /// The time until it has paid for its connections at its rate.
    Owed,
    /// Present connections that are not trusted.
    Untrusted,
}

/// The table as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Sources with connections.
    pub sources: u64,
    /// Their connections.
    pub connections: u64,
    /// Slots for sources.
    pub slots: u64,
}

/// The sources of one rule, or those without a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// `None`: the sources without a rule.
    pub rule: Option<RuleReport>,
    /// The sources with connections.
    pub sources: u64,
    /// Their connections.
    pub connections: u64,
    /// Rejections.
    pub rejected: u64,
    /// Connections that would have been rejected, in monitor mode.
    pub would_reject: u64,
}

/// A limit proposed for the sources of one rule, or for those without a rule, from their
/// peaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// `None`: the sources without a rule.
    pub rule: Option<Prefix>,
    /// The rule's limit; 0: no limit.
    pub limit: Option<i32>,
    /// Sources in the table that have a peak.
    pub sources: u64,
    /// The highest peak.
    pub highest: u32,
    /// How many sources have which peak.
    pub histogram: Histogram,
    /// 99 if there are 100 sources or more, 90 if there are 10 or more, else 50. So the
    /// greediest source of a small server is not taken for a usual one.
    pub percentile: u32,
    /// This percentage of the sources have no higher peak.
    pub usual: u32,
    /// The proposed limit: one and a half times `usual`, but at least [`LEAST`].
    pub proposed: u32,
    /// Sources with a peak above `proposed`.
    pub above: u64,
    /// The highest of these, highest first. Of equal peaks, the higher address is first.
    pub list: Vec<(Source, u32)>,
}

/// The lowest limit that is proposed. This many connections are nothing unusual.
pub const LEAST: u32 = 8;

/// A rule's prefix, or "default" for the sources without a rule.
#[derive(Clone, Copy, Debug)]
pub struct RuleName(pub Option<Prefix>);

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(prefix) => prefix.fmt(f),
            None => f.write_str("default"),
        }
    }
}

impl SourceReport {
    fn new(source: Source, connections: u32, numbers: Numbers) -> SourceReport {
        SourceReport {
            source,
            connections,
            rejected: numbers.rejected,
            would_reject: numbers.would_reject,
            rejected_at: numbers.rejected_at,
            rejected_for: numbers.rejected_for,
            // The sample may be older than a connection.
            peak: numbers.peak.max(connections),
            first_seen: numbers.first_seen,
            last_seen: numbers.last_seen,
            owed_us: 0,
            penalty: None,
            listener: None,
            trusted: 0,
        }
    }

    /// How many of its connections are not trusted. Trust is not counted for networks.
    pub fn untrusted(&self) -> u32 {
        match self.source.is_network() {
            true => 0,
            false => self.connections.saturating_sub(self.trusted),
        }
    }

    /// Its ban.
    pub fn ban(&self) -> Option<PenaltyReport> {
        self.penalty.filter(|penalty| penalty.banned)
    }

    fn rank(&self, by: By) -> u64 {
        match by {
            By::Connections => self.connections.into(),
            By::Rejected => u64::from(self.rejected) + u64::from(self.would_reject),
            By::Peak => self.peak.into(),
            By::Owed => self.owed_us,
            By::Untrusted => self.untrusted().into(),
        }
    }
}

impl Occupancy {
    /// Sources and connections in one word, so that they are stored together:
    ///
    /// ```text
    ///   bits 0–31 connections │ 32–63 sources
    /// ```
    pub(crate) fn to_gauges(self) -> u64 {
        // Each number is below 2^32, except in damaged memory.
        let half = |number: u64| number.min(u32::MAX.into());
        half(self.sources) << 32 | half(self.connections)
    }

    fn from_gauges(gauges: u64, slots: u64) -> Occupancy {
        Occupancy {
            sources: gauges >> 32,
            connections: gauges & u64::from(u32::MAX),
            slots,
        }
    }
}

/// A view of a limiter for reports.
#[derive(Clone, Copy)]
pub struct Report<'a> {
    limiter: &'a Limiter,
}

impl<'a> Report<'a> {
    /// The view of `limiter`.
    pub fn of(limiter: &'a Limiter) -> Report<'a> {
        Report { limiter }
    }

    /// The numbers of `source`; zeros if it is not in the table.
    pub fn get(self, source: Source) -> SourceReport {
        while let Some(at) = self.limiter.table().find(source) {
            if let Some((report, _)) = self.at(source, at) {
                return report;
            }
        }
        SourceReport {
            listener: self.limiter.listener_of(source),
            ..SourceReport::new(source, 0, Numbers::default())
        }
    }

    /// Rule and limit of `source`; a limit of 0 or less: no limit.
    pub fn rule_of(self, source: Source) -> (Option<Prefix>, i32) {
        let (rule, terms) = self.terms_of(source, None);
        (rule, terms.limit)
    }

    /// The effective limit of `source`: its limit, lowered by pressure unless its rule is
    /// trusted; 0: no limit.
    pub fn effective(self, source: Source) -> i32 {
        let (_, terms) = self.terms_of(source, None);
        self.effective_limit(source, terms)
    }

    /// The effective limit of a source with these terms. Pressure does not lower that of a
    /// network.
    pub fn effective_limit(self, source: Source, terms: Terms) -> i32 {
        match terms.trusted || source.is_network() {
            true => terms.limit.max(0),
            false => self.limiter.load_report().cap().effective(terms.limit),
        }
    }

    /// Rule and terms of `source`, or of the address `host` in it: those of a rule with a
    /// prefix longer than a source, if one contains the address, else those of the source.
    pub fn terms_of(self, source: Source, host: Option<Source>) -> (Option<Prefix>, Terms) {
        let rulebook = self.limiter.rulebook();
        let scope = source.scope();
        let of_host = host.and_then(|host| rulebook.describe_host(host, scope));
        match of_host {
            Some((prefix, terms)) => (Some(prefix), terms),
            None => rulebook.describe(source.prefix(self.limiter.prefixes()), scope),
        }
    }

    /// The bans of prefixes, sorted by prefix.
    ///
    /// # Errors
    ///
    /// If there is no memory.
    pub fn banned_prefixes(self) -> Result<Vec<RuleReport>, TryReserveError> {
        let rules = self.limiter.rulebook().all()?;
        let bans = || {
            let rules = rules.as_slice().iter();
            rules.filter(|rule| rule.origin.is_ban()).copied()
        };
        let mut found = Vec::new();
        found.try_reserve_exact(bans().count())?;
        found.extend(bans());
        Ok(found)
    }

    /// The ban with the longest prefix that contains `source`, or the address `host` in it.
    /// Its rule may exempt it: then [`terms_of`](Self::terms_of) says that it is not banned.
    pub fn ban_of(self, source: Source, host: Option<Source>) -> Option<RuleReport> {
        let of_source = || source.prefix(self.limiter.prefixes());
        let wanted = host.map_or_else(of_source, Prefix::from);
        self.limiter.rulebook().ban_of(wanted)
    }

    /// The ban that applies to `source`, or to the address `host` in it: its own or that of a
    /// prefix, whichever lasts longer. `now` is the host clock.
    pub fn ban_in_effect(
        self,
        source: Source,
        host: Option<Source>,
        now: u32,
    ) -> Option<PenaltyReport> {
        let (_, terms) = self.terms_of(source, host);
        if terms.exempt {
            return None;
        }
        let own = match (source.is_network(), source.scope()) {
            (true, _) => None,
            // The rule of the address alone decides: that of its source may exempt only others.
            (false, None) => self.penalty_of(source).filter(|penalty| penalty.banned),
            (false, Some(_)) => self.get(source.without_scope()).ban(),
        };
        let of_prefix = terms.banned.then(|| self.ban_of(source, host)).flatten();
        let of_prefix = of_prefix.and_then(|rule| PenaltyReport::of_prefix(&rule, now));
        own.into_iter()
            .chain(of_prefix)
            .max_by_key(|ban| ban.left_ms)
    }

    /// The rate of `source`.
    pub fn rate_of(self, source: Source) -> Rate {
        let (_, terms) = self.terms_of(source, None);
        terms.rate.or_default(self.limiter.default_rate(source))
    }

    /// The limit of untrusted connections of `source`; 0: no limit.
    pub fn untrusted_limit_of(self, source: Source) -> u32 {
        let (_, terms) = self.terms_of(source, None);
        terms.untrusted_limit(self.limiter.untrusted_limit())
    }

    /// What `source` has on the other nodes of the cluster, and its limit over all nodes.
    pub fn sum_of(self, source: Source) -> ClusterSum {
        let (_, terms) = self.terms_of(source, None);
        ClusterSum {
            others: self.limiter.others(source),
            limit: terms.cluster_limit(self.limiter.cluster_limit()),
        }
    }

    /// The sources with the most connections on all nodes, at most `n`, highest first: those of
    /// this node, and those that other nodes report. Walks through the table.
    ///
    /// # Errors
    ///
    /// If there is no memory.
    pub fn top_in_cluster(self, n: usize) -> Result<Vec<ClusterSourceReport>, TryReserveError> {
        let table = self.limiter.table();
        let is_summed = |source: Source| source.scope().is_none() && !source.is_network();
        let own = self.counts().filter(|(source, _)| is_summed(*source));
        let own =
            own.map(|(source, own)| (own.saturating_add(self.limiter.others(source)), source));
        let others = self.limiter.all_others().filter(|others| {
            let at = table.find(others.source);
            others.connections > 0 && at.is_none_or(|at| table.connections(at) <= 0)
        });
        let others = others.map(|others| (others.connections, others.source));
        let mut highest = BinaryHeap::new();
        for ranked in own.chain(others).map(Reverse) {
            if highest.len() < n {
                highest.try_reserve(1)?;
                highest.push(ranked);
            } else if let Some(mut lowest) = highest.peek_mut()
                && ranked < *lowest
            {
                *lowest = ranked;
            }
        }
        let mut sorted = highest.into_sorted_vec();
        // A source that closed its connections during the walk was found twice.
        let mut seen = HashSet::new();
        seen.try_reserve(sorted.len())?;
        sorted.retain(|Reverse((_, source))| seen.insert(*source));
        let reports = sorted.into_iter().map(|Reverse((_, source))| {
            let others = self.limiter.others_of(source);
            let rejected =
                |others: OthersReport| others.rejected.saturating_add(others.would_reject);
            ClusterSourceReport {
                source,
                own: self.get(source).connections,
                sum: self.sum_of(source),
                rejected: others.map_or(0, rejected),
            }
        });
        Ok(reports.collect())
    }

    /// All sources with connections, in no order.
    pub fn sources(self) -> impl Iterator<Item = SourceReport> + 'a {
        self.with_connections(Of::Sources)
    }

    /// All networks with connections, in no order.
    pub fn networks(self) -> impl Iterator<Item = SourceReport> + 'a {
        self.with_connections(Of::Networks)
    }

    fn with_connections(self, of: Of) -> impl Iterator<Item = SourceReport> + 'a {
        self.all(of).filter(|report| report.connections > 0)
    }

    /// All sources and networks with connections, and the numbers of their connections, in no order.
    /// Reads nothing else and allocates nothing.
    pub(crate) fn counts(self) -> impl Iterator<Item = (Source, u32)> + 'a {
        (0..self.limiter.table().slots()).filter_map(move |slot| self.count(slot))
    }

    /// The source in `slot` and the number of its connections, if it has any.
    fn count(self, slot: usize) -> Option<(Source, u32)> {
        let table = self.limiter.table();
        while table.connections_at(slot) > 0 {
            let (source, at) = table.source_at(slot)?;
            let connections = self.limiter.rows().sum(slot, at.control.rows());
            // Repeated as in `slot`.
            if table.held(at).is_some() {
                return (connections > 0).then_some((source, connections.unsigned_abs()));
            }
        }
        None
    }

    /// All in the table, including those whose connections have all closed.
    fn all(self, of: Of) -> impl Iterator<Item = SourceReport> + 'a {
        let all = (0..self.limiter.table().slots()).filter_map(move |slot| self.slot(slot));
        all.map(|(report, _)| report)
            .filter(move |report| of.includes(report.source))
    }

    /// All in the table that have a peak.
    fn with_peak(self, of: Of) -> impl Iterator<Item = SourceReport> + 'a {
        self.all(of).filter(|report| report.peak > 0)
    }

    /// The first `n` sources in `prefix` by `by`, highest first. Sources whose number is 0
    /// are left out. Also returns how many there are.
    ///
    /// # Errors
    ///
    /// If there is no memory for `n` reports.
    pub fn top(
        self,
        n: usize,
        by: By,
        prefix: Option<Prefix>,
    ) -> Result<(Vec<SourceReport>, u64), TryReserveError> {
        self.top_of(Of::Sources, n, by, prefix)
    }

    /// As [`top`](Self::top), of sources or networks.
    ///
    /// # Errors
    ///
    /// As for [`top`](Self::top).
    pub fn top_of(
        self,
        of: Of,
        n: usize,
        by: By,
        prefix: Option<Prefix>,
    ) -> Result<(Vec<SourceReport>, u64), TryReserveError> {
        let inside = |report: &SourceReport| {
            prefix.is_none_or(|prefix| prefix.contains(Prefix::from(report.source)))
        };
        let ranked = self.all(of).filter(inside);
        let ranked = ranked.map(|report| (report.rank(by), report.source, report));
        let mut found = 0;
        let counted = ranked
            .filter(|(rank, ..)| *rank > 0)
            .inspect(|_| found += 1)
            .map(|(rank, source, report)| Ranked(rank, source, report));
        let top = highest(n.min(self.limiter.table().slots()), counted)?;
        Ok((top.into_iter().map(|Ranked(_, _, r)| r).collect(), found))
    }

    /// The `n` banned sources whose bans last longest, longest first. Also returns how many
    /// there are.
    ///
    /// # Errors
    ///
    /// If there is no memory for `n` reports.
    pub fn bans(self, n: usize) -> Result<(Vec<SourceReport>, u64), TryReserveError> {
        let table = self.limiter.table();
        let remembering = (0..table.slots()).filter(|&slot| table.remembers(slot));
        let mut found = 0;
        let banned = remembering
            .filter_map(|slot| {
                let (report, _) = self.slot(slot)?;
                Some(Ranked(report.ban()?.left_ms, report.source, report))
            })
            .inspect(|_| found += 1);
        let longest = highest(n.min(table.slots()), banned)?;
        let reports = longest.into_iter().map(|Ranked(_, _, report)| report);
        Ok((reports.collect(), found))
    }

    /// The banned sources and their bans, in no order.
    pub(crate) fn banned_sources(self) -> impl Iterator<Item = (Source, PenaltyReport)> + 'a {
        let table = self.limiter.table();
        let remembering = (0..table.slots()).filter(move |&slot| table.remembers(slot));
        remembering.filter_map(move |slot| {
            let (report, _) = self.slot(slot)?;
            Some((report.source, report.ban()?))
        })
    }

    /// Counts sources and connections in a walk through the table.
    pub fn occupancy(self) -> Occupancy {
        let table = self.limiter.table();
        let mut occupancy = Occupancy {
            slots: self.slots(),
            ..Occupancy::default()
        };
        if self.limiter.prefixes().networks().is_some() {
            // The key says which slots have networks.
            let counts = self.counts().filter(|(source, _)| !source.is_network());
            for (_, connections) in counts {
                occupancy.sources += 1;
                occupancy.connections += u64::from(connections);
            }
            return occupancy;
        }
        for slot in 0..table.slots() {
            let connections = table.connections_at(slot);
            occupancy.sources += u64::from(connections > 0);
            occupancy.connections += u64::from(connections);
        }
        occupancy
    }

    /// The numbers that [`watch`](crate::observe::watch) counted last, without a walk
    /// through the table; zeros before its first tick.
    pub fn last_occupancy(self) -> Occupancy {
        // Relaxed (statistics).
        let gauges = self.limiter.gauges().load(Ordering::Relaxed);
        Occupancy::from_gauges(gauges, self.slots())
    }

    fn slots(self) -> u64 {
        self.limiter.table().slots() as u64
    }

    /// At most `max` rules with the numbers of their sources or networks, sorted by prefix, then those
    /// of the sources without a rule. If there are more, rules with sources or rejections
    /// take precedence.
    ///
    /// Takes 120 bytes for each rule, and 144 for each that is returned.
    ///
    /// # Errors
    ///
    /// If there is no memory.
    pub fn groups(self, max: usize) -> Result<Vec<Group>, TryReserveError> {
        let rules = self.limiter.rulebook().all()?;
        let default = rules.as_slice().len();
        let default_numbers = self.limiter.rulebook().default_numbers();
        let mut loads = filled(default + 1, Load::default())?;
        for (source, connections) in self.counts() {
            let rule = match rules.of(source) {
                Some(rule) => rule,
                None if source.is_network() => continue,
                None => default,
            };
            let load = &mut loads[rule];
            // Saturates only in damaged memory.
            load.sources = load.sources.saturating_add(1);
            load.connections = load.connections.saturating_add(connections);
        }
        let is_busy = |index: usize| {
            let rule = &rules.as_slice()[index];
            loads[index].sources > 0 || rule.rejected > 0 || rule.would_reject > 0
        };
        let shown = select(max, default, is_busy)?;
        let mut groups = Vec::new();
        groups.try_reserve_exact(shown.len())?;
        groups.extend(shown.into_iter().map(|index| {
            let rule = rules.as_slice().get(index).copied();
            let numbers = |rule: RuleReport| (rule.rejected, rule.would_reject);
            let (rejected, would_reject) = rule.map_or(default_numbers, numbers);
            Group {
                rule,
                sources: loads[index].sources.into(),
                connections: loads[index].connections.into(),
                rejected,
                would_reject,
            }
        }));
        Ok(groups)
    }

    /// Limits from the peaks of the sources in the table, at most `max`: one for each rule,
    /// sorted by prefix, then one for the sources without a rule. If there are more, rules
    /// whose sources have a peak take precedence. Each lists up to `list` sources above it.
    ///
    /// Takes no memory for each source, 105 bytes for each rule, and 480 for each limit that
    /// is returned. Walks through the table three times, once more if there are more rules
    /// than are returned, and once more for each 6 bits that a percentile has above 7.
    ///
    /// # Errors
    ///
    /// If there is no memory.
    pub fn suggest(self, max: usize, list: usize) -> Result<Vec<Suggestion>, TryReserveError> {
        self.suggest_of(Of::Sources, max, list)
    }

    /// As [`suggest`](Self::suggest), for sources or networks.
    ///
    /// # Errors
    ///
    /// As for [`suggest`](Self::suggest).
    pub fn suggest_of(
        self,
        of: Of,
        max: usize,
        list: usize,
    ) -> Result<Vec<Suggestion>, TryReserveError> {
        let mut rules = self.limiter.rulebook().all()?;
        rules.retain(|rule| rule.prefix.of_networks == (of == Of::Networks));
        let default = rules.as_slice().len();
        let index_of = |report: &SourceReport| rules.of(report.source).unwrap_or(default);
        let shown = if default < max {
            select(max, default, |_| true)?
        } else {
            let mut has_peaks = filled(default + 1, false)?;
            for report in self.with_peak(of) {
                has_peaks[index_of(&report)] = true;
            }
            select(max, default, |index| has_peaks[index])?
        };
        let group_of = |report: &SourceReport| shown.binary_search(&index_of(report)).ok();
        let mut percentiles = Percentiles::new(shown.len())?;
        let mut suggestions = Vec::new();
        suggestions.try_reserve_exact(shown.len())?;
        suggestions.extend(shown.iter().map(|&index| Suggestion {
            rule: rules.as_slice().get(index).map(|rule| rule.prefix),
            limit: rules.as_slice().get(index).map(|rule| rule.terms.limit),
            sources: 0,
            highest: 0,
            histogram: Histogram::default(),
            percentile: 0,
            usual: 0,
            proposed: LEAST,
            above: 0,
            list: Vec::new(),
        }));
        for report in self.with_peak(of) {
            if let Some(group) = group_of(&report) {
                let suggestion = &mut suggestions[group];
                suggestion.sources += 1;
                suggestion.highest = suggestion.highest.max(report.peak);
                suggestion.histogram.count(report.peak);
                percentiles.count(group, report.peak);
            }
        }
        while percentiles.narrow() {
            for report in self.with_peak(of) {
                if let Some(group) = group_of(&report) {
                    percentiles.count(group, report.peak);
                }
            }
        }
        for (suggestion, usual) in suggestions.iter_mut().zip(percentiles.found()) {
            suggestion.percentile = percent_of(suggestion.sources);
            suggestion.usual = usual;
            suggestion.proposed = usual.saturating_mul(3).div_ceil(2).max(LEAST);
        }
        // Another walk, for the few sources above the proposed limits.
        for report in self.all(of).filter(|report| report.peak > LEAST) {
            let Some(group) = group_of(&report) else {
                continue;
            };
            let suggestion = &mut suggestions[group];
            if report.peak > suggestion.proposed {
                suggestion.above += 1;
                let above = &mut suggestion.list;
                above.try_reserve(1)?;
                // Equal peaks are sorted by address, as in `top`, because the order of the
                // table would leak information about the key of the hash.
                let rank = (report.peak, report.source);
                let at = above.partition_point(|&(source, peak)| (peak, source) > rank);
                above.insert(at, (report.source, report.peak));
                above.truncate(list);
            }
        }
        Ok(suggestions)
    }

    /// The source in `slot`, and the slot as it is now.
    pub(crate) fn slot(self, slot: usize) -> Option<(SourceReport, SlotRef)> {
        loop {
            let (source, at) = self.limiter.table().source_at(slot)?;
            if let Some(report) = self.at(source, at) {
                return Some(report);
            }
        }
    }

    /// `source` at `at`, and the slot as it is now. `None` if another process was taking
    /// the slot: then the numbers may be those of the source that has it now.
    fn at(self, source: Source, at: SlotRef) -> Option<(SourceReport, SlotRef)> {
        let table = self.limiter.table();
        let connections = self.limiter.rows().sum(at.slot, at.control.rows());
        let owner = Owner::of(table, source, at);
        let numbers = self.limiter.details().read(owner);
        let mut report = SourceReport::new(source, connections.unsigned_abs(), numbers);
        report.listener = self.limiter.listener_of(source);
        if at.control.remembers() {
            let restraints = self.limiter.restraints(owner, at);
            report.owed_us = restraints.owed(self.limiter.micros());
            report.penalty = self
                .penalty_at(owner, at)
                .filter(|_| !self.limiter.terms_of_source(source, owner).1.exempt);
        }
        if self.limiter.has_trust() {
            report.trusted = match self.limiter.terms_of_source(source, owner).1.trusted {
                true => report.connections,
                false => self.limiter.count_trusted(owner, at, report.connections),
            };
        }
        Some((report, table.held(at)?))
    }

    /// The offences of `source`, or its ban, also if a rule exempts it. They count for an address
    /// in it whose own rule does not.
    pub fn penalty_of(self, source: Source) -> Option<PenaltyReport> {
        let table = self.limiter.table();
        while let Some(at) = table.find(source) {
            let penalty = self.penalty_at(Owner::of(table, source, at), at);
            // Repeated as in `slot`.
            if table.held(at).is_some() {
                return penalty;
            }
        }
        None
    }

    /// What [`penalty_of`](Self::penalty_of) returns, for the owner of the slot `at`.
    fn penalty_at(self, owner: Owner, at: SlotRef) -> Option<PenaltyReport> {
        if !at.control.remembers() {
            return None;
        }
        let restraints = self.limiter.restraints(owner, at);
        let sentence = restraints.sentence(self.limiter.millis())?;
        Some(PenaltyReport {
            left_ms: sentence.left,
            banned: sentence.banned,
            cause: Cause::from_number(sentence.reason),
            node: restraints.node(),
            rejected: if sentence.banned {
                restraints.rejected()
            } else {
                0
            },
        })
    }
}

/// The present load of a rule. There may be 65,535, so it is small.
#[derive(Clone, Copy, Default)]
struct Load {
    /// The sources with connections.
    sources: u32,
    /// Their connections.
    connections: u32,
}

/// `length` times `value`.
fn filled<T: Copy>(length: usize, value: T) -> Result<Vec<T>, TryReserveError> {
    let mut all = Vec::new();
    all.try_reserve_exact(length)?;
    all.resize(length, value);
    Ok(all)
}

/// The indices of at most `max` of `rules` rules and, last, of the default, which has the
/// index `rules`. Busy rules take precedence over others, and low indices over high ones.
/// The result is in ascending order.
fn select(
    max: usize,
    rules: usize,
    is_busy: impl Fn(usize) -> bool,
) -> Result<Vec<usize>, TryReserveError> {
    let mut selected = Vec::new();
    // One is for the default.
    let Some(room) = max.checked_sub(1) else {
        return Ok(selected);
    };
    selected.try_reserve_exact(room.min(rules) + 1)?;
    let mut busy_left = (0..rules).filter(|&index| is_busy(index)).count().min(room);
    let mut idle_left = room - busy_left;
    selected.extend((0..rules).filter(|&index| {
        let left = match is_busy(index) {
            true => &mut busy_left,
            false => &mut idle_left,
        };
        let is_selected = *left > 0;
        *left -= usize::from(is_selected);
        is_selected
    }));
    selected.push(rules);
    Ok(selected)
}

/// Ordered by rank, then by source.
struct Ranked(u64, Source, SourceReport);

impl PartialEq for Ranked {
    fn eq(&self, other: &Ranked) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Ranked) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Ranked) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// The `n` highest of `items`, highest first. Does not keep the others.
fn highest<T: Ord>(n: usize, items: impl Iterator<Item = T>) -> Result<Vec<T>, TryReserveError> {
    let mut top = BinaryHeap::new();
    top.try_reserve(n + 1)?;
    for item in items {
        top.push(Reverse(item));
        if top.len() > n {
            top.pop();
        }
    }
    let sorted = top.into_sorted_vec();
    Ok(sorted.into_iter().map(|Reverse(item)| item).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::limiter::Worker;
    use crate::policy::rules::{Origin, RuleSet};
    use crate::source::PrefixLengths;

    /// The half of an address that belongs to no source is damaged.
    #[test]
    fn damaged_lower_half_does_not_hide_a_source() {
        let limiter = Arc::new(Limiter::new(10, 0, PrefixLengths::DEFAULT).unwrap());
        let source = Source::new(&[0x20; 16], PrefixLengths::DEFAULT).unwrap();
        limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
        for slot in 0..limiter.table().slots() {
            let low = &limiter.table().detail(slot).low;
            low.store(u64::MAX, Ordering::Relaxed);
        }
        let (sender, receiver) = channel();
        let asking = Arc::clone(&limiter);
        // In a thread, because the search must end.
        std::thread::spawn(move || sender.send(Report::of(&asking).get(source)));
        let report = receiver.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!((report.source, report.connections), (source, 1));
        let listed: Vec<_> = Report::of(&limiter).sources().map(|r| r.source).collect();
        assert_eq!(listed, [source]);
    }

    #[test]
    fn highest_are_sorted_from_the_highest() {
        assert_eq!(highest(2, [3, 9, 1, 7].into_iter()).unwrap(), [9, 7]);
        assert_eq!(highest(9, [3, 9].into_iter()).unwrap(), [9, 3]);
        assert!(highest(0, [3, 9].into_iter()).unwrap().is_empty());
    }

    #[test]
    fn busy_rules_are_selected_first() {
        let selected = |max, busy: &[usize]| select(max, 6, |rule| busy.contains(&rule)).unwrap();
        assert_eq!(selected(7, &[]), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(selected(usize::MAX, &[4]), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(selected(4, &[]), [0, 1, 2, 6]);
        assert_eq!(selected(4, &[1, 5]), [0, 1, 5, 6]);
        assert_eq!(selected(4, &[5, 4, 3, 2]), [2, 3, 4, 6]);
        assert_eq!(selected(2, &[3]), [3, 6]);
        assert_eq!(selected(1, &[3]), [6]);
        assert!(selected(0, &[3]).is_empty());
    }

    /// The rule of a host decides whether the ban of its source applies to it, in a check as in
    /// a report.
    #[test]
    fn ban_of_a_source_is_reported_by_the_rule_of_the_host() {
        let limiter = Limiter::new(10, 0, PrefixLengths::DEFAULT).unwrap();
        let address = |last| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
        let source = limiter.source(&address(1)).unwrap();
        let banned = |last| {
            let report = Report::of(&limiter);
            let host = limiter.host(&address(last));
            let found = report.ban_in_effect(source, host, 0).is_some();
            assert_eq!(found, limiter.check_from(source, &address(last)).is_err());
            found
        };
        limiter
            .ban(Worker::ACCEPTOR, source, 60, Cause::Rpc)
            .unwrap();
        assert!(banned(1) && banned(2));
        for (of_source, of_host, expected) in
            [("none", "5", (true, false)), ("5", "none", (false, true))]
        {
            let texts = [
                format!("2001:db8::/64 = {of_source}"),
                format!("2001:db8::1 = {of_host}"),
            ];
            let mut rules = RuleSet::builder(PrefixLengths::DEFAULT);
            for (text, number) in texts.iter().zip(1..) {
                rules.add(Origin::Modparam(number), text).unwrap();
            }
            limiter.set_rules(&rules.build().unwrap()).unwrap();
            assert_eq!((banned(1), banned(2)), expected, "{texts:?}");
            assert!(Report::of(&limiter).penalty_of(source).is_some());
        }
    }
}
