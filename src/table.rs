// SPDX-License-Identifier: GPL-2.0-or-later
//! Where a source lives, and what is known of it.
//!
//! - [`hash`](self::hash): which two buckets a source may lie in.
//! - [`directory`]: [`Table`], how a source gets, keeps and loses a slot.
//! - [`rows`]: its count, a cell for each worker.
//! - [`hint`]: where a thread last found a source.
//! - [`details`]: its rejections, its peak, when it was seen.

pub(crate) mod details;
mod directory;
#[cfg_attr(loom, path = "loom/hash.rs")]
pub(crate) mod hash;
pub(crate) mod hint;
pub(crate) mod rows;

pub(crate) use directory::{ClaimError, SlotRef, Table};
