// SPDX-License-Identifier: GPL-2.0-or-later

//! Rules that many processes load at once, while connections come and go at the
//! limit: each decision is by one set of rules, and never by parts of two.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::harness::{Config, Server, SetAtEnd, Stopped, Via, source, until};
use crate::mode::{Mode, attached_either_way};

attached_either_way!(storm_of_reloads, loader_is_stopped,);

/// What the two sets say of 127.130.0.0/16, by other rules each.
const AGREED: usize = 3;
/// What they say of 127.131.0.0/16.
const LOWER: usize = 2;
const HIGHER: usize = 5;
/// In force where there are no rules, as there are none in half a set.
const DEFAULT: i64 = 9;

const RELOAD: &str = "tcp_conn_limit.reload";

/// One of the two sets. With `more` rules for sources that there are none of, of
/// which those of the one set come before the rest and those of the other after it:
/// a half that is neither set does not have the rules where they are looked for.
fn rules(second: bool, more: u32) -> String {
    let network = if second { 200 } else { 10 };
    let others = (0..more).map(|n| {
        let [_, a, b, c] = n.to_be_bytes();
        format!("{network}.{a}.{b}.{c}=1\n")
    });
    let ours = match second {
        false => format!("127.130.0.0/16={AGREED}\n127.131.0.0/16={LOWER}\n"),
        true => {
            format!("127.130.0.0/17={AGREED}\n127.130.128.0/17={AGREED}\n127.131.0.0/16={HIGHER}\n")
        }
    };
    // Who asks by HTTP is a client, too.
    let who_asks = "127.0.0.1=unlimited\n".to_owned();
    others.chain([who_asks, ours]).collect()
}

/// Checks that the rules in force, as far as they are listed, are of one set.
#[track_caller]
fn assert_one_set(server: &Server, more: u32) {
    let told = server.rpc_by_http("tcp_conn_limit.rules", json!([]));
    let list = told.as_array().expect("a list of rules").iter();
    let list = list.filter(|rule| rule["prefix"] != "default");
    let list: Vec<String> = list
        .map(|rule| {
            let prefix = rule["prefix"].as_str().expect("a prefix");
            format!("{}={}", prefix.trim_end_matches("/32"), rule["limit"])
        })
        .collect();
    assert!(list.len() > 400, "{list:?}");
    let count = server.stat("rules");
    let is_it = |second| {
        let text = rules(second, more);
        // As it is told of a rule.
        let set: HashSet<String> = text
            .lines()
            .map(|line| line.replace("unlimited", "0"))
            .collect();
        count == set.len() as u64 && list.iter().all(|rule| set.contains(rule))
    };
    assert!(is_it(false) || is_it(true), "{count}: {list:?}");
}

fn with_rules(mode: Mode, more: u32) -> Config {
    mode.with_module()
        .limit(DEFAULT)
        .rules_file(&rules(false, more))
}

/// Checks the limits of two sources that have not been there before.
fn be_limited(server: &Server, thread: u8, round: u8) {
    let agreed = source(130, 100 * thread + round / 50, round % 50);
    let mut held = server.admit_all(AGREED, Via::Tcp, agreed);
    server.reject(Via::Tcp, agreed);
    held.pop();
    until("there is a place again", || {
        held.extend(server.open(Via::Tcp, agreed));
        held.len() == AGREED
    });
    server.reject(Via::Tcp, agreed);

    let changing = source(131, 100 * thread + round / 50, round % 50);
    let mut held = server.admit_all(LOWER, Via::Tcp, changing);
    held.extend((LOWER..=HIGHER).filter_map(|_| server.open(Via::Tcp, changing)));
    assert!(held.len() <= HIGHER, "{changing}: more than any limit");
}

/// Asks for it `times`, of which some may be told to wait; adds those that were not
/// to `done`.
fn reload_again_and_again(times: usize, done: &AtomicU64, reload: impl Fn() -> Result<(), String>) {
    for _ in 0..times {
        match reload() {
            Ok(()) => _ = done.fetch_add(1, Ordering::Relaxed),
            Err(told) => assert!(told.contains("is loading rules"), "{told}"),
        }
    }
}

/// More than a thousand, in four processes.
fn storm_of_reloads(mode: Mode) {
    const TIMES: usize = 300;
    const MORE: u32 = 1000;
    let server = with_rules(mode, MORE)
        .http("tcp_conn_limit:")
        .core("tcp_max_connections=2000")
        .start();
    let by_http = || match server.try_rpc_by_http(RELOAD, json!([])) {
        Ok(_) => Ok(()),
        Err(fault) => Err(fault.message),
    };
    let by_socket = || match server.try_rpc(RELOAD, json!([])) {
        Ok(_) => Ok(()),
        Err(fault) => Err(fault.message),
    };
    let by_kamcmd = || server.try_kamcmd(&[RELOAD]).map(|_| ());
    let (done, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let over = SetAtEnd(&is_over);
        let clients = (0..2).map(|thread| {
            let (server, is_over) = (&server, &is_over);
            scope.spawn(move || {
                let rounds = 0..=255;
                let rounds = rounds.take_while(|_| !is_over.load(Ordering::Relaxed));
                rounds
                    .map(|round| be_limited(server, thread, round))
                    .count()
            })
        });
        let clients: Vec<_> = clients.collect();
        scope.spawn(|| {
            let mut second = false;
            while !is_over.load(Ordering::Relaxed) {
                second = !second;
                server.write_rules(&rules(second, MORE));
            }
        });
        let loaders = [
            scope.spawn(|| reload_again_and_again(TIMES, &done, by_http)),
            scope.spawn(|| reload_again_and_again(TIMES, &done, by_http)),
            scope.spawn(|| reload_again_and_again(TIMES, &done, by_socket)),
            scope.spawn(|| reload_again_and_again(TIMES, &done, by_kamcmd)),
        ];
        let failed = loaders.map(|loader| loader.join().is_err());
        assert!(!failed.contains(&true));
        drop(over);
        for client in clients {
            let rounds = client.join().expect("the limits were right");
            assert!(rounds > 5, "{rounds} rounds");
        }
    });
    server.wait_for_connections(0);
    mode.assert_audit_clean(&server);
    assert_eq!(server.stat("connections"), 0);
    assert_eq!(server.stat("reloads"), done.into_inner());
    assert_one_set(&server, MORE);
    for second in [true, false] {
        server.write_rules(&rules(second, MORE));
        server.rpc(RELOAD, json!([]));
        assert_one_set(&server, MORE);
        let places = if second { HIGHER } else { LOWER };
        let _held = server.admit_all(places, Via::Tcp, source(131, 255, 1));
        server.reject(Via::Tcp, source(131, 255, 1));
    }
    mode.finish(server, &["is loading rules"]);
}

/// In the midst of it: who comes then is told to wait, and the old rules hold.
fn loader_is_stopped(mode: Mode) {
    const MORE: u32 = 50_000;
    const SEED: u64 = 60_000;
    let server = with_rules(mode, MORE).start();
    let ctl = server.process("ctl handler");
    let mut random = SmallRng::seed_from_u64(SEED);
    let began = Instant::now();
    server.kamcmd(&[RELOAD]);
    let takes = began.elapsed();
    let mut met = 0;
    for round in 0..=255 {
        server.write_rules(&rules(round % 2 == 0, MORE));
        thread::scope(|scope| {
            let loader = scope.spawn(|| server.kamcmd(&[RELOAD]));
            // Again and again: for how much of its time it is in the midst of it,
            // depends on the machine.
            while !loader.is_finished() {
                thread::sleep(takes.mul_f64(random.random_range(0.0..0.2)));
                let stopped = Stopped::new(ctl);
                if let Err(fault) = server.try_rpc(RELOAD, json!([])) {
                    assert!(fault.message.contains("is loading rules"), "{fault:?}");
                    be_limited(&server, 0, met);
                    met += 1;
                    drop(stopped);
                    break;
                }
            }
            loader.join().expect("it goes on as if nothing had been");
        });
        be_limited(&server, 1, round);
        assert_eq!(
            server.stat("rules"),
            u64::from(MORE) + 3 + u64::from(round % 2 == 0)
        );
        if met == 3 {
            break;
        }
    }
    assert_eq!(met, 3, "with seed {SEED}");
    server.wait_for_connections(0);
    mode.finish(server, &["is loading rules"]);
}
