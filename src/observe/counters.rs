// SPDX-License-Identifier: GPL-2.0-or-later
//! The counters that operators see: [`COUNTERS`] describes them, and
//! [`Limiter::counters`] reads them.
//!
//! To add a counter, describe it in `counters/descriptions.rs` and read its value here.
//! `make generate` then adds it to the documentation. The host takes it from [`COUNTERS`].

#![forbid(unsafe_code)]

mod descriptions;

pub use descriptions::{COUNTERS, Counters, Description, Kind};

use crate::limiter::Limiter;
use crate::observe::cluster::board::Board;
use crate::observe::nearness::Nearness;
use crate::observe::networks::Networks;
use crate::observe::report::Occupancy;
use crate::shared::sync::Ordering;
use crate::source::Family;

impl Limiter {
    /// The current values of all counters, with the sources and connections of
    /// `occupancy`.
    pub fn counters(&self, occupancy: Occupancy) -> Counters {
        let totals = self.totals();
        let nearness = Nearness::last(self);
        let rate = self.rate();
        let (trusted, untrusted) = self.trust_gauges();
        let load = self.load_report();
        let shield = self.shield_numbers();
        let networks = Networks::last(self);
        let network_rate = self.network_rate();
        let network_length = |family| {
            let networks = self.prefixes().networks();
            networks.map_or(0, |networks| networks.length(family).into())
        };
        let board = self.cluster_board();
        let cluster = board.and_then(Board::overview).unwrap_or_default();
        let prefix_length = |family| self.prefixes().length(family).into();
        Counters {
            sources: occupancy.sources,
            connections: occupancy.connections,
            busiest_connections: nearness.busiest.into(),
            highest_share: nearness.highest_share.into(),
            near_limit: nearness.near.into(),
            admitted: totals.admitted,
            rejected: totals.rejected,
            would_reject: totals.would_reject,
            errors: totals.errors(),
            panics: totals.panics,
            table_full: totals.table_full,
            full_rejected: totals.full_rejected,
            untracked: totals.untracked,
            untracked_rejected: totals.untracked_rejected,
            bad_address: totals.bad_address,
            stale_token: totals.stale_token,
            descriptor_reused: totals.descriptor_reused,
            capacity: self.max_connections().into(),
            slots: occupancy.slots,
            memory: self.table_bytes() as u64,
            // A limit below 0 means the same as 0.
            limit: self.limit().max(0).unsigned_abs().into(),
            mode: self.mode() as u64,
            on_full: self.on_full() as u64,
            ipv4_prefix: prefix_length(Family::V4),
            ipv6_prefix: prefix_length(Family::V6),
            rules: self.rules_len() as u64,
            rules_set: self.rules_set() as u64,
            // The first load is the one at the start.
            reloads: self.rules_loaded().saturating_sub(1).into(),
            // Relaxed (statistics).
            // Relaxed (statistics), here and below.
            banned: self.banned().load(Ordering::Relaxed).into(),
            rate_rejected: totals.rate_rejected,
            rate_would_reject: totals.rate_would_reject,
            ban_rejected: totals.ban_rejected,
            ban_would_reject: totals.ban_would_reject,
            bans: totals.bans,
            would_ban: totals.would_ban,
            penalty_silent: totals.penalty_silent,
            penalty_tls: totals.penalty_tls,
            penalty_rejected: totals.penalty_rejected,
            penalty_rate: totals.penalty_rate,
            penalty_script: totals.penalty_script,
            forgotten: totals.forgotten,
            trusted: trusted.load(Ordering::Relaxed),
            untrusted: untrusted.load(Ordering::Relaxed),
            untrusted_rejected: totals.untrusted_rejected,
            untrusted_would_reject: totals.untrusted_would_reject,
            became_trusted: totals.became_trusted,
            trust_timeouts: totals.trust_timeouts,
            would_trust_timeout: totals.would_trust_timeout,
            untrusted_limit: self.untrusted_limit().into(),
            trust_timeout: self.trust_timeout().into(),
            rate_interval: rate.interval_us.into(),
            burst: if rate.is_none() { 0 } else { rate.burst.into() },
            in_use: load.load.in_use.into(),
            reserve: load.reserve.of(load.load.max).into(),
            reserve_used: load.reserve_used.into(),
            reserve_rejected: totals.reserve_rejected,
            reserve_would_reject: totals.reserve_would_reject,
            pressure_level: load.reached as u64,
            pressure_rejected: totals.pressure_rejected,
            pressure_would_reject: totals.pressure_would_reject,
            cluster_rejected: totals.cluster_rejected,
            cluster_would_reject: totals.cluster_would_reject,
            cluster_nodes: cluster.alive.into(),
            cluster_limit: self.cluster_limit().into(),
            cluster_sources: cluster.totals.other_sources,
            cluster_sent: cluster.totals.sent,
            cluster_received: cluster.totals.received,
            cluster_lost: cluster.totals.lost + board.map_or(0, Board::not_passed_on),
            cluster_bad: cluster.bad(),
            cluster_no_room: cluster.no_room,
            cluster_bans_sent: cluster.totals.bans_sent,
            cluster_bans_received: cluster.totals.bans_received,
            cluster_bans_refused: cluster.totals.bans_refused,
            shield: shield.state.load(Ordering::Relaxed).into(),
            shield_entries: shield.entries.load(Ordering::Relaxed).into(),
            shield_unlisted: shield.unlisted.load(Ordering::Relaxed).into(),
            shield_dropped: shield.dropped.load(Ordering::Relaxed),
            shield_floods: shield.floods.load(Ordering::Relaxed),
            shield_would_list: shield.would_list.load(Ordering::Relaxed),
            networks: networks.networks.into(),
            busiest_network: networks.busiest.into(),
            near_network_limit: networks.near.into(),
            network_rejected: totals.network_rejected,
            network_would_reject: totals.network_would_reject,
            network_uncounted: totals.network_uncounted,
            moved: totals.moved,
            move_rejected: totals.move_rejected,
            move_would_reject: totals.move_would_reject,
            move_invalid: totals.move_invalid,
            network_limit: self.network_limit().unsigned_abs().into(),
            network_rate_interval: network_rate.interval_us.into(),
            network_burst: match network_rate.is_none() {
                true => 0,
                false => network_rate.burst.into(),
            },
            ipv4_network: network_length(Family::V4),
            ipv6_network: network_length(Family::V6),
            log_suppressed: self.log_suppressed().load(Ordering::Relaxed),
        }
    }
}
