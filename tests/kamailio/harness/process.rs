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
use super::wait::{poll, until};

/// A running server, which does not outlive this value.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Runs `command` (program and arguments) with its output in `log`.
    pub(crate) fn spawn(command: &[String], environment: &[(String, String)], log: &Path) -> Self {
        allow_all_descriptors();
        let output = File::create(log).expect("the log file can be made");
        // setpriv: the server gets SIGTERM when the thread that started it is
        // gone, so nothing is left behind by a test program that was killed.
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

    pub(crate) fn log(&self) -> Log {
        Log::read(&self.log)
    }

    /// How the process ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Asks the server to end and waits until it has.
    pub(crate) fn terminate(&mut self) -> Option<ExitStatus> {
        poll(|| {
            // The children are the server's to stop. It is asked more than
            // once because a signal is lost that comes while the main process
            // is between looking for one and going to sleep (main.c:
            // handle_sigs(), pause()).
            let status = self.ended();
            if status.is_none() {
                kill(self.pid(), Signal::SIGTERM).expect("the server is there to be stopped");
            }
            status
        })
    }

    /// Waits until the process has ended by itself.
    pub(crate) fn wait(&mut self) -> Option<ExitStatus> {
        poll(|| self.ended())
    }

    /// Which processes of the server are left, also after its main process has
    /// ended: it and all it has started are one group.
    pub(crate) fn left(&self) -> Vec<Pid> {
        let processes = fs::read_dir("/proc").expect("/proc can be read");
        let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let pids = numbers.map(Pid::from_raw);
        pids.filter(|&pid| is_in_group(pid, self.pid())).collect()
    }

    /// Ends all processes of the server, whatever they do.
    pub(crate) fn kill_all(&mut self) {
        match killpg(self.pid(), Signal::SIGKILL) {
            Ok(()) => {
                let gone =
                    poll(|| (self.ended().is_some() && self.left().is_empty()).then_some(()));
                // Not a panic: this is for what is dropped, too.
                if gone.is_none() {
                    eprintln!("killed processes of the server are still there");
                }
            }
            Err(Errno::ESRCH) => {}
            Err(error) => eprintln!("the server cannot be killed: {error}"),
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().expect("a pid is an int"))
    }
}

/// A server that is to run with nothing of cargo's environment that matters to
/// it.
pub(super) fn server_command(command: &[String], environment: &[(String, String)]) -> Command {
    let mut server = Command::new(&command[0]);
    server
        .args(&command[1..])
        // Cargo points it to its own builds of the library, and the dynamic
        // linker would prefer them to the one beside the module.
        .env_remove("LD_LIBRARY_PATH")
        .envs(environment.iter().cloned());
    server
}

/// Allows this process and its server as many descriptors as they may have; the
/// usual 1,024 are too few for thousands of connections.
fn allow_all_descriptors() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit can be read");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("the limit can be raised to that");
}

/// A process that does not run until this value is gone.
pub(crate) struct Stopped(Pid);

impl Stopped {
    #[track_caller]
    pub(crate) fn new(pid: u64) -> Self {
        let stopped = Self(send(pid, Signal::SIGSTOP));
        until("the process is stopped", || {
            state(stopped.0).is_some_and(|(state, _)| state == "T")
        });
        stopped
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It is gone if the server died; to panic here would end all tests.
        _ = kill(self.0, Signal::SIGCONT);
    }
}

/// Sends a signal to a process that runs.
#[track_caller]
pub(crate) fn send(pid: u64, signal: Signal) -> Pid {
    let pid = Pid::from_raw(pid.try_into().expect("a pid is an int"));
    kill(pid, signal).expect("the process runs");
    pid
}

/// Whether a process belongs to the group and has not ended. One that has is no
/// longer there, or waits for somebody to ask how it ended.
fn is_in_group(pid: Pid, group: Pid) -> bool {
    state(pid).is_some_and(|(state, of)| of == group.to_string() && state != "Z" && state != "X")
}

/// State and group of a process, as long as there is one.
fn state(pid: Pid) -> Option<(String, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may be anything; then: state, parent, group.
    let (_, rest) = stat.rsplit_once(") ").expect("a line about a process");
    let fields: Vec<&str> = rest.split(' ').collect();
    Some((fields[0].to_owned(), fields[2].to_owned()))
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.terminate().is_none() {
            eprintln!("the server does not stop: it is killed");
        }
        // Also when the server has ended: a child may have been left behind.
        self.kill_all();
        if thread::panicking() {
            eprintln!("--- end of the server's log ---\n{}", self.log().tail());
        }
    }
}
