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
//! have the type. So that the build stops with a sentence instead of a missing
//! type, the widths needed are checked below.
//!
//! # Orderings
//!
//! Three rules cover the table; the places that use them name the rule. What else
//! there is says for itself which guarantee it needs: the rules and their two halves
//! ([`crate::policy::rulebook`]), settings, hints.
//!
//! - **publish**: who fills a slot stores its control word last, with `Release`
//!   (or stronger); who reads the control word with `Acquire` sees what was
//!   filled in before.
//! - **total order**: adding to a cell and then looking at the control word, and
//!   changing the control word and then looking at the cells, are `SeqCst` on
//!   both sides. In the single total order of these operations one of two racing
//!   processes comes first, and the other one sees it.
//! - **statistics**: counters that nobody decides by are `Relaxed`.
//!
//! # Model checking
//!
//! With `--cfg loom` the atomics are those of `loom/sync.rs`, and
//! `tests/loom/` runs the library in all orders that threads can
//! take, up to a bound. Statistics stay as they are: since nobody decides by
//! them, they only make more orders, and none of them is worth a look.

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

/// A counter that nobody decides by, or what belongs to one.
pub(crate) type Statistic32 = core::sync::atomic::AtomicU32;
/// As above.
pub(crate) type Statistic64 = core::sync::atomic::AtomicU64;
