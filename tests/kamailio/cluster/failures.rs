// SPDX-License-Identifier: GPL-2.0-or-later

//! Nodes that die, hang, restart, or are not what they say.

use std::net::UdpSocket;
use std::time::Duration;

use serde_json::json;
use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Server, Stopped, Via, number, source, until};

use super::nodes::{
    OF_DMQ, Place, Transport, cluster, finish, rejected, seen, wait_for_alive, wait_for_others,
    wait_for_state,
};

attached_either_way!(
    killed_node_no_longer_counts,
    dead_node_by_tcp_does_not_silence_others,
    stopped_node_counts_again,
    restarted_node_begins_with_nothing,
    planned_stop_frees_at_once,
    node_with_another_key_is_ignored,
    changed_key_takes_two_steps,
    made_up_message_is_ignored,
    recorded_messages_are_ignored,
    dropped_node_no_longer_counts,
);

fn killed_node_no_longer_counts(mode: Mode) {
    let place = Place::new(Transport::Udp, 3);
    let mut servers = place.start(mode, 10);
    let held = servers[0].admit_all(10, Via::Tcp, source(201, 0, 1));
    wait_for_others(&servers[1], "127.201.0.1", 10);
    servers[1].reject(Via::Tcp, source(201, 0, 1));
    let mut killed = servers.remove(0);
    killed.kill_all();
    drop(held);
    for server in &servers {
        wait_for_state(server, &place.name(0), "silent");
        assert_eq!(number(&server.source("127.201.0.1"), "others"), 0);
        server.wait_for_log(1, &format!("cluster node {} is silent: ", place.name(0)));
    }
    let held = servers[0].admit_all(10, Via::Tcp, source(201, 0, 1));
    wait_for_others(&servers[1], "127.201.0.1", 10);
    servers[1].reject(Via::Tcp, source(201, 0, 1));
    let again = killed.start_again();
    wait_for_alive(&again, 2);
    wait_for_others(&again, "127.201.0.1", 10);
    again.reject(Via::Tcp, source(201, 0, 1));
    drop(held);
    servers.push(again);
    finish(mode, servers);
}

/// A dead node refuses TCP connections at once. DMQ stops there, and does not reach the nodes
/// behind it in its list.
fn dead_node_by_tcp_does_not_silence_others(mode: Mode) {
    let place = Place::new(Transport::Tcp, 3);
    let mut servers = place.start(mode, 10);
    servers.remove(0).kill_all();
    wait_for_state(&servers[0], &place.name(0), "silent");
    let held = servers[0].admit_all(10, Via::Tcp, source(201, 0, 1));
    wait_for_others(&servers[1], "127.201.0.1", 10);
    drop(held);
    wait_for_others(&servers[1], "127.201.0.1", 0);
    let held = servers[1].admit_all(10, Via::Tcp, source(201, 0, 1));
    wait_for_others(&servers[0], "127.201.0.1", 10);
    drop(held);
    finish(mode, servers);
}

fn stopped_node_counts_again(mode: Mode) {
    let place = Place::new(Transport::Udp, 2);
    let servers = place.start(mode, 10);
    let held = servers[0].admit_all(10, Via::Tcp, source(201, 0, 1));
    wait_for_others(&servers[1], "127.201.0.1", 10);
    let process = servers[0].process("tcp_conn_limit cluster");
    let stopped = Stopped::new(process);
    wait_for_state(&servers[1], &place.name(0), "silent");
    // Enough to be reported.
    let more = servers[1].admit_all(2, Via::Tcp, source(201, 0, 1));
    // The stopped process is the only one that sends; TCP main goes on.
    servers[0].reject(Via::Tcp, source(201, 0, 1));
    drop(stopped);
    wait_for_state(&servers[1], &place.name(0), "alive");
    wait_for_others(&servers[1], "127.201.0.1", 10);
    wait_for_others(&servers[0], "127.201.0.1", 2);
    servers[1].reject(Via::Tcp, source(201, 0, 1));
    drop((held, more));
    finish(mode, servers);
}

fn restarted_node_begins_with_nothing(mode: Mode) {
    let place = Place::new(Transport::Udp, 2);
    let mut servers = place.start(mode, 10);
    let held = servers[0].admit_all(10, Via::Tcp, source(201, 0, 1));
    wait_for_others(&servers[1], "127.201.0.1", 10);
    drop(held);
    let mut first = servers.remove(0);
    first.kill_all();
    // Before the others notice that it was gone.
    let first = first.start_again();
    wait_for_alive(&first, 1);
    wait_for_alive(&servers[0], 1);
    wait_for_others(&servers[0], "127.201.0.1", 0);
    let held = servers[0].admit_all(10, Via::Tcp, source(201, 0, 1));
    wait_for_others(&first, "127.201.0.1", 10);
    drop(held);
    servers.push(first);
    finish(mode, servers);
}

fn planned_stop_frees_at_once(mode: Mode) {
    let place = Place::new(Transport::Udp, 2);
    let mut servers = place.start(mode, 10);
    let held = servers[0].admit_all(10, Via::Tcp, source(201, 0, 1));
    wait_for_others(&servers[1], "127.201.0.1", 10);
    servers.remove(0).stop(OF_DMQ);
    drop(held);
    // Not `silent`, which it would be after 3 s.
    wait_for_state(&servers[0], &place.name(0), "left");
    servers[0].wait_for_log(1, &format!("cluster node {} has left", place.name(0)));
    assert_eq!(number(&servers[0].source("127.201.0.1"), "others"), 0);
    finish(mode, servers);
}

fn node_with_another_key_is_ignored(mode: Mode) {
    let place = Place::new(Transport::Udp, 2);
    let other = place.without_key(mode, 1, 10).limit(1000);
    let servers = vec![
        place.node(mode, 0, 10).limit(1000).start(),
        other
            .text_param("cluster_key", "another secret of this node")
            .start(),
    ];
    for server in &servers {
        until("messages are rejected", || server.stat("cluster_bad") >= 2);
        assert_eq!(cluster(server)["nodes"], json!([]));
        assert!(rejected(server, "signature") > 0);
        server.wait_for_log(
            1,
            "signed with another key; give all nodes the same cluster_key",
        );
    }
    let held = servers[0].admit_all(10, Via::Tcp, source(201, 0, 1));
    drop((held, servers[1].admit(Via::Tcp, source(201, 0, 1))));
    finish(mode, servers);
}

/// First all nodes accept the new key, then they sign with it.
fn changed_key_takes_two_steps(mode: Mode) {
    let place = Place::new(Transport::Udp, 2);
    let (old, new) = ("the old secret of all nodes", "the new secret of all nodes");
    let both = |first: &str, second: &str| format!("# first\n{first}\n{second}\n");
    let config = |node, keys: String| {
        let config = place.without_key(mode, node, 10).limit(1000);
        config
            .file("keys", &keys)
            .text_param("cluster_key_file", "@DIR@/keys")
    };
    let servers = vec![
        config(0, both(old, new)).start(),
        config(1, both(new, old)).start(),
    ];
    super::nodes::wait_until_joined(&servers);
    let held = servers[0].admit_all(10, Via::Tcp, source(201, 0, 1));
    wait_for_others(&servers[1], "127.201.0.1", 10);
    drop(held);
    for server in &servers {
        assert_eq!(server.stat("cluster_bad"), 0);
    }
    finish(mode, servers);
}

/// Messages that no node made.
fn made_up_message_is_ignored(mode: Mode) {
    let place = Place::new(Transport::Udp, 2);
    let servers = place.start(mode, 10);
    let name = place.name(0);
    let address = name.trim_start_matches("sip:").to_owned();
    let received = number(&seen(&servers[0], &place.name(1)), "received");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    for body in ["", "AAAA", &"A".repeat(900), "\u{0}"] {
        let branch = body.len();
        let length = body.len();
        let message = format!(
            "KDMQ sip:tcp_conn_limit@{address} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;\
             branch=z9hG4bK{branch}\r\nTo: <sip:tcp_conn_limit@{address}>\r\nFrom: \
             <sip:tcp_conn_limit@{address}>;tag=1\r\nCall-ID: {branch}\r\nCSeq: 1 KDMQ\r\n\
             Content-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        socket
            .send_to(message.as_bytes(), &address)
            .expect("a message is sent");
    }
    until("made up messages are rejected", || {
        servers[0].stat("cluster_bad") >= 2
    });
    assert_eq!(number(&cluster(&servers[0]), "alive"), 1);
    until("the other node is still heard", || {
        number(&seen(&servers[0], &place.name(1)), "received") > received
    });
    finish(mode, servers);
}

/// Someone receives all messages of a node, since DMQ has no authentication, and sends them
/// again to another node, also after that has restarted.
fn recorded_messages_are_ignored(mode: Mode) {
    let place = Place::new(Transport::Udp, 3);
    // The third node is not one.
    let listening = UdpSocket::bind(place.address(2)).expect("the port is free");
    let patience = Some(Duration::from_millis(200));
    listening
        .set_read_timeout(patience)
        .expect("a time that is not 0");
    let node = |node, asked| place.node_that_asks(mode, node, asked, 10).limit(1000);
    let mut servers = vec![node(0, 2).start(), node(1, 0).start()];
    super::nodes::wait_until_joined(&servers);
    let held = servers[0].admit_all(10, Via::Tcp, source(201, 0, 1));
    wait_for_others(&servers[1], "127.201.0.1", 10);
    let mut recorded = Vec::new();
    until("the messages are recorded", || {
        let mut message = vec![0; 65_536];
        while let Ok((length, from)) = listening.recv_from(&mut message) {
            let text = String::from_utf8_lossy(&message[..length]).into_owned();
            listening
                .send_to(ok(&text).as_bytes(), from)
                .expect("an answer is sent");
            if text.starts_with("KDMQ sip:tcp_conn_limit@") {
                recorded.push(text);
            }
        }
        recorded.len() >= 10
    });
    drop(held);
    wait_for_others(&servers[1], "127.201.0.1", 0);
    let to = place.address(1);
    let replay = || {
        for (number, message) in recorded.iter().enumerate() {
            // As another transaction, so that it is not taken for a repetition of SIP.
            let message = message.replace("branch=z9hG4bK", &format!("branch=z9hG4bK{number}-"));
            listening
                .send_to(message.as_bytes(), &to)
                .expect("a message is sent");
        }
    };
    let ignored = |server: &Server| {
        // Both nodes send to the listening one.
        let reasons = ["own", "repeated", "late", "old_boot", "unproven"];
        reasons
            .iter()
            .map(|reason| rejected(server, reason))
            .sum::<u64>()
    };
    let before = ignored(&servers[1]);
    replay();
    until("the old messages are ignored", || {
        ignored(&servers[1]) >= before + recorded.len() as u64
    });
    assert_eq!(number(&servers[1].source("127.201.0.1"), "others"), 0);
    let second = servers.pop().expect("two servers");
    let second = second.restart(OF_DMQ);
    let before = ignored(&second);
    replay();
    until("the old messages are ignored after a restart", || {
        ignored(&second) >= before + recorded.len() as u64
    });
    assert_eq!(number(&second.source("127.201.0.1"), "others"), 0);
    wait_for_alive(&second, 1);
    servers.push(second);
    finish(mode, servers);
}

/// The answer to a SIP request.
fn ok(request: &str) -> String {
    let mut answer = "SIP/2.0 200 OK\r\n".to_owned();
    for line in request.lines() {
        let wanted = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
        if wanted.iter().any(|name| line.starts_with(name)) {
            answer += &format!("{line}\r\n");
        }
    }
    answer + "Content-Length: 0\r\n\r\n"
}

fn dropped_node_no_longer_counts(mode: Mode) {
    let place = Place::new(Transport::Udp, 2);
    let servers = place.start(mode, 10);
    let held = servers[0].admit_all(10, Via::Tcp, source(201, 0, 1));
    wait_for_others(&servers[1], "127.201.0.1", 10);
    let drop_node = |parameters| servers[1].rpc("tcp_conn_limit.cluster_drop", parameters);
    let answer = drop_node(json!([place.name(0)]));
    assert_eq!(answer, json!({"node": place.name(0), "dropped": "yes"}));
    wait_for_state(&servers[1], &place.name(0), "dropped");
    wait_for_others(&servers[1], "127.201.0.1", 0);
    let more = servers[1].admit(Via::Tcp, source(201, 0, 1));
    let answer = drop_node(json!([place.name(0), "off"]));
    assert_eq!(answer, json!({"node": place.name(0), "dropped": "no"}));
    wait_for_others(&servers[1], "127.201.0.1", 10);
    servers[1].reject(Via::Tcp, source(201, 0, 1));
    drop((held, more));
    finish(mode, servers);
}
