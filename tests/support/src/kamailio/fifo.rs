// SPDX-License-Identifier: GPL-2.0-or-later

//! Remote procedure calls through the named pipes of `jsonrpcs`, as kamctl makes them.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc::O_NONBLOCK;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

use crate::wait::poll;

/// The name of the pipe for the answer. The server only takes names without dots and
/// slashes.
const REPLY: &str = "fifo-reply";

/// Calls a procedure of the server in `dir`, and returns its answer.
#[track_caller]
pub(super) fn call(dir: &Path, method: &str, params: &Value) -> Value {
    let path = dir.join(REPLY);
    mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).expect("a pipe can be made");
    // Opened before the request, because the server waits only 0.3 s for a reader.
    let mut reply = open(OpenOptions::new().read(true), &path);
    let request = json!({
        "jsonrpc": "2.0", "method": method, "params": params, "reply_name": REPLY, "id": 1
    });
    let mut requests = open(OpenOptions::new().write(true), &dir.join("rpc.fifo"));
    requests
        .write_all(request.to_string().as_bytes())
        .expect("the server reads its pipe");

    let mut answer = Vec::new();
    let parsed = poll(|| {
        // No data yet, or no writer: the next attempt reads more.
        let _ = reply.read_to_end(&mut answer);
        serde_json::from_slice(&answer).ok()
    });
    std::fs::remove_file(&path).expect("the pipe is ours");
    parsed.unwrap_or_else(|| {
        let answer = String::from_utf8_lossy(&answer);
        panic!("{method} {params}: no answer in JSON, but {answer:?}")
    })
}

#[track_caller]
fn open(options: &mut OpenOptions, path: &Path) -> File {
    let file = options.custom_flags(O_NONBLOCK).open(path);
    file.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
