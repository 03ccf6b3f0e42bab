// SPDX-License-Identifier: GPL-2.0-or-later
//! Sequences of calls to all functions of the C ABI, compared with a simple ledger.
//!
//! Input: the number of an operation and its arguments, repeated. The table is as small as
//! possible, so that sources are replaced and it is sometimes full.

#![no_main]

#[path = "sequences/rules.rs"]
mod rules;
#[path = "sequences/scarcity.rs"]
mod scarcity;
#[path = "sequences/scopes.rs"]
mod scopes;
#[path = "sequences/timeouts.rs"]
mod timeouts;

use std::collections::HashMap;
use std::ffi::{CStr, CString};

use libfuzzer_sys::fuzz_target;
use rules::{Key, PREFIXES, Rules};
use scarcity::Scarcity;
use scopes::{ScopeCounters, Scopes, network_of};
use tcp_conn_limit::ffi::{
    TCL_BY_CONNECTIONS, TCL_BY_OWED, TCL_BY_PEAK, TCL_BY_REJECTED, TCL_BY_UNTRUSTED, TCL_EALREADY,
    TCL_EARG, TCL_EEXEMPT, TCL_EINTERPOSE, TCL_ERULES, TCL_ESLOT, TCL_ESTALE, TCL_FACT_SPOKE,
    TCL_FACT_TLS, TCL_MODE_ENFORCE, TCL_MODE_MONITOR, TCL_MODE_OFF, TCL_OK, TCL_ON_FULL_REJECT,
    tcl_interpose_activate, tcl_interpose_detach, tcl_reset_stats, tcl_set_limit, tcl_set_mode,
    tcl_settings, tcl_version,
};
use tcp_conn_limit_fuzz::engine::{
    self, Audit, Counters, ENOUGH, rule_text, tcl_config, tcl_source, text,
};
use tcp_conn_limit_fuzz::naive::{self, Address, Lengths, Net};
use tcp_conn_limit_fuzz::restraints::{self, HOUR, Restraints, STEP, Terms, is_left};
use timeouts::Timeouts;

const LENGTHS: Lengths = (32, 64);

/// The minimum number of other sources for a source to find no slot: those that fill its
/// buckets, of which there are one or two.
const FULL: usize = 4;

/// More than the slots of the table, so that a report of this size has all sources.
const SLOTS: usize = 128;

/// The bytes of an input, one after the other.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn number(&mut self) -> Option<i32> {
        Some(i32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    /// Returns a limit, which is mostly small.
    fn limit(&mut self) -> Option<i32> {
        match self.byte()? {
            255 => self.number(),
            byte => Some(i32::from(byte) % 12 - 1),
        }
    }

    fn address(&mut self) -> Option<Vec<u8>> {
        let which = self.byte()?;
        let (kind, small) = (which >> 5, which & 31);
        Some(match kind {
            0 | 1 => vec![10, 0, 0, small],
            2 => [&[0; 10][..], &[0xff, 0xff, 10, 0, 0, small]].concat(),
            3 => [
                &[0x20, 1, 0xd, 0xb8, 0, 0, 0, small][..],
                &[0; 7],
                &[self.byte()?],
            ]
            .concat(),
            4 => self.take(4)?.to_vec(),
            5 => self.take(16)?.to_vec(),
            6 => {
                let third = self.byte()?;
                vec![10, 1, third, small]
            }
            _ => vec![1; usize::from(small)],
        })
    }
}

struct Live {
    /// The address that opened it.
    octets: Vec<u8>,
    /// The source in which it counts.
    net: Net,
    token: u64,
    /// The network in which it also counts.
    network: Option<Net>,
    /// The script trusts it.
    trusted: bool,
    /// It was moved to a client of a proxy.
    is_moved: bool,
    /// When it opened.
    opened_at: u32,
    /// It was not trusted in time, when the watch last ran.
    is_late: bool,
}

/// Offences, as numbers of `restraints::PENALTIES`. Those of silence are 0 and 1.
const REJECTED: usize = 2;
const RATE: usize = 3;
const SCRIPT: usize = 4;

enum Restraint {
    Ban,
    Rate,
}

/// Rejections, and those that monitor mode only counted.
type Rejections = (u64, u64);

/// The expected state, and the expected counters since the last reset.
struct Ledger {
    live: Vec<Live>,
    released: Vec<u64>,
    limit: i32,
    mode: i32,
    rules: Rules,
    restraints: Restraints,
    scopes: Scopes,
    scarcity: Scarcity,
    timeouts: Timeouts,
    loaded: u64,
    admitted: u64,
    rejections: Rejections,
    full_rejected: u64,
    table_full: u64,
    bad_address: u64,
    stale_token: u64,
    by_source: HashMap<Net, Rejections>,
    peaks: HashMap<Net, u32>,
}

fn init() {
    let penalties = restraints::parameters();
    engine::start(tcl_config {
        penalties: penalties.as_ptr(),
        penalty_count: penalties.len() as u32,
        ban_min: restraints::BAN_MIN as i32,
        ban_max: restraints::BAN_MAX as i32,
        trust: 1,
        networks: 1,
        ipv4_network: scopes::NETWORKS.0 as i32,
        ipv6_network: scopes::NETWORKS.1 as i32,
        moves: 1,
        max_connections: 1,
        limit: 0,
        ipv4_prefix: LENGTHS.0 as i32,
        ipv6_prefix: LENGTHS.1 as i32,
        mode: TCL_MODE_ENFORCE,
        on_full: TCL_ON_FULL_REJECT,
        ..tcl_config::default()
    });
    engine::nulls();
}

/// A limit as it is shown.
fn limit_text(limit: i32) -> String {
    match limit {
        1.. => limit.to_string(),
        _ => "none".to_owned(),
    }
}

fn stats() -> Counters {
    engine::stats().1.expect("statistics")
}

fn add(rejections: &mut Rejections, monitor: bool) {
    match monitor {
        true => rejections.1 += 1,
        false => rejections.0 += 1,
    }
}

/// Opens connections of other sources, until the sources and networks that owe something have
/// lost their slots: debts cannot be forgiven.
fn forget_debts() {
    let is_owed = || {
        let sources = engine::top(1, TCL_BY_OWED).expect("sources");
        let networks = engine::top_networks(1, TCL_BY_OWED).expect("networks");
        !sources.is_empty() || !networks.is_empty()
    };
    let mut tokens = Vec::new();
    let mut others = (0..=u16::MAX).map(|n| [&[10, 99][..], &n.to_be_bytes()].concat());
    while is_owed() {
        let others = others.by_ref().take(16);
        tokens.extend(others.map(|other| engine::opened(&other)));
        assert!(tokens.len() < 60_000, "a debt is not forgotten");
    }
    for token in tokens {
        assert_eq!(engine::closed(token), TCL_OK);
    }
}

/// Whether a source still owes something for its connections. Without a rate only this report
/// shows it.
fn owes(net: Net) -> bool {
    let owing = engine::top(SLOTS, TCL_BY_OWED).expect("sources");
    let name = net.to_string();
    owing.iter().any(|source| text(&source.text) == name)
}

impl Ledger {
    /// Resets the limiter to the state in which every input starts.
    fn new() -> Ledger {
        engine::set_worker(0);
        assert_eq!(engine::rules_load(&[], None, 0).0, TCL_OK);
        assert_eq!(tcl_set_limit(3), TCL_OK);
        assert_eq!(tcl_set_mode(TCL_MODE_ENFORCE), TCL_OK);
        assert_eq!(engine::set_rate(0, 0, 0).0, TCL_OK);
        scopes::reset_settings();
        scarcity::reset_settings();
        // Fails if nothing is banned.
        engine::unban(c"all", 0);
        forget_debts();
        assert_eq!(tcl_reset_stats(), TCL_OK);
        Ledger {
            live: Vec::new(),
            released: Vec::new(),
            limit: 3,
            mode: TCL_MODE_ENFORCE,
            rules: Rules::default(),
            restraints: Restraints::default(),
            scopes: Scopes::default(),
            scarcity: Scarcity::default(),
            timeouts: Timeouts::default(),
            loaded: stats().reloads,
            admitted: 0,
            rejections: (0, 0),
            full_rejected: 0,
            table_full: 0,
            bad_address: 0,
            stale_token: 0,
            by_source: HashMap::new(),
            peaks: HashMap::new(),
        }
    }

    fn count(&self, net: Net) -> u32 {
        self.live.iter().filter(|live| live.net == net).count() as u32
    }

    /// Returns each source with its number of connections.
    fn counts(&self) -> HashMap<Net, u32> {
        let mut counts = HashMap::new();
        for live in &self.live {
            *counts.entry(live.net).or_default() += 1;
        }
        counts
    }

    /// Returns the numbers of connections of the sources in `net`, in descending order.
    fn ranked(&self, net: Option<Net>) -> Vec<u32> {
        let counts = self.counts().into_iter();
        let counts = counts.filter(|(source, _)| net.is_none_or(|net| net.contains(*source)));
        let mut counts: Vec<_> = counts.map(|(_, count)| count).collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts
    }

    fn rule_of(&self, net: Net) -> (Option<Net>, i32) {
        let rule = self.rules.of_source(net);
        (
            rule.map(|(net, _)| net),
            rule.map_or(self.limit, |(_, limit)| limit),
        )
    }

    /// The rule and limit of an address: those of a rule longer than a source, or those of
    /// its source.
    fn rule_for(&self, address: Address) -> (Option<Net>, i32) {
        match naive::applying(self.rules.all_of_sources(), address, LENGTHS) {
            Some((rule, limit)) => (Some(rule), limit),
            None => (None, self.limit),
        }
    }

    fn monitors(&self) -> bool {
        self.mode == TCL_MODE_MONITOR
    }

    fn terms(&self, rule: Option<Net>) -> Terms {
        let terms = rule.map(|rule| self.rules.terms(Key::of_source(rule)));
        terms.unwrap_or_default()
    }

    fn is_exempt(&self, net: Net) -> bool {
        self.terms(self.rule_of(net).0).exempt
    }

    /// A source without connections may have lost its slot to another one, and owes nothing
    /// then. An exempt one does not show what it owes. The same holds for its network.
    fn notice_loss(&mut self, net: Net) {
        self.notice_loss_of_network(network_of(net));
        if self.count(net) > 0 {
            return;
        }
        if self.restraints.debts.owed(net) > 0 && !owes(net) {
            self.restraints.debts.set(net, 0);
        }
        if self.restraints.sentences.contains_key(&net) && !self.is_exempt(net) {
            let source = engine::get(&net.address.octets()).1.expect("a source");
            if source.banned == 0 && source.penalty == 0 {
                self.restraints.sentences.remove(&net);
            }
        }
    }

    fn offend(&mut self, net: Net, kind: usize, exempt: bool) {
        if self.mode != TCL_MODE_OFF && !exempt {
            let monitor = self.monitors();
            self.restraints.offend(net, kind, monitor);
        }
    }

    /// Why a connection of a source over no limit is rejected: its ban, or its rate.
    fn is_restrained(&mut self, net: Net, terms: Terms) -> Option<Restraint> {
        if self.restraints.ban_of(net).is_some() && !terms.exempt {
            return Some(Restraint::Ban);
        }
        let burst = terms.burst(self.restraints.burst);
        (burst > 0 && self.restraints.debts.owed(net) >= burst).then_some(Restraint::Rate)
    }

    fn may_be_full(&self, net: Net) {
        assert_eq!(self.count(net), 0, "a connected source found no slot");
        // Its own network may have a slot without connections.
        let others = self.counts().len() + self.networks().len() + 1;
        assert!(others >= FULL, "no slot with only {others} other sources");
    }

    /// Whether the gates of its source do not admit an address, and the account of that.
    fn is_rejected(&mut self, address: Address) -> bool {
        let net = address.source(LENGTHS);
        let (rule, limit) = self.rule_for(address);
        let terms = self.terms(rule);
        let monitor = self.monitors();
        let is_on = self.mode != TCL_MODE_OFF;
        let restraint = self.is_restrained(net, terms).filter(|_| is_on);
        let over = is_on && limit > 0 && self.count(net) >= limit as u32;
        let over_untrusted = is_on && !over && self.is_over_untrusted(net, rule);
        if !over && !over_untrusted && restraint.is_none() {
            return false;
        }
        add(&mut self.rejections, monitor);
        let key = rule.map(Key::of_source);
        add(self.rules.rejections.entry(key).or_default(), monitor);
        add(self.by_source.entry(net).or_default(), monitor);
        match restraint {
            Some(Restraint::Ban) => {
                add(&mut self.restraints.ban, monitor);
                let ban = self.restraints.sentences.get_mut(&net);
                ban.expect("a ban").rejected += 1;
            }
            Some(Restraint::Rate) => {
                add(&mut self.restraints.rate, monitor);
                self.offend(net, RATE, terms.exempt);
            }
            None => {
                if over_untrusted {
                    add(&mut self.scopes.counters.untrusted, monitor);
                }
                self.offend(net, REJECTED, terms.exempt);
            }
        }
        true
    }

    fn check(&mut self, octets: &[u8]) {
        if let Some(address) = Address::of_octets(octets) {
            self.notice_loss(address.source(LENGTHS));
        }
        let before = stats();
        let answer = engine::check(octets);
        let Some(address) = Address::of_octets(octets) else {
            self.bad_address += 1;
            return assert_eq!(answer, 0);
        };
        let rejected = self.is_rejected(address) || self.is_rejected_after(address, false, &before);
        assert_eq!(answer, i32::from(rejected && !self.monitors()));
    }

    fn check_sockaddr(&mut self, octets: &[u8], port: u8, limit: i32) {
        let sockaddr = match octets.len() {
            4 => [&[2, 0, port, 1][..], octets, &[port; 8]].concat(),
            16 => [&[10, 0, port, 1, port, 1, 1, 1][..], octets, &[port; 4]].concat(),
            length => vec![port | 1; length],
        };
        let answer = engine::check_sockaddr(&sockaddr, limit);
        let Some(address) = Address::of_octets(octets) else {
            // The address is null, of another family, or too short for a family.
            self.bad_address += u64::from(answer.is_some());
            return assert_eq!(answer.unwrap_or_default(), 0);
        };
        let over = limit > 0 && self.count(address.source(LENGTHS)) >= limit as u32;
        self.rejections.0 += u64::from(over);
        assert_eq!(answer, Some(i32::from(over)));
    }

    fn open(&mut self, octets: Vec<u8>) {
        if let Some(address) = Address::of_octets(&octets) {
            self.notice_loss(address.source(LENGTHS));
        }
        let Some(address) = Address::of_octets(&octets) else {
            let token = engine::opened(&octets);
            self.bad_address += 1;
            return assert_eq!(token, 0);
        };
        let net = address.source(LENGTHS);
        let before = self.before(net);
        let token = engine::opened(&octets);
        if token == 0 {
            self.table_full += 1;
            self.note_uncounted(&before);
            return self.may_be_full(net);
        }
        self.admitted += 1;
        self.live.push(Live {
            octets: octets.clone(),
            net,
            token,
            network: None,
            trusted: false,
            is_moved: false,
            opened_at: timeouts::opening_time(),
            is_late: false,
        });
        self.charge(address);
        self.after(self.live.len() - 1, &octets, &before);
    }

    /// Accounts for a connection of an address that was counted.
    fn charge(&mut self, address: Address) {
        let net = address.source(LENGTHS);
        if self.mode != TCL_MODE_OFF {
            // At the rate of the address, which may be that of a host.
            let terms = self.terms(self.rule_for(address).0);
            let burst = terms.burst(self.restraints.burst);
            self.restraints.debts.charge(net, burst);
        }
        let count = self.count(net);
        let peak = self.peaks.entry(net).or_default();
        *peak = count.max(*peak);
    }

    /// Releases a token, which may be invalid.
    fn close(&mut self, token: u64) {
        self.close_as(token, TCL_FACT_SPOKE);
    }

    fn close_as(&mut self, token: u64, facts: u32) {
        let code = engine::closed_as(token, facts);
        if token == 0 {
            return assert_eq!(code, TCL_OK);
        }
        match self.live.iter().position(|live| live.token == token) {
            Some(at) => {
                assert_eq!(code, TCL_OK);
                let Live {
                    net,
                    trusted,
                    is_moved,
                    ..
                } = self.live.swap_remove(at);
                // The script has read a message before it trusts or moves a connection.
                if facts & TCL_FACT_SPOKE == 0 && !trusted && !is_moved {
                    let kind = usize::from(facts & TCL_FACT_TLS != 0);
                    let exempt = self.is_exempt(net);
                    self.offend(net, kind, exempt);
                }
                self.released.push(token);
            }
            None => {
                assert_eq!(code, TCL_ESTALE, "{token:#x}");
                self.stale_token += 1;
            }
        }
    }

    fn reset(&mut self) {
        assert_eq!(tcl_reset_stats(), TCL_OK);
        (self.admitted, self.rejections, self.full_rejected) = (0, (0, 0), 0);
        (self.table_full, self.bad_address, self.stale_token) = (0, 0, 0);
        self.restraints.reset_counters();
        self.scopes.counters = ScopeCounters::default();
        self.timeouts.counted = (0, 0);
        self.scarcity.reset_counters();
        self.rules.rejections.clear();
        self.by_source.clear();
        self.peaks = self.counts();
        self.reset_networks();
    }

    fn compare_stats(&self) {
        let now = stats();
        assert_eq!(
            (now.connections, now.sources),
            (self.live.len() as u64, self.counts().len() as u64)
        );
        assert_eq!(now.admitted, self.admitted);
        assert_eq!((now.rejected, now.would_reject), self.rejections);
        assert_eq!(
            (now.full_rejected, now.table_full),
            (self.full_rejected, self.table_full)
        );
        assert_eq!(
            (now.bad_address, now.stale_token),
            (self.bad_address, self.stale_token)
        );
        let Restraints {
            bans, rate, ban, ..
        } = self.restraints;
        assert_eq!((now.bans, now.would_ban), bans);
        assert_eq!((now.rate_rejected, now.rate_would_reject), rate);
        assert_eq!((now.ban_rejected, now.ban_would_reject), ban);
        let offences = [
            now.penalty_silent,
            now.penalty_tls,
            now.penalty_rejected,
            now.penalty_rate,
            now.penalty_script,
        ];
        assert_eq!(offences, self.restraints.offences);
        assert_eq!((now.panics, now.descriptor_reused), (0, 0));
        assert_eq!((now.untracked, now.untracked_rejected), (0, 0));
        assert_eq!(
            now.errors,
            self.table_full + self.bad_address + self.stale_token + self.scopes.counters.uncounted
        );
        self.compare_scopes(&now);
        self.compare_timeouts(&now);
        self.compare_scarcity(&now);
        let (mut limit, mut mode) = (0, 0);
        // SAFETY: the pointers are to variables of this function.
        assert_eq!(unsafe { tcl_settings(&mut limit, &mut mode) }, TCL_OK);
        assert_eq!((limit, mode), (self.limit, self.mode));
        let known = [self.limit, self.mode].map(|number| number.max(0) as u64);
        assert_eq!(([now.limit, now.mode], now.capacity), (known, 1));
        let rules = self.rules.count(false) + self.rules.count(true);
        assert_eq!((now.rules as usize, now.reloads), (rules, self.loaded));
        assert_eq!(now.rules_set as usize, self.rules.count_set());
    }

    fn compare_source(&self, source: &tcl_source, net: Net, (rule, limit): (Option<Net>, i32)) {
        assert_eq!(text(&source.text), net.to_string());
        assert_eq!(
            (text(&source.rule), source.limit),
            (rule_text(rule), limit.max(0))
        );
        assert_eq!(source.connections, self.count(net));
        let trusted = self.trusted(net);
        assert_eq!(
            (source.trusted, source.untrusted),
            (trusted, self.count(net) - trusted)
        );
        // The counters are lower if the source was replaced in the meantime.
        let max = self.by_source.get(&net).copied().unwrap_or_default();
        assert!(u64::from(source.rejected) <= max.0 && u64::from(source.would_reject) <= max.1);
        let peak = self.peaks.get(&net).copied().unwrap_or_default();
        assert!(source.peak <= peak && source.peak >= source.connections);
        let terms = self.terms(rule);
        match rule {
            Some(rule) => {
                let shown = self.rules.shown(Key::of_source(rule));
                assert_eq!(text(&source.terms), shown);
            }
            None => assert_eq!(text(&source.terms), limit_text(self.limit)),
        }
        assert_eq!(
            (source.exempt, source.trusted_rule),
            (i32::from(terms.exempt), i32::from(terms.trusted))
        );
        let untrusted_limit = terms.untrusted_limit(self.scopes.untrusted_limit as u32);
        assert_eq!(source.untrusted_limit, untrusted_limit as i32);
        let effective = self.effective_limit(limit, terms.trusted);
        assert_eq!(source.effective_limit, effective);
        let is_reserved = self.scarcity.is_reserved() && !terms.trusted;
        assert_eq!(source.reserved, i32::from(is_reserved));
        // There is no cluster.
        assert_eq!((source.others, source.cluster_limit), (0, 0));
        let burst = terms.burst(self.restraints.burst);
        assert_eq!(source.rate.burst, burst);
        // What it owed is lost if the source was replaced.
        let owed = if burst > 0 {
            self.restraints.debts.owed(net)
        } else {
            0
        };
        let sentence = self.restraints.sentences.get(&net).copied();
        let sentence = sentence.filter(|_| !terms.exempt);
        let (banned, left) = sentence.map_or((false, 0), |now| (now.banned, now.left));
        let is_lost = self.count(net) == 0 && source.banned + source.penalty + source.owed == 0;
        if is_lost {
            return;
        }
        assert_eq!(source.owed, owed);
        let (ban, penalty) = if banned { (left, 0) } else { (0, left) };
        assert!(is_left(source.banned, ban) && is_left(source.penalty, penalty));
        let expected = sentence.filter(|_| banned);
        let expected = expected.map(|ban| (ban.reason.to_owned(), ban.rejected));
        assert_eq!(
            (text(&source.ban_reason), source.ban_rejected),
            expected.unwrap_or_default()
        );
    }

    fn get(&mut self, octets: &[u8], with_connections: bool) {
        let address = Address::of_octets(octets);
        if let Some(address) = address {
            self.notice_loss(address.source(LENGTHS));
        }
        self.get_network(octets);
        let (code, source) = engine::get(octets);
        match (address, source) {
            (Some(address), Some(source)) => {
                let net = address.source(LENGTHS);
                self.compare_source(&source, net, self.rule_for(address));
                let counts = self.terms(self.rule_for(address).0).count_in_network();
                let is_over = counts && self.closed_network(network_of(net)).is_some();
                assert_eq!(source.over_network, i32::from(is_over));
                if with_connections {
                    self.list_connections(net, 4);
                }
            }
            (None, None) => assert_eq!(code, TCL_EARG),
            _ => panic!("{code}"),
        }
    }

    fn top(&self, room: usize, by: i32) {
        let top = match engine::top(room, by) {
            Ok(top) => top,
            Err(code) => {
                assert!(!(TCL_BY_CONNECTIONS..=TCL_BY_UNTRUSTED).contains(&by));
                return assert_eq!(code, TCL_EARG);
            }
        };
        let net_of = |source: &tcl_source| Net::of_rule(&text(&source.text)).expect("a source");
        let key = |source: &tcl_source| match by {
            TCL_BY_CONNECTIONS => source.connections,
            TCL_BY_REJECTED => source.rejected + source.would_reject,
            TCL_BY_PEAK => source.peak,
            TCL_BY_OWED => self.restraints.debts.owed(net_of(source)),
            _ => source.untrusted,
        };
        assert!(top.iter().all(|source| key(source) > 0));
        assert!(top.is_sorted_by(|a, b| key(a) >= key(b)));
        if by == TCL_BY_CONNECTIONS {
            let mut ranked = self.ranked(None);
            ranked.truncate(room);
            assert_eq!(top.iter().map(key).collect::<Vec<_>>(), ranked);
        }
        for source in &top {
            let net = net_of(source);
            self.compare_source(source, net, self.rule_of(net));
        }
    }

    fn list(&self, prefix: Option<&CStr>, room: usize, error: usize) {
        let net = prefix.map(|text| Net::of_text(&text.to_string_lossy(), LENGTHS));
        match engine::list(prefix, room, error) {
            Ok((sources, total)) => {
                let net = net.map(|net| net.expect("the library accepted only a valid prefix"));
                let mut ranked = self.ranked(net);
                assert_eq!(total, ranked.len() as u64);
                ranked.truncate(room);
                let counts: Vec<_> = sources.iter().map(|source| source.connections).collect();
                assert_eq!(counts, ranked);
            }
            Err((code, _)) => assert_eq!((code, net), (TCL_EARG, Some(None))),
        }
    }

    /// Runs an audit in which the host's connections differ from the counted ones.
    fn audit(&self, bytes: &mut Bytes<'_>) -> Option<()> {
        let mut audit = Audit::begin(u32::from(bytes.byte()?)).expect("memory");
        let (left_out, without_record) = (bytes.byte()?, bytes.byte()?);
        let extra = bytes.address()?;
        let mut host: HashMap<(Net, bool), u32> = HashMap::new();
        let mut uncounted = 0;
        let mut connections = 0;
        for (live, i) in self.live.iter().zip(0u8..) {
            if i == left_out {
                continue;
            }
            connections += 1;
            let (descriptor, counted) = match i == without_record {
                true => (engine::free_descriptor(), false),
                false => (engine::descriptor(live.token), true),
            };
            assert_eq!(audit.connection(&live.octets, descriptor), TCL_OK);
            match counted {
                true => {
                    *host.entry((live.net, false)).or_default() += 1;
                    if let Some(network) = live.network {
                        *host.entry((network, true)).or_default() += 1;
                    }
                }
                false => uncounted += 1,
            }
        }
        // The host has a connection twice, the second time of another source.
        let twice = self
            .live
            .first()
            .map_or(-1, |live| engine::descriptor(live.token));
        match Address::of_octets(&extra) {
            None => assert_eq!(audit.connection(&extra, twice), TCL_EARG),
            Some(address) => {
                assert_eq!(audit.connection(&extra, twice), TCL_OK);
                connections += 1;
                match self.live.first() {
                    None => uncounted += 1,
                    Some(live) => {
                        let net = match live.is_moved {
                            true => live.net,
                            false => address.source(LENGTHS),
                        };
                        *host.entry((net, false)).or_default() += 1;
                        if live.network.is_some() {
                            *host.entry((network_of(net), true)).or_default() += 1;
                        }
                    }
                }
            }
        }
        assert_eq!(audit.counts(), TCL_OK);
        let room = usize::from(bytes.byte()?);
        let (sums, differences) = audit.result(room);
        // The comparison covers all sources of either side, once each. The loop above reported
        // at most the first 256 live connections.
        let counted = self.counts().into_iter();
        let mut counted: HashMap<_, _> = counted.map(|(net, n)| ((net, false), n)).collect();
        let networks = self.networks().into_iter();
        counted.extend(networks.map(|network| ((network, true), self.count_of_network(network))));
        let mut expected = HashMap::new();
        for key @ (net, is_network) in host.keys().chain(counted.keys()) {
            let both = [&host, &counted].map(|map| map.get(key).copied().unwrap_or_default());
            if both[0] != both[1] {
                let scope = if *is_network { "network " } else { "" };
                expected.insert(format!("{scope}{net}"), both);
            }
        }
        assert_eq!((sums.connections, sums.uncounted), (connections, uncounted));
        assert_eq!(sums.counted, self.live.len() as u64);
        assert_eq!(sums.differences, expected.len() as u64);
        assert_eq!(differences.len(), room.min(expected.len()));
        for difference in differences {
            let both = expected.remove(&text(&difference.text));
            assert_eq!(both, Some([difference.host, difference.counted]));
        }
        Some(())
    }

    fn init_again(&self, bytes: &mut Bytes<'_>) -> Option<()> {
        let mut numbers = [0; 6];
        for (number, usual) in numbers.iter_mut().zip([1000, 5, 24, 56, 1, 1]) {
            *number = match bytes.byte()? {
                255 => bytes.number()?,
                254 => usual,
                byte => i32::from(byte) - 1,
            };
        }
        let [
            max_connections,
            limit,
            ipv4_prefix,
            ipv6_prefix,
            mode,
            on_full,
        ] = numbers;
        let config = tcl_config {
            max_connections,
            limit,
            ipv4_prefix,
            ipv6_prefix,
            mode,
            on_full,
            ..tcl_config::default()
        };
        let good = (1..=100_000_000).contains(&max_connections)
            && (1..=32).contains(&ipv4_prefix)
            && (1..=128).contains(&ipv6_prefix)
            && (0..=2).contains(&mode)
            && (0..=1).contains(&on_full);
        let error = usize::from(bytes.byte()?);
        let (code, _) = engine::init(Some(&config), true, error);
        assert_eq!(code, if good { TCL_EALREADY } else { TCL_EARG });
        assert_eq!(engine::init(Some(&config), false, error).0, TCL_EARG);
        assert_eq!(engine::init(None, true, error).0, TCL_EARG);
        Some(())
    }

    /// Replaces the functions of this program, which contains the library, and restores
    /// them. That releases all connections.
    fn interpose(&mut self, room: usize) {
        assert_eq!(tcl_interpose_activate(), TCL_EINTERPOSE);
        assert_eq!(engine::interpose_find(room).0, TCL_OK);
        assert_eq!(engine::interpose_attach(room).0, TCL_OK);
        assert_eq!(engine::interpose_find(room).0, TCL_EALREADY);
        assert_eq!(engine::interpose_attach(room).0, TCL_EALREADY);
        assert_eq!(tcl_interpose_activate(), TCL_OK);
        assert_eq!(tcl_interpose_detach(), TCL_OK);
        assert_eq!(tcl_interpose_detach(), TCL_OK);
        let tokens = self.live.drain(..).map(|live| live.token);
        self.released.extend(tokens);
    }

    fn set_rate(&mut self, burst: u32) {
        let interval = if burst > 0 { HOUR } else { 0 };
        assert_eq!(engine::set_rate(interval, burst, 0).0, TCL_OK);
        self.restraints.burst = burst;
    }

    /// The script reports an offence.
    fn offence(&mut self, octets: &[u8]) {
        let Some(address) = Address::of_octets(octets) else {
            return assert_eq!(engine::offence(octets), TCL_EARG);
        };
        let net = address.source(LENGTHS);
        self.notice_loss(net);
        let code = engine::offence(octets);
        if !self.is_sentenced(net, code) {
            return;
        }
        self.offend(net, SCRIPT, false);
        let banned = self.mode != TCL_MODE_OFF && self.restraints.ban_of(net).is_some();
        assert_eq!(code, i32::from(banned));
    }

    /// Bans a source, by a command or by the script.
    fn ban(&mut self, octets: &[u8], seconds: u32, by_script: bool, error: usize) {
        let Some(address) = Address::of_octets(octets) else {
            return assert_eq!(engine::ban_address(octets, seconds), TCL_EARG);
        };
        let net = address.source(LENGTHS);
        self.notice_loss(net);
        let before = self.restraints.ban_of(net);
        let (code, reason) = if by_script {
            let code = engine::ban_address(octets, seconds);
            (code, "script")
        } else {
            let texts = [net.to_string(), seconds.to_string()];
            let [who, seconds] = texts.map(|text| CString::new(text).expect("no NUL"));
            let (code, set) = engine::ban(&who, &seconds, error);
            if let Some((ban, was)) = set {
                assert_eq!(text(&ban.text), net.to_string());
                let (left, rejected) = before.map_or((0, 0), |ban| (ban.left, ban.rejected));
                assert!(is_left(was, left) && ban.rejected == u64::from(rejected));
            }
            (code, "rpc")
        };
        if self.is_sentenced(net, code) {
            assert_eq!(code, TCL_OK);
            let monitor = self.monitors();
            self.restraints.ban(net, seconds, reason, monitor);
        }
    }

    /// Whether a call did not fail because the source is exempt or has no slot.
    fn is_sentenced(&self, net: Net, code: i32) -> bool {
        if code == TCL_ESLOT {
            self.may_be_full(net);
            return false;
        }
        let exempt = self.is_exempt(net);
        assert_eq!(code == TCL_EEXEMPT, exempt);
        !exempt
    }

    fn unban(&mut self, octets: &[u8], by_script: bool, error: usize) {
        let Some(address) = Address::of_octets(octets) else {
            return assert_eq!(engine::unban_address(octets), TCL_EARG);
        };
        let net = address.source(LENGTHS);
        self.notice_loss(net);
        let lifted = match by_script {
            true => engine::unban_address(octets),
            false => {
                let who = CString::new(net.to_string()).expect("no NUL");
                let (code, lifted) = engine::unban(&who, error);
                assert_eq!(code, if lifted > 0 { TCL_OK } else { TCL_ERULES });
                lifted as i32
            }
        };
        let known = self.restraints.sentences.remove(&net).is_some();
        // Whether an exempt source still has its slot is not known.
        let is_open = self.is_exempt(net) && self.count(net) == 0;
        assert!(lifted == i32::from(known) || known && is_open && lifted == 0);
    }

    fn unban_all(&mut self, error: usize) {
        let nets: Vec<_> = self.restraints.sentences.keys().copied().collect();
        for net in nets {
            self.notice_loss(net);
        }
        let sentenced = || self.restraints.sentences.keys().copied();
        let open = sentenced().filter(|net| self.is_exempt(*net) && self.count(*net) == 0);
        let (most, open) = (sentenced().count() as u32, open.count() as u32);
        let (code, lifted) = engine::unban(c"all", error);
        assert_eq!(code, if lifted > 0 { TCL_OK } else { TCL_ERULES });
        assert!(lifted <= most && lifted + open >= most);
        self.restraints.sentences.clear();
    }

    /// Compares the list of bans.
    fn bans(&mut self, room: usize) {
        let nets: Vec<_> = self.restraints.sentences.keys().copied().collect();
        for net in nets {
            self.notice_loss(net);
        }
        let (bans, total) = engine::bans(room);
        let sentences = self.restraints.sentences.iter();
        let expected = sentences.filter(|(net, now)| now.banned && !self.is_exempt(**net));
        let expected: HashMap<_, _> = expected.map(|(net, ban)| (net.to_string(), *ban)).collect();
        assert_eq!(total, expected.len() as u64);
        assert_eq!(bans.len(), room.min(expected.len()));
        assert!(bans.is_sorted_by(|a, b| a.seconds >= b.seconds));
        for found in bans {
            let ban = expected[&text(&found.text)];
            assert_eq!(text(&found.reason), ban.reason);
            assert_eq!(found.rejected, u64::from(ban.rejected));
            assert!(is_left(found.seconds, ban.left));
        }
    }

    /// Runs one operation about rates, offences or bans.
    fn restrain(&mut self, which: u8, bytes: &mut Bytes<'_>) -> Option<()> {
        match which {
            0 | 1 => {
                let (pick, facts) = (usize::from(bytes.byte()?), bytes.byte()?);
                let live = self.live.get(pick % self.live.len().max(1));
                let token = live.map_or(0, |live| live.token);
                self.close_as(token, u32::from(facts) & 0xf);
            }
            2 => match bytes.byte()? {
                burst @ 0..192 => self.set_rate(u32::from(burst) % 9),
                which => self.set_scarcity(usize::from(which - 192)),
            },
            3 => self.offence(&bytes.address()?),
            4 | 5 => {
                let (octets, seconds) = (bytes.address()?, bytes.byte()?);
                let seconds = (1 + u32::from(seconds)) * STEP;
                self.ban(&octets, seconds, which == 5, bytes.byte()?.into());
            }
            6 => {
                let (octets, by_script) = (bytes.address()?, bytes.byte()? & 1 != 0);
                self.unban(&octets, by_script, bytes.byte()?.into());
            }
            _ => match bytes.byte()? {
                255 => self.unban_all(bytes.byte()?.into()),
                room => self.bans(room.into()),
            },
        }
        Some(())
    }

    /// Runs one operation. Returns `None` at the end of the input.
    fn step(&mut self, bytes: &mut Bytes<'_>) -> Option<()> {
        let operation = bytes.byte()?;
        match operation {
            160..192 => return self.assign(operation % 8, bytes),
            192.. => return self.restrain(operation % 8, bytes),
            _ => {}
        }
        match operation % 32 {
            0..=5 => self.open(bytes.address()?),
            6..=9 => self.check(&bytes.address()?),
            10..=12 => {
                let pick = usize::from(bytes.byte()?);
                let token = self
                    .live
                    .get(pick % self.live.len().max(1))
                    .map_or(0, |l| l.token);
                self.close(token);
            }
            13 => {
                let pick = usize::from(bytes.byte()?);
                let token = self.released.get(pick % self.released.len().max(1));
                self.close(token.copied().unwrap_or_default());
            }
            14 => {
                // This token differs from a valid one in one bit.
                let pick = usize::from(bytes.byte()?);
                let flipped = 1u64.checked_shl(bytes.byte()?.into())?;
                let token = self
                    .live
                    .get(pick % self.live.len().max(1))
                    .map_or(0, |l| l.token);
                self.close(token ^ flipped);
            }
            15 => self.close(u64::from_le_bytes(bytes.take(8)?.try_into().ok()?)),
            16 => {
                let octets = bytes.address()?;
                let (port, limit) = (bytes.byte()?, bytes.limit()?);
                self.check_sockaddr(&octets, port, limit);
            }
            17 => {
                let limit = bytes.limit()?;
                assert_eq!(tcl_set_limit(limit), TCL_OK);
                self.limit = limit;
            }
            18 => {
                let mode = bytes.limit()?;
                let good = (0..=2).contains(&mode);
                assert_eq!(tcl_set_mode(mode), if good { TCL_OK } else { TCL_EARG });
                self.mode = if good { mode } else { self.mode };
            }
            19 | 20 => match bytes.byte()? {
                count @ 0..192 => self.load(count % 6, bytes)?,
                _ => self.change_rule(bytes)?,
            },
            21 => self.reset(),
            22 => {
                let (passed, interval) = (bytes.byte()?, bytes.byte()?);
                self.watch(passed.into(), interval.into());
            }
            23 => self.compare_stats(),
            // Connections only sometimes, because that takes long.
            24 => self.get(&bytes.address()?, operation > 128),
            25 => {
                let room = usize::from(bytes.byte()?);
                self.top(room, bytes.limit()?);
            }
            26 => {
                let (which, room, error) = (bytes.byte()?, bytes.byte()?, bytes.byte()?);
                let prefix = match which {
                    0..64 => None,
                    64..192 => Some(PREFIXES[usize::from(which) % PREFIXES.len()].into()),
                    _ => Some(bytes.take(usize::from(which) - 192)?.to_vec()),
                };
                let prefix = prefix.and_then(|bytes| CString::new(bytes).ok());
                self.list(prefix.as_deref(), room.into(), error.into());
            }
            27 => self.compare_rules(bytes.byte()?.into()),
            28 => self.suggest(usize::from(bytes.byte()?)),
            29 => self.audit(bytes)?,
            30 => match bytes.byte()? {
                0..250 => self.init_again(bytes)?,
                _ => self.interpose(ENOUGH),
            },
            _ => {
                // Some workers share a row.
                engine::set_worker(bytes.limit()? as u32);
                assert!(!tcl_version().is_null());
            }
        }
        Some(())
    }
}

fuzz_target!(init: init(), |bytes: &[u8]| {
    let mut ledger = Ledger::new();
    let mut left = Bytes(bytes);
    while ledger.step(&mut left).is_some() {}
    ledger.compare_stats();
    ledger.top(64, 0);
    ledger.top_networks(SLOTS, TCL_BY_OWED);
    ledger.compare_rules(8);
    while let Some(live) = ledger.live.last() {
        let token = live.token;
        ledger.close(token);
    }
    ledger.compare_stats();
    assert_eq!(ledger.ranked(None), []);
    ledger.rules.remove_set();
});
