// SPDX-License-Identifier: GPL-2.0-or-later

//! A running server and the requests of the tests to it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitStatus;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::config::Ports;
use super::process::Process;
use super::rpc::{self, Fault};
use super::{Client, Config, Log, Via, fifo, http};
use crate::wait::{poll, until};

/// Description of the process that is started last, which accepts.
const TCP_MAIN: &str = "tcp main";

/// Description of the process that starts the others. It has no status.
const MAIN_RANK: i64 = 0;

/// A server that runs until this value is dropped.
pub struct Server {
    // First, to be dropped first: the server uses the files in `dir`.
    process: Process,
    dir: TempDir,
    ports: Ports,
    // Boxed, because it is large and seldom used.
    config: Box<Config>,
}

/// Waits until the server answers. The error is how it ended, if it ended instead.
pub(super) fn wait_until_ready(process: &mut Process, dir: &Path) -> Result<(), ExitStatus> {
    poll(|| {
        if let Some(status) = process.ended() {
            return Some(Err(status));
        }
        let is_gone = || process.ended().is_some();
        let answer = rpc::call(dir, "core.psa", &json!([]), is_gone).ok()?;
        let processes = answer.expect("the server lists its processes");
        all_are_up(&processes).then_some(Ok(()))
    })
    .expect("the server is up or ends")
}

/// Whether every process of the server has been started. A process that was just forked
/// ignores the signal to end, and the server waits for it.
fn all_are_up(processes: &Value) -> bool {
    let processes = processes.as_array().expect("a list of processes");
    let is_up = |process: &Value| process["rank"] == MAIN_RANK || process["status"] == 1;
    processes.iter().all(is_up)
        && processes
            .iter()
            .any(|process| is_described(process, TCP_MAIN))
}

fn is_described(process: &Value, text: &str) -> bool {
    process["description"]
        .as_str()
        .is_some_and(|description| description.contains(text))
}

impl Server {
    pub(super) fn new(process: Process, dir: TempDir, ports: Ports, config: Config) -> Self {
        Self {
            process,
            dir,
            ports,
            config: Box::new(config),
        }
    }

    /// The address that the server listens on.
    pub fn address(&self, via: Via) -> SocketAddr {
        let port = match via {
            Via::Tcp => self.ports.tcp,
            Via::Tls => self.ports.tls,
        };
        (Ipv4Addr::LOCALHOST, port).into()
    }

    /// The address of the socket that listens on `[::]`, for a client of the
    /// family of `from`.
    pub fn any_address(&self, from: IpAddr) -> SocketAddr {
        let host: IpAddr = match from {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        (host, self.ports.any_address).into()
    }

    /// A connection from `from`, or `None` if the server rejects it.
    #[track_caller]
    pub fn open(&self, via: Via, from: IpAddr) -> Option<Client> {
        let client = Client::connect(from, self.address(via));
        let mut client = match via {
            Via::Tcp => client,
            Via::Tls => client.secure()?,
        };
        client.is_admitted().then_some(client)
    }

    /// A connection that the server must admit.
    #[track_caller]
    pub fn admit(&self, via: Via, from: IpAddr) -> Client {
        let client = self.open(via, from);
        client.unwrap_or_else(|| panic!("{from} was not admitted ({via:?})"))
    }

    /// `count` connections that the server must admit.
    #[track_caller]
    pub fn admit_all(&self, count: usize, via: Via, from: IpAddr) -> Vec<Client> {
        (0..count).map(|_| self.admit(via, from)).collect()
    }

    /// A connection that the server must reject.
    #[track_caller]
    pub fn reject(&self, via: Via, from: IpAddr) {
        let client = self.open(via, from);
        assert!(client.is_none(), "{from} was not rejected ({via:?})");
    }

    /// Calls a procedure.
    pub fn try_rpc(&self, method: &str, params: Value) -> Result<Value, Fault> {
        rpc::call(self.dir.path(), method, &params, || false).expect("the server answers")
    }

    /// Calls a procedure that must succeed.
    #[track_caller]
    pub fn rpc(&self, method: &str, params: Value) -> Value {
        let answer = self.try_rpc(method, params);
        answer.unwrap_or_else(|fault| panic!("{method}: {fault:?}"))
    }

    /// Calls a procedure that must fail.
    #[track_caller]
    pub fn fault(&self, method: &str, params: Value) -> Fault {
        match self.try_rpc(method, params.clone()) {
            Ok(answer) => panic!("{method} {params} did not fail: {answer}"),
            Err(fault) => fault,
        }
    }

    /// Calls a procedure over HTTP: the answer may have any length, and another process
    /// handles it than for [`try_rpc`](Self::try_rpc).
    #[track_caller]
    pub fn try_rpc_by_http(&self, method: &str, params: Value) -> Result<Value, Fault> {
        let call = rpc::request(method, &params, 1);
        let answer = http::post(self.address(Via::Tcp), "/RPC", &call);
        rpc::result(serde_json::from_str(&answer).expect("an answer in JSON"))
    }

    /// Calls a procedure over HTTP, which must succeed.
    #[track_caller]
    pub fn rpc_by_http(&self, method: &str, params: Value) -> Value {
        let answer = self.try_rpc_by_http(method, params);
        answer.unwrap_or_else(|fault| panic!("{method}: {fault:?}"))
    }

    /// Calls a procedure through the named pipe of [`Config::fifo_and_http`].
    #[track_caller]
    pub fn try_rpc_by_fifo(&self, method: &str, params: Value) -> Result<Value, Fault> {
        rpc::result(fifo::call(self.dir.path(), method, &params))
    }

    /// The counters as Prometheus gets them.
    #[track_caller]
    pub fn scrape(&self) -> String {
        self.get("/metrics")
    }

    /// The server's answer to a request for a page.
    #[track_caller]
    pub fn get(&self, path: &str) -> String {
        http::get(self.address(Via::Tcp), path)
    }

    /// The output of kamcmd for a command.
    #[track_caller]
    pub fn kamcmd(&self, arguments: &[&str]) -> String {
        let answer = self.try_kamcmd(arguments);
        answer.unwrap_or_else(|error| panic!("kamcmd {arguments:?}: {error}"))
    }

    /// The same. The error has the code and the message if the command fails.
    pub fn try_kamcmd(&self, arguments: &[&str]) -> Result<String, String> {
        rpc::kamcmd(self.dir.path(), arguments)
    }

    /// The number of connections that the core reports.
    pub fn connections(&self) -> u64 {
        number(&self.rpc("core.tcp_info", json!([])), "opened_connections")
    }

    /// Waits until the core has `count` connections.
    #[track_caller]
    pub fn wait_for_connections(&self, count: u64) {
        until(&format!("{count} connections"), || {
            self.connections() == count
        });
    }

    /// One number of `tcp_conn_limit.stats`.
    #[track_caller]
    pub fn stat(&self, name: &str) -> u64 {
        number(&self.rpc("tcp_conn_limit.stats", json!([])), name)
    }

    /// The module's report of a source.
    #[track_caller]
    pub fn source(&self, address: &str) -> Value {
        self.rpc("tcp_conn_limit.get", json!([address]))
    }

    /// The number of connections that the module counts for a source.
    #[track_caller]
    pub fn counted(&self, address: &str) -> u64 {
        number(&self.source(address), "connections")
    }

    /// The entry of a rule in `tcp_conn_limit.rules`: of a prefix, or of `default`.
    #[track_caller]
    pub fn rule(&self, prefix: &str) -> Value {
        let rules = self.rpc("tcp_conn_limit.rules", json!([]));
        let mut list = rules.as_array().expect("a list of rules").iter();
        let rule = list.find(|rule| rule["prefix"] == prefix).cloned();
        rule.unwrap_or_else(|| panic!("no rule {prefix} in {rules}"))
    }

    /// Atomically replaces the file that `Config::rules_file` made. The ports have the names
    /// that they have there.
    pub fn write_rules(&self, text: &str) {
        let text = self.ports.insert_into(text);
        let new = self.dir().join("rules.new");
        fs::write(&new, text).expect("the rules can be written");
        fs::rename(new, self.dir().join("rules")).expect("the rules can be replaced");
    }

    /// One of the server's counters.
    #[track_caller]
    pub fn counter(&self, group: &str, name: &str) -> u64 {
        let value = self.rpc("cnt.get", json!([group, name]));
        value
            .as_u64()
            .unwrap_or_else(|| panic!("no number: {value}"))
    }

    /// Waits until a counter of the module has a value. Some are up to 2 s old.
    #[track_caller]
    pub fn wait_for_counter(&self, name: &str, value: u64) {
        until(&format!("{name} is {value}"), || {
            self.counter("tcp_conn_limit", name) == value
        });
    }

    /// Whether the module's counts are those of the core.
    #[track_caller]
    pub fn audit_is_clean(&self) -> bool {
        is_clean(&self.rpc("tcp_conn_limit.audit", json!([])))
    }

    /// Panics if the module's counts are not those of the core.
    #[track_caller]
    pub fn assert_audit_clean(&self) {
        let audit = self.rpc("tcp_conn_limit.audit", json!([]));
        assert!(is_clean(&audit), "{audit}");
    }

    pub fn log(&self) -> Log {
        self.process.log()
    }

    /// Waits until the log has exactly `count` lines with `text`.
    #[track_caller]
    pub fn wait_for_log(&self, count: usize, text: &str) {
        let mut found = 0;
        let is_there = poll(|| {
            found = self.log().lines_with(text).len();
            (found >= count).then_some(())
        });
        assert!(
            is_there.is_some() && found == count,
            "{found} lines instead of {count} with {text:?} in\n{}",
            self.log()
        );
    }

    /// The process id of the TCP main process, which accepts.
    pub fn tcp_main(&self) -> u64 {
        self.process(TCP_MAIN)
    }

    /// The process id of the first process whose description has `text`.
    #[track_caller]
    pub fn process(&self, text: &str) -> u64 {
        let list = self.rpc("core.psa", json!([]));
        let mut processes = list.as_array().expect("a list of processes").iter();
        let process = processes.find(|process| is_described(process, text));
        number(process.unwrap_or_else(|| panic!("no {text}")), "pid")
    }

    /// The process id of the process that has started the others.
    pub fn main(&self) -> u64 {
        u64::try_from(self.process.pid().as_raw()).expect("a pid is positive")
    }

    /// Waits until the server has ended by itself.
    #[track_caller]
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let status = self.process.wait();
        status.unwrap_or_else(|| panic!("the server does not end:\n{}", self.log()))
    }

    /// The number of processes of the server that are left.
    pub fn processes_left(&self) -> usize {
        self.process.left().len()
    }

    /// Ends all processes of the server at once.
    pub fn kill_all(&mut self) {
        self.process.kill_all();
    }

    /// The description of the process `pid`.
    #[track_caller]
    pub fn description(&self, pid: u64) -> String {
        let list = self.rpc("core.psa", json!([]));
        let mut processes = list.as_array().expect("a list of processes").iter();
        let process = processes.find(|process| process["pid"] == pid);
        let process = process.unwrap_or_else(|| panic!("no process {pid} in {list}"));
        process["description"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// The server's own directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Stops the server, which must end with success and without logging errors other
    /// than those `expected`.
    #[track_caller]
    pub fn stop(mut self, expected: &[&str]) -> Log {
        self.end(expected)
    }

    /// Stops the server in the same way and starts it again on the same ports.
    #[track_caller]
    pub fn restart(mut self, expected: &[&str]) -> Self {
        self.end(expected);
        self.start_again()
    }

    /// Starts a server that has ended again, on the same ports.
    #[track_caller]
    pub fn start_again(self) -> Self {
        let again = Config::clone(&self.config).start_on(self.ports);
        again.unwrap_or_else(|(_, log)| panic!("the server does not start again:\n{log}"))
    }

    #[track_caller]
    fn end(&mut self, expected: &[&str]) -> Log {
        let status = self.process.terminate();
        let log = self.log();
        assert!(
            status.is_some_and(|status| status.success()),
            "the server did not end with success when asked to: {status:?}"
        );
        log.assert_clean_but_for(expected);
        log
    }
}

/// Whether an audit found that the module's counts are those of the core.
pub fn is_clean(audit: &Value) -> bool {
    audit["differences"] == 0 && audit["uncounted"] == 0 && audit["connections"] == audit["counted"]
}

/// A number in the answer of a procedure.
#[track_caller]
pub fn number(answer: &Value, name: &str) -> u64 {
    let value = answer[name].as_u64();
    value.unwrap_or_else(|| panic!("no number {name} in {answer}"))
}
