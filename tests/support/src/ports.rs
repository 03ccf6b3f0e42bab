// SPDX-License-Identifier: GPL-2.0-or-later

//! Port numbers that no process listens on.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

use nix::errno::Errno;

/// Below the ports that the kernel gives to clients, so that no client of a test running
/// at the same time can take them.
const FIRST: u16 = 15_000;
const COUNT: u16 = 17_000;

static TAKEN: AtomicU16 = AtomicU16::new(0);

/// A port that was free a moment ago. Another test program may still take it
/// before the server does: see `Config::start_or_end`.
pub fn free_port() -> u16 {
    // Test programs that run at the same time start at different ports.
    let start = process::id() as u16 % COUNT;
    for _ in 0..COUNT {
        let offset = TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start + offset % COUNT) % COUNT;
        if is_free(port) {
            return port;
        }
    }
    panic!("no port from {FIRST} on is free");
}

fn is_free(port: u16) -> bool {
    // One after the other, because the IPv6 socket also listens on IPv4.
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
        && match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)) {
            Ok(_) => true,
            // On a machine without IPv6, only tests that need it must fail.
            Err(error) => error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32),
        }
}
