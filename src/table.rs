// SPDX-License-Identifier: GPL-2.0-or-later
//! The slot of a source, its count and its details.
//!
//! - [`hash`](self::hash): the two buckets in which a source may be.
//! - [`directory`]: [`Table`]; how a source gets, keeps and loses a slot.
//! - [`rows`]: the count of a source, a cell for each row.
//! - [`hint`]: where a thread last found a source.
//! - [`connections`]: the record of each connection, by its descriptor.
//! - [`moved`]: in which cells the connections are counted that were moved to another source.
//! - [`details`]: the rejections of a source, its peak, and when it was seen.
//! - [`restraints`]: what a source owes: the debt of its rate, its penalty or its ban.
//! - [`tagged`]: the words in which that is kept.
//! - [`trusted`]: how many of its connections are trusted.
//! - [`others`]: how many connections the other nodes of the cluster have of a source.

pub(crate) mod connections;
pub(crate) mod details;
mod directory;
#[cfg_attr(loom, path = "loom/hash.rs")]
pub(crate) mod hash;
pub(crate) mod hint;
pub(crate) mod moved;
pub(crate) mod others;
pub(crate) mod restraints;
pub(crate) mod rows;
pub(crate) mod tagged;
pub(crate) mod trusted;

pub(crate) use directory::{ClaimError, Event, SlotRef, Table};
