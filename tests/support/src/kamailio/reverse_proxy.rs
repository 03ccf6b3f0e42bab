// SPDX-License-Identifier: GPL-2.0-or-later

//! HTTP proxies in front of the server: HAProxy and nginx.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use tempfile::TempDir;

use super::process::Process;
use super::{Client, free_port};
use crate::wait::until;

/// A running proxy.
pub struct ReverseProxy {
    _process: Process,
    _dir: TempDir,
    port: u16,
}

impl ReverseProxy {
    /// HAProxy, which connects to `server` from the address `from`.
    #[track_caller]
    pub fn haproxy(from: IpAddr, server: SocketAddr) -> Self {
        let port = free_port();
        let text = format!(
            "defaults
    mode http
    option forwardfor
    timeout client 1h
    timeout connect 5s
    timeout server 1h
    timeout tunnel 1h
frontend clients
    bind :::{port} v4v6
    default_backend kamailio
backend kamailio
    source {from}
    server kamailio {server}
"
        );
        Self::start("haproxy.cfg", &text, port, |file, _| {
            ["haproxy", "-db", "-f", file].map(String::from).to_vec()
        })
    }

    /// nginx, which connects to `server` from the address `from`.
    #[track_caller]
    pub fn nginx(from: IpAddr, server: SocketAddr) -> Self {
        let port = free_port();
        let text = format!(
            "daemon off;
master_process off;
pid nginx.pid;
error_log stderr;
events {{
    worker_connections 1000;
}}
http {{
    access_log off;
    server {{
        listen [::]:{port} ipv6only=off;
        location / {{
            proxy_pass http://{server};
            proxy_bind {from};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection \"upgrade\";
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_read_timeout 1h;
        }}
    }}
}}
"
        );
        Self::start("nginx.conf", &text, port, |file, dir| {
            ["nginx", "-e", "stderr", "-p", dir, "-c", file]
                .map(String::from)
                .to_vec()
        })
    }

    #[track_caller]
    fn start(
        name: &str,
        text: &str,
        port: u16,
        command: impl Fn(&str, &str) -> Vec<String>,
    ) -> Self {
        let dir = TempDir::with_prefix("reverse-proxy-").expect("a directory");
        let file = dir.path().join(name);
        fs::write(&file, text).expect("the configuration can be written");
        let path = |path: &std::path::Path| path.to_str().expect("a path is text").to_owned();
        let command = command(&path(&file), &path(dir.path()));
        let mut process = Process::spawn(&command, &[], &dir.path().join("log"));
        let localhost = IpAddr::from([127, 0, 0, 1]);
        until(&format!("{name}: the proxy listens or ends"), || {
            let is_listening = Client::try_connect(localhost, (localhost, port).into()).is_some();
            is_listening || process.ended().is_some()
        });
        assert!(process.ended().is_none(), "{}", process.log());
        Self {
            _process: process,
            _dir: dir,
            port,
        }
    }

    /// The address for clients of the family of `from`.
    pub fn address(&self, from: IpAddr) -> SocketAddr {
        let host: IpAddr = match from {
            IpAddr::V4(_) => [127, 0, 0, 1].into(),
            IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        (host, self.port).into()
    }
}
