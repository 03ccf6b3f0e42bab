// SPDX-License-Identifier: GPL-2.0-or-later
//! [`tcl_config`]: what the limiter is created with.

use core::ffi::c_char;
use core::ptr::null;

use crate::limiter::Limiter;

/// Connections over the limit are rejected.
pub const TCL_MODE_ENFORCE: i32 = 0;
/// Connections over the limit are admitted, counted and logged.
pub const TCL_MODE_MONITOR: i32 = 1;
/// Nothing is checked.
pub const TCL_MODE_OFF: i32 = 2;

/// A connection that cannot be counted is admitted. It cannot be counted if the table
/// has no slot for its source or, where functions are replaced, its descriptor is not
/// tracked.
pub const TCL_ON_FULL_ADMIT: i32 = 0;
/// A connection that cannot be counted is rejected.
pub const TCL_ON_FULL_REJECT: i32 = 1;

/// Upper bound of `max_connections`.
pub(super) const MAX_CONNECTIONS: i32 = Limiter::MAX_CONNECTIONS as i32;

/// The configuration for `tcl_init()`.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct tcl_config {
    /// Connections that the server allows, 1 to 100,000,000. Determines the size of the
    /// table.
    pub max_connections: i32,
    /// Limit of a source without a rule, in connections; 0 or less: no limit.
    pub limit: i32,
    /// Leading bits of an IPv4 address that identify a source, 1 to 32.
    pub ipv4_prefix: i32,
    /// Leading bits of an IPv6 address that identify a source, 1 to 128.
    pub ipv6_prefix: i32,
    /// `TCL_MODE_ENFORCE`, `TCL_MODE_MONITOR` or `TCL_MODE_OFF`.
    pub mode: i32,
    /// `TCL_ON_FULL_ADMIT` or `TCL_ON_FULL_REJECT`.
    pub on_full: i32,
    /// Prefixes of translators between IPv4 and IPv6, whose addresses have an IPv4 address
    /// in them (RFC 6052): strings like 2001:db8:64::/96, with the length 32, 40, 48, 56,
    /// 64 or 96. Their clients count as IPv4, as those behind 64:ff9b::/96 always do. Null:
    /// no such prefix.
    pub nat64_prefixes: *const *const c_char,
    /// The number of these strings, at most 16.
    pub nat64_count: u32,
    /// The rate of a source without another one: a string like 10/s, 100/m or 2/h. Null or
    /// "none": no rate.
    pub rate: *const c_char,
    /// Connections that a quiet source may open at once; 0: those of one second, at least 5.
    pub burst: i32,
    /// What offences cost: strings like silent=1, a kind (silent, tls, rejected, rate,
    /// script) and a number of seconds from 0 to 3600 with at most one decimal. The last one
    /// of a kind counts; kinds that are not named cost nothing. Null: no offence costs
    /// anything.
    pub penalties: *const *const c_char,
    /// The number of these strings.
    pub penalty_count: u32,
    /// A source is banned when its offences add up to this many seconds, 1 to 86400;
    /// 0: 15.
    pub ban_min: i32,
    /// The longest ban by offences, in seconds, from `ban_min` to 2592000; 0: 600.
    pub ban_max: i32,
    /// 1: connections can be trusted, which takes 28 bytes more for each; 0: they cannot, and
    /// the two below must be 0.
    pub trust: i32,
    /// Limit of the untrusted connections of a source without a rule; 0: no limit.
    pub untrusted_limit: i32,
    /// Seconds after which an untrusted connection must be closed, at most 86400; 0: never.
    pub trust_timeout: i32,
    /// The last connections of the host, which only sources of rules with the word trusted
    /// get: a number of connections below `max_connections`, or a share of them such as 5%.
    /// Null or "none": no reserve.
    pub reserve: *const c_char,
    /// The levels of use from which on the limits of sources are lower: a string like
    /// "80:50% 90:10". Null or "none": no levels.
    pub pressure: *const c_char,
    /// 1: the networks of sources are also counted, and the members below apply. 0: they are
    /// not, and rules for networks are errors.
    pub networks: i32,
    /// Limit of a network without a rule, in connections; 0 or less: no limit.
    pub network_limit: i32,
    /// The rate of a network without another one, as `rate`.
    pub network_rate: *const c_char,
    /// The burst of that rate, as `burst`.
    pub network_burst: i32,
    /// Leading bits of an IPv4 address that make a network, 8 to 31 and at most
    /// `ipv4_prefix`; 0: 24.
    pub ipv4_network: i32,
    /// Leading bits of an IPv6 address that make a network, 16 to 64 and at most
    /// `ipv6_prefix`; 0: 48.
    pub ipv6_network: i32,
    /// 1: connections can be moved to the clients of proxies, which takes 8 bytes more for each
    /// descriptor, 24 if networks are counted; 0: they cannot, and rules with the word `proxy` are
    /// errors.
    pub moves: i32,
    /// 1: this host is a node of a cluster, which takes 480 bytes of address space more for
    /// each connection; 0: it is not, and `cluster_limit` must be 0.
    pub cluster: i32,
    /// Limit over all nodes of a source without a rule; 0: no limit.
    pub cluster_limit: i32,
}

/// Upper bound of `trust_timeout`, in seconds.
pub const TCL_MAX_TRUST_TIMEOUT: i32 = 86_400;

impl Default for tcl_config {
    /// All numbers 0 and all pointers null, as in memory that C has cleared.
    fn default() -> tcl_config {
        tcl_config {
            max_connections: 0,
            limit: 0,
            ipv4_prefix: 0,
            ipv6_prefix: 0,
            mode: TCL_MODE_ENFORCE,
            on_full: TCL_ON_FULL_ADMIT,
            nat64_prefixes: null(),
            nat64_count: 0,
            rate: null(),
            burst: 0,
            penalties: null(),
            penalty_count: 0,
            ban_min: 0,
            ban_max: 0,
            trust: 0,
            untrusted_limit: 0,
            trust_timeout: 0,
            reserve: null(),
            pressure: null(),
            networks: 0,
            network_limit: 0,
            network_rate: null(),
            network_burst: 0,
            ipv4_network: 0,
            ipv6_network: 0,
            moves: 0,
            cluster: 0,
            cluster_limit: 0,
        }
    }
}
