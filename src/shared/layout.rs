// SPDX-License-Identifier: GPL-2.0-or-later
//! The contents of the shared mapping, and [`Geometry`]: how many buckets it has. See
//! [`Region`] for the mapping itself.
//!
//! ```text
//! Header                    settings; a Tally per row; which rules are active
//! Bucket      × buckets     4 slots of 16 bytes: one cache line
//! Connection  × descriptors 16 bytes for each descriptor of the accepting process
//! AtomicU64   × descriptors if networks are counted: in which cell of a network each
//!                           connection is counted
//! AtomicI32   × slots       × (ROWS − 1): the cells of every row but the acceptor row
//! Detail      × slots       touched only for busy sources, those that owe, and by reports
//! Statistic32 × slots       rejections during a ban
//! AtomicU64   × slots       trusted connections; only if trust is on
//! AtomicU64   × descriptors × 1 or 3: moved connections; only if there may be any
//! RuleEntry   × MAX_RULES   × 2: the active rules, and the inactive half
//! ```
//!
//! The mapping is anonymous, shared, and created before the server forks, so every
//! process inherits it. An all-zero page is a valid, empty part of the table, so creating
//! a limiter touches only the header. [`Region::populate`] then allocates the buckets and
//! the records of connections in the accepting process; any other page takes memory when
//! it is first read or written.
//!
//! The system accounts for the whole mapping when it is created (no `MAP_NORESERVE`). So a
//! table larger than the machine's memory is an error at the start. Without this, the
//! system could refuse a page later, with SIGBUS.
//!
//! The size follows from the number of connections that the host allows, see
//! [`Geometry`].
//!
//! In a cluster there is another mapping, of what the other nodes have:
//!
//! ```text
//! Board                     the state of the nodes, for reports
//! OthersBucket × buckets    7 sources in a cache line
//! OthersDetail × entries    which nodes have connections of a source; for reports
//! ```
//!
//! [`Region`]: super::region::Region
//! [`Region::populate`]: super::region::Region::populate

use crate::shared::sync::{AtomicI32, AtomicU32, AtomicU64, Statistic16, Statistic32, Statistic64};

/// The largest number of rules: the number of a rule fits 16 bits.
pub const MAX_RULES: usize = 65_535;

/// Slots in a bucket: four of 16 bytes fill a cache line of 64 bytes. Under loom there are
/// only as many as are needed to show each interaction, here and below.
pub(crate) const SLOTS_PER_BUCKET: usize = if cfg!(loom) { 1 } else { 4 };

/// Rows of cells. Workers beyond this number share rows. That costs contention but never
/// makes a count wrong, since adding to a cell is atomic.
pub(crate) const ROWS: usize = if cfg!(loom) { 2 } else { 4 };

/// The acceptor row: the row of the worker that accepts the connections. Its cells lie in
/// the slots themselves.
pub(crate) const ACCEPTOR_ROW: usize = 0;

/// The ranges of a [`Histogram`](crate::observe::report::Histogram).
pub(crate) const HISTOGRAM_RANGES: usize = 18;

/// Listeners that rules can name between the start of the server and its end.
pub(crate) const MAX_SCOPES: usize = if cfg!(loom) { 1 } else { 64 };

/// Listening sockets that the host can name.
pub(crate) const MAX_SOCKETS: usize = if cfg!(loom) { 1 } else { 256 };
/// The most levels of pressure.
pub(crate) const PRESSURE_LEVELS: usize = 4;

/// Entries in a bucket of what other nodes have.
pub(crate) const OTHERS_PER_BUCKET: usize = if cfg!(loom) { 1 } else { 7 };

/// The most nodes of a cluster, without this one.
pub const MAX_NODES: usize = if cfg!(loom) { 1 } else { 32 };

/// Kinds of offences.
pub(crate) const OFFENCES: usize = 5;

/// An entry of the table, for one source.
#[repr(C)]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct Slot {
    /// [`Source::word`](crate::source::Source::word) of the source.
    pub(crate) word: AtomicU64,
    /// State, kind, epoch, stamp and rows in use, see [`crate::table`].
    pub(crate) control: AtomicU32,
    /// The source's cell in the acceptor row.
    pub(crate) acceptor_cell: AtomicI32,
}

/// The unit of a look-up: one cache line.
#[repr(C, align(64))]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct Bucket {
    pub(crate) slots: [Slot; SLOTS_PER_BUCKET],
}

/// Sources that other nodes of the cluster have connections of: one cache line, see
/// [`crate::table::others`].
#[repr(C, align(64))]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct OthersBucket {
    pub(crate) entries: [AtomicU64; OTHERS_PER_BUCKET],
    /// How many sources whose first bucket this is are in their second one.
    pub(crate) elsewhere: AtomicU64,
}

/// Which nodes have the connections of an entry in an [`OthersBucket`]. Only reports read it.
#[repr(C, align(128))]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct OthersDetail {
    /// [`Source::word`](crate::source::Source::word) of the source.
    pub(crate) word: Statistic64,
    /// [`Source::low`](crate::source::Source::low) of the source.
    pub(crate) low: Statistic64,
    /// Rejections of the source while it had no slot, and those that would have happened.
    pub(crate) rejected: Statistic32,
    pub(crate) would_reject: Statistic32,
    /// The connections of each node, at most `u16::MAX`.
    pub(crate) of_nodes: [Statistic16; MAX_NODES],
}

/// The data of a slot's source besides its key and its count, see
/// [`crate::table::details`].
///
/// It fills one cache line, so that a check that needs it reads one line more.
#[repr(C, align(64))]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct Detail {
    /// A source and its rule, see [`crate::policy::rulebook`].
    pub(crate) rule: AtomicU64,
    /// What a source owes at its rate, see [`crate::table::tagged::Debt`].
    pub(crate) debt: AtomicU64,
    /// The offences of a source or its ban, see [`crate::table::tagged::Penalty`].
    pub(crate) penalty: AtomicU64,
    /// The source to which all fields below except `low` belong, see
    /// [`crate::table::details`].
    pub(crate) owner: Statistic64,
    /// Rejected connections.
    pub(crate) rejected: Statistic32,
    /// Its number of connections when one was last rejected, or would have been, and why, see
    /// [`RejectedAt`](crate::table::details::RejectedAt).
    pub(crate) rejected_at: Statistic32,
    /// The largest number of connections that it had at a time.
    pub(crate) peak: Statistic32,
    /// Connections that would have been rejected, in monitor mode.
    pub(crate) would_reject: Statistic32,
    /// Host clock plus 1; 0: not yet.
    pub(crate) first_seen: Statistic32,
    /// Host clock plus 1; 0: not yet.
    pub(crate) last_seen: Statistic32,
    /// [`Source::low`](crate::source::Source::low) of the source.
    pub(crate) low: AtomicU64,
}

/// The record of one connection, see [`crate::table::connections`].
#[repr(C)]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct Connection {
    /// The cell in which the connection is counted.
    pub(crate) cell: AtomicU64,
    /// Generation and facts.
    pub(crate) state: AtomicU32,
    /// [`Settings::seconds`] when it opened.
    pub(crate) opened_at: Statistic32,
}

/// The statistics of one row, see [`Totals`](crate::limiter::Totals). Each row has its own
/// cache lines, so that workers do not contend.
#[repr(C, align(128))]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct Tally {
    pub(crate) admitted: Statistic64,
    pub(crate) rejected: Statistic64,
    pub(crate) would_reject: Statistic64,
    pub(crate) full_rejected: Statistic64,
    pub(crate) untracked_rejected: Statistic64,
    pub(crate) panics: Statistic64,
    pub(crate) table_full: Statistic64,
    pub(crate) untracked: Statistic64,
    pub(crate) bad_address: Statistic64,
    pub(crate) stale_token: Statistic64,
    pub(crate) descriptor_reused: Statistic64,
    pub(crate) rate_rejected: Statistic64,
    pub(crate) rate_would_reject: Statistic64,
    pub(crate) ban_rejected: Statistic64,
    pub(crate) ban_would_reject: Statistic64,
    pub(crate) bans: Statistic64,
    pub(crate) would_ban: Statistic64,
    pub(crate) penalty_silent: Statistic64,
    pub(crate) penalty_tls: Statistic64,
    pub(crate) penalty_rejected: Statistic64,
    pub(crate) penalty_rate: Statistic64,
    pub(crate) penalty_script: Statistic64,
    pub(crate) forgotten: Statistic64,
    pub(crate) untrusted_rejected: Statistic64,
    pub(crate) untrusted_would_reject: Statistic64,
    pub(crate) became_trusted: Statistic64,
    pub(crate) trust_timeouts: Statistic64,
    pub(crate) would_trust_timeout: Statistic64,
    pub(crate) reserve_rejected: Statistic64,
    pub(crate) reserve_would_reject: Statistic64,
    pub(crate) pressure_rejected: Statistic64,
    pub(crate) pressure_would_reject: Statistic64,
    pub(crate) network_rejected: Statistic64,
    pub(crate) network_would_reject: Statistic64,
    pub(crate) network_uncounted: Statistic64,
    pub(crate) moved: Statistic64,
    pub(crate) move_rejected: Statistic64,
    pub(crate) move_would_reject: Statistic64,
    pub(crate) move_invalid: Statistic64,
    pub(crate) cluster_rejected: Statistic64,
    pub(crate) cluster_would_reject: Statistic64,
}

/// Settings that every check reads and that are rarely written.
#[repr(C, align(128))]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct Settings {
    /// The limit of a source without a rule; above `i32::MAX`: unlimited, see
    /// [`crate::policy::settings`].
    pub(crate) limit: AtomicU32,
    /// A source with at least this many connections may be restrained by its rule: the
    /// lowest limit of the active rules; `u32::MAX`: no rule has a limit; 0: a rule bans its
    /// sources.
    pub(crate) lowest_rule: AtomicU32,
    /// See [`Switches`](crate::policy::settings::Switches).
    pub(crate) switches: AtomicU32,
    /// See [`OnFull`](crate::policy::settings::OnFull).
    pub(crate) on_full: AtomicU32,
    /// Counts the sets of rules; the lowest bit says which half is active.
    pub(crate) rules_generation: AtomicU32,
    /// Rules in each half.
    pub(crate) rules_count: [AtomicU32; 2],
    /// See [`HostRules`](crate::policy::rules::HostRules).
    pub(crate) host_rules: AtomicU32,
    /// The rate of a source without another one: its interval in microseconds in the lower
    /// half, its burst in the upper half; 0: no rate.
    pub(crate) rate: AtomicU64,
    /// Milliseconds that each offence costs, in the order of
    /// [`Cause::OFFENCES`](crate::policy::penalties::Cause::OFFENCES); 0: nothing.
    pub(crate) penalties: [AtomicU32; OFFENCES],
    /// Milliseconds of penalties from which on a source is banned.
    pub(crate) ban_min: AtomicU32,
    /// The most milliseconds of penalties.
    pub(crate) ban_max: AtomicU32,
    /// The host clock, as the background process last read it.
    pub(crate) seconds: Statistic32,
    /// The limit of untrusted connections of a source without a rule; above `i32::MAX`:
    /// unlimited.
    pub(crate) untrusted_limit: AtomicU32,
    /// Seconds after which an untrusted connection is closed; 0: never.
    pub(crate) trust_timeout: AtomicU32,
    /// The clock of rates, penalties and bans, as the background process last read it.
    pub(crate) micros: Statistic64,
}

/// Settings about networks, which are read only if networks are counted.
#[repr(C, align(128))]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct NetworkSettings {
    /// The limit of a network without a rule; 0: no limit.
    pub(crate) limit: AtomicU32,
    /// The lowest limit of the active rules for networks; `u32::MAX`: no rule has one.
    pub(crate) lowest_rule: AtomicU32,
    /// 1 if an active rule keeps its connections out of their networks, else 0.
    pub(crate) exceptions: AtomicU32,
    /// As [`Settings::rate`].
    pub(crate) rate: AtomicU64,
    /// The networks with connections in the upper half, and the most connections of one in
    /// the lower half, as last sampled by the background process.
    pub(crate) gauges: Statistic64,
    /// As `near` of [`Background`], of networks.
    pub(crate) near: Statistic32,
    /// As `debts` of [`Background`], of networks.
    pub(crate) debts: [Statistic32; HISTOGRAM_RANGES],
}

/// Data that only reports and the background process use.
#[repr(C, align(128))]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct Background {
    /// The process whose descriptors the records of connections are for, if it interposes;
    /// 0: no process.
    pub(crate) descriptors_owner: AtomicU32,
    /// The number of the thread that publishes rules, see [`super::process`]; 0: no thread.
    pub(crate) rules_writer: AtomicU32,
    /// Rules in each half that another one for the same prefix replaces.
    pub(crate) rules_replaced: [Statistic32; 2],
    /// Rules in each half that end by themselves.
    pub(crate) rules_ending: [Statistic32; 2],
    /// Rules in each half that commands set, without bans.
    pub(crate) rules_set: [Statistic32; 2],
    /// How often all rules were loaded.
    pub(crate) rules_loads: Statistic32,
    /// Rejections logged only in a summary line.
    pub(crate) log_suppressed: Statistic64,
    /// Rejections of sources without a rule.
    pub(crate) default_rejected: Statistic64,
    /// Connections of sources without a rule that would have been rejected.
    pub(crate) default_would_reject: Statistic64,
    /// The sources with connections in the upper half and their connections in the lower
    /// half, as last sampled by the background process. They are one word, so that a
    /// reader gets both numbers of the same sample.
    pub(crate) gauges: Statistic64,
    /// The most connections of a source in the upper half, and the highest share of a limit
    /// in percent in the lower half, as last sampled by the background process.
    pub(crate) busiest: Statistic64,
    /// Sources near their limits, as last sampled by the background process.
    pub(crate) near: Statistic32,
    /// Banned sources, as last sampled by the background process.
    pub(crate) banned: Statistic32,
    /// Trusted connections, as last sampled by the background process.
    pub(crate) trusted: Statistic64,
    /// Untrusted connections, as last sampled by the background process.
    pub(crate) untrusted: Statistic64,
    /// What the kernel shield did.
    pub(crate) shield: ShieldNumbers,
    /// Sources by the largest debt that the background process sampled.
    pub(crate) debts: [Statistic32; HISTOGRAM_RANGES],
    /// How often the statistics were reset.
    pub(crate) resets: Statistic32,
    /// The sums of all tallies at the last reset.
    pub(crate) reset_at: Tally,
}

/// A listening socket, or the name of one in rules, see [`crate::policy::listeners`].
#[repr(C)]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct Listener {
    /// [`ListenerName::to_words`](crate::policy::listener::ListenerName::to_words).
    pub(crate) first: AtomicU64,
    pub(crate) upper: AtomicU64,
    pub(crate) lower: AtomicU64,
    /// Its descriptor in the process that accepts; only of a socket.
    pub(crate) descriptor: AtomicI32,
}

/// The listening sockets, and the listeners that rules name.
#[repr(C, align(128))]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct ListenerTable {
    /// For each scope from 1 on the descriptor of its socket, and whether it is active.
    pub(crate) by_scope: [AtomicU64; MAX_SCOPES],
    pub(crate) names_count: AtomicU32,
    pub(crate) sockets_count: AtomicU32,
    pub(crate) names: [Listener; MAX_SCOPES],
    pub(crate) sockets: [Listener; MAX_SOCKETS],
}

/// What happens while the host is nearly full. Read only if that is switched on.
#[repr(C, align(128))]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct Load {
    /// See [`Reserve`](crate::policy::reserve::Reserve).
    pub(crate) reserve: AtomicU32,
    /// See [`Level`](crate::policy::pressure::Level); 0: there is no such level.
    pub(crate) levels: [AtomicU32; PRESSURE_LEVELS],
    /// The levels that are reached, see [`crate::limiter::load`].
    pub(crate) reached: AtomicU32,
}

/// The limits over all nodes of the cluster. Read only in a cluster.
#[repr(C, align(128))]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct Cluster {
    /// The limit of a source without a rule; above `i32::MAX`: unlimited.
    pub(crate) limit: AtomicU32,
    /// The lowest limit of the active rules; `u32::MAX`: no rule has one.
    pub(crate) lowest_rule: AtomicU32,
    /// Over how many nodes the rest of a limit is shared; 0: it is not.
    pub(crate) shares: AtomicU32,
    /// When what the other nodes have was last brought up to date, in microseconds of the
    /// clock of rates; 0: never.
    pub(crate) updated: AtomicU64,
}

/// Words of a row of the [`Board`].
pub(crate) const ROW_WORDS: usize = 38;

/// A row of the board, see [`crate::observe::cluster::board`]. Only reports depend on it.
#[repr(C)]
pub(crate) struct BoardRow {
    /// Odd while the words are written.
    pub(crate) version: Statistic64,
    pub(crate) words: [Statistic64; ROW_WORDS],
}

/// The state of the cluster. The background process writes it, except the last number.
#[repr(C)]
pub(crate) struct Board {
    pub(crate) overview: BoardRow,
    pub(crate) nodes: [BoardRow; MAX_NODES],
    /// Messages that arrived and that a process of the host could not pass on.
    pub(crate) not_passed_on: Statistic64,
}

/// The numbers of the kernel shield. The background process writes them.
#[repr(C)]
#[derive(Default)]
pub(crate) struct ShieldNumbers {
    /// 0: off, 1: active, 2: not available.
    pub(crate) state: Statistic32,
    /// Sources and prefixes that the kernel drops.
    pub(crate) entries: Statistic32,
    /// Sources and prefixes that it should drop, but for which there was no room.
    pub(crate) unlisted: Statistic32,
    /// SYN packets dropped.
    pub(crate) dropped: Statistic64,
    /// Sources that were listed because of a flood.
    pub(crate) floods: Statistic64,
    /// Sources that would have been, in monitor mode.
    pub(crate) would_list: Statistic64,
}

impl ShieldNumbers {
    /// Those that only grow.
    pub(crate) fn totals(&self) -> [&Statistic64; 3] {
        [&self.dropped, &self.floods, &self.would_list]
    }
}

/// The first bytes of the mapping.
#[repr(C)]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct Header {
    pub(crate) settings: Settings,
    pub(crate) networks: NetworkSettings,
    pub(crate) background: Background,
    pub(crate) tallies: [Tally; ROWS],
    pub(crate) load: Load,
    pub(crate) cluster: Cluster,
}

/// A rule, see [`crate::policy::rulebook`].
#[repr(C)]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct RuleEntry {
    pub(crate) upper: AtomicU64,
    pub(crate) lower: AtomicU64,
    /// Rejections of sources with this rule.
    pub(crate) rejected: Statistic64,
    pub(crate) would_reject: Statistic64,
    /// Interval and burst, see [`crate::policy::rulebook`].
    pub(crate) rate: AtomicU64,
    /// The prefix length, and in the bits above it the family, the kind of origin, flags and
    /// the scope.
    pub(crate) shape: AtomicU32,
    /// The number of the rule with the longest other prefix that contains this one, plus
    /// 1; 0: there is no such rule. In the uppermost 8 bits the number of its listener.
    pub(crate) parent: AtomicU32,
    /// 0: unlimited; negative: the default limit.
    pub(crate) limit: AtomicI32,
    /// The number of the modparam or the line, or the end of a rule that ends.
    pub(crate) origin: AtomicU32,
    /// The limit of untrusted connections plus 1; 0: the default.
    pub(crate) untrusted: AtomicU32,
    /// The limit over all nodes of the cluster plus 1; 0: the default.
    pub(crate) cluster: AtomicU32,
}

/// Upper bound of the accepting process's open files that are not connections: listening
/// sockets, a channel for each worker, files that modules opened before the fork.
const OTHER_FILES: usize = 1 << 16;

/// The number of buckets and of records, which follow from the number of connections.
///
/// The system gives a new connection the lowest free descriptor, so a descriptor is below
/// the number of open files. The host has at most `max_connections` connections as long as
/// it runs, and far fewer than [`OTHER_FILES`] other files. The limits of open files do not
/// matter: both the soft and the hard one can be raised while the server runs.
///
/// In the worst case every connection has another source. Then a bucket of four slots
/// holds 1.14 sources on average. If all connections are in use, each by another source,
/// a source that is new to the table finds both its buckets full with a probability below
/// 3·10⁻⁶; if four fifths are in use, below 5·10⁻⁷. This was measured with fleets of 1.2
/// to 4 times as many sources that come and go, in random order, first in first out, and
/// with structured addresses (`make bench`). Two choices make the probability fall faster
/// than exponentially with more buckets (M. Mitzenmacher, "The power of two choices in
/// randomized load balancing", 1996). The policy for a full table covers these cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(super) buckets: usize,
    pub(super) connections: usize,
    pub(super) descriptors: usize,
    /// Whether trusted connections are counted.
    pub(super) trust: bool,
    /// Cells of networks: one for each descriptor, or none.
    pub(super) network_cells: usize,
    /// Whether connections can be moved to another source.
    pub(super) moves: bool,
}

impl Geometry {
    /// The largest number of connections for which there is a geometry.
    pub(crate) const MAX_CONNECTIONS: u32 = 100_000_000;

    /// Sized for `max_connections` connections, each of another source. `None` if that is
    /// 0 or above [`MAX_CONNECTIONS`](Self::MAX_CONNECTIONS).
    pub(crate) fn for_connections(max_connections: u32) -> Option<Geometry> {
        if max_connections == 0 || max_connections > Self::MAX_CONNECTIONS {
            return None;
        }
        // A few more, so that chance does not fill a tiny table.
        let buckets = u64::from(max_connections) * 7 / 8 + 16;
        let connections = usize::try_from(max_connections).ok()?;
        Some(Geometry {
            buckets: usize::try_from(buckets).ok()?,
            connections,
            descriptors: connections + OTHER_FILES,
            trust: false,
            network_cells: 0,
            moves: false,
        })
    }

    /// The same, in which trusted connections are counted.
    pub(crate) fn with_trust(self) -> Geometry {
        Geometry {
            trust: true,
            ..self
        }
    }

    /// The same, in which connections can be moved to another source.
    pub(crate) fn with_moves(self) -> Geometry {
        Geometry {
            moves: true,
            ..self
        }
    }

    /// Words of moved connections, and of their networks.
    pub(super) fn moved_words(self) -> [usize; 2] {
        match self.moves {
            true => [self.descriptors, 2 * self.network_cells],
            false => [0, 0],
        }
    }

    /// Slots whose trusted connections are counted: all, or none.
    pub(super) fn trusted_slots(self) -> usize {
        match self.trust {
            true => self.slots(),
            false => 0,
        }
    }

    /// The same, where the network of each connection is counted as well, with half as many
    /// buckets again. If each connection has a source and a network of its own, a bucket then
    /// holds 1.52 of them on average.
    pub(crate) fn with_networks(self) -> Geometry {
        Geometry {
            buckets: self.buckets + self.buckets / 2,
            ..self.with_network_cells()
        }
    }

    /// The same number of buckets, and cells of networks.
    pub(crate) fn with_network_cells(self) -> Geometry {
        Geometry {
            network_cells: self.descriptors,
            ..self
        }
    }

    /// Exactly `buckets` buckets, for tests that fill the table.
    #[cfg(any(test, loom))]
    pub(crate) fn of_buckets(buckets: usize) -> Geometry {
        Geometry::of(buckets, 2)
    }

    /// Exactly `buckets` buckets and `descriptors` records.
    #[cfg(any(test, loom))]
    pub(crate) fn of(buckets: usize, descriptors: usize) -> Geometry {
        Geometry {
            buckets,
            connections: descriptors,
            descriptors,
            trust: false,
            network_cells: 0,
            moves: false,
        }
    }

    pub(super) fn slots(self) -> usize {
        self.buckets * SLOTS_PER_BUCKET
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_fills_a_cache_line() {
        assert_eq!(size_of::<Bucket>(), 64);
        assert_eq!(size_of::<Slot>(), 16);
        assert_eq!(size_of::<Connection>(), 16);
        assert_eq!(size_of::<Detail>(), 64);
        assert_eq!(size_of::<RuleEntry>(), 64);
        assert_eq!(size_of::<OthersBucket>(), 64);
        assert_eq!(size_of::<OthersDetail>(), 128);
    }

    #[test]
    fn connections_out_of_range_are_rejected() {
        assert_eq!(Geometry::for_connections(0), None);
        assert_eq!(
            Geometry::for_connections(Geometry::MAX_CONNECTIONS + 1),
            None
        );
    }
}
