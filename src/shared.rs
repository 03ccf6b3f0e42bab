// SPDX-License-Identifier: GPL-2.0-or-later
//! The ground that everything else stands on; it depends on nothing here.
//!
//! - [`layout`]: what lies in the shared memory, and how much of it.
//! - [`region`]: the mapping, and all pointer arithmetic.
//! - [`sync`]: the only import of atomics, and the rules of their orderings.
//! - [`process`]: who runs, and whether another process still does.

pub(crate) mod layout;
#[cfg_attr(loom, path = "loom/process.rs")]
pub(crate) mod process;
#[cfg_attr(loom, path = "loom/region.rs")]
pub(crate) mod region;
pub(crate) mod sync;
