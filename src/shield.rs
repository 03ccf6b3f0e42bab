// SPDX-License-Identifier: GPL-2.0-or-later
//! The kernel shield: the kernel drops the connection attempts of banned sources, so that
//! they cost the server nothing.
//!
//! [`Filter`] is a program and its maps in the kernel. It is loaded while the server still
//! has its privileges, and attached to each listening socket before the server forks.
//! Afterwards only the background process changes the maps, once a second, with
//! [`Shield::update`]. The process that accepts connections does nothing at all.
//!
//! `filter` is the program and `assembler` writes it; `key` has the layouts of the maps;
//! `bpf` is the system call; `wanted` decides which sources and prefixes are listed.
//!
//! What holds:
//!
//! - Only a SYN without ACK, FIN and RST is dropped, only on a socket that the filter is
//!   attached to or that such a socket accepted, and only if its source is listed. A packet
//!   that cannot be read is accepted. So open connections, UDP and the connections that the
//!   server opens are not affected.
//! - A source is listed only while the limiter itself would reject it because of a ban, or
//!   because of a flood with [`FloodThreshold`](crate::observe::watch::FloodThreshold). Sources
//!   that a rule exempts or trusts, on any listener, are never listed. In the modes monitor
//!   and off nothing is.
//! - An entry that admits is in the map before the one that drops and contains it, and is
//!   removed after it.
//! - If the process that updates the maps ends, the entries stay as they are until the
//!   server ends, which frees everything. The server then ends, because it ends with each of
//!   its processes.

mod assembler;
mod bpf;
mod filter;
mod key;
mod wanted;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

use crate::limiter::Limiter;
use crate::observe::notices::{ShieldDropped, ShieldFailed, ShieldFull, ShieldUnavailable};
use crate::shared::sync::Ordering;
use crate::source::{Nat64, Prefix, PrefixLengths, Source};
use bpf::{Map, MapKind, Program};
use key::{Key, TrieKey, Verdict};
use wanted::{Wanted, Wishes};

/// The most sources that the kernel drops at a time.
pub const MAX_SOURCES: usize = 65_536;

/// The most prefixes with an entry: as many as there can be rules.
const MAX_PREFIXES: usize = 65_536;

/// The entries that the line about dropped packets names.
const NAMED: usize = 3;

/// The index of the only value of an array.
const ONLY: [u8; 4] = [0; 4];

/// A program in the kernel, and its maps.
pub struct Filter {
    sources: Map<{ Key::SIZE }, 8>,
    prefixes: Map<{ TrieKey::SIZE }, { Verdict::SIZE }>,
    has_prefixes: Map<4, 8>,
    dropped: Map<4, 8>,
    program: Program,
    lengths: PrefixLengths,
}

/// Why the kernel shield is not available. Its `Display` says what failed and what helps.
#[derive(Debug)]
pub struct Unavailable {
    step: &'static str,
    error: io::Error,
    remedy: &'static str,
}

impl Unavailable {
    fn new(step: &'static str, error: io::Error, denied: &'static str) -> Unavailable {
        let remedy = match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => denied,
            Some(libc::ENOSYS) => "this kernel was built without the system call bpf()",
            Some(libc::ENOMEM) => {
                "allow the server more memory; before Linux 5.11 also more locked memory \
                 (LimitMEMLOCK)"
            }
            _ => "the shield needs Linux 5.2 or newer with BPF",
        };
        Unavailable {
            step,
            error,
            remedy,
        }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = ShieldUnavailable {
            step: self.step,
            error: &self.error.to_string(),
            remedy: self.remedy,
        };
        line.fmt(f)
    }
}

impl std::error::Error for Unavailable {}

/// What helps if the kernel denies the start.
const NEEDS_CAPABILITY: &str = "start the server as root or with the capability CAP_BPF, which \
                                a container does not have by default";
/// What helps if the kernel denies a change of a map after the change of user.
const NEEDS_KERNEL: &str = "before Linux 5.19 a server that changes its user needs the \
                            capability CAP_BPF, or kernel.unprivileged_bpf_disabled=0";

impl Filter {
    /// Loads the program for sources of these prefix lengths.
    ///
    /// # Errors
    ///
    /// If the kernel does not allow it or cannot do it. Then nothing is left in the kernel.
    pub fn load(lengths: PrefixLengths, nat64: &Nat64) -> Result<Filter, Unavailable> {
        let map = |error| Unavailable::new("create an eBPF map", error, NEEDS_CAPABILITY);
        let sources = Map::create(MapKind::Hash, "tcl_sources", MAX_SOURCES as u32).map_err(map)?;
        let prefixes = MAX_PREFIXES as u32;
        let prefixes = Map::create(MapKind::LpmTrie, "tcl_prefixes", prefixes).map_err(map)?;
        let has_prefixes = Map::create(MapKind::Array, "tcl_switch", 1).map_err(map)?;
        let dropped = Map::create(MapKind::Array, "tcl_dropped", 1).map_err(map)?;
        let maps = filter::Maps {
            sources: sources.descriptor(),
            prefixes: prefixes.descriptor(),
            has_prefixes: has_prefixes.descriptor(),
            dropped: dropped.descriptor(),
        };
        let program = Program::load("tcl_shield", &filter::program(maps, lengths, nat64));
        Ok(Filter {
            sources,
            prefixes,
            has_prefixes,
            dropped,
            lengths,
            program: program.map_err(|error| {
                Unavailable::new("load the eBPF program", error, NEEDS_CAPABILITY)
            })?,
        })
    }

    /// Attaches the program to a listening socket. It stays until the socket is closed.
    ///
    /// # Errors
    ///
    /// If the kernel does not allow it.
    pub fn attach(&self, socket: BorrowedFd<'_>) -> Result<(), Unavailable> {
        let attached = self.program.attach(socket);
        attached.map_err(|error| {
            Unavailable::new(
                "attach the eBPF program to a listening socket",
                error,
                NEEDS_CAPABILITY,
            )
        })
    }

    /// Detaches the program from a socket, if it is attached.
    pub fn detach(&self, socket: BorrowedFd<'_>) {
        bpf::detach(socket);
    }

    /// Checks that this process may change the maps.
    ///
    /// # Errors
    ///
    /// If it may not.
    pub fn check_update(&self) -> Result<(), Unavailable> {
        let changed = self.switch(false).and_then(|()| self.dropped());
        match changed {
            Ok(_) => Ok(()),
            Err(error) => Err(Unavailable::new("change an eBPF map", error, NEEDS_KERNEL)),
        }
    }

    /// Drops the connection attempts of a source, which is a whole prefix of the length of
    /// its family.
    ///
    /// # Errors
    ///
    /// If there is no room, or the kernel does not allow it.
    pub fn add_source(&self, source: Prefix) -> io::Result<()> {
        self.sources.add(&Key::of(source), &[0; 8])
    }

    /// Ends that, if it is listed.
    ///
    /// # Errors
    ///
    /// If the kernel does not allow it.
    pub fn remove_source(&self, source: Prefix) -> io::Result<()> {
        self.sources.remove(&Key::of(source))
    }

    /// Drops the connection attempts from a prefix, or accepts them whatever else is listed.
    /// The longest prefix decides. [`switch`](Self::switch) must be on.
    ///
    /// # Errors
    ///
    /// If there is no room.
    pub fn set_prefix(&self, prefix: Prefix, drops: bool) -> io::Result<()> {
        let verdict = Verdict {
            drops,
            length: prefix.length,
            dropped: 0,
        };
        self.prefixes.set(&TrieKey::of(prefix), &verdict.to_bytes())
    }

    /// Ends that, if it is listed.
    ///
    /// # Errors
    ///
    /// If the kernel does not allow it.
    pub fn remove_prefix(&self, prefix: Prefix) -> io::Result<()> {
        self.prefixes.remove(&TrieKey::of(prefix))
    }

    /// Says whether there are prefixes. Without this the program does not look for any, which
    /// is faster.
    ///
    /// # Errors
    ///
    /// If the kernel does not allow it.
    pub fn switch(&self, has_prefixes: bool) -> io::Result<()> {
        let value = u64::from(has_prefixes).to_ne_bytes();
        self.has_prefixes.set(&ONLY, &value)
    }

    /// SYN packets dropped in all.
    ///
    /// # Errors
    ///
    /// If the kernel does not allow it.
    pub fn dropped(&self) -> io::Result<u64> {
        let value = self.dropped.get(&ONLY)?;
        Ok(value.map_or(0, u64::from_ne_bytes))
    }

    /// SYN packets dropped because this source is listed; `None`: it is not.
    ///
    /// # Errors
    ///
    /// If the kernel does not allow it.
    pub fn dropped_from_source(&self, source: Prefix) -> io::Result<Option<u64>> {
        let value = self.sources.get(&Key::of(source))?;
        Ok(value.map(u64::from_ne_bytes))
    }

    /// SYN packets dropped because this prefix is listed; `None`: it is not.
    ///
    /// # Errors
    ///
    /// If the kernel does not allow it.
    pub fn dropped_from_prefix(&self, prefix: Prefix) -> io::Result<Option<u64>> {
        let value = self.prefixes.get(&TrieKey::of(prefix))?;
        let verdict = value.map(Verdict::from_bytes);
        let own = verdict.filter(|verdict| verdict.length == prefix.length && verdict.drops);
        Ok(own.map(|verdict| verdict.dropped))
    }

    /// The sources and prefixes that are dropped, each with its SYN packets, most first. An
    /// entry that is added or removed meanwhile may be missing.
    ///
    /// # Errors
    ///
    /// If the kernel does not allow it.
    pub fn entries(&self) -> io::Result<Vec<(Prefix, u64)>> {
        let mut entries = BTreeMap::new();
        for key in self.sources.keys(MAX_SOURCES)? {
            let source = Key::prefix(key, self.lengths.length(Key::family(key)));
            if let Some(dropped) = self.dropped_from_source(source)? {
                entries.insert(source, dropped);
            }
        }
        for key in self.prefixes.keys(MAX_PREFIXES)? {
            let prefix = TrieKey::prefix(key);
            if let Some(dropped) = self.dropped_from_prefix(prefix)? {
                *entries.entry(prefix).or_default() += dropped;
            }
        }
        let mut entries: Vec<(Prefix, u64)> = entries.into_iter().collect();
        // Stable: those with as many are in the order of their prefixes.
        entries.sort_by_key(|&(_, dropped)| std::cmp::Reverse(dropped));
        Ok(entries)
    }

    /// Runs the program `repeat` times on a packet, at whose beginning are both the IP
    /// header and the TCP header, and returns whether it accepts the packet, and the
    /// nanoseconds that a run took. For tests and benchmarks; needs CAP_BPF and
    /// CAP_NET_ADMIN.
    ///
    /// # Errors
    ///
    /// If the kernel does not allow it, or the packet is empty.
    pub fn run(&self, packet: &[u8], repeat: u32) -> io::Result<(bool, u32)> {
        // The kernel wants an Ethernet header, which it removes.
        let frame = [&[0; 14], packet].concat();
        let (result, nanoseconds) = self.program.run(&frame, repeat)?;
        Ok((result != 0, nanoseconds))
    }
}

/// A line for the host's log. Its `Display` is the line.
#[derive(Debug)]
pub enum ShieldNotice {
    /// What the kernel dropped in an interval.
    Dropped(ShieldDropped),
    /// There was no room.
    Full(ShieldFull),
    /// A change failed.
    Failed(io::Error),
}

impl fmt::Display for ShieldNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShieldNotice::Dropped(line) => line.fmt(f),
            ShieldNotice::Full(line) => line.fmt(f),
            ShieldNotice::Failed(error) => ShieldFailed(error).fmt(f),
        }
    }
}

/// The filter, and what the background process remembers of it.
pub struct Shield {
    filter: Filter,
    wishes: Wishes,
    /// The listed sources and prefixes, with the packets that were logged.
    sources: HashMap<Prefix, u64>,
    prefixes: BTreeMap<Prefix, Listed>,
    switched: bool,
    /// Packets that the counter includes, and those that were logged.
    counted: u64,
    logged: u64,
    /// Packets of entries that were removed in this interval.
    removed: HashMap<Prefix, u64>,
    /// When the interval began; `None` before the first update.
    since: Option<u32>,
    /// The first failure of this interval.
    failure: Option<io::Error>,
}

/// An entry of the trie.
#[derive(Clone, Copy)]
struct Listed {
    drops: bool,
    logged: u64,
}

impl Shield {
    /// The shield with this filter.
    pub fn new(filter: Filter) -> Shield {
        Shield {
            filter,
            wishes: Wishes::default(),
            sources: HashMap::new(),
            prefixes: BTreeMap::new(),
            switched: false,
            counted: 0,
            logged: 0,
            removed: HashMap::new(),
            since: None,
            failure: None,
        }
    }

    /// Its filter.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Lists the sources that should be, from `banned` those that are banned now, and the
    /// banned prefixes, removes the others, and counts. `now` is the host clock, `interval`
    /// the seconds between two log lines of a kind. `log` gets what is logged.
    pub fn update(
        &mut self,
        limiter: &Limiter,
        banned: impl Iterator<Item = Source>,
        flooding: impl Iterator<Item = Source>,
        now: u32,
        interval: u32,
        log: &mut dyn FnMut(ShieldNotice),
    ) {
        let since = *self.since.get_or_insert(now);
        let wanted = self.wishes.of(limiter, banned, flooding);
        self.apply(&wanted);
        self.count(limiter, &wanted);
        let seconds = now.wrapping_sub(since);
        if seconds >= interval {
            self.since = Some(now);
            self.end_interval(limiter, seconds, log);
        }
    }

    /// Changes the maps. An entry that fails is tried again at the next update.
    fn apply(&mut self, wanted: &Wanted) {
        let admitting = wanted.prefixes.iter().filter(|(_, drops)| !**drops);
        for prefix in admitting.map(|(prefix, _)| *prefix).collect::<Vec<_>>() {
            self.set_prefix(prefix, false);
        }
        if !wanted.prefixes.is_empty() {
            self.switch(true);
        }
        self.remove_prefixes(|prefix, listed| {
            listed.drops && wanted.prefixes.get(prefix) != Some(&true)
        });
        self.remove_sources(wanted);
        for (prefix, _) in wanted.prefixes.iter().filter(|(_, drops)| **drops) {
            // Without its exceptions it would drop too much.
            if wanted.has_all_exceptions(*prefix, |prefix| self.admits(prefix)) {
                self.set_prefix(*prefix, true);
            }
        }
        for source in &wanted.sources {
            if wanted.has_all_exceptions(*source, |prefix| self.admits(prefix)) {
                self.add_source(*source);
            }
        }
        self.remove_prefixes(|prefix, _| !wanted.prefixes.contains_key(prefix));
        if self.prefixes.is_empty() {
            self.switch(false);
        }
    }

    fn admits(&self, prefix: Prefix) -> bool {
        self.switched
            && self
                .prefixes
                .get(&prefix)
                .is_some_and(|listed| !listed.drops)
    }

    fn switch(&mut self, on: bool) {
        if self.switched != on {
            match self.filter.switch(on) {
                Ok(()) => self.switched = on,
                Err(error) => self.fail(error),
            }
        }
    }

    fn set_prefix(&mut self, prefix: Prefix, drops: bool) {
        let listed = self.prefixes.get(&prefix);
        let is_same = listed.is_some_and(|listed| listed.drops == drops);
        if is_same || listed.is_none() && self.prefixes.len() >= MAX_PREFIXES {
            return;
        }
        match self.filter.set_prefix(prefix, drops) {
            Ok(()) => {
                self.prefixes.insert(prefix, Listed { drops, logged: 0 });
            }
            Err(error) => self.fail(error),
        }
    }

    fn remove_prefixes(&mut self, is_stale: impl Fn(&Prefix, &Listed) -> bool) {
        let stale: Vec<(Prefix, Listed)> = self
            .prefixes
            .iter()
            .filter(|(prefix, listed)| is_stale(prefix, listed))
            .map(|(prefix, listed)| (*prefix, *listed))
            .collect();
        for (prefix, listed) in stale {
            let dropped = self.filter.dropped_from_prefix(prefix);
            match self.filter.remove_prefix(prefix) {
                Ok(()) => {
                    self.prefixes.remove(&prefix);
                    self.note_removed(prefix, dropped, listed.logged);
                }
                Err(error) => self.fail(error),
            }
        }
    }

    fn remove_sources(&mut self, wanted: &Wanted) {
        let listed = self.sources.keys();
        let stale: Vec<Prefix> = listed
            .filter(|source| !wanted.sources.contains(source))
            .copied()
            .collect();
        for source in stale {
            let dropped = self.filter.dropped_from_source(source);
            match self.filter.remove_source(source) {
                Ok(()) => {
                    let logged = self.sources.remove(&source).unwrap_or(0);
                    self.note_removed(source, dropped, logged);
                }
                Err(error) => self.fail(error),
            }
        }
    }

    fn note_removed(&mut self, entry: Prefix, dropped: io::Result<Option<u64>>, logged: u64) {
        let dropped = dropped.ok().flatten().unwrap_or(0);
        let new = dropped.saturating_sub(logged);
        if new > 0 && self.removed.len() < MAX_SOURCES {
            *self.removed.entry(entry).or_default() += new;
        }
    }

    fn add_source(&mut self, source: Prefix) {
        if self.sources.contains_key(&source) || self.sources.len() >= MAX_SOURCES {
            return;
        }
        match self.filter.add_source(source) {
            Ok(()) => {
                self.sources.insert(source, 0);
            }
            Err(error) => self.fail(error),
        }
    }

    fn fail(&mut self, error: io::Error) {
        self.failure.get_or_insert(error);
    }

    /// Publishes the numbers.
    fn count(&mut self, limiter: &Limiter, wanted: &Wanted) {
        let entries = self.sources.len() + self.prefixes.values().filter(|one| one.drops).count();
        let unlisted = wanted.drops().saturating_sub(entries);
        let numbers = limiter.shield_numbers();
        // Relaxed (statistics), in the whole function.
        numbers.entries.store(entries as u32, Ordering::Relaxed);
        numbers.unlisted.store(unlisted as u32, Ordering::Relaxed);
        match self.filter.dropped() {
            Ok(dropped) => {
                let new = dropped.saturating_sub(self.counted);
                numbers.dropped.fetch_add(new, Ordering::Relaxed);
                self.counted = dropped;
            }
            Err(error) => self.fail(error),
        }
    }

    fn end_interval(&mut self, limiter: &Limiter, seconds: u32, log: &mut dyn FnMut(ShieldNotice)) {
        let packets = self.counted - self.logged;
        self.logged = self.counted;
        let mut by_entry = std::mem::take(&mut self.removed);
        if packets > 0 {
            self.add_new_packets(&mut by_entry);
            let mut most: Vec<(Prefix, u64)> = by_entry.into_iter().collect();
            most.sort_by_key(|&(entry, packets)| (std::cmp::Reverse(packets), entry));
            let others = most.len().saturating_sub(NAMED);
            most.truncate(NAMED);
            log(ShieldNotice::Dropped(ShieldDropped {
                packets,
                seconds,
                most,
                others,
            }));
        }
        if let Some(error) = self.failure.take() {
            log(ShieldNotice::Failed(error));
        }
        // Relaxed (statistics).
        let unlisted = limiter.shield_numbers().unlisted.load(Ordering::Relaxed);
        if unlisted > 0 {
            log(ShieldNotice::Full(ShieldFull { unlisted }));
        }
    }

    /// Adds what each entry dropped since the last line.
    fn add_new_packets(&mut self, by_entry: &mut HashMap<Prefix, u64>) {
        let filter = &self.filter;
        let sources = self.sources.iter_mut();
        let sources = sources.map(|(entry, logged)| {
            let dropped = filter.dropped_from_source(*entry);
            (*entry, logged, dropped)
        });
        let prefixes = self.prefixes.iter_mut().filter(|(_, listed)| listed.drops);
        let prefixes = prefixes.map(|(entry, listed)| {
            let dropped = filter.dropped_from_prefix(*entry);
            (*entry, &mut listed.logged, dropped)
        });
        for (entry, logged, dropped) in sources.chain(prefixes) {
            let dropped = dropped.ok().flatten().unwrap_or(0);
            let new = dropped.saturating_sub(*logged);
            *logged = dropped.max(*logged);
            if new > 0 {
                *by_entry.entry(entry).or_default() += new;
            }
        }
    }
}
