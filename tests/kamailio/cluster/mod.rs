// SPDX-License-Identifier: GPL-2.0-or-later

//! One limit for several servers, which exchange messages over DMQ.

mod bans;
mod failures;
mod nodes;
mod operator;
mod settings;
mod sums;
