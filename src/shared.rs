// SPDX-License-Identifier: GPL-2.0-or-later
//! The layer below everything else; it depends on no other part of the library.
//!
//! - [`clock`]: the time of rates, penalties and bans.
//! - [`layout`]: the contents of the shared memory and their sizes.
//! - [`region`]: the mapping, and all pointer arithmetic.
//! - [`prefetch`]: memory that is about to be read.
//! - [`sync`]: the only import of atomics, and the rules of their orderings.
//! - [`process`]: the number of this thread, and whether another one is alive.
//! - [`visible`]: text from outside, made fit for a log line.

pub(crate) mod clock;
pub(crate) mod layout;
pub(crate) mod prefetch;
#[cfg_attr(loom, path = "loom/process.rs")]
pub(crate) mod process;
#[cfg_attr(loom, path = "loom/region.rs")]
pub(crate) mod region;
pub(crate) mod sync;
pub(crate) mod visible;
