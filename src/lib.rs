// SPDX-License-Identifier: GPL-2.0-or-later
//! Limits the connections of each source address at constant cost.
//!
//! This is the engine of the Kamailio module `tcp_conn_limit`. It does not depend on
//! Kamailio: addresses and integers go in, verdicts and counts come out.
//!
//! ```text
//!   Kamailio core            module tcp_conn_limit.so       this library
//!  ┌────────────────────┐   ┌───────────────────────┐   ┌───────────────┐
//!  │ accept      check ─┼──▶│ thin C shim:          │   │               │
//!  │ hashed     opened ─┼──▶│ hooks, parameters,    ├──▶│ ffi           │
//!  │ unhashed   closed ─┼──▶│ RPC, counters         │   │               │
//!  └────────────────────┘   └───────────────────────┘   └───────────────┘
//! ```
//!
//! A core without hooks does not call the module when it accepts or closes a
//! connection. There, `interpose` replaces the functions of the C library that the core
//! calls, and its wrappers make the same three calls.
//!
//! Inside the library, an arrow means "calls". `ffi` also attaches and detaches
//! `interpose`, and uses its reader of socket addresses; it loads the `shield` into the
//! kernel, and updates it from what `observe` found.
//!
//! ```text
//!   interpose ─────────▶ ffi ──────────────▶ observe
//!   wrappers of          the C ABI;          reports, audit,
//!   accept and close     panics stop here    log lines
//!                         │                     │
//!                         ▼                     │
//!                        limiter ◀──────────────┘
//!                        check, opened, closed
//!                         │          │
//!                         ▼          ▼
//!                        table      policy
//!                        slots,     terms: rules
//!                        rows       and settings
//!                         │          │
//!                         ▼          ▼
//!                        shared
//!                        memory, atomics, processes
//! ```
//!
//! # Reading order
//!
//! 1. [`source`]: what is counted. In its folder: its scope, the prefix of a network.
//! 2. [`limiter`]: check, opened, closed. In its folder: `connections` (connect and
//!    disconnect, which keep a record of each connection), `gates` (why a connection is
//!    rejected: ban, rate, limit, reserve, pressure, cluster, no room), `networks` (the second
//!    scope), [`load`](limiter::load) (how full the host is, and what follows from it),
//!    `offences` (penalties and bans), `moves` (a connection of a proxy counts for its client),
//!    `settings` and `rules` (how they change meanwhile), the token of a cell, and `statistics`.
//! 3. `table`: `hash` and `directory` (how a source finds, gets and loses its slot),
//!    `rows` (its count), `connections` (the records), `moved` (those that count for another
//!    source), `details` (its rejections and its peak), `tagged` and `restraints` (what it
//!    owes), `hint`, `others` (its connections on other nodes).
//! 4. [`policy`]: [`terms`](policy::terms) (what a rule grants), `rule_text` (the grammar of
//!    a rule), [`rule_words`](policy::rule_words) (the words in it),
//!    [`rate_text`](policy::rate_text), [`penalties`](policy::penalties) (offences and what
//!    they cost), [`reserve`](policy::reserve) and [`pressure`](policy::pressure) (what
//!    applies while the host is nearly full), [`origin`](policy::origin) (where a rule comes from),
//!    [`rule_command`](policy::rule_command) (the arguments of commands
//!    that change a rule), [`rules`](policy::rules) (a set of them and the longest match),
//!    [`rules_file`](policy::rules_file), `rulebook` (the active rules in shared memory: in its
//!    folder how they lie there, how they change, and the lock of the writer),
//!    [`settings`](policy::settings).
//! 5. `shared`: `layout` and `region` (the shared memory), `prefetch`, `clock`, `sync` (atomics
//!    and the rules of their orderings), `process`, `visible` (text for log lines).
//! 6. [`observe`]: [`report`](observe::report) and [`audit`](observe::audit) answer an
//!    operator; [`counters`](observe::counters) describes and reads the counters;
//!    [`watch`](observe::watch) samples sources and decides what is logged;
//!    [`nearness`](observe::nearness) is what it samples of the limits;
//!    [`notices`](observe::notices) and [`load_notices`](observe::load_notices) word it.
//! 7. `interpose`: the attachment to a core without hooks. `attach`, `got` and `patch`
//!    replace functions, `wrappers` has the replacements, `counter` is what these call.
//! 8. [`shield`]: the kernel's part. `filter` is the program that drops packets, `wanted`
//!    decides whose.
//! 9. [`cluster`]: one limit for several servers. What they send each other and when, and
//!    the sums of what arrived; [`bound`](cluster::bound) says how exact these are. It
//!    calls none of the other parts but `source`; [`observe::cluster`] runs it.
//! 10. [`ffi`]: the C ABI. In its folder: `global` (the state of the process, and where
//!     panics stop), then one file for each group of functions. `host`: the types and
//!     functions of the host.
//!
//! `src/loom/` is not shipped. It replaces the atomics, the memory, the hash and the
//! processes where `make loom` searches the orders of threads.
//!
//! `unsafe` is in `shared::region`, `shared::prefetch`, `interpose`, `shield::bpf` and
//! [`ffi`] only.
//!
//! # Glossary
//!
//! - **source**: what is counted and limited, a family and a masked address
//!   ([`source::Source`]).
//! - **scope** of a source: where its connections are counted, if not once for the whole
//!   server ([`source::Scope`]). An address is another source in each scope.
//! - **network** of a source: the /24 or /48 that it lies in, if networks are counted. It is
//!   a source in a scope of its own, with a limit and a rate.
//! - **slot**: an entry of the table. A source with connections has exactly one, among
//!   the eight slots of its two buckets.
//! - **`SlotRef`**: a slot, and the control word that was read in it. It is valid while
//!   the slot still has this control word, except for rows entered since and for what it
//!   remembers.
//! - **row**: the cells of one worker, a cell for each slot. The **acceptor row** is the
//!   row of the worker that accepts connections; its cells lie in the slots.
//! - **token** of a cell: names the slot, row and epoch in which one connection is counted
//!   ([`limiter::Token`]).
//! - **record**: what is kept of one connection, 16 bytes at the index of its descriptor in
//!   the accepting process: the token of its cell, its generation and facts, and when it
//!   opened.
//! - **token** of a connection: names its descriptor and the generation of its record. The
//!   host keeps it and gives it back when the connection closes
//!   ([`limiter::ConnectionToken`]).
//! - **move** of a connection: a worker counts it for the client of a proxy from now on
//!   ([`limiter::Limiter::count_for`]).
//! - **facts** about a connection: whether it is for TLS, whether the client spoke, how it
//!   ended ([`limiter::Facts`]).
//! - **epoch**: counts the claims of a slot, in 12 bits of its control word. It shows
//!   that a token or a detail belongs to an earlier owner of the slot.
//! - **stamp**: counts the attempts to take a slot, in 10 bits. It makes a
//!   compare-exchange fail if the slot changed in between.
//! - **trusted**: a connection that the script vouched for, or whose source a rule trusts. All
//!   others are untrusted, and the untrusted ones of a source have a limit of their own
//!   ([`limiter::Limiter::trust`]).
//! - **round** of trusted connections: grows when a source opens its first connection and
//!   something was left of earlier ones (`table::trusted`).
//! - **others**: the connections of a source on the other nodes of the cluster, as far as they
//!   are known here.
//! - **gate**: one reason to reject a connection: a ban, the rate, the limit, the limit of
//!   untrusted connections, the reserve, pressure, the limit over all nodes.
//! - **debt**: the time that a source needs to pay for its connections at its rate. Each
//!   connection costs an interval; the source may owe a burst of them (GCRA).
//! - **offence**: something that costs a source time, such as a connection without a
//!   message. **Penalty**: the sum of its offences. **Ban**: a penalty that is long enough, or
//!   one that a command or the script set.
//! - **exempt**: commits no offence and is not banned, by its rule.
//! - **load**: how many of its connections the host uses, of how many.
//! - **reserve**: the last connections of the host, which only sources of **trusted** rules
//!   get. **Pressure**: levels of the load that lower the **effective limit** of all other
//!   sources.
//! - **remembers**: the bit of a slot's control word that says that its source may owe
//!   something: a debt, a penalty or a ban.
//! - **generation** of the rules: counts the sets of rules that were published. Its lowest
//!   bit says which half of the rules is active.
//! - **generation** of a record: counts the connections that the descriptor had, in 23 bits.
//! - **terms**: what a source may do by its rule or by default: a limit, a rate, an
//!   exemption, a ban ([`policy::terms::Terms`]).
//! - **active rules**: the rules that checks use now. To publish is to fill the inactive
//!   half and then store the next generation.
//!
//! - **kernel shield**: a program in the kernel that drops the connection attempts of
//!   **listed** sources and prefixes: banned ones, and for a time those that **flood**, which
//!   are rejected more often than a threshold in a second.
//!
//! - **cluster**: servers, its **nodes**, that share the limits of sources. A node reports a
//!   source from a **threshold** on, in **records**. A **round** is an interval between two
//!   reports. ([`cluster`])
//! - **life** of a node: one run of its process, named by a **boot id**. It begins to count for
//!   another node when its **pulse**, the first message of an interval, **echoes** a pulse of
//!   that node.
//! - **dump**: a repetition of all records, for a node that asks for it.
//!
//! # Invariants
//!
//! 1. At rest, the sum of a source's cells is the number of its connections.
//! 2. No cell is ever read as less than zero.
//! 3. One acceptor: never more than the limit, never a false rejection. Several
//!    acceptors: never more than the limit, if they count with it
//!    ([`Limiter::opened`]). The same holds for the rate.
//! 4. A source with connections is never replaced.
//! 5. A process killed at any instruction leaves the table usable.
//! 6. `check`, `connect`, `disconnect` and what they call never block, take no lock,
//!    allocate nothing and do no I/O. This is not promised for other functions: two
//!    processes cannot publish rules at the same time (`WriterLock`; the second one fails
//!    at once), and the background watch and `interpose` have a mutex each. [`ffi`] says
//!    which calls wait, and for what.
//! 7. A panic admits the connection, is counted, and is logged once.
//! 8. A rejected connection costs its source nothing of its rate. One that is rejected
//!    because of a ban does not make the ban longer.
//! 9. A source is never banned or charged for another one, except by the chance that
//!    `table::tagged` states. A full table forgets bans; it never rejects because of them.
//! 10. At rest, a source has as many trusted connections as its records say, plus one for
//!     each process that was killed while it trusted or moved one, until the source has no connection
//!     any more. Never fewer: a kill is in favour of the source.
//! 11. With one acceptor, a source of a trusted rule is never rejected because of the load, and
//!     a source without connections only to keep the reserve.
//! 12. The kernel shield drops only SYN packets of sources that the limiter would reject
//!     because of a ban, or that flood, at the last tick of the watch.
//! 13. Each connection is counted in its source and in its network, or in neither, unless the
//!     rule of its address keeps it out of the network or the table has no slot for that.
//! 14. A connection that is moved to another source is always counted in at least one of the
//!     two; in both only while it moves. A process killed while it moves one leaves at most one
//!     connection too many, in one of the two sources and its network, until the restart. Never
//!     one too few.
//! 15. What a node has of another node is a count that this one had. No message is applied
//!     that was forged, that was applied before, or that was sent before the node started.
//!     Without loss, a source never has more connections in a cluster than
//!     [`cluster::bound::total`].
//!
//! [`Limiter::opened`]: limiter::Limiter::opened

// Under loom a bucket has one slot.
#![cfg_attr(loom, allow(clippy::modulo_one, clippy::absurd_extreme_comparisons))]

// The oracle of `tests/engine/oracle/` is also used within the crate, by this name.
#[cfg(test)]
extern crate self as tcp_conn_limit;

pub mod cluster;
#[cfg(not(loom))]
pub mod ffi;
#[cfg(not(loom))]
#[rustfmt::skip]
mod host;
#[cfg(not(loom))]
mod interpose;
pub mod limiter;
pub mod observe;
pub mod policy;
mod shared;
#[cfg(not(loom))]
pub mod shield;
pub mod source;
mod table;

#[cfg(loom)]
pub use shared::process::killed_after;
