// SPDX-License-Identifier: GPL-2.0-or-later

//! The module in a real Kamailio, with real connections.
#![forbid(unsafe_code)]

mod harness;
mod mode;

mod differences;
mod ipv6;
mod limit;
mod proxy;
mod release;
mod resources;
mod seeing;
mod settings;
mod shutdown;
mod sip;
mod startup;
mod storm;
