// SPDX-License-Identifier: GPL-2.0-or-later
//! The only import of atomics.
//!
//! # Why atomics work between processes here
//!
//! The table lives in memory that several processes map, possibly at different
//! addresses. The C++ standard (ISO/IEC 14882, [atomics.lockfree]) recommends
//! that lock-free atomic operations be *address-free*: they work on memory that
//! is mapped more than once, or by more than one process. Rust's atomics follow
//! the C++ memory model and are always lock-free where they exist
//! (`core::sync::atomic`, "Portability"): a target without the width does not
//! have the type. The required widths are checked below, so that the build stops with an
//! explanation instead of a missing type.
//!
//! # Orderings
//!
//! Three rules cover the table; the comments at each use name the rule. All other uses say
//! themselves which guarantee they need: the rules and their two halves
//! ([`crate::policy::rulebook`]), settings, hints.
//!
//! - **publish**: a process that fills a slot stores its control word last, with `Release`
//!   (or stronger). A process that loads the control word with `Acquire` sees everything
//!   that was filled in before.
//! - **total order**: adding to a cell and then loading the control word, and changing the
//!   control word and then loading the cells, are `SeqCst` on both sides. In the single
//!   total order of these operations one of two racing processes comes first, and the
//!   other one sees it.
//! - **statistics**: counters on which no decision depends are `Relaxed`.
//!
//! # Model checking
//!
//! With `--cfg loom` the atomics are those of `src/loom/sync.rs`, and `tests/loom/` runs the
//! library in all orders that threads can take, up to a bound. Statistics are not modelled:
//! since no decision depends on them, they would only add orders that need no check.

#![forbid(unsafe_code)]

#[cfg(loom)]
#[path = "../loom/sync.rs"]
mod stand_ins;

#[cfg(not(all(target_has_atomic = "32", target_has_atomic = "64")))]
compile_error!(
    "tcp_conn_limit needs lock-free 32 and 64 bit atomics, which this target does not have: \
     a lock inside an atomic would not be shared between Kamailio's processes"
);

#[cfg(not(target_pointer_width = "64"))]
compile_error!(
    "tcp_conn_limit needs 64 bit addresses: a table for 100,000,000 connections, which is \
     allowed, takes 25 GB of address space"
);

pub(crate) use core::sync::atomic::Ordering;

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize};
#[cfg(loom)]
pub(crate) use stand_ins::{AtomicI32, AtomicU32, AtomicU64};

/// A counter on which no decision depends, or a word that belongs to such a counter: 32
/// bits.
pub(crate) type Statistic32 = core::sync::atomic::AtomicU32;
/// A [`Statistic32`] of 16 bits.
pub(crate) type Statistic16 = core::sync::atomic::AtomicU16;
/// A [`Statistic32`] of 64 bits.
pub(crate) type Statistic64 = core::sync::atomic::AtomicU64;
