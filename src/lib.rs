// SPDX-License-Identifier: GPL-2.0-or-later
//! Limits the connections of each source address at constant cost.
//!
//! This is the engine of the Kamailio module `tcp_conn_limit`, and knows nothing
//! of Kamailio: addresses and integers go in, verdicts and counts come out.
//!
//! ```text
//!   Kamailio core            module tcp_conn_limit.so       this library
//!  ┌────────────────────┐   ┌───────────────────────┐   ┌─────────────────────┐
//!  │ accept      check ─┼──▶│ thin C shim:          │   │ ffi                 │
//!  │ hashed     opened ─┼──▶│ hooks, parameters,    ├──▶│  └▶ limiter ◀ report│
//!  │ unhashed   closed ─┼──▶│ RPC, counters         │   │      │        audit │
//!  └────────────────────┘   └───────────────────────┘   │      ▼              │
//!                                                       │ table ─▶ rows       │
//!                                                       │   └──▶ region ◀─┘   │
//!                                                       │  shared memory      │
//!                                                       └─────────────────────┘
//! ```
//!
//! A core without hooks calls nobody, so `interpose` takes the place of the C
//! library's functions through which it accepts and closes, and makes the same three
//! calls.
//!
//! # Reading order
//!
//! 1. [`source`]: who is counted.
//! 2. [`limiter`]: check, opened, closed.
//! 3. `hash` and `table`: where a source is found, how it gets and loses its place.
//! 4. `rows`: what its count is.
//! 5. [`rules`] (pure) and `rulebook` (shared): which limit a source has.
//! 6. [`settings`] and `details`: what can be changed, what is known of a source.
//! 7. `region`: the memory all this lies in.
//! 8. [`report`] and [`audit`]: what an operator asks; [`watch`]: what the
//!    background process samples and logs.
//! 9. `interpose`: the way to a host without hooks.
//! 10. [`ffi`]: the C ABI; `host`: what the host offers to us; `sync`: atomics.
//!
//! `unsafe` is in `region`, `interpose` and [`ffi`] only.
//!
//! # Invariants
//!
//! 1. At rest, the sum of a source's cells is the number of its connections.
//! 2. No cell is ever read as less than zero.
//! 3. One acceptor: never more than the limit, never a false rejection. Several:
//!    never more than the limit, if they count with it ([`Limiter::opened`]).
//! 4. A source with connections is never replaced.
//! 5. A process killed at any instruction leaves the table usable.
//! 6. No operation blocks or takes a lock; `check`, `opened` and `closed` allocate
//!    nothing and do no I/O.
//! 7. A panic admits the connection, is counted, and is logged once.
//!
//! [`Limiter::opened`]: limiter::Limiter::opened

// in models a bucket has one slot
#![cfg_attr(loom, allow(clippy::modulo_one, clippy::absurd_extreme_comparisons))]

// The oracle of `tests/oracle/` is also used within the crate, by this name.
#[cfg(test)]
extern crate self as tcp_conn_limit;

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
pub mod source;
mod table;

#[cfg(loom)]
pub use shared::process::killed_after;
