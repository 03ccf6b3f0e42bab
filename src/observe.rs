// SPDX-License-Identifier: GPL-2.0-or-later
//! What operators see.
//!
//! - [`report`]: one source, the busiest ones, rules, proposed limits.
//! - [`audit`]: our counts against the host's connections.
//! - [`counters`]: what each counter means, and its value.
//! - [`watch`]: the dedicated process that samples sources and decides what is logged.

pub mod audit;
pub mod counters;
pub mod report;
pub mod watch;
