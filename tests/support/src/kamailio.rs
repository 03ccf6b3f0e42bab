// SPDX-License-Identifier: GPL-2.0-or-later

//! A real Kamailio for each test, and real clients for it.
//!
//! Nothing here waits for a fixed time. A server is ready when it answers. A connection
//! is admitted when it answers and rejected when it is closed. Everything else is polled
//! until a deadline.

#![forbid(unsafe_code)]

mod client;
mod config;
mod fifo;
mod http;
mod log;
pub mod mode;
mod netns;
pub mod phone;
pub mod process;
pub mod proxy;
mod reverse_proxy;
mod rpc;
pub mod server;
pub mod servers;
mod stream;
mod tls;

pub use client::{Client, Via, source};
pub use config::Config;
pub use log::Log;
pub use mode::Mode;
pub use netns::in_own_network;
pub use process::{Stopped, send};
pub use reverse_proxy::ReverseProxy;
pub use rpc::Fault;
pub use server::{Server, number};
pub use servers::{Servers, has_parameter, own_configuration, version};

pub use crate::ports::free_port;
pub use crate::wait::{DEADLINE, until};
