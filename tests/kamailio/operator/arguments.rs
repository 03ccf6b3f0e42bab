// SPDX-License-Identifier: GPL-2.0-or-later

//! Arbitrary arguments of RPC commands.
//!
//! How the module reads a text is fuzzed in `tests/fuzz`. These tests cover what the
//! server does with a request before, and with our answer afterwards.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Via, source};

attached_either_way!(arbitrary_arguments_get_an_answer_or_a_fault);

const REQUESTS: usize = 2_000;

/// Of a datagram the server reads little more, and cannot read what it has cut.
const LONGEST: usize = 60_000;

const COMMANDS: [&str; 18] = [
    "stats",
    "get",
    "top",
    "list",
    "rules",
    "suggest",
    "audit",
    "reload",
    "set_limit",
    "set_mode",
    "reset_stats",
    "set_rate",
    "ban",
    "unban",
    "bans",
    "connections",
    "set_untrusted_limit",
    "set_trust_timeout",
];

/// Texts that are valid for one command or another, or almost valid.
const TEXTS: [&str; 28] = [
    "",
    " ",
    "127.60.0.1",
    "::ffff:127.60.0.1",
    "2001:db8::/32",
    "127.60.0.0/16",
    "127.60.0.1/16",
    "0.0.0.0/0",
    "::/129",
    "enforce",
    "monitor",
    "Off",
    "rejected",
    "peak",
    "connections",
    "10/s",
    "1/h",
    "rate",
    "all",
    "0",
    "-1",
    "3",
    "2147483648",
    "18446744073709551617",
    "%s%n%d%%",
    "\"'\\/\u{7}\r\n\t",
    "é\u{202e}\u{fffd}\u{10ffff}",
    "127.60.0.1\u{0}/16",
];

const NUMBERS: [i64; 12] = [
    0,
    1,
    -1,
    10,
    400,
    401,
    i32::MAX as i64,
    i32::MIN as i64,
    i32::MAX as i64 + 1,
    u32::MAX as i64 + 1,
    i64::MAX,
    i64::MIN,
];

fn argument(random: &mut SmallRng, depth: u32) -> Value {
    match random.random_range(0..if depth < 3 { 14 } else { 12 }) {
        0..=3 => json!(TEXTS.choose(random)),
        4 | 5 => json!(NUMBERS.choose(random)),
        6 => json!(random.random::<i64>()),
        7 => json!(f64::from_bits(random.random::<u64>())),
        8 => json!(random.random_range(-2.0..500.0)),
        9 => {
            // Longer than any buffer of ours, cut where the server cuts it.
            let length = random.random_range(0..LONGEST);
            json!("x1:./%\u{20}=9".repeat(length / 10))
        }
        10 => Value::Null,
        11 => json!(random.random::<bool>()),
        12 => arguments(random, depth + 1),
        _ => {
            json!({ TEXTS.choose(random).copied().unwrap_or_default(): argument(random, depth + 1) })
        }
    }
}

fn arguments(random: &mut SmallRng, depth: u32) -> Value {
    let count = random.random_range(0..4);
    (0..count).map(|_| argument(random, depth)).collect()
}

fn arbitrary_arguments_get_an_answer_or_a_fault(mode: Mode) {
    const SEED: u64 = 6;
    let server = mode.with_module().limit(5).rule("127.61.0.0/16=2").start();
    let from = source(60, 0, 1);
    let held = server.admit_all(3, Via::Tcp, from);
    let mut random = SmallRng::seed_from_u64(SEED);
    let (mut answers, mut faults) = (0, 0);
    for number in 0..REQUESTS {
        let command = COMMANDS.choose(&mut random).expect("a command");
        let arguments = match random.random_range(0..10) {
            0 => argument(&mut random, 0),
            _ => arguments(&mut random, 0),
        };
        if arguments.to_string().len() > LONGEST {
            continue;
        }
        let method = format!("tcp_conn_limit.{command}");
        // Panics if there is no answer or if it is not JSON.
        match server.try_rpc(&method, arguments) {
            Ok(_) => answers += 1,
            Err(fault) => {
                faults += 1;
                let reported = !fault.message.is_empty();
                assert!(
                    reported,
                    "request {number} of seed {SEED}, {command}: {fault:?}"
                );
            }
        }
    }
    assert!(answers > 100 && faults > 100, "{answers}, {faults}");

    // Settings that they changed are restored, and nothing else has changed.
    server.rpc("tcp_conn_limit.set_mode", json!(["enforce"]));
    server.rpc("tcp_conn_limit.set_limit", json!([4]));
    server.rpc("tcp_conn_limit.set_rate", json!(["none"]));
    _ = server.try_rpc("tcp_conn_limit.unban", json!(["all"]));
    assert_eq!(server.counted(&from.to_string()), 3);
    let last = server.admit(Via::Tcp, from);
    server.reject(Via::Tcp, from);
    drop((held, last));
    server.wait_for_connections(0);
    mode.finish(server, &["params field is not an array"]);
}
