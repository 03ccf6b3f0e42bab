// SPDX-License-Identifier: GPL-2.0-or-later

//! The module in a real Kamailio, with real connections.
#![forbid(unsafe_code)]

mod attachment;
mod cluster;
mod counting;
mod differences;
mod life;
mod operator;
