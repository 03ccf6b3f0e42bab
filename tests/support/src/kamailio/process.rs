// SPDX-License-Identifier: GPL-2.0-or-later

//! The life of one server process and its children.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::log::Log;
use crate::wait::{poll, until};

/// A running server, which does not outlive this value.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Runs `command` (program and arguments) with its output in `log`.
    pub fn spawn(command: &[String], environment: &[(String, String)], log: &Path) -> Self {
        allow_all_descriptors();
        let output = File::create(log).expect("the log file can be made");
        // setpriv: the server gets SIGTERM when the thread that started it ends, so a
        // killed test program leaves no server behind.
        let setpriv = ["setpriv", "--pdeathsig", "TERM", "--"].map(String::from);
        let child = server_command(&[&setpriv, command].concat(), environment)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file can be shared"))
            .stderr(output)
            .process_group(0)
            .spawn()
            .expect("setpriv (Debian: util-linux) can be run");
        Self {
            child,
            log: log.to_owned(),
        }
    }

    pub fn log(&self) -> Log {
        Log::read(&self.log)
    }

    /// How the process ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Asks the server to end and waits until it has.
    pub fn terminate(&mut self) -> Option<ExitStatus> {
        poll(|| {
            // The server itself stops its children. The signal is repeated, because it
            // is lost if it comes after the main process checked for one and before it
            // sleeps (main.c: handle_sigs(), pause()).
            let status = self.ended();
            if status.is_none() {
                kill(self.pid(), Signal::SIGTERM).expect("the server is there to be stopped");
            }
            status
        })
    }

    /// Waits until the process has ended by itself.
    pub fn wait(&mut self) -> Option<ExitStatus> {
        poll(|| self.ended())
    }

    /// The remaining processes of the server, also after its main process has ended. The
    /// main process and all that it has started are one group.
    pub fn left(&self) -> Vec<Pid> {
        let processes = fs::read_dir("/proc").expect("/proc can be read");
        let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let pids = numbers.map(Pid::from_raw);
        pids.filter(|&pid| is_in_group(pid, self.pid())).collect()
    }

    /// Kills all processes of the server.
    pub fn kill_all(&mut self) {
        match killpg(self.pid(), Signal::SIGKILL) {
            Ok(()) => {
                let gone =
                    poll(|| (self.ended().is_some() && self.left().is_empty()).then_some(()));
                // Not a panic, because this also runs when the server is dropped.
                if gone.is_none() {
                    eprintln!("killed processes of the server are still there");
                }
            }
            Err(Errno::ESRCH) => {}
            Err(error) => eprintln!("the server cannot be killed: {error}"),
        }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().expect("a pid is an int"))
    }
}

/// The command of a server, without the part of cargo's environment that would affect
/// it.
pub(super) fn server_command(command: &[String], environment: &[(String, String)]) -> Command {
    let mut server = Command::new(&command[0]);
    server
        .args(&command[1..])
        // Cargo sets it to its own builds of the library, and the dynamic linker would
        // prefer them to the library next to the module.
        .env_remove("LD_LIBRARY_PATH")
        .envs(environment.iter().cloned());
    server
}

/// Raises the limit of descriptors of this process and its server to the hard limit. The
/// usual 1,024 are too few for thousands of connections.
fn allow_all_descriptors() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit can be read");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("the limit can be raised to that");
}

/// A process that is stopped until this value is dropped.
pub struct Stopped(Pid);

impl Stopped {
    #[track_caller]
    pub fn new(pid: u64) -> Self {
        let stopped = Self(send(pid, Signal::SIGSTOP));
        until("the process is stopped", || {
            state(stopped.0).is_some_and(|(state, _)| state == "T")
        });
        stopped
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // The process is gone if the server died. A panic here would end all tests.
        _ = kill(self.0, Signal::SIGCONT);
    }
}

/// Sends a signal to a running process.
#[track_caller]
pub fn send(pid: u64, signal: Signal) -> Pid {
    let pid = Pid::from_raw(pid.try_into().expect("a pid is an int"));
    kill(pid, signal).expect("the process runs");
    pid
}

/// Whether a process belongs to the group and has not ended. A process that has ended
/// does not exist or is a zombie.
fn is_in_group(pid: Pid, group: Pid) -> bool {
    state(pid).is_some_and(|(state, of)| of == group.to_string() && state != "Z" && state != "X")
}

/// The state and the group of a process, if it exists.
fn state(pid: Pid) -> Option<(String, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything. State, parent and group follow it.
    let (_, rest) = stat.rsplit_once(") ").expect("a line about a process");
    let fields: Vec<&str> = rest.split(' ').collect();
    Some((fields[0].to_owned(), fields[2].to_owned()))
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.terminate().is_none() {
            eprintln!("the server does not stop: it is killed");
        }
        // Even if the server has ended, because it may have left a child behind.
        self.kill_all();
        if thread::panicking() {
            eprintln!("--- end of the server's log ---\n{}", self.log().tail());
        }
    }
}
