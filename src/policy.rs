// SPDX-License-Identifier: GPL-2.0-or-later
//! Which limit a source has.
//!
//! - [`rules`]: prefixes with limits, parsed and sorted: pure.
//! - `rulebook`: the active rules, in shared memory, replaced while they are read.
//! - [`settings`]: the default limit, the mode, what happens when the table is full.

pub(crate) mod rulebook;
pub mod rules;
pub mod settings;
