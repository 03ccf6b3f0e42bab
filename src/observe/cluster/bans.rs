// SPDX-License-Identifier: GPL-2.0-or-later
//! [`BanLines`]: which bans of other nodes are logged.

#![forbid(unsafe_code)]

use super::LOG_MS;
use crate::limiter::Limiter;
use crate::limiter::cluster_bans::FromNode;
use crate::observe::notices::NodeBanned;
use crate::source::Prefix;

/// The most lines about bans of other nodes in an interval of [`LOG_MS`].
const MAX_LINES: u64 = 100;

/// The lines of this interval.
pub(super) struct BanLines {
    since: u64,
    lines: u64,
    /// Bans that began without a line.
    more: u64,
}

impl BanLines {
    pub(super) fn new(now: u64) -> BanLines {
        BanLines {
            since: now,
            lines: 0,
            more: 0,
        }
    }

    /// The line for what a ban of a node did, if it gets one.
    pub(super) fn line(
        &mut self,
        limiter: &Limiter,
        (node, who, seconds): (u8, Prefix, u32),
        done: FromNode,
    ) -> Option<NodeBanned> {
        let is_source = who.length == limiter.prefixes().length(who.family);
        match done {
            FromNode::Begins => {}
            // The watch logs the end of the ban of a source.
            FromNode::Ends if !is_source => {}
            FromNode::Ends | FromNode::Lasts | FromNode::Nothing => return None,
        }
        if self.lines == MAX_LINES {
            self.more += u64::from(done == FromNode::Begins);
            return None;
        }
        self.lines += 1;
        let board = limiter.cluster_board()?;
        let node = board.name_of(node).unwrap_or_default();
        Some(match done {
            FromNode::Begins => NodeBanned::Began { node, who, seconds },
            _ => NodeBanned::Lifted { node, who },
        })
    }

    /// The line about bans without one, when the interval ends.
    pub(super) fn end_interval(&mut self, now: u64) -> Option<NodeBanned> {
        if now.saturating_sub(self.since) < LOG_MS {
            return None;
        }
        let more = self.more;
        *self = BanLines::new(now);
        (more > 0).then_some(NodeBanned::More { bans: more })
    }
}
