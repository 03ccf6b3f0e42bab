// SPDX-License-Identifier: GPL-2.0-or-later

//! Changes the rules, the limits of sources and networks, the mode and the levels of pressure,
//! and bans greedy sources, under load.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::crowd::CROWDS;
use support::kamailio::{Server, number};

/// The lowest limit that is set. It is higher than honest sources need.
const LOWEST: usize = 8;
/// The highest limit that is set.
pub(crate) const HIGHEST: usize = 16;

/// The limit and the rules in a rest.
pub(crate) const LIMIT: usize = 10;
pub(crate) const RULES: &str = "127.0.0.1=unlimited trusted\n127.22.0.0/24=unlimited proxy\n";

/// Whether limits are enforced: they are while the number is even. Each change increments
/// it, so limits were enforced all the time between two reads of the same even number.
pub(crate) struct Settings(AtomicU64);

impl Settings {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn enforced(&self) -> Option<u64> {
        let now = self.0.load(Ordering::SeqCst);
        now.is_multiple_of(2).then_some(now)
    }

    fn change(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The changes in a round.
#[derive(Clone, Copy, Default)]
pub(crate) struct Changes {
    pub(crate) reloads: u64,
    /// Rules files with a mistake, which were not applied.
    pub(crate) invalid: u64,
    pub(crate) limits: u64,
    pub(crate) modes: u64,
    pub(crate) bans: u64,
}

impl Changes {
    pub(crate) fn add(&mut self, other: Self) {
        self.reloads += other.reloads;
        self.invalid += other.invalid;
        self.limits += other.limits;
        self.modes += other.modes;
        self.bans += other.bans;
    }
}

/// Changes one setting after the other until `end`, then restores all of them.
pub(crate) fn run(server: &Server, settings: &Settings, seed: u64, end: Instant) -> Changes {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut changes = Changes::default();
    while Instant::now() < end {
        match random.random_range(0..100) {
            0..55 => {
                load(server, &rules(&mut random));
                changes.reloads += 1;
            }
            55..65 => {
                load_invalid(server, &mut random);
                changes.invalid += 1;
            }
            65..70 => {
                // No network reaches such a limit.
                let limit = random.random_range(10_000..=20_000);
                server.rpc("tcp_conn_limit.set_network_limit", json!([limit]));
                changes.limits += 1;
            }
            70..85 => {
                let limit = random.random_range(LOWEST..=HIGHEST);
                server.rpc("tcp_conn_limit.set_limit", json!([limit]));
                changes.limits += 1;
            }
            85..88 => press(server, &mut random),
            88..93 => {
                ban(server, &mut random);
                changes.bans += 1;
            }
            _ => {
                let mode = ["monitor", "off"][random.random_range(0..2)];
                settings.change();
                server.rpc("tcp_conn_limit.set_mode", json!([mode]));
                sleep(Duration::from_millis(random.random_range(100..1000)));
                server.rpc("tcp_conn_limit.set_mode", json!(["enforce"]));
                settings.change();
                changes.modes += 1;
            }
        }
        sleep(Duration::from_millis(random.random_range(20..500)));
    }
    load(server, RULES);
    server.rpc("tcp_conn_limit.set_limit", json!([LIMIT]));
    server.rpc("tcp_conn_limit.set_network_limit", json!(["none"]));
    lift_all(server);
    server.rpc("tcp_conn_limit.set_pressure", json!(["none"]));
    server.rpc("tcp_conn_limit.set_reserve", json!(["none"]));
    changes
}

/// Sets levels of pressure that reject no honest source, and a reserve that is never needed.
fn press(server: &Server, random: &mut SmallRng) {
    let levels = ["none", "10:8", "10:12 20:9", "11:15 12:12 13:10 99:8"];
    let levels = levels[random.random_range(0..levels.len())];
    let answer = server.rpc("tcp_conn_limit.set_pressure", json!([levels]));
    assert_eq!(answer["pressure"], levels, "{answer}");
    let reserve = random.random_range(1..5);
    server.rpc("tcp_conn_limit.set_reserve", json!([format!("{reserve}%")]));
    let load = server.rpc("tcp_conn_limit.load", json!([]));
    assert!(number(&load, "level") <= number(&load, "levels"), "{load}");
}

/// Bans a greedy source for a moment, or lifts all bans. It closes no connection.
fn ban(server: &Server, random: &mut SmallRng) {
    if random.random_bool(0.3) {
        lift_all(server);
        return;
    }
    let (crowd, n) = (random.random_range(0..CROWDS), random.random_range(0..8));
    let source = format!("127.20.{crowd}.{n}");
    let seconds = random.random_range(1..5);
    server.rpc("tcp_conn_limit.ban", json!([source, seconds, "soak"]));
}

fn lift_all(server: &Server) {
    // It is an error if nothing is banned.
    _ = server.try_rpc("tcp_conn_limit.unban", json!(["all"]));
}

#[track_caller]
fn load(server: &Server, rules: &str) {
    server.write_rules(rules);
    server.rpc("tcp_conn_limit.reload", json!([]));
    let lines = rules.lines().count() as u64;
    assert_eq!(server.stat("rules"), lines, "rules after a reload");
}

/// Checks that a rules file with an invalid line changes nothing.
fn load_invalid(server: &Server, random: &mut SmallRng) {
    let before = server.rpc("tcp_conn_limit.stats", json!([]));
    server.write_rules(&(rules(random) + "127.0.0.1/8=nothing\n"));
    server.fault("tcp_conn_limit.reload", json!([]));
    assert_eq!(server.stat("rules"), number(&before, "rules"));
}

/// Rules for the greedy sources, for networks around all of them, and many that match no
/// source.
fn rules(random: &mut SmallRng) -> String {
    let mut rules = BTreeMap::new();
    for crowd in 0..CROWDS {
        for n in 0..random.random_range(0..8u8) {
            rules.insert(format!("127.20.{crowd}.{n}"), 0);
            let net = u16::from_be_bytes([crowd, n]);
            rules.insert(format!("2001:db8:ffff:{net:x}::/64"), 0);
        }
    }
    for wide in ["127.0.0.0/8", "127.20.0.0/16", "2001:db8::/32"] {
        if random.random_bool(0.5) {
            rules.insert(wide.to_owned(), 0);
        }
    }
    for n in 0..random.random_range(0..2000u16) {
        let [a, b] = n.to_be_bytes();
        rules.insert(format!("10.{a}.{b}.0/24"), 0);
    }
    let mut text = RULES.to_owned();
    for networks in ["127.20.0.0/16", "2001:db8::/32"] {
        if random.random_bool(0.5) {
            text += &format!("network {networks}=15000\n");
        }
    }
    for prefix in rules.keys() {
        let limit = random.random_range(LOWEST..=HIGHEST);
        text += &format!("{prefix}={limit}\n");
    }
    text
}
