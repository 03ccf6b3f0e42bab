// SPDX-License-Identifier: GPL-2.0-or-later

//! The links between the nodes of a cluster, which a test can cut, each way by itself.
//!
//! ```text
//!   node j ──▶ outer socket of k ──▶ node k
//! ```
//!
//! Each node listens on an inner port, and is called by an outer one, on which a thread of the
//! test receives what is for it. The thread passes it on from the outer socket of its sender, so
//! a node sees only outer addresses. Answers take the same way back.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The links of nodes with the addresses that end with 1, 2 and so on. They end when this value
/// is dropped.
pub(super) struct Links {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    outer: Vec<UdpSocket>,
    inner: Vec<SocketAddrV4>,
    /// Whether what a node sends to another one is lost: by sender and receiver.
    is_cut: Vec<Vec<AtomicBool>>,
    ends: AtomicBool,
}

impl Links {
    /// The nodes with these addresses, and their inner ports.
    pub(super) fn new(outer: &[SocketAddrV4], inner: &[u16]) -> Links {
        let bind = |address: &SocketAddrV4| {
            let socket = UdpSocket::bind(address).expect("the port is free");
            let pause = Some(Duration::from_millis(20));
            socket
                .set_read_timeout(pause)
                .expect("a time that is not 0");
            socket
        };
        let row = || outer.iter().map(|_| AtomicBool::new(false)).collect();
        let ports = outer.iter().zip(inner);
        let shared = Arc::new(Shared {
            outer: outer.iter().map(bind).collect(),
            inner: ports
                .map(|(outer, inner)| SocketAddrV4::new(*outer.ip(), *inner))
                .collect(),
            is_cut: outer.iter().map(|_| row()).collect(),
            ends: AtomicBool::new(false),
        });
        let threads = (0..outer.len()).map(|to| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.pass_on(to))
        });
        Links {
            threads: threads.collect(),
            shared,
        }
    }

    /// From now on, what a node of `from` sends to one of `to` is lost.
    pub(super) fn cut(&self, from: &[usize], to: &[usize]) {
        self.set(from, to, true);
    }

    /// Parts two groups of nodes.
    pub(super) fn part(&self, some: &[usize], others: &[usize]) {
        self.cut(some, others);
        self.cut(others, some);
    }

    /// Nothing is lost any more.
    pub(super) fn heal(&self) {
        let all: Vec<usize> = (0..self.shared.outer.len()).collect();
        self.set(&all, &all, false);
    }

    fn set(&self, from: &[usize], to: &[usize], is_cut: bool) {
        for &sender in from {
            for &receiver in to {
                self.shared.is_cut[sender][receiver].store(is_cut, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            _ = thread.join();
        }
    }
}

impl Shared {
    /// Passes on what is for the node `to`.
    fn pass_on(&self, to: usize) {
        let mut message = vec![0; 65_536];
        while !self.ends.load(Ordering::Relaxed) {
            let Ok((length, sender)) = self.outer[to].recv_from(&mut message) else {
                continue;
            };
            let Some(from) = self.node(sender) else {
                continue;
            };
            if !self.is_cut[from][to].load(Ordering::Relaxed) {
                // It fails if the node does not run.
                _ = self.outer[from].send_to(&message[..length], self.inner[to]);
            }
        }
    }

    fn node(&self, sender: SocketAddr) -> Option<usize> {
        let is = |ip: &Ipv4Addr| sender.ip() == *ip;
        self.inner.iter().position(|node| is(node.ip()))
    }
}
