// SPDX-License-Identifier: GPL-2.0-or-later

//! The packets between the servers, which a raw socket also gets.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket, sockopt,
};
use serde::{Deserialize, Serialize};

use crate::Result;

/// Packets, and their bytes with all headers.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Traffic {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

impl Traffic {
    fn add(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }
}

/// What the servers sent each other.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Wire {
    pub(crate) seconds: f64,
    /// Messages of the module. One to both other servers counts twice.
    pub(crate) messages: Traffic,
    /// Answers of DMQ to these and to its own messages.
    pub(crate) answers: Traffic,
    /// Messages of DMQ about its nodes.
    pub(crate) of_dmq: Traffic,
}

/// Counts the packets between these addresses for a time.
pub(crate) fn count(nodes: &[SocketAddrV4], window: Duration) -> Result<Wire> {
    let raw: OwnedFd = socket(
        AddressFamily::Inet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::Udp,
    )
    .map_err(|error| format!("raw socket: {error}; run as root"))?;
    setsockopt(&raw, sockopt::RcvBuf, &(8 << 20))?;
    // A raw socket also receives packets.
    let raw = UdpSocket::from(raw);
    raw.set_read_timeout(Some(Duration::from_millis(20)))?;
    let mut wire = Wire::default();
    let mut packet = vec![0; 65_536];
    let began = Instant::now();
    while began.elapsed() < window {
        if let Ok(length) = raw.recv(&mut packet) {
            wire.see(&packet[..length], nodes);
        }
    }
    wire.seconds = began.elapsed().as_secs_f64();
    Ok(wire)
}

impl Wire {
    /// Counts a packet with its headers of IP and UDP.
    fn see(&mut self, packet: &[u8], nodes: &[SocketAddrV4]) -> Option<()> {
        let header = usize::from(packet.first()? & 0x0f) * 4;
        let to = Ipv4Addr::from(*packet.get(16..20)?.first_chunk::<4>()?);
        let udp = packet.get(header..)?;
        let port = u16::from_be_bytes(*udp.get(2..4)?.first_chunk()?);
        if !nodes.contains(&SocketAddrV4::new(to, port)) {
            return None;
        }
        let text = udp.get(8..)?;
        let kind = if text.starts_with(b"KDMQ sip:tcp_conn_limit@") {
            &mut self.messages
        } else if text.starts_with(b"SIP/2.0") {
            &mut self.answers
        } else {
            &mut self.of_dmq
        };
        kind.add(packet.len());
        Some(())
    }
}

/// Counts in a thread while `during` runs, which should take as long.
pub(crate) fn count_during<T>(
    nodes: &[SocketAddrV4],
    window: Duration,
    during: impl FnOnce() -> Result<T>,
) -> Result<(Wire, T)> {
    thread::scope(|scope| {
        let counting = scope.spawn(move || count(nodes, window).map_err(|error| error.to_string()));
        let done = during()?;
        let wire = counting.join().map_err(|_| "the count panicked")?;
        Ok((wire?, done))
    })
}
