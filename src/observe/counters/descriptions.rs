// SPDX-License-Identifier: GPL-2.0-or-later
//! The counters, each described once: the host's counters, the answer to the RPC command
//! `stats` and the documentation are made from these descriptions.
//!
//! `build.rs` also includes this file, so it uses nothing of the library.

use core::ffi::CStr;

/// How the value of a counter changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Counts events since the start or the last reset, so it only grows.
    Counter,
    /// A current value that a walk through the table counts. The host's counter has the
    /// value that the watcher counted last: at most 2 s ago, or 20 s if there are slots for
    /// more than 5 million connections and it depends on the limits of the sources.
    Sampled,
    /// A value that changes only with the settings or the rules.
    Setting,
    /// A value that never changes while the server runs.
    Fixed,
}

/// What a counter means.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// Its name in the host's group of counters and in the answer to `stats`.
    pub name: &'static CStr,
    /// How its value changes.
    pub kind: Kind,
    /// What its value is a number of; empty if the value stands for one of several choices.
    pub unit: &'static str,
    /// What it counts: a phrase without a full stop.
    pub meaning: &'static str,
    /// `meaning`, and the time that the value covers. The host's help text.
    pub help: &'static CStr,
    /// Sentences for the documentation; empty if `meaning` says it all.
    pub note: &'static str,
    /// Whether the answer to `stats` shows its value. If not, it shows the setting in
    /// another form, such as the name of a mode.
    pub in_stats: bool,
}

/// The time that a counter's value covers, as the end of its help text.
macro_rules! time {
    (Counter) => {
        ", since the start"
    };
    (Sampled) => {
        ", counted within the last 2 s"
    };
    ($current:ident) => {
        ""
    };
}

/// A string as a C string.
macro_rules! c_str {
    ($($part:expr),*) => {
        match CStr::from_bytes_with_nul(concat!($($part,)* "\0").as_bytes()) {
            Ok(text) => text,
            Err(_) => panic!("a NUL within the text"),
        }
    };
}

/// Defines [`COUNTERS`] and [`Counters`].
macro_rules! counters {
    ($($name:ident {
        kind: $kind:ident,
        unit: $unit:literal,
        meaning: $meaning:literal,
        $(note: $note:literal,)?
        $(in_stats: $in_stats:literal,)?
    })*) => {
        /// The descriptions of all counters.
        pub const COUNTERS: &[Description] = &[$(
            Description {
                name: c_str!(stringify!($name)),
                kind: Kind::$kind,
                unit: $unit,
                meaning: $meaning,
                help: c_str!($meaning, time!($kind)),
                note: concat!($($note)?),
                in_stats: true $(&& $in_stats)?,
            },
        )*];

        /// The values of all counters. In memory they lie in the order of [`COUNTERS`], so
        /// a C caller may read or write them as an array.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $(#[doc = $meaning] pub $name: u64,)*
        }

        impl Counters {
            /// The values in the order of [`COUNTERS`].
            pub fn in_order(&self) -> [u64; COUNTERS.len()] {
                [$(self.$name,)*]
            }
        }
    };
}

counters! {
    sources {
        kind: Sampled,
        unit: "sources",
        meaning: "sources with open connections",
    }
    connections {
        kind: Sampled,
        unit: "connections",
        meaning: "open accepted TCP and TLS connections",
    }
    busiest_connections {
        kind: Sampled,
        unit: "connections",
        meaning: "the most open connections of one source",
    }
    highest_share {
        kind: Sampled,
        unit: "percent",
        meaning: "the highest share of its limit that a source has reached",
        note: "It is above 100 after a limit was lowered. Sources without a limit do not \
               count.",
    }
    near_limit {
        kind: Sampled,
        unit: "sources",
        meaning: "sources with at least 80 percent of the connections that their limits allow",
        note: "With a limit of 1, each source with a connection is one of them.",
    }
    admitted {
        kind: Counter,
        unit: "connections",
        meaning: "connections admitted and counted",
    }
    rejected {
        kind: Counter,
        unit: "connections",
        meaning: "connections rejected because their source was at its limit, plus \
                  full_rejected and untracked_rejected",
        note: "With the attachment hooks, the core's counter tcp.local_reject includes them.",
    }
    would_reject {
        kind: Counter,
        unit: "connections",
        meaning: "connections admitted in the mode monitor that the mode enforce would have \
                  rejected",
    }
    errors {
        kind: Counter,
        unit: "errors",
        meaning: "the sum of panics, table_full, untracked, bad_address, stale_token and \
                  descriptor_reused",
    }
    panics {
        kind: Counter,
        unit: "panics",
        meaning: "internal errors (panics) that were caught",
    }
    table_full {
        kind: Counter,
        unit: "connections",
        meaning: "connections admitted uncounted because the table had no slot for their source",
    }
    full_rejected {
        kind: Counter,
        unit: "connections",
        meaning: "connections rejected because the table had no slot for their source",
        note: "Only if on_full is reject.",
    }
    untracked {
        kind: Counter,
        unit: "connections",
        meaning: "connections admitted uncounted because their file descriptor is not tracked",
        note: "The module tracks the descriptors of TCP main below tcp_max_connections plus \
               65,536, whatever the limits of open files.",
    }
    untracked_rejected {
        kind: Counter,
        unit: "connections",
        meaning: "connections rejected because their file descriptor is not tracked",
        note: "Only if on_full is reject.",
    }
    bad_address {
        kind: Counter,
        unit: "calls",
        meaning: "calls for a connection whose peer is neither IPv4 nor IPv6",
        note: "Such a connection is admitted unchecked.",
    }
    stale_token {
        kind: Counter,
        unit: "releases",
        meaning: "releases of a connection that was not counted",
    }
    descriptor_reused {
        kind: Counter,
        unit: "descriptors",
        meaning: "file descriptors that accept() returned while the module still counted them",
        note: "The old connection is then released.",
    }
    capacity {
        kind: Fixed,
        unit: "connections",
        meaning: "connections that the table is sized for",
        note: "The core parameter tcp_max_connections.",
    }
    slots {
        kind: Fixed,
        unit: "slots",
        meaning: "slots for sources in the table",
    }
    memory {
        kind: Fixed,
        unit: "bytes",
        meaning: "bytes of shared memory mapped for sources and connections; rules take 8 MB more",
    }
    limit {
        kind: Setting,
        unit: "connections",
        meaning: "connections that a source without a rule may have; 0: no limit",
        in_stats: false,
    }
    mode {
        kind: Setting,
        unit: "",
        meaning: "the mode; 0: enforce, 1: monitor, 2: off",
        in_stats: false,
    }
    on_full {
        kind: Fixed,
        unit: "",
        meaning: "what happens to a connection that cannot be counted; 0: admit, 1: reject",
        in_stats: false,
    }
    ipv4_prefix {
        kind: Fixed,
        unit: "bits",
        meaning: "leading bits of an IPv4 address that identify a source",
    }
    ipv6_prefix {
        kind: Fixed,
        unit: "bits",
        meaning: "leading bits of an IPv6 address that identify a source",
    }
    rules {
        kind: Setting,
        unit: "rules",
        meaning: "active rules",
        note: "A rule that another one for the same prefix replaces does not count.",
    }
    rules_set {
        kind: Setting,
        unit: "rules",
        meaning: "active rules that tcp_conn_limit.set_rule has set",
    }
    reloads {
        kind: Counter,
        unit: "reloads",
        meaning: "reloads that published rules",
        note: "tcp_conn_limit.reset_stats does not reset it.",
    }
    banned {
        kind: Sampled,
        unit: "sources",
        meaning: "banned sources",
        note: "In the mode monitor: sources that would be banned. Banned prefixes do not count.",
    }
    rate_rejected {
        kind: Counter,
        unit: "connections",
        meaning: "the part of rejected whose source was over its rate",
    }
    rate_would_reject {
        kind: Counter,
        unit: "connections",
        meaning: "the part of would_reject whose source was over its rate",
    }
    ban_rejected {
        kind: Counter,
        unit: "connections",
        meaning: "the part of rejected whose source was banned",
    }
    ban_would_reject {
        kind: Counter,
        unit: "connections",
        meaning: "the part of would_reject whose source was banned",
    }
    bans {
        kind: Counter,
        unit: "bans",
        meaning: "bans of sources that began",
    }
    would_ban {
        kind: Counter,
        unit: "bans",
        meaning: "bans of sources that began in the mode monitor, which reject no connection",
    }
    penalty_silent {
        kind: Counter,
        unit: "offences",
        meaning: "connections that closed without one whole message",
        note: "Offences count if they have a penalty and their source is not exempt.",
    }
    penalty_tls {
        kind: Counter,
        unit: "offences",
        meaning: "TLS connections that closed without one whole message",
    }
    penalty_rejected {
        kind: Counter,
        unit: "offences",
        meaning: "connections that were charged to their source because they were over its limit",
    }
    penalty_rate {
        kind: Counter,
        unit: "offences",
        meaning: "connections that were charged to their source because they were over its rate",
    }
    penalty_script {
        kind: Counter,
        unit: "offences",
        meaning: "offences that the script charged to a source",
    }
    forgotten {
        kind: Counter,
        unit: "sources",
        meaning: "sources whose slot another source took while they still owed something",
        note: "Their bans, offences and debts are forgotten. It happens only if all other slots \
               are in use by sources with connections; then raise tcp_max_connections.",
    }
    trusted {
        kind: Sampled,
        unit: "connections",
        meaning: "open connections that are trusted, by the script or by their rule",
        note: "Without untrusted_limit and trust_timeout all connections count as neither trusted \
               nor untrusted.",
    }
    untrusted {
        kind: Sampled,
        unit: "connections",
        meaning: "open connections that are not trusted",
    }
    untrusted_rejected {
        kind: Counter,
        unit: "connections",
        meaning: "rejected connections whose source was at its limit of untrusted connections",
    }
    untrusted_would_reject {
        kind: Counter,
        unit: "connections",
        meaning: "connections whose source was at its limit of untrusted connections, in monitor \
                  mode",
    }
    became_trusted {
        kind: Counter,
        unit: "connections",
        meaning: "connections that the script trusted",
        note: "One that the script trusts again after tcp_conn_limit_untrust() counts again.",
    }
    trust_timeouts {
        kind: Counter,
        unit: "connections",
        meaning: "connections closed because they were not trusted in time",
    }
    would_trust_timeout {
        kind: Counter,
        unit: "connections",
        meaning: "connections that were not trusted in time, in monitor mode",
    }
    untrusted_limit {
        kind: Setting,
        unit: "connections",
        meaning: "the limit of untrusted connections of a source without a rule; 0: no limit",
    }
    trust_timeout {
        kind: Setting,
        unit: "seconds",
        meaning: "seconds after which an untrusted connection is closed; 0: never",
    }
    rate_interval {
        kind: Setting,
        unit: "microseconds",
        meaning: "the interval of the rate of a source without another one; 0: no rate",
        in_stats: false,
    }
    burst {
        kind: Setting,
        unit: "connections",
        meaning: "connections that a quiet source without another rate may open at once; 0: no rate",
        in_stats: false,
    }
    in_use {
        kind: Sampled,
        unit: "connections",
        meaning: "connections that count towards the core's tcp_max_connections",
        note: "They include those that the server opened itself.",
    }
    reserve {
        kind: Setting,
        unit: "connections",
        meaning: "connections that are kept for sources of rules with the word trusted; 0: none",
        in_stats: false,
    }
    reserve_used {
        kind: Sampled,
        unit: "connections",
        meaning: "connections of the reserve that are in use",
    }
    reserve_rejected {
        kind: Counter,
        unit: "connections",
        meaning: "the part of rejected that would have used the reserve",
    }
    reserve_would_reject {
        kind: Counter,
        unit: "connections",
        meaning: "the part of would_reject that would have used the reserve",
    }
    pressure_level {
        kind: Sampled,
        unit: "levels",
        meaning: "levels of pressure that are reached; 0: the limits apply in full",
    }
    pressure_rejected {
        kind: Counter,
        unit: "connections",
        meaning: "the part of rejected whose source was at the effective limit under pressure",
    }
    pressure_would_reject {
        kind: Counter,
        unit: "connections",
        meaning: "the part of would_reject whose source was at the effective limit under pressure",
    }
    cluster_rejected {
        kind: Counter,
        unit: "connections",
        meaning: "the part of rejected whose source was at its limit over all nodes of the \
                  cluster",
    }
    cluster_would_reject {
        kind: Counter,
        unit: "connections",
        meaning: "the part of would_reject whose source was at its limit over all nodes of the \
                  cluster",
    }
    cluster_nodes {
        kind: Sampled,
        unit: "nodes",
        meaning: "other nodes of the cluster that are alive; their connections count",
    }
    cluster_limit {
        kind: Setting,
        unit: "connections",
        meaning: "the limit over all nodes of a source without a rule; 0: no limit",
    }
    cluster_sources {
        kind: Sampled,
        unit: "sources",
        meaning: "sources with connections on other nodes",
    }
    cluster_sent {
        kind: Counter,
        unit: "messages",
        meaning: "messages sent to the other nodes; one to all nodes counts once",
    }
    cluster_received {
        kind: Counter,
        unit: "messages",
        meaning: "messages of other nodes that were accepted",
    }
    cluster_lost {
        kind: Counter,
        unit: "messages",
        meaning: "messages of other nodes that did not arrive, or that no process could pass on",
    }
    cluster_bad {
        kind: Counter,
        unit: "messages",
        meaning: "messages that were rejected because of their signature, version, form or \
                  prefix lengths, or because there are too many nodes",
    }
    cluster_no_room {
        kind: Counter,
        unit: "sources",
        meaning: "times that a source of other nodes did not count because there was no room",
    }
    cluster_bans_sent {
        kind: Counter,
        unit: "bans",
        meaning: "bans of this server that were sent to the other nodes",
    }
    cluster_bans_received {
        kind: Counter,
        unit: "bans",
        meaning: "bans of other nodes that were applied; also in bans or would_ban",
    }
    cluster_bans_refused {
        kind: Counter,
        unit: "bans",
        meaning: "bans of other nodes that were not applied, because a rule exempts or trusts \
                  the source, or there was no room",
    }
    shield {
        kind: Fixed,
        unit: "",
        meaning: "the kernel shield; 0: off, 1: active, 2: not available",
        note: "tcp_conn_limit.shield shows why it is not available.",
        in_stats: false,
    }
    shield_entries {
        kind: Sampled,
        unit: "entries",
        meaning: "banned and flooding sources and banned prefixes whose new connections the \
                  kernel drops",
        note: "Always 0 if the shield is not active, or in another mode than enforce.",
    }
    shield_unlisted {
        kind: Sampled,
        unit: "entries",
        meaning: "sources and prefixes that the kernel should drop but that have no entry there",
        note: "There is no room, or the kernel refused the entry. The server rejects their \
               connections as it does without the shield.",
    }
    shield_dropped {
        kind: Counter,
        unit: "packets",
        meaning: "connection attempts (SYN packets) that the kernel dropped",
        note: "The client's system repeats a SYN that is not answered, so a connection that \
               does not come about counts several times. It is read once a second.",
    }
    shield_floods {
        kind: Counter,
        unit: "sources",
        meaning: "sources without a ban that the kernel dropped for a time because of a flood",
        note: "Only with shield_threshold.",
    }
    shield_would_list {
        kind: Counter,
        unit: "sources",
        meaning: "sources that shield_floods would count if the mode were enforce",
    }
    networks {
        kind: Sampled,
        unit: "networks",
        meaning: "networks with open connections; 0 if networks are not counted",
    }
    busiest_network {
        kind: Sampled,
        unit: "connections",
        meaning: "the most open connections of one network",
    }
    near_network_limit {
        kind: Sampled,
        unit: "networks",
        meaning: "networks with at least 80 percent of the connections that their limits allow",
    }
    network_rejected {
        kind: Counter,
        unit: "connections",
        meaning: "rejected connections whose network was at its limit or over its rate",
        note: "They are a part of rejected.",
    }
    network_would_reject {
        kind: Counter,
        unit: "connections",
        meaning: "connections admitted in the mode monitor whose network was at its limit or over \
                  its rate",
        note: "They are a part of would_reject.",
    }
    network_uncounted {
        kind: Counter,
        unit: "connections",
        meaning: "connections that count in their source only, because the table had no slot for \
                  their network",
        note: "They are a part of errors.",
    }
    moved {
        kind: Counter,
        unit: "connections",
        meaning: "connections of proxies that the script counted for a client",
        note: "One that it then counts for another client counts again.",
    }
    move_rejected {
        kind: Counter,
        unit: "connections",
        meaning: "connections of proxies whose client was not admitted",
        note: "They are a part of rejected, and stay open unless the script closes them.",
    }
    move_would_reject {
        kind: Counter,
        unit: "connections",
        meaning: "connections of proxies counted for a client in the mode monitor that would not \
                  have been admitted",
        note: "They are a part of would_reject.",
    }
    move_invalid {
        kind: Counter,
        unit: "calls",
        meaning: "calls of tcp_conn_limit_count_for for a connection that is not from a proxy, or \
                  with a text that is not an address",
        note: "The connection counts for the address that opened it.",
    }
    network_limit {
        kind: Setting,
        unit: "connections",
        meaning: "the limit of a network without a rule; 0: no limit",
        in_stats: false,
    }
    network_rate_interval {
        kind: Setting,
        unit: "microseconds",
        meaning: "the interval of the rate of a network without another one; 0: no rate",
        in_stats: false,
    }
    network_burst {
        kind: Setting,
        unit: "connections",
        meaning: "connections that a quiet network without another rate may open at once; 0: no rate",
        in_stats: false,
    }
    ipv4_network {
        kind: Fixed,
        unit: "bits",
        meaning: "leading bits of an IPv4 address that make a network; 0: networks are not counted",
        in_stats: false,
    }
    ipv6_network {
        kind: Fixed,
        unit: "bits",
        meaning: "leading bits of an IPv6 address that make a network; 0: networks are not counted",
        in_stats: false,
    }
    log_suppressed {
        kind: Counter,
        unit: "rejections",
        meaning: "rejections logged only in a summary line",
        note: "It grows when that line is written.",
    }
}
