// SPDX-License-Identifier: GPL-2.0-or-later

//! The life of a server: start, end, and processes that are stopped or killed.

mod killed;
mod resources;
mod shutdown;
mod startup;
mod stopped;
