// SPDX-License-Identifier: GPL-2.0-or-later

//! A real Kamailio for each test, and real clients for it.
//!
//! Nothing here waits for a fixed time. A server is ready when it answers. A connection
//! is admitted when it answers and rejected when it is closed. Everything else is polled
//! until a deadline.

mod client;
mod config;
mod http;
mod log;
mod netns;
mod ports;
pub(crate) mod process;
pub(crate) mod proxy;
mod rpc;
pub(crate) mod server;
pub(crate) mod servers;
#[path = "../../set_at_end.rs"]
mod set_at_end;
mod stream;
mod tls;
mod wait;

pub(crate) use client::{Client, Via, source};
pub(crate) use config::Config;
pub(crate) use log::Log;
pub(crate) use netns::in_own_network;
pub(crate) use ports::free_port;
pub(crate) use process::{Stopped, send};
pub(crate) use rpc::Fault;
pub(crate) use server::{Server, number};
pub(crate) use servers::{Servers, has_parameter, version};
pub(crate) use set_at_end::SetAtEnd;
pub(crate) use wait::{DEADLINE, until};
