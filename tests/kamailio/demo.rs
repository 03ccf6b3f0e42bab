// SPDX-License-Identifier: GPL-2.0-or-later

//! Shows the module at work: a real Kamailio, one greedy source and many others.
//! `make demo` runs it.
#![forbid(unsafe_code)]

use std::fs;
use std::net::IpAddr;
use std::process::ExitCode;

use support::demo::{Unexpected, run};
use support::kamailio::{Client, Config, Server, Servers, Via, servers::version_line, source};

const LIMIT: usize = 20;
const CROWD: usize = 200;

fn main() -> ExitCode {
    run(demo)
}

fn demo() -> Result<(), Unexpected> {
    let server = Config::with_module().limit(LIMIT as i64).start();
    introduce(&server);
    let greedy = source(66, 6, 6);

    println!("\nOne source, {greedy}, opens {LIMIT} connections and then 10 more.");
    let mut held = open(&server, [greedy; LIMIT]);
    expect("admitted of the first", held.len(), LIMIT)?;
    expect(
        "admitted of the 10 more",
        open(&server, [greedy; 10]).len(),
        0,
    )?;

    println!("\nMeanwhile {CROWD} others come, with one connection each.");
    let others = (0..CROWD).map(|n| source(10, (n / 100) as u8, (n % 100) as u8 + 1));
    let crowd = open(&server, others);
    expect("admitted of the others", crowd.len(), CROWD)?;
    show(&server, &["tcp_conn_limit.top", "3"]);

    println!("\nThe greedy one closes 5 connections and tries 10 times again.");
    held.truncate(LIMIT - 5);
    server.wait_for_connections((LIMIT - 5 + CROWD) as u64);
    let again = open(&server, [greedy; 10]);
    expect("admitted again", again.len(), 5)?;
    show(&server, &["tcp_conn_limit.get", &greedy.to_string()]);
    show(&server, &["tcp_conn_limit.stats"]);

    println!("\nDoes the module count what the core has?");
    show(&server, &["tcp_conn_limit.audit"]);
    server.assert_audit_clean();
    expect("rejected in all", server.stat("rejected") as usize, 15)?;

    println!("\nWhat the log says of the 15 rejections, at first:");
    server.wait_for_log(1, "rejected connection");
    let log = server.stop(&[]);
    let lines = log.lines_with("rejected connection");
    for line in &lines {
        println!("    {}", line.trim_start());
    }
    expect("lines in the log", lines.len(), 1)
}

/// Prints the version and the configuration of the server.
fn introduce(server: &Server) {
    let version = version_line(&Servers::from_env().hooked);
    println!("This is {}", version.trim_start_matches("version: "));
    println!("at {}, with", server.address(Via::Tcp));
    let file = server.dir().join("kamailio.cfg");
    let configuration = fs::read_to_string(file).expect("the configuration can be read");
    for line in configuration.lines() {
        if line.contains("\"tcp_conn_limit") {
            println!("    {line}");
        }
    }
}

/// Opens a connection from each of `sources`. Returns the admitted ones.
fn open(server: &Server, sources: impl IntoIterator<Item = IpAddr>) -> Vec<Client> {
    let clients = sources.into_iter().map(|from| server.open(Via::Tcp, from));
    clients.flatten().collect()
}

/// Prints a number and compares it with the expected one.
fn expect(what: &str, found: usize, expected: usize) -> Result<(), Unexpected> {
    println!("    {what}: {found}");
    if found == expected {
        return Ok(());
    }
    Err(Unexpected(format!("{what}: {found} instead of {expected}")))
}

/// Runs kamcmd and prints its output.
fn show(server: &Server, command: &[&str]) {
    println!("$ kamcmd {}", command.join(" "));
    for line in server.kamcmd(command).lines() {
        println!("    {line}");
    }
}
