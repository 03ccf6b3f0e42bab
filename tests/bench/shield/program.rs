// SPDX-License-Identifier: GPL-2.0-or-later

//! The program in the kernel alone: what it adds to a packet.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use tcp_conn_limit::shield::Filter;
use tcp_conn_limit::source::{Nat64, Prefix, PrefixLengths};

use crate::Result;

/// Runs of each measurement, of which the kernel gives the mean.
const RUNS: u32 = 1_000_000;

/// The nanoseconds that the program takes for a packet.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Cost {
    pub(crate) packet: String,
    /// Listed sources, and prefixes.
    pub(crate) sources: u32,
    pub(crate) prefixes: u32,
    pub(crate) ns: u32,
}

/// At the beginning of the packet is the IP header and also the TCP header, so octet 13 is
/// the flags and the second octet of the source address: 2 is a SYN, 16 an ACK.
fn packet(source: Ipv4Addr) -> [u8; 40] {
    let mut packet = [0; 40];
    packet[0] = 0x45;
    packet[12..16].copy_from_slice(&source.octets());
    packet
}

pub(crate) fn measure(runs: usize) -> Result<Vec<Cost>> {
    let mut costs = Vec::new();
    for (sources, prefixes) in [(0, 0), (1_000, 0), (65_000, 0), (65_000, 1_000)] {
        let filter = filled(sources, prefixes)?;
        for (name, source) in [
            (
                "SYN of a source that is not listed",
                Ipv4Addr::new(9, 2, 0, 1),
            ),
            ("packet of an open connection", Ipv4Addr::new(9, 16, 0, 1)),
        ] {
            let packet = packet(source);
            let times = (0..runs).map(|_| Ok(filter.run(&packet, RUNS)?.1));
            let times = times.collect::<Result<Vec<u32>>>()?;
            costs.push(Cost {
                packet: name.to_owned(),
                sources,
                prefixes,
                ns: times.into_iter().min().unwrap_or(0),
            });
        }
    }
    Ok(costs)
}

fn filled(sources: u32, prefixes: u32) -> Result<Filter> {
    let filter = Filter::load(PrefixLengths::DEFAULT, &Nat64::default())?;
    for n in 0..sources {
        let [_, a, b, c] = n.to_be_bytes();
        filter.add_source(Prefix::parse_any(&format!("10.{a}.{b}.{c}"))?)?;
    }
    for n in 0..prefixes {
        let [_, _, a, b] = n.to_be_bytes();
        filter.set_prefix(Prefix::parse_any(&format!("11.{a}.{b}.0/24"))?, true)?;
    }
    filter.switch(prefixes > 0)?;
    Ok(filter)
}
