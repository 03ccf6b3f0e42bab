// SPDX-License-Identifier: GPL-2.0-or-later

//! The module in a real Kamailio, with real connections.
#![forbid(unsafe_code)]

mod harness;
mod mode;

mod arguments;
mod detach;
mod differences;
mod full;
mod interpose;
mod ipv6;
mod killed;
mod limit;
mod live;
mod logs;
mod metrics;
mod modes;
mod pages;
mod proxy;
mod release;
mod reloads;
mod resources;
mod rules;
mod script;
mod seeing;
mod settings;
mod shutdown;
mod sip;
mod startup;
mod stopped;
mod storm;
mod talkers;
