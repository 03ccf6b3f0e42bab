// SPDX-License-Identifier: GPL-2.0-or-later

//! The configuration of a server, and how to run one with it.

use std::fs::{self, Permissions};
use std::net::SocketAddrV4;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};

use tempfile::TempDir;

use super::process::{Process, server_command};
use super::server::{Server, wait_until_ready};
use super::servers::{has_parameter, version};
use super::{Log, Servers, tls};
use crate::ports::free_port;

/// Settings of every server of the tests: few processes, no DNS, and long timeouts for
/// connections that are idle or slow to send, as those of the tests may be on a slow
/// machine.
const BASE: &str = r#"#!KAMAILIO
debug=1
children=1
tcp_children=2
dns=no
rev_dns=no
auto_aliases=no
tcp_check_timer=0
tcp_connection_lifetime=3600
"#;

/// Modules and parameters for RPC and for an answer to every request.
const BASE_MODULES: &str = r#"
loadmodule "kex.so"
loadmodule "sl.so"
loadmodule "counters.so"
loadmodule "ctl.so"
modparam("ctl", "binrpc", "unix:@DIR@/ctl.sock")
loadmodule "jsonrpcs.so"
modparam("jsonrpcs", "transport", 4)
modparam("jsonrpcs", "pretty_format", 0)
modparam("jsonrpcs", "dgram_socket", "@DIR@/rpc.sock")
"#;

/// Answers every request. A request to `close@` also ends its connection.
const BASE_ROUTE: &str = r#"
request_route {
	if (uri =~ "^sip:close@") {
		set_reply_close();
	}
	sl_send_reply("200", "OK");
}
"#;

/// Answers over HTTP: the counters for Prometheus, and procedure calls.
const HTTP_ROUTE: &str = r#"
event_route[xhttp:request] {
	if (prom_check_uri()) {
		prom_dispatch();
	} else {
		jsonrpc_dispatch();
	}
}
"#;

/// Passes messages of DMQ on, and answers all other requests.
const NODE_ROUTE: &str = r#"
request_route {
	if (method == "KDMQ") {
		dmq_handle_message();
		exit;
	}
	sl_send_reply("200", "OK");
}
"#;

/// The configuration of a server that is not running yet.
#[derive(Clone)]
pub struct Config {
    program: PathBuf,
    module_path: String,
    core: String,
    modules: String,
    route: String,
    files: Vec<(String, String)>,
    tls: bool,
    any_address: bool,
    changes_user: bool,
    megabytes: u32,
    wrapper: Vec<String>,
    environment: Vec<(String, String)>,
}

/// Where a server listens.
#[derive(Clone, Copy)]
pub(super) struct Ports {
    pub(super) tcp: u16,
    pub(super) tls: u16,
    pub(super) any_address: u16,
}

impl Ports {
    /// Replaces `@TCP@`, `@TLS@` and `@ANY@` by the port that listens there.
    pub(super) fn insert_into(self, text: &str) -> String {
        let names = [
            ("@TCP@", self.tcp),
            ("@TLS@", self.tls),
            ("@ANY@", self.any_address),
        ];
        names.iter().fold(text.to_owned(), |text, (name, port)| {
            text.replace(name, &port.to_string())
        })
    }
}

impl Config {
    /// A server of `program` with modules from `module_path`.
    pub fn new(program: &Path, module_path: &str) -> Self {
        Self {
            program: program.to_owned(),
            module_path: module_path.to_owned(),
            core: String::new(),
            modules: String::new(),
            route: BASE_ROUTE.to_owned(),
            files: Vec::new(),
            tls: false,
            any_address: false,
            changes_user: false,
            megabytes: 64,
            wrapper: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// The stock server, without our module.
    pub fn stock() -> Self {
        let servers = Servers::from_env();
        Self::new(&servers.stock, &servers.module_path)
    }

    /// The server with the connection hooks, without our module.
    pub fn hooked() -> Self {
        let servers = Servers::from_env();
        Self::new(&servers.hooked, &servers.module_path)
    }

    /// The server with the connection hooks and our module.
    pub fn with_module() -> Self {
        Self::hooked().module("tcp_conn_limit.so")
    }

    /// The server as released with our module attached through `interpose`.
    pub fn interposed() -> Self {
        let servers = Servers::from_env();
        Self::new(&servers.stock, &servers.stock_module_path)
            .module("tcp_conn_limit.so")
            .text_param("attach", "interpose")
    }

    /// Sets a core parameter, if the server has it.
    pub fn core(mut self, line: &str) -> Self {
        self.core.push_str(line);
        self.core.push('\n');
        self
    }

    /// Loads a module: a name, or a path with a name.
    pub fn module(mut self, name: &str) -> Self {
        self.modules.push_str(&format!("loadmodule \"{name}\"\n"));
        self
    }

    /// Sets a module parameter. `value` is written as in the file, a string with quotes.
    pub fn modparam(mut self, module: &str, name: &str, value: &str) -> Self {
        let line = format!("modparam(\"{module}\", \"{name}\", {value})\n");
        self.modules.push_str(&line);
        self
    }

    /// Sets a parameter of our module to a number.
    pub fn param(self, name: &str, value: i64) -> Self {
        self.modparam("tcp_conn_limit", name, &value.to_string())
    }

    /// Sets a parameter of our module to a text.
    pub fn text_param(self, name: &str, value: &str) -> Self {
        self.modparam("tcp_conn_limit", name, &format!("\"{value}\""))
    }

    /// Gives our module a rule.
    pub fn rule(self, rule: &str) -> Self {
        self.text_param("rule", rule)
    }

    /// Gives our module a rules file, `rules` in the server's directory.
    pub fn rules_file(self, text: &str) -> Self {
        self.file("rules", text)
            .text_param("rules_file", "@DIR@/rules")
    }

    /// Puts a file into the server's directory. In the configuration, `@DIR@` stands for
    /// that directory. In both, `@TCP@`, `@TLS@` and `@ANY@` stand for the server's ports.
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Sets the limit of our module.
    pub fn limit(self, limit: i64) -> Self {
        self.param("tcp_conn_limit", limit)
    }

    /// Makes the server with our module a node of a cluster, with a limit over all nodes. The
    /// nodes exchange messages by UDP at these addresses, whose IP addresses differ.
    pub fn node_of_cluster(self, addresses: &[SocketAddrV4], node: usize, limit: u32) -> Self {
        let name = |node: usize| format!("\"sip:{}\"", addresses[node]);
        self.core(&format!("listen=udp:{}", addresses[node]))
            .module("tm.so")
            .module("dmq.so")
            .modparam("dmq", "server_address", &name(node))
            // A server asks this one for the others when it starts.
            .modparam("dmq", "notification_address", &name(usize::from(node == 0)))
            // The shortest time after which DMQ asks again.
            .modparam("dmq", "ping_interval", "5")
            .text_param("cluster", "dmq")
            .param("cluster_limit", limit.into())
            .text_param("cluster_key", "a secret of all nodes")
            .route(NODE_ROUTE)
    }

    /// Replaces the routing script.
    pub fn route(mut self, script: &str) -> Self {
        self.route = script.to_owned();
        self
    }

    /// Adds a block to the routing script.
    pub fn also_route(mut self, script: &str) -> Self {
        self.route.push_str(script);
        self
    }

    /// Also serves HTTP: the counters of `groups` for Prometheus, and procedure calls
    /// with answers of any length.
    pub fn http(self, groups: &str) -> Self {
        self.core("tcp_accept_no_cl=yes")
            .module("xhttp.so")
            .module("xhttp_prom.so")
            .modparam("jsonrpcs", "transport", "5")
            .modparam("xhttp_prom", "xhttp_prom_stats", &format!("\"{groups}\""))
            .modparam("xhttp_prom", "xhttp_prom_buf_size", "65536")
            .also_route(HTTP_ROUTE)
    }

    /// Also serves procedure calls through a named pipe and, like [`http`](Self::http),
    /// over HTTP.
    pub fn fifo_and_http(self) -> Self {
        self.http("tcp_conn_limit:")
            .modparam("jsonrpcs", "transport", "7")
            .modparam("jsonrpcs", "fifo_name", "\"@DIR@/rpc.fifo\"")
            .modparam("jsonrpcs", "fifo_reply_dir", "\"@DIR@/\"")
    }

    /// Also listens for TLS.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Also listens on `[::]`, which takes IPv4 peers as `::ffff:a.b.c.d`.
    pub fn any_address(mut self) -> Self {
        self.any_address = true;
        self
    }

    /// Sets the size of shared memory, of which a connection takes about 17.5 KB.
    pub fn shared_memory(mut self, megabytes: u32) -> Self {
        self.megabytes = megabytes;
        self
    }

    /// Lets the server change its user and group once it listens. Needs root.
    pub fn as_user(mut self, user: &str, group: &str) -> Self {
        self.changes_user = true;
        self.core(&format!("user={user}\ngroup={group}"))
    }

    /// Runs the server through another program.
    pub fn run_by(mut self, command: &[&str]) -> Self {
        self.wrapper = command.iter().map(ToString::to_string).collect();
        self
    }

    /// Sets an environment variable of the server.
    pub fn environment(mut self, name: &str, value: &Path) -> Self {
        self.environment
            .push((name.to_owned(), value.display().to_string()));
        self
    }

    /// Starts the server and waits until it answers.
    #[track_caller]
    pub fn start(self) -> Server {
        match self.start_or_end() {
            Ok(server) => server,
            Err((_, log)) => panic!("the server does not start:\n{log}"),
        }
    }

    /// Expects the server to refuse to start; returns its log.
    #[track_caller]
    pub fn start_fails(self) -> Log {
        let Err((status, log)) = self.start_or_end() else {
            panic!("the server did not refuse to start");
        };
        assert!(
            status.code().is_some_and(|code| code != 0),
            "the server did not end by itself but with {status}:\n{log}"
        );
        log
    }

    /// Starts the server. The error is how it ended, if it ended instead of answering.
    fn start_or_end(self) -> Result<Server, (ExitStatus, Log)> {
        // Several attempts, because a free port may be taken before the server binds it.
        let mut last = None;
        for _ in 0..5 {
            let ports = Ports {
                tcp: free_port(),
                tls: free_port(),
                any_address: free_port(),
            };
            match self.clone().start_on(ports) {
                Err((_, log)) if log.contains("Address already in use") => last = Some(log),
                ended_or_not => return ended_or_not,
            }
        }
        panic!(
            "no free port found:\n{}",
            last.expect("a log of the last try")
        );
    }

    /// Starts the server on the given ports.
    pub(super) fn start_on(self, ports: Ports) -> Result<Server, (ExitStatus, Log)> {
        let (dir, command) = self.prepare(ports);
        let mut process = Process::spawn(
            &command,
            &self.environment,
            &dir.path().join("kamailio.log"),
        );
        match wait_until_ready(&mut process, dir.path()) {
            Ok(()) => Ok(Server::new(process, dir, ports, self)),
            Err(status) => Err((status, process.log())),
        }
    }

    /// Lets `kamailio -c` check the configuration.
    pub fn check(self) -> Output {
        let ports = Ports {
            tcp: free_port(),
            tls: free_port(),
            any_address: free_port(),
        };
        let (_dir, mut command) = self.prepare(ports);
        command.push("-c".to_owned());
        server_command(&command, &self.environment)
            .output()
            .expect("the server can be run")
    }

    /// Writes the files of the server and returns the command that runs it.
    fn prepare(&self, ports: Ports) -> (TempDir, Vec<String>) {
        let dir = TempDir::with_prefix("tcp_conn_limit-").expect("a temporary directory");
        let path = dir.path();
        if self.changes_user {
            let all = Permissions::from_mode(0o777);
            fs::set_permissions(path, all).expect("the directory is ours");
        }
        if self.tls {
            tls::write_certificate(path);
        }
        for (name, text) in &self.files {
            let text = ports.insert_into(text);
            fs::write(path.join(name), text).expect("a file of the server can be written");
        }
        let file = path.join("kamailio.cfg");
        fs::write(&file, self.text(path, ports)).expect("the configuration can be written");

        let mut command = self.wrapper.clone();
        command.push(self.program.display().to_string());
        // -DD -E: in the foreground, logging to standard error.
        command.extend(["-DD", "-E", "-M", "8"].map(String::from));
        command.extend(["-m".to_owned(), self.megabytes.to_string()]);
        let pid_file = path.join("kamailio.pid");
        for (option, value) in [
            ("-f", &*file),
            ("-w", path),
            ("-Y", path),
            ("-P", &pid_file),
        ] {
            command.extend([option.to_owned(), value.display().to_string()]);
        }
        (dir, command)
    }

    /// The text of the configuration file.
    fn text(&self, dir: &Path, ports: Ports) -> String {
        let mut text = BASE.to_owned();
        text += &format!("listen=tcp:127.0.0.1:{}\n", ports.tcp);
        if self.tls {
            text += &format!("enable_tls=yes\nlisten=tls:127.0.0.1:{}\n", ports.tls);
        }
        if self.any_address {
            text += &format!("listen=tcp:[::]:{}\n", ports.any_address);
        }
        text += &self.core;
        text = self.known_parameters(&text);
        text += &format!("mpath=\"{}\"\n", self.module_path);
        text += BASE_MODULES;
        if self.tls {
            text += tls::MODULE;
        }
        text += &self.modules;
        text += &self.route;
        ports
            .insert_into(&text)
            .replace("@DIR@", &dir.display().to_string())
    }

    /// The lines that set the parameters that this server version has.
    fn known_parameters(&self, core: &str) -> String {
        let version = version(&self.program);
        core.split_inclusive('\n')
            .filter(|line| {
                let name = line.split('=').next().unwrap_or_default();
                has_parameter(version, name.trim())
            })
            .collect()
    }
}
