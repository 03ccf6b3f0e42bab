// SPDX-License-Identifier: GPL-2.0-or-later
//! Trusted connections, the networks of sources, and connections that move to clients of
//! proxies.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use tcp_conn_limit::ffi::{
    TCL_BY_CONNECTIONS, TCL_BY_OWED, TCL_EARG, TCL_EOVER, TCL_EPROXY, TCL_ESLOT, TCL_ESTALE, TCL_MODE_OFF, TCL_OK,
    tcl_set_network_limit, tcl_set_untrusted_limit, tcl_source,
};
use tcp_conn_limit_fuzz::engine::{self, Counters, text};
use tcp_conn_limit_fuzz::naive::{Address, Lengths, Net};

use super::{Bytes, LENGTHS, Ledger, Rejections, add, stats};

/// The leading bits that make a network.
pub(crate) const NETWORKS: Lengths = (24, 48);

/// The expected state, and the expected counters since the last reset.
#[derive(Default)]
pub(crate) struct Scopes {
    /// 0: no limit.
    pub(crate) untrusted_limit: i32,
    /// 0 or less: no limit.
    pub(crate) network_limit: i32,
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
    assert_eq!(tcl_set_network_limit(0), TCL_OK);
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

    /// Whether a connection from this address counts in its network.
    fn counts_in_network(&self, address: Address) -> bool {
        self.terms(self.rule_for(address).0).count_in_network()
    }

    /// Accounts for a rejection after the gates of the source have admitted the address, if
    /// there was one: by its network, or because there is no slot. Returns whether there was.
    pub(crate) fn is_rejected_after(&mut self, address: Address, before: &Counters) -> bool {
        let net = address.source(LENGTHS);
        let network = network_of(net);
        let limit = self.scopes.network_limit;
        let counts = self.counts_in_network(address);
        let is_over = counts && limit > 0 && self.count_of_network(network) >= limit as u32;
        let now = stats();
        let all = |of: &Counters| of.rejected + of.would_reject;
        let of_network = |of: &Counters| of.network_rejected + of.network_would_reject;
        if all(&now) == all(before) {
            assert!(!is_over || self.mode == TCL_MODE_OFF);
            return false;
        }
        assert_ne!(self.mode, TCL_MODE_OFF);
        let monitor = self.monitors();
        add(&mut self.rejections, monitor);
        if of_network(&now) > of_network(before) {
            assert!(is_over);
            add(&mut self.scopes.counters.of_networks, monitor);
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
        self.live[at].network = (counts && !uncounted).then(|| network_of(net));
        if !before.is_idle {
            return;
        }
        let burst = self
            .terms(self.rule_for(address).0)
            .burst(self.restraints.burst);
        if burst > 0 && self.mode != TCL_MODE_OFF {
            let source = engine::get(octets).1.expect("a source");
            if source.owed != self.restraints.owed(net) {
                assert_eq!(source.owed, 1);
                self.restraints.debts.insert(net, 1);
            }
        } else if self.restraints.owed(net) > 0 {
            let owing = engine::top(64, TCL_BY_OWED).expect("sources");
            let is_it = |source: &tcl_source| text(&source.text) == net.to_string();
            if !owing.iter().any(is_it) {
                self.restraints.debts.remove(&net);
            }
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
        if self.is_rejected(address) || self.is_rejected_after(address, &before) {
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

    /// Compares the networks with the most connections.
    pub(crate) fn top_networks(&self, room: usize) {
        let top = engine::top_networks(room, TCL_BY_CONNECTIONS).expect("networks");
        let mut ranked: Vec<u32> = Vec::new();
        for network in self.networks() {
            ranked.push(self.count_of_network(network));
        }
        ranked.sort_unstable_by(|a, b| b.cmp(a));
        ranked.truncate(room);
        let found: Vec<_> = top.iter().map(|network| network.connections).collect();
        assert_eq!(found, ranked);
    }

    /// Runs one operation about trust, networks or moves.
    pub(crate) fn assign(&mut self, which: u8, bytes: &mut Bytes<'_>) -> Option<()> {
        match which {
            0 | 1 => {
                let token = self.picked(bytes)?;
                self.trust(token, which == 0);
            }
            2 => self.trust(u64::from_le_bytes(bytes.take(8)?.try_into().ok()?), true),
            3 => {
                let limit = i32::from(bytes.byte()? % 6);
                assert_eq!(tcl_set_untrusted_limit(limit), TCL_OK);
                self.scopes.untrusted_limit = limit;
            }
            4 => {
                let limit = i32::from(bytes.byte()? % 12) - 1;
                assert_eq!(tcl_set_network_limit(limit), TCL_OK);
                self.scopes.network_limit = limit;
            }
            5 => {
                // From an address that need not be that of the connection.
                let (token, peer) = (self.picked(bytes)?, bytes.address()?);
                let client = bytes.address()?;
                self.count_for(token, &peer, &client, bytes.byte()?.into());
            }
            6 => self.top_networks(bytes.byte()?.into()),
            _ => {
                let token = self.picked(bytes)?;
                let live = self.live.iter().find(|live| live.token == token);
                let peer = live.map_or_else(Vec::new, |live| live.octets.clone());
                self.count_for(token, &peer, &bytes.address()?, 0);
            }
        }
        Some(())
    }

    /// The token of an open connection, 0 if there is none, or one that was released.
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
