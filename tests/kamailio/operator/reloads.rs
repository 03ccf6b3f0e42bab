// SPDX-License-Identifier: GPL-2.0-or-later

//! Many processes load rules at once while connections come and go at the limit: each
//! decision uses one set of rules, never parts of two.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use support::SetAtEnd;
use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Config, Server, Stopped, Via, source, until};

attached_either_way!(
    decisions_use_one_whole_set,
    stopped_loader_leaves_old_rules_active,
);

/// The limit of 127.130.0.0/16 in both sets, which have different rules for it.
const AGREED: usize = 3;
/// The limits of 127.131.0.0/16 in the first and the second set.
const LOWER: usize = 2;
const HIGHER: usize = 5;
/// The default limit, which a source would only have if parts of a set were missing.
const DEFAULT: i64 = 9;

const RELOAD: &str = "tcp_conn_limit.reload";

/// One of the two sets. It also has `more` rules for sources that do not exist. In one
/// set they come before the other rules, and in the other set after them, so a mixture
/// of both does not have the rules where a look-up expects them.
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
    // A call over HTTP is also a connection.
    let http_client = "127.0.0.1=unlimited\n".to_owned();
    others.chain([http_client, ours]).collect()
}

/// Checks that the active rules, as far as they are listed, are of one set.
#[track_caller]
fn assert_one_set(server: &Server, more: u32) {
    let reported = server.rpc_by_http("tcp_conn_limit.rules", json!([]));
    let list = reported.as_array().expect("a list of rules").iter();
    let list = list.filter(|rule| rule["prefix"] != "default");
    let list: Vec<String> = list
        .map(|rule| {
            let prefix = rule["prefix"].as_str().expect("a prefix");
            let limit = match rule["limit"].as_str() {
                Some(text) => text.to_owned(),
                None => rule["limit"].to_string(),
            };
            format!("{}={limit}", prefix.trim_end_matches("/32"))
        })
        .collect();
    assert!(list.len() > 300, "{list:?}");
    let count = server.stat("rules");
    let is_it = |second| {
        let text = rules(second, more);
        // In the form of the answer.
        let set: HashSet<String> = text
            .lines()
            .map(|line| line.replace("unlimited", "none"))
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

/// Checks the limits of two new sources.
fn be_limited(server: &Server, thread: u8, round: u8) {
    let agreed = source(130, 100 * thread + round / 50, round % 50);
    let mut held = server.admit_all(AGREED, Via::Tcp, agreed);
    server.reject(Via::Tcp, agreed);
    held.pop();
    until("the source has room again", || {
        held.extend(server.open(Via::Tcp, agreed));
        held.len() == AGREED
    });
    server.reject(Via::Tcp, agreed);

    let changing = source(131, 100 * thread + round / 50, round % 50);
    let mut held = server.admit_all(LOWER, Via::Tcp, changing);
    held.extend((LOWER..=HIGHER).filter_map(|_| server.open(Via::Tcp, changing)));
    assert!(held.len() <= HIGHER, "{changing}: more than any limit");
}

/// Requests a reload `times`. Some requests may find another reload in progress; the
/// others are added to `done`.
fn reload_again_and_again(times: usize, done: &AtomicU64, reload: impl Fn() -> Result<(), String>) {
    for _ in 0..times {
        match reload() {
            Ok(()) => _ = done.fetch_add(1, Ordering::Relaxed),
            Err(reported) => assert!(reported.contains("is loading rules"), "{reported}"),
        }
    }
}

/// More than a thousand reloads in four processes.
fn decisions_use_one_whole_set(mode: Mode) {
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
        let room = if second { HIGHER } else { LOWER };
        let _held = server.admit_all(room, Via::Tcp, source(131, 255, 1));
        server.reject(Via::Tcp, source(131, 255, 1));
    }
    mode.finish(server, &["is loading rules"]);
}

/// It is stopped during a reload: another reload fails as busy, and the old rules stay
/// active.
fn stopped_loader_leaves_old_rules_active(mode: Mode) {
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
            // Repeated, because it depends on the machine how much of the time a reload
            // is in progress.
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
