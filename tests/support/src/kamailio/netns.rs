// SPDX-License-Identifier: GPL-2.0-or-later

//! A separate network for a test, with all of 2001:db8::/32 on its loopback interface.

use std::fs;
use std::io::{self, Write};
use std::panic::resume_unwind;
use std::process::Command;
use std::thread;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};

/// Runs `test` in a network namespace that only its thread, the sockets it opens and the
/// server it starts are in.
pub fn in_own_network(test: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let name = thread::current().name().unwrap_or("a test").to_owned();
        let run = scope.spawn(move || match unshare(CloneFlags::CLONE_NEWNET) {
            Ok(()) => {
                set_up();
                test();
            }
            Err(Errno::EPERM) => {
                // Not eprintln: the harness shows its output only for a failed test.
                let note = format!("SKIPPED {name}: a network namespace needs root\n");
                io::stderr().write_all(note.as_bytes()).expect("stderr");
            }
            Err(error) => panic!("no network namespace: {error}"),
        });
        if let Err(panic) = run.join() {
            resume_unwind(panic);
        }
    });
}

fn set_up() {
    fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1").expect("the namespace is ours");
    for arguments in ["link set lo up", "-6 route add local 2001:db8::/32 dev lo"] {
        let status = Command::new("ip")
            .args(arguments.split(' '))
            .status()
            .expect("ip (Debian: iproute2) can be run");
        assert!(status.success(), "ip {arguments}: {status}");
    }
}
