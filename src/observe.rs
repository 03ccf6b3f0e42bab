// SPDX-License-Identifier: GPL-2.0-or-later
//! What operators see.
//!
//! - [`report`]: one source, the busiest sources, the rules, proposed limits.
//! - [`audit`]: compares our counts with the host's connections.
//! - [`cluster`]: runs this node of the cluster, and shows the others.
//! - [`counters`]: what each counter means, and its value.
//! - [`watch`]: samples the sources in a dedicated process and decides what is logged.
//! - [`debts`]: how much of their bursts sources use, and rates that would fit.
//! - [`nearness`]: how near the sources are to their limits.
//! - [`networks`]: how many networks there are.
//! - [`notices`]: the wording of all log lines. [`load_notices`]: those about reserve and
//!   pressure.

pub mod audit;
pub mod cluster;
pub mod counters;
pub mod debts;
pub mod load_notices;
pub mod nearness;
pub mod networks;
pub mod notices;
pub mod report;
pub mod watch;
