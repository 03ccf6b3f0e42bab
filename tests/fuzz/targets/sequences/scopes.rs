// SPDX-License-Identifier: GPL-2.0-or-later
//! Trusted connections, the networks of sources, and connections that move to clients of
//! proxies.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use tcp_conn_limit::ffi::{
    TCL_BY_CONNECTIONS, TCL_BY_OWED, TCL_BY_PEAK, TCL_BY_REJECTED, TCL_BY_UNTRUSTED, TCL_EARG,
    TCL_EOVER, TCL_EPROXY, TCL_ESLOT, TCL_ESTALE, TCL_MODE_OFF, TCL_OK, tcl_set_network_limit,
    tcl_set_trust_timeout, tcl_set_untrusted_limit, tcl_source,
};
use tcp_conn_limit_fuzz::engine::{self, Counters, rule_text, text};
use tcp_conn_limit_fuzz::naive::{Address, Lengths, Net};
use tcp_conn_limit_fuzz::restraints::{Debts, HOUR};

use super::rules::Key;
use super::{Bytes, LENGTHS, Ledger, Rejections, SLOTS, add, limit_text, owes, stats};

/// The leading bits that make a network.
pub(crate) const NETWORKS: Lengths = (24, 48);

/// The expected state, and the expected counters since the last reset.
#[derive(Default)]
pub(crate) struct Scopes {
    /// 0: no limit.
    pub(crate) untrusted_limit: i32,
    /// 0 or less: no limit.
    pub(crate) network_limit: i32,
    /// The burst of the default rate of networks; 0: no rate.
    network_burst: u32,
    /// Connections that networks have not paid for.
    debts: Debts,
    /// The rejections of networks, and the most connections of each.
    rejections: HashMap<Net, Rejections>,
    peaks: HashMap<Net, u32>,
    pub(crate) counters: ScopeCounters,
}

#[derive(Default)]
pub(crate) struct ScopeCounters {
    pub(crate) untrusted: Rejections,
    pub(crate) became_trusted: u64,
    pub(crate) of_networks: Rejections,
    /// Connections without a slot for their network.
    pub(crate) uncounted: u64,
    pub(crate) moved: u64,
    pub(crate) of_moves: Rejections,
    pub(crate) invalid_moves: u64,
}

/// The network of a source.
pub(crate) fn network_of(net: Net) -> Net {
    net.address.source(NETWORKS)
}

/// What a source had before a call that may give its slot to its own network.
pub(crate) struct Before {
    is_idle: bool,
    uncounted: u64,
}

/// Resets the settings to those of a new ledger.
pub(crate) fn reset_settings() {
    assert_eq!(tcl_set_untrusted_limit(0), TCL_OK);
    assert_eq!(tcl_set_trust_timeout(0), TCL_OK);
    assert_eq!(tcl_set_network_limit(0), TCL_OK);
    assert_eq!(engine::set_network_rate(0, 0, 0).0, TCL_OK);
}

impl Ledger {
    /// The connections of a network.
    pub(crate) fn count_of_network(&self, network: Net) -> u32 {
        let of_it = |live: &&super::Live| live.network == Some(network);
        self.live.iter().filter(of_it).count() as u32
    }

    /// The networks with connections.
    pub(crate) fn networks(&self) -> HashSet<Net> {
        self.live.iter().filter_map(|live| live.network).collect()
    }

    /// The trusted connections of a source.
    pub(crate) fn trusted(&self, net: Net) -> u32 {
        let of_it = self.live.iter().filter(|live| live.net == net);
        match self.terms(self.rule_of(net).0).trusted {
            true => of_it.count() as u32,
            false => of_it.filter(|live| live.trusted).count() as u32,
        }
    }

    pub(crate) fn is_over_untrusted(&self, net: Net, rule: Option<Net>) -> bool {
        let limit = self
            .terms(rule)
            .untrusted_limit(self.scopes.untrusted_limit as u32);
        let of_script = |live: &&super::Live| live.net == net && live.trusted;
        let trusted = self.live.iter().filter(of_script).count() as u32;
        limit > 0 && self.count(net) - trusted >= limit
    }

    /// The rule and limit of a network.
    fn rule_of_network(&self, network: Net) -> (Option<Key>, i32) {
        match self.rules.of_network(network) {
            Some((net, limit)) => (Some(Key::of_network(net)), limit),
            None => (None, self.scopes.network_limit),
        }
    }

    /// The burst of a network; 0: it has no rate.
    fn burst_of_network(&self, network: Net) -> u32 {
        let terms = self
            .rule_of_network(network)
            .0
            .map(|key| self.rules.terms(key));
        let default = self.scopes.network_burst;
        terms.unwrap_or_default().burst(default)
    }

    /// Why a network gets no other connection.
    pub(crate) fn closed_network(&self, network: Net) -> Option<&'static str> {
        let burst = self.burst_of_network(network);
        if burst > 0 && self.scopes.debts.owed(network) >= burst {
            return Some("rate");
        }
        let limit = self.rule_of_network(network).1;
        let is_over = limit > 0 && self.count_of_network(network) >= limit as u32;
        is_over.then_some("limit")
    }

    /// A network without connections may have lost its slot, and owes nothing then.
    pub(crate) fn notice_loss_of_network(&mut self, network: Net) {
        if self.count_of_network(network) > 0 || self.scopes.debts.owed(network) == 0 {
            return;
        }
        let owing = engine::top_networks(SLOTS, TCL_BY_OWED).expect("networks");
        let name = network.to_string();
        if !owing.iter().any(|found| text(&found.text) == name) {
            self.scopes.debts.set(network, 0);
        }
    }

    /// Resets the statistics of networks.
    pub(crate) fn reset_networks(&mut self) {
        self.scopes.rejections.clear();
        let networks = self.networks().into_iter();
        let peaks = networks.map(|network| (network, self.count_of_network(network)));
        self.scopes.peaks = peaks.collect();
    }

    /// Whether a connection from this address counts in its network.
    fn counts_in_network(&self, address: Address) -> bool {
        self.terms(self.rule_for(address).0).count_in_network()
    }

    /// Accounts for a rejection after the gates of the source have admitted the address, if
    /// there was one: by its network, because there is no slot, or because the host is nearly
    /// full, which has a connection that `is_open` already. Returns whether there was.
    pub(crate) fn is_rejected_after(
        &mut self,
        address: Address,
        is_open: bool,
        before: &Counters,
    ) -> bool {
        let net = address.source(LENGTHS);
        let network = network_of(net);
        let counts = self.counts_in_network(address);
        let closed = self.closed_network(network).filter(|_| counts);
        let now = stats();
        let all = |of: &Counters| of.rejected + of.would_reject;
        let of_network = |of: &Counters| of.network_rejected + of.network_would_reject;
        let by_load = |of: &Counters| {
            let reserved = of.reserve_rejected + of.reserve_would_reject;
            reserved + of.pressure_rejected + of.pressure_would_reject
        };
        let scarce = self.scarce(address, is_open);
        if all(&now) == all(before) {
            assert!(closed.is_none() || self.mode == TCL_MODE_OFF);
            assert_eq!(scarce, None);
            return false;
        }
        assert_ne!(self.mode, TCL_MODE_OFF);
        let monitor = self.monitors();
        add(&mut self.rejections, monitor);
        if of_network(&now) > of_network(before) {
            let found = engine::network(network.to_string().as_bytes()).1;
            let (found, _) = found.expect("a network");
            assert_eq!(Some(&*text(&found.rejected_for)), closed);
            add(&mut self.scopes.counters.of_networks, monitor);
            add(self.scopes.rejections.entry(network).or_default(), monitor);
            // Networks without a rule have only the total.
            if let (Some(key), _) = self.rule_of_network(network) {
                add(self.rules.rejections.entry(Some(key)).or_default(), monitor);
            }
        } else if by_load(&now) > by_load(before) {
            assert_eq!(closed, None);
            self.count_scarce(address, scarce.expect("the host is nearly full"));
        } else {
            let is_connected = self.count(net) > 0;
            match is_connected {
                true => assert!(counts && self.count_of_network(network) == 0),
                false => self.may_be_full(net),
            }
            self.full_rejected += u64::from(!monitor);
        }
        true
    }

    /// To be called before a connection of `net` is counted.
    pub(crate) fn before(&self, net: Net) -> Before {
        Before {
            is_idle: self.count(net) == 0,
            uncounted: stats().network_uncounted,
        }
    }

    /// To be called after a connection from `octets` was counted, and is in the ledger as number
    /// `at`: what its network is, and whether that took the slot of the source, with all that
    /// the source owed.
    pub(crate) fn after(&mut self, at: usize, octets: &[u8], before: &Before) {
        let net = self.live[at].net;
        let address = Address::of_octets(octets).expect("an address");
        let counts = self.counts_in_network(address);
        let uncounted = self.note_uncounted(before);
        assert!(counts || !uncounted);
        let network = (counts && !uncounted).then(|| network_of(net));
        self.live[at].network = network;
        if let Some(network) = network {
            self.charge_network(network);
        }
        if !before.is_idle {
            return;
        }
        let burst = self
            .terms(self.rule_for(address).0)
            .burst(self.restraints.burst);
        if burst > 0 && self.mode != TCL_MODE_OFF {
            let source = engine::get(octets).1.expect("a source");
            if source.owed != self.restraints.debts.owed(net) {
                assert_eq!(source.owed, 1);
                self.restraints.debts.set(net, 1);
            }
        } else if self.restraints.debts.owed(net) > 0 && !owes(net) {
            self.restraints.debts.set(net, 0);
        }
        if self.restraints.sentences.contains_key(&net) {
            // The sentence of an exempt source is not shown.
            let kept = match self.is_exempt(net) {
                true => {
                    engine::unban_address(&net.address.octets());
                    false
                }
                false => {
                    let source = engine::get(&net.address.octets()).1.expect("a source");
                    source.banned + source.penalty > 0
                }
            };
            if !kept {
                self.restraints.sentences.remove(&net);
            }
        }
    }

    /// Whether a connection found no slot for its network.
    pub(crate) fn note_uncounted(&mut self, before: &Before) -> bool {
        let uncounted = stats().network_uncounted - before.uncounted;
        assert!(uncounted <= 1);
        self.scopes.counters.uncounted += uncounted;
        uncounted == 1
    }

    fn trust(&mut self, token: u64, trusts: bool) {
        let code = engine::trust(token, trusts);
        let Some(live) = self.live.iter_mut().find(|live| live.token == token) else {
            return assert_eq!(code, TCL_ESTALE);
        };
        assert_eq!(code, TCL_OK);
        self.scopes.counters.became_trusted += u64::from(trusts && !live.trusted);
        live.trusted = trusts;
    }

    /// Moves the connection of a token, which may be invalid, to `client`.
    fn count_for(&mut self, token: u64, peer: &[u8], client: &[u8], error: usize) {
        let address = Address::of_octets(client);
        if let Some(address) = address {
            self.notice_loss(address.source(LENGTHS));
        }
        let before = stats();
        let (code, _) = engine::count_for(token, peer, &address_text(client), error);
        let Some(address) = address else {
            self.scopes.counters.invalid_moves += 1;
            return assert_eq!(code, TCL_EARG);
        };
        let Some(at) = self.live.iter().position(|live| live.token == token) else {
            return assert_eq!(code, TCL_ESTALE);
        };
        let (net, live) = (address.source(LENGTHS), &self.live[at]);
        let is_proxy = |peer: Address| {
            let is_its_own = live.is_moved || peer.source(LENGTHS) == live.net;
            is_its_own && self.terms(self.rule_for(peer).0).proxy
        };
        if !Address::of_octets(peer).is_some_and(is_proxy) {
            self.scopes.counters.invalid_moves += 1;
            return assert_eq!(code, TCL_EPROXY);
        }
        if net == live.net {
            return assert_eq!(code, TCL_OK);
        }
        if self.is_rejected(address) || self.is_rejected_after(address, true, &before) {
            let monitor = self.monitors();
            add(&mut self.scopes.counters.of_moves, monitor);
            if !monitor {
                return assert_eq!(code, TCL_EOVER);
            }
        }
        let before = Before {
            is_idle: self.count(net) == 0,
            uncounted: before.network_uncounted,
        };
        if code == TCL_ESLOT {
            self.note_uncounted(&before);
            return self.may_be_full(net);
        }
        assert_eq!(code, TCL_OK);
        self.scopes.counters.moved += 1;
        let live = &mut self.live[at];
        (live.net, live.is_moved) = (net, true);
        self.charge(address);
        self.after(at, client, &before);
    }

    /// Accounts for a connection that was counted in a network.
    fn charge_network(&mut self, network: Net) {
        if self.mode != TCL_MODE_OFF {
            let burst = self.burst_of_network(network);
            self.scopes.debts.charge(network, burst);
        }
        let count = self.count_of_network(network);
        let peak = self.scopes.peaks.entry(network).or_default();
        *peak = count.max(*peak);
    }

    /// Compares the networks that rank highest.
    pub(crate) fn top_networks(&mut self, room: usize, by: i32) {
        let untrusted = engine::top_networks(room, TCL_BY_UNTRUSTED);
        assert_eq!(untrusted.err(), Some(TCL_EARG));
        for network in self.scopes.debts.nets() {
            self.notice_loss_of_network(network);
        }
        let top = engine::top_networks(room, by).expect("networks");
        let net_of = |found: &tcl_source| Net::of_rule(&text(&found.text)).expect("a network");
        let owed = |network: Net| self.scopes.debts.owed(network);
        let key = |found: &tcl_source| match by {
            TCL_BY_CONNECTIONS => found.connections,
            TCL_BY_REJECTED => found.rejected + found.would_reject,
            TCL_BY_PEAK => found.peak,
            _ => owed(net_of(found)),
        };
        assert!(top.iter().all(|found| key(found) > 0));
        assert!(top.is_sorted_by(|a, b| key(a) >= key(b)));
        let mut ranked: Vec<u32> = match by {
            TCL_BY_CONNECTIONS => {
                let networks = self.networks().into_iter();
                networks.map(|n| self.count_of_network(n)).collect()
            }
            TCL_BY_OWED => self.scopes.debts.nets().into_iter().map(owed).collect(),
            _ => top.iter().map(key).collect(),
        };
        ranked.sort_unstable_by(|a, b| b.cmp(a));
        ranked.truncate(room);
        assert_eq!(top.iter().map(key).collect::<Vec<_>>(), ranked);
        for found in &top {
            self.compare_network(found, net_of(found));
        }
    }

    /// Compares the network of an address, which is named.
    pub(crate) fn get_network(&mut self, octets: &[u8]) {
        let (code, found) = engine::network(address_text(octets).as_bytes());
        match (Address::of_octets(octets), found) {
            (Some(address), Some((found, counts))) => {
                self.compare_network(&found, network_of(address.source(LENGTHS)));
                assert_eq!(counts, i32::from(self.counts_in_network(address)));
            }
            (None, None) => assert_eq!(code, TCL_EARG),
            _ => panic!("{code}"),
        }
    }

    fn compare_network(&self, found: &tcl_source, network: Net) {
        assert_eq!(
            (text(&found.text), text(&found.scope)),
            (network.to_string(), "network".to_owned())
        );
        let (rule, limit) = self.rule_of_network(network);
        assert_eq!(
            (text(&found.rule), found.limit),
            (rule_text(rule), limit.max(0))
        );
        let terms = match rule {
            Some(key) => self.rules.shown(key).to_owned(),
            None => limit_text(limit),
        };
        assert_eq!(text(&found.terms), terms);
        assert_eq!(found.effective_limit, found.limit);
        assert_eq!(found.connections, self.count_of_network(network));
        assert_eq!(
            (found.untrusted, found.untrusted_limit, found.banned),
            (0, 0, 0)
        );
        // The counters are lower if the network lost its slot in the meantime.
        let max = self.scopes.rejections.get(&network);
        let max = max.copied().unwrap_or_default();
        assert!(u64::from(found.rejected) <= max.0 && u64::from(found.would_reject) <= max.1);
        let peak = self.scopes.peaks.get(&network).copied().unwrap_or_default();
        assert!(found.peak <= peak && found.peak >= found.connections);
        let burst = self.burst_of_network(network);
        assert_eq!(found.rate.burst, burst);
        let owed = match burst {
            0 => 0,
            _ => self.scopes.debts.owed(network),
        };
        assert_eq!(found.owed, owed);
        let is_over = self.closed_network(network).is_some();
        assert_eq!(found.over_network, i32::from(is_over));
    }

    /// Runs one operation about trust, networks or moves.
    pub(crate) fn assign(&mut self, which: u8, bytes: &mut Bytes<'_>) -> Option<()> {
        match which {
            0 | 1 => {
                let token = self.picked(bytes)?;
                self.trust(token, which == 0);
            }
            2 => self.trust(u64::from_le_bytes(bytes.take(8)?.try_into().ok()?), true),
            3 => match bytes.byte()? {
                limit @ 0..192 => {
                    let limit = i32::from(limit % 6);
                    assert_eq!(tcl_set_untrusted_limit(limit), TCL_OK);
                    self.scopes.untrusted_limit = limit;
                }
                seconds => self.set_trust_timeout(i32::from(seconds) - 192),
            },
            4 => match bytes.byte()? {
                limit @ 0..192 => {
                    let limit = i32::from(limit % 12) - 1;
                    assert_eq!(tcl_set_network_limit(limit), TCL_OK);
                    self.scopes.network_limit = limit;
                }
                burst => {
                    let burst = u32::from(burst % 9);
                    let interval = if burst > 0 { HOUR } else { 0 };
                    assert_eq!(engine::set_network_rate(interval, burst, 0).0, TCL_OK);
                    self.scopes.network_burst = burst;
                }
            },
            5 => {
                // From an address that need not be that of the connection.
                let (token, peer) = (self.picked(bytes)?, bytes.address()?);
                let client = bytes.address()?;
                self.count_for(token, &peer, &client, bytes.byte()?.into());
            }
            6 => {
                let which = bytes.byte()?;
                self.top_networks(usize::from(which % 64), i32::from(which / 64));
            }
            _ => {
                let token = self.picked(bytes)?;
                let live = self.live.iter().find(|live| live.token == token);
                let peer = live.map_or_else(Vec::new, |live| live.octets.clone());
                self.count_for(token, &peer, &bytes.address()?, 0);
            }
        }
        Some(())
    }

    /// The token of an open connection, 0 if no connection is open, or one that was released.
    fn picked(&self, bytes: &mut Bytes<'_>) -> Option<u64> {
        let pick = usize::from(bytes.byte()?);
        let token = match pick {
            0..240 => self
                .live
                .get(pick % self.live.len().max(1))
                .map(|live| live.token),
            _ => self
                .released
                .get(pick % self.released.len().max(1))
                .copied(),
        };
        Some(token.unwrap_or_default())
    }

    pub(crate) fn compare_scopes(&self, now: &Counters) {
        let Scopes { counters, .. } = &self.scopes;
        assert_eq!(now.became_trusted, counters.became_trusted);
        assert_eq!(
            (now.untrusted_rejected, now.untrusted_would_reject),
            counters.untrusted
        );
        assert_eq!(
            (now.network_rejected, now.network_would_reject),
            counters.of_networks
        );
        assert_eq!(now.network_uncounted, counters.uncounted);
        assert_eq!(
            (now.moved, now.move_invalid),
            (counters.moved, counters.invalid_moves)
        );
        assert_eq!(
            (now.move_rejected, now.move_would_reject),
            counters.of_moves
        );
        let limit = self.scopes.network_limit.max(0) as u64;
        let burst = self.scopes.network_burst;
        let interval = if burst > 0 { HOUR } else { 0 };
        assert_eq!(
            (
                now.network_limit,
                now.network_rate_interval,
                now.network_burst
            ),
            (limit, interval.into(), burst.into())
        );
    }
}

/// An address as a proxy writes it, or a text that is not an address.
fn address_text(octets: &[u8]) -> String {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return Ipv4Addr::from(octets).to_string();
    }
    match <[u8; 16]>::try_from(octets) {
        Ok(octets) => Ipv6Addr::from(octets).to_string(),
        Err(_) => String::from_utf8_lossy(octets).into_owned(),
    }
}
