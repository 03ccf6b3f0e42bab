// SPDX-License-Identifier: GPL-2.0-or-later

//! Counts and limits: which connections count, and when they no longer do.

mod full_table;
pub(crate) mod ipv6;
mod limit;
mod proxy;
mod release;
mod reverse_proxy;
mod sip;
mod storm;
