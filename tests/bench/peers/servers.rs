// SPDX-License-Identifier: GPL-2.0-or-later

//! How each server is set up: one process or thread accepts, idle connections are never
//! closed, and a server with a limit differs from one without only in the limit.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::common::Result;
use crate::common::kamailio::{self, LIMIT};
use crate::common::listener::AcceptQueue;
use crate::series::Series;
use support::kamailio::process::Process;
use support::kamailio::{Config, Server, Via, free_port, until};

/// A server that runs until this value is dropped.
pub(crate) enum Running {
    Kamailio(Server),
    Other {
        // This field is first, so it is dropped first: the server may use files in `_dir`.
        process: Process,
        _dir: TempDir,
        port: u16,
    },
}

impl Running {
    pub(crate) fn start(series: Series) -> Result<Running> {
        match series {
            Series::Haproxy | Series::HaproxyLimit => start_haproxy(series),
            Series::Nginx | Series::NginxLimit => start_nginx(series),
            Series::NoFilter => in_own_network(kamailio::off(), ""),
            Series::Tracking => in_own_network(kamailio::off(), TRACKING),
            Series::FilterLimit => in_own_network(kamailio::off(), &counting()),
            Series::Kamailio => Ok(Running::Kamailio(kamailio::off().start())),
            Series::KamailioLimit => Ok(Running::Kamailio(kamailio::stock(LIMIT).start())),
            Series::Module => Ok(Running::Kamailio(kamailio::module(LIMIT).start())),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        match self {
            Running::Kamailio(server) => server.address(Via::Tcp).port(),
            Running::Other { port, .. } => *port,
        }
    }

    /// The accepting process.
    pub(crate) fn acceptor(&self) -> u32 {
        match self {
            Running::Kamailio(server) => server.tcp_main() as u32,
            Running::Other { process, .. } => process.pid().as_raw() as u32,
        }
    }
}

fn start_haproxy(series: Series) -> Result<Running> {
    let limit = if series.has_limit() {
        format!(
            "    stick-table type ip size 200k expire 1h store conn_cur
    tcp-request connection track-sc0 src
    tcp-request connection reject if {{ sc0_conn_cur gt {LIMIT} }}
"
        )
    } else {
        String::new()
    };
    let port = free_port();
    // HAProxy reserves two of its 20,000 descriptors per connection. No client sends
    // anything, so no connection gets past its inspection.
    let text = format!(
        "global
    nbthread 1
    maxconn 9700
defaults
    mode tcp
    timeout client 1h
    timeout connect 1s
    timeout server 1h
frontend clients
    bind 127.0.0.1:{port} backlog 1024
{limit}    tcp-request inspect-delay 1h
    tcp-request content accept if {{ req.len gt 0 }}
    default_backend unused
backend unused
    server unused 127.0.0.1:1
"
    );
    start("haproxy.cfg", &text, port, |file, _| {
        ["haproxy", "-db", "-f", file].map(String::from).to_vec()
    })
}

fn start_nginx(series: Series) -> Result<Running> {
    let (zone, limit) = if series.has_limit() {
        (
            "limit_conn_zone $binary_remote_addr zone=sources:20m;",
            format!("limit_conn sources {LIMIT};"),
        )
    } else {
        ("", String::new())
    };
    let port = free_port();
    // No client sends anything, so no connection gets past ssl_preread.
    let text = format!(
        "daemon off;
master_process off;
pid nginx.pid;
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
error_log stderr;
events {{
    worker_connections 19000;
}}
stream {{
    {zone}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        {limit}
        ssl_preread on;
        preread_timeout 1h;
        preread_buffer_size 1k;
        proxy_pass 127.0.0.1:1;
    }}
}}
"
    );
    start("nginx.conf", &text, port, |file, dir| {
        ["nginx", "-e", "stderr", "-p", dir, "-c", file]
            .map(String::from)
            .to_vec()
    })
}

/// Writes `text` to a file, runs the command made from the file and its folder, and waits
/// until it listens on `port`.
fn start(
    name: &str,
    text: &str,
    port: u16,
    command: impl Fn(&str, &str) -> Vec<String>,
) -> Result<Running> {
    let dir = TempDir::with_prefix("bench-peers-")?;
    let file = dir.path().join(name);
    fs::write(&file, text)?;
    let command = command(path(&file)?, path(dir.path())?);
    let mut process = Process::spawn(&command, &[], &dir.path().join("log"));
    let pid = process.pid().as_raw() as u32;
    until(&format!("{command:?} listens or ends"), || {
        AcceptQueue::of(pid, port).is_ok() || process.ended().is_some()
    });
    if let Some(status) = process.ended() {
        return Err(format!("{command:?}: {status}\n{}", process.log()).into());
    }
    Ok(Running::Other {
        process,
        _dir: dir,
        port,
    })
}

/// A rule that needs the state of connections, as most firewalls have.
const TRACKING: &str = "
table inet filter {
    chain input {
        type filter hook input priority 0;
        ct state invalid drop
    }
}
";

fn counting() -> String {
    format!(
        "
table inet filter {{
    set sources {{
        type ipv4_addr
        size 200000
        flags dynamic
    }}
    chain input {{
        type filter hook input priority 0;
        ct state invalid drop
        tcp dport 1-65535 ct state new add @sources {{ ip saddr ct count over {LIMIT} }} reject with tcp reset
    }}
}}
"
    )
}

/// Starts the server in a network namespace with these nftables rules.
fn in_own_network(server: Config, rules: &str) -> Result<Running> {
    let dir = TempDir::with_prefix("bench-peers-")?;
    let file = dir.path().join("rules.nft");
    fs::write(&file, rules)?;
    let set_up = "ip link set lo up && nft -f \"$0\" && exec \"$@\"";
    let wrapper = ["unshare", "--net", "sh", "-c", set_up, path(&file)?];
    Ok(Running::Kamailio(server.run_by(&wrapper).start()))
}

fn path(path: &Path) -> Result<&str> {
    path.to_str()
        .ok_or_else(|| format!("path is not valid UTF-8: {}", path.display()).into())
}
