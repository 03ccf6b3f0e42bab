// SPDX-License-Identifier: GPL-2.0-or-later

//! The choice of the attachment, and what is specific to `interpose`. The other tests
//! run with both attachments and prove that limits and counts are the same.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Value, json};

use support::SetAtEnd;
use support::kamailio::mode::{Mode, in_every_mode, report_skipped, when_interposed};
use support::kamailio::{Client, Config, Server, Servers, Via, free_port, number, source, until};

in_every_mode!(burst_is_cut_to_the_limit, server_stops_under_load);

when_interposed!(
    attachment_is_detected_or_configured,
    missing_hooks_are_refused,
    edge_triggered_poll_methods_are_refused,
    level_triggered_poll_methods_work,
    limit_holds_after_the_soft_limit_of_open_files_is_raised,
    limit_holds_after_the_hard_limit_of_open_files_is_raised,
    copies_that_workers_close_do_not_count,
    sockets_of_other_modules_are_not_limited,
    http_counts_as_with_hooks,
);

const MODULE: &str = "tcp_conn_limit.so";

/// The server as released with our module as it was built for the server with
/// the hooks.
fn stock_with_module_for_hooks() -> Config {
    Config::stock().module(MODULE)
}

/// The server as released with our module as it was built for it, which is to
/// find out by itself how it is attached.
fn stock_with_module() -> Config {
    let servers = Servers::from_env();
    Config::new(&servers.stock, &servers.stock_module_path).module(MODULE)
}

/// The server with the hooks and our module as it was built for the server as
/// released.
fn hooked_with_module_for_stock() -> Config {
    let servers = Servers::from_env();
    Config::new(&servers.hooked, &servers.stock_module_path).module(MODULE)
}

fn attached(server: &Server) -> Value {
    server.rpc("tcp_conn_limit.stats", json!([]))["attached"].clone()
}

fn attachment_is_detected_or_configured(_: Mode) {
    let attach = |config: Config, attachment| config.text_param("attach", attachment);
    for (config, attachment, is_logged) in [
        (Config::with_module(), "hooks", false),
        (attach(Config::with_module(), "auto"), "hooks", false),
        (attach(Config::with_module(), "hooks"), "hooks", false),
        (
            attach(Config::with_module(), "interpose"),
            "interpose",
            false,
        ),
        (stock_with_module(), "interpose", true),
        (attach(stock_with_module(), "auto"), "interpose", true),
        (attach(stock_with_module(), "interpose"), "interpose", false),
        (stock_with_module_for_hooks(), "interpose", true),
        (hooked_with_module_for_stock(), "interpose", true),
    ] {
        let server = config.limit(3).core("tcp_accept_iplimit=1").start();
        assert_eq!(attached(&server), attachment);
        let mut held = server.admit_all(3, Via::Tcp, source(100, 0, 1));
        server.reject(Via::Tcp, source(100, 0, 1));
        assert_eq!(server.counted("127.100.0.1"), 3);
        held.pop();
        server.wait_for_connections(2);
        held.extend(server.admit_all(1, Via::Tcp, source(100, 0, 1)));
        server.reject(Via::Tcp, source(100, 0, 1));
        let mode = match attachment {
            "hooks" => Mode::Module,
            _ => Mode::Interposed,
        };
        let log = mode.finish(server, &[]);
        let notices = log.lines_with("NOTICE: tcp_conn_limit");
        assert_eq!(notices.len(), usize::from(is_logged), "{notices:?}");
    }
}

fn missing_hooks_are_refused(_: Mode) {
    for config in [stock_with_module_for_hooks(), stock_with_module()] {
        let log = config.text_param("attach", "hooks").start_fails();
        log.assert_error(&["this server has no connection hooks", "make patch"]);
    }
    let hooks_in_the_server = hooked_with_module_for_stock();
    let log = hooks_in_the_server
        .text_param("attach", "hooks")
        .start_fails();
    log.assert_error(&["module was built for a server without them", "make patch"]);
}

fn edge_triggered_poll_methods_are_refused(mode: Mode) {
    for method in ["epoll_et", "sigio_rt"] {
        let line = format!("tcp_poll_method={method}");
        let log = mode.with_module().core(&line).start_fails();
        log.assert_error(&[method, "tcp_poll_method", "epoll_lt"]);
    }
    // The hooks work with any poll method. sigio_rt is not tried: with it the core itself
    // resets the first connection in one of ten starts, also without a module.
    let server = Config::with_module().core("tcp_poll_method=epoll_et");
    let server = server.limit(1).start();
    let _held = server.admit(Via::Tcp, source(100, 0, 1));
    server.reject(Via::Tcp, source(100, 0, 1));
    Mode::Module.finish(server, &[]);
}

fn level_triggered_poll_methods_work(mode: Mode) {
    for method in ["epoll_lt", "poll", "select"] {
        let config = mode.with_module().limit(2);
        let server = config.core(&format!("tcp_poll_method={method}")).start();
        // One call accepts many connections.
        burst(&server, 2);
        let _other = server.admit_all(2, Via::Tcp, source(100, 0, 2));
        mode.finish(server, &[]);
    }
}

/// The core's own limit cannot be switched off in this version.
#[test]
fn unsupported_version_is_refused() {
    if !Mode::all().contains(&Mode::Interposed) {
        for config in [stock_with_module(), Config::interposed()] {
            let log = config.start_fails();
            log.assert_error(&["tcp_accept_iplimit", "core-hooks.patch"]);
        }
    }
}

/// Whether the server has not closed the connection. The server sends nothing on it.
fn is_open(stream: &mut TcpStream) -> bool {
    let mut client = [0];
    stream
        .set_nonblocking(true)
        .expect("a socket can be made not to wait");
    match stream.read(&mut client) {
        Ok(0) => false,
        Err(error) if error.kind() == ErrorKind::WouldBlock => true,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
        other => panic!("a strange answer to nothing: {other:?}"),
    }
}

/// Opens 400 connections at the same time from 127.0.0.1, of which `limit` must be
/// admitted.
#[track_caller]
fn burst(server: &Server, limit: usize) {
    let mut streams: Vec<TcpStream> = thread::scope(|scope| {
        let connect = || -> Vec<TcpStream> {
            let connect = |_| TcpStream::connect(server.address(Via::Tcp));
            (0..50)
                .map(connect)
                .map(|stream| stream.expect("a connection to the server"))
                .collect()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(connect)).collect();
        let done = threads.into_iter().map(|thread| thread.join());
        done.flat_map(|streams| streams.expect("no thread panics"))
            .collect()
    });
    until("all others are closed", || {
        streams.retain_mut(is_open);
        streams.len() <= limit
    });
    assert_eq!(streams.len(), limit);
    assert_eq!(server.connections(), limit as u64);
    drop(streams);
    server.wait_for_connections(0);
}

fn burst_is_cut_to_the_limit(mode: Mode) {
    let server = mode.config(40).start();
    for _ in 0..5 {
        burst(&server, 40);
    }
    if mode.has_module() {
        assert_eq!(server.stat("rejected"), 5 * 360);
        assert_eq!(server.stat("admitted"), 5 * 40);
    }
    mode.finish(server, &[]);
}

/// The server ends while clients come and go.
fn server_stops_under_load(mode: Mode) {
    let server = mode.config(20).start();
    let address = server.address(Via::Tcp);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = SetAtEnd(&is_over);
        for worker in 1..=4 {
            let is_over = &is_over;
            scope.spawn(move || {
                let mut held = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    // No process listens when the server has ended.
                    let Some(stream) = Client::try_connect(source(101, 0, worker), address) else {
                        break;
                    };
                    held.push(stream);
                    if held.len() > 30 {
                        held.drain(..15);
                    }
                }
            });
        }
        until("there is load", || server.connections() >= 20);
        // The core logs errors about connections that end with it.
        let log = server.stop(&["core/"]);
        assert!(!log.contains("ERROR: tcp_conn_limit"), "{log}");
    });
}

/// Sets the soft and the hard limit of open files of every process of the server.
/// False if the system does not permit it.
fn set_open_files(server: &Server, limits: &str) -> bool {
    let list = server.rpc("core.psa", json!([]));
    let processes = list.as_array().expect("a list of processes").iter();
    processes.map(|process| number(process, "pid")).all(|pid| {
        let output = Command::new("prlimit")
            .args(["--pid", &pid.to_string(), &format!("--nofile={limits}")])
            .output()
            .expect("prlimit can be run");
        let error = String::from_utf8_lossy(&output.stderr);
        let forbidden = error.contains("Operation not permitted");
        assert!(output.status.success() || forbidden, "{error}");
        !forbidden
    })
}

/// Starts a server with few open files, raises the limits and checks that the limit
/// of connections holds, whatever `on_full` is. False if the system does not permit it.
#[track_caller]
fn limit_holds(mode: Mode, at_first: &str, later: &str) -> bool {
    for policy in ["admit", "reject"] {
        let server = mode
            .with_module()
            .limit(300)
            .text_param("on_full", policy)
            .run_by(&["prlimit", &format!("--nofile={at_first}")])
            .start();
        if !set_open_files(&server, later) {
            return false;
        }
        let _held = server.admit_all(300, Via::Tcp, source(103, 0, 1));
        for _ in 0..100 {
            server.reject(Via::Tcp, source(103, 0, 1));
        }
        assert_eq!(server.counted("127.103.0.1"), 300);
        assert_eq!(server.connections(), 300);
        let stats = server.rpc("tcp_conn_limit.stats", json!([]));
        for (name, value) in [("rejected", 100), ("untracked", 0), ("table_full", 0)] {
            assert_eq!(number(&stats, name), value, "{name}");
        }
        mode.finish(server, &[]);
    }
    true
}

fn limit_holds_after_the_soft_limit_of_open_files_is_raised(mode: Mode) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit of open files");
    let with_soft = |soft: u32| format!("{soft}:{hard}");
    assert!(limit_holds(mode, &with_soft(100), &with_soft(3_000)));
}

fn limit_holds_after_the_hard_limit_of_open_files_is_raised(mode: Mode) {
    if !limit_holds(mode, "100:100", "3000:3000") {
        report_skipped("to raise a hard limit takes the capability CAP_SYS_RESOURCE");
    }
}

/// The number of open descriptors of the process.
fn descriptors(pid: u64) -> usize {
    let list = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd"));
    list.expect("the process runs").count()
}

/// The processes that read from connections.
fn workers(server: &Server) -> Vec<u64> {
    let list = server.rpc("core.psa", json!([]));
    let processes = list.as_array().expect("a list of processes").iter();
    processes
        .filter(|process| {
            let description = process["description"].as_str();
            description.is_some_and(|text| text.contains("tcp receiver"))
        })
        .map(|process| number(process, "pid"))
        .collect()
}

/// A worker has a copy of the descriptor while it reads, and closes the copy when it
/// returns the connection to TCP main.
fn copies_that_workers_close_do_not_count(mode: Mode) {
    let server = mode.with_module().limit(8).start();
    let workers = workers(&server);
    let open = || workers.iter().map(|&pid| descriptors(pid)).sum::<usize>();
    let before = open();
    let mut held = server.admit_all(8, Via::Tcp, source(102, 0, 1));
    assert!(open() > before, "no worker has a copy");
    // A worker does so after some seconds without anything to read.
    until("the workers have closed their copies", || open() <= before);
    for _ in 0..2 {
        assert_eq!(server.counted("127.102.0.1"), 8);
        server.reject(Via::Tcp, source(102, 0, 1));
        for client in &mut held {
            assert!(client.is_admitted());
        }
    }
    assert_eq!(server.stat("errors"), 0);
    mode.finish(server, &[]);
}

/// Other modules accept connections in processes of their own.
fn sockets_of_other_modules_are_not_limited(mode: Mode) {
    let [binary, json] = [free_port(), free_port()];
    let socket = |port| format!("\"tcp:127.0.0.1:{port}\"");
    let mut config = mode
        .with_module()
        .limit(2)
        .modparam("ctl", "binrpc", &socket(binary));
    let has_json = mode.knows("tcp_socket");
    if has_json {
        // Datagrams and TCP.
        config = config.modparam("jsonrpcs", "transport", "12").modparam(
            "jsonrpcs",
            "tcp_socket",
            &socket(json),
        );
    }
    let server = config.start();
    let _own = server.admit_all(2, Via::Tcp, source(0, 0, 1));
    server.reject(Via::Tcp, source(0, 0, 1));
    let connect = |port| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        TcpStream::connect(address).expect("a connection to the module")
    };

    let mut held = [(); 10].map(|()| connect(binary));
    let kamcmd = Command::new(Servers::from_env().kamcmd)
        .args(["-s", &format!("tcp:127.0.0.1:{binary}"), "core.uptime"])
        .output()
        .expect("kamcmd can be run");
    assert!(kamcmd.status.success(), "{kamcmd:?}");
    // The connections that came before it have been accepted by now.
    assert!(held.iter_mut().all(is_open));

    for _ in 0..if has_json { 10 } else { 0 } {
        let mut stream = connect(json);
        let request = br#"{"jsonrpc": "2.0", "method": "core.uptime", "id": 1}"#;
        stream.write_all(request).expect("a request can be sent");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .expect("an answer in text");
        assert!(answer.contains("result"), "{answer}");
    }

    assert_eq!(server.counted("127.0.0.1"), 2);
    assert_eq!(server.stat("admitted"), 2);
    assert_eq!(server.stat("rejected"), 1);
    mode.finish(server, &[]);
}

fn http_counts_as_with_hooks(_: Mode) {
    for mode in [Mode::Module, Mode::Interposed] {
        let config = mode.with_module();
        let server = config.limit(1).http("tcp_conn_limit:").start();
        let page = server.scrape();
        assert!(
            page.contains("kamailio_tcp_conn_limit_admitted 1 "),
            "{page}"
        );
        server.wait_for_connections(0);
        server.rpc_by_http("tcp_conn_limit.stats", json!([]));
        server.wait_for_connections(0);
        assert_eq!(server.stat("admitted"), 2);
        assert_eq!(server.stat("rejected"), 0);
        mode.finish(server, &[]);
    }
}
