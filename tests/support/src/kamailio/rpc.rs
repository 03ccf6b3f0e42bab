// SPDX-License-Identifier: GPL-2.0-or-later

//! Remote procedure calls: JSON over a datagram socket, and kamcmd.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Servers;
use crate::wait::DEADLINE;

/// A procedure that answered with an error.
#[derive(Debug)]
pub struct Fault {
    pub code: i64,
    pub message: String,
}

/// Calls a procedure of the server in `dir`. The outer error means that there was no
/// answer until the deadline, or until `is_gone` returned true.
pub(super) fn call(
    dir: &Path,
    method: &str,
    params: &Value,
    is_gone: impl FnMut() -> bool,
) -> io::Result<Result<Value, Fault>> {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let id = CALLS.fetch_add(1, Ordering::Relaxed);
    // The server answers to the address that the request came from.
    let own_path = dir.join(format!("rpc-client-{id}.sock"));
    let socket = UnixDatagram::bind(&own_path)?;
    // The server may be another user.
    fs::set_permissions(&own_path, Permissions::from_mode(0o666))?;
    let answer = socket
        .send_to(request(method, params, id).as_bytes(), dir.join("rpc.sock"))
        .and_then(|_| receive(&socket, is_gone));
    fs::remove_file(&own_path)?;

    Ok(result(answer?))
}

/// A call in JSON.
pub(super) fn request(method: &str, params: &Value, id: u32) -> String {
    json!({"jsonrpc": "2.0", "method": method, "params": params, "id": id}).to_string()
}

/// The result or the fault in an answer.
pub(super) fn result(mut answer: Value) -> Result<Value, Fault> {
    let error = &answer["error"];
    if error.is_null() {
        return Ok(answer["result"].take());
    }
    Err(Fault {
        code: error["code"].as_i64().unwrap_or_default(),
        message: error["message"].as_str().unwrap_or_default().to_owned(),
    })
}

fn receive(socket: &UnixDatagram, mut is_gone: impl FnMut() -> bool) -> io::Result<Value> {
    // Larger than any datagram that the kernel sends.
    let mut buffer = vec![0; 1 << 18];
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    let end = Instant::now() + DEADLINE;
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) => return Ok(serde_json::from_slice(&buffer[..length])?),
            Err(error) if !is_passing(error.kind()) => return Err(error),
            Err(error) if is_gone() || Instant::now() > end => return Err(error),
            Err(_) => {}
        }
    }
}

/// Whether a call only timed out or was interrupted by a stop of the process, see
/// [`Stream`](super::stream::Stream).
fn is_passing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// The output of kamcmd for a command or, if the command fails, the code and the
/// message.
pub(super) fn kamcmd(dir: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(Servers::from_env().kamcmd)
        .arg("-s")
        .arg(format!("unix:{}", dir.join("ctl.sock").display()))
        .args(arguments)
        .output()
        .expect("kamcmd can be run");
    assert!(output.status.success(), "kamcmd {arguments:?}: {output:?}");
    let answer = String::from_utf8(output.stdout).expect("kamcmd prints text");
    // kamcmd also exits with success if the server answers with an error.
    match answer.strip_prefix("error: ") {
        Some(fault) => Err(fault.to_owned()),
        None => Ok(answer),
    }
}
