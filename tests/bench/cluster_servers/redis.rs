// SPDX-License-Identifier: GPL-2.0-or-later

//! Counters in Redis that the routing script drives.

use std::env;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use support::kamailio::Config;
use support::kamailio::process::Process;
use support::kamailio::until;
use tempfile::TempDir;

use crate::{Result, kamailio};

/// A server of Redis of its own, which keeps nothing on the disk. It ends when this value is
/// dropped.
pub(crate) struct Redis {
    // First, to be dropped first: the server uses the directory.
    process: Process,
    dir: TempDir,
}

impl Redis {
    pub(crate) fn start() -> Result<Redis> {
        let dir = TempDir::with_prefix("tcp_conn_limit-redis-")?;
        let path = |name: &str| dir.path().join(name);
        let mut command: Vec<String> = ["redis-server", "--port", "0", "--save", ""]
            .map(String::from)
            .into();
        for (option, value) in [
            ("--unixsocket", path("redis.sock").display().to_string()),
            ("--dir", dir.path().display().to_string()),
            ("--appendonly", "no".to_owned()),
            ("--daemonize", "no".to_owned()),
        ] {
            command.extend([option.to_owned(), value]);
        }
        let process = Process::spawn(&command, &[], &path("redis.log"));
        let redis = Redis { process, dir };
        until("Redis answers", || {
            UnixStream::connect(redis.socket()).is_ok()
        });
        Ok(redis)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid().as_raw() as u32
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    /// A server that counts in this Redis, without our module.
    pub(crate) fn counted(&self, limit: u32) -> Result<Config> {
        let module = env::var("BENCH_NDB_REDIS_MODULE")
            .map_err(|_| "BENCH_NDB_REDIS_MODULE is not set: run 'make bench-cluster'")?;
        let server = format!("\"name=count;unix={}\"", self.socket().display());
        Ok(kamailio::off()
            .module("pv.so")
            .module("htable.so")
            .modparam("htable", "htable", "\"open=>size=12;\"")
            .module("tcpops.so")
            .module(&module)
            .modparam("ndb_redis", "server", &server)
            .route(&ROUTE.replace("@LIMIT@", &limit.to_string())))
    }
}

/// Counts a connection at its first request, closes it if it is one too many, and counts it no
/// more when it is closed.
const ROUTE: &str = r#"
request_route {
	if ($sht(open=>$conid) == $null) {
		$sht(open=>$conid) = $si;
		redis_cmd("count", "INCR open:$si", "r");
		$var(open) = $redis(r=>value);
		redis_free("r");
		if ($var(open) > @LIMIT@) {
			sl_send_reply("503", "Too Many Connections");
			tcp_close_connection();
			exit;
		}
	}
	sl_send_reply("200", "OK");
}
event_route[tcp:closed] {
	route(GONE);
}
event_route[tcp:timeout] {
	route(GONE);
}
event_route[tcp:reset] {
	route(GONE);
}
route[GONE] {
	if ($sht(open=>$conid) != $null) {
		$sht(open=>$conid) = $null;
		redis_cmd("count", "DECR open:$si", "r");
		redis_free("r");
	}
}
"#;
