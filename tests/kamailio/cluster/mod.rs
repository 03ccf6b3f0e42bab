// SPDX-License-Identifier: GPL-2.0-or-later

//! One limit for several servers, which exchange messages over DMQ.

mod bans;
mod failures;
mod links;
mod names;
mod nodes;
mod operator;
mod partitions;
mod settings;
mod sums;
