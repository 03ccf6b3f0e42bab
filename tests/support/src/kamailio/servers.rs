// SPDX-License-Identifier: GPL-2.0-or-later

//! The programs under test, as `make -s env` names them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Paths of the built servers, modules and tools.
pub struct Servers {
    /// Kamailio as released.
    pub stock: PathBuf,
    /// Kamailio with the connection hooks.
    pub hooked: PathBuf,
    /// The value for `mpath`: the server's own modules and ours.
    pub module_path: String,
    /// The same with ours built for the server as released.
    pub stock_module_path: String,
    /// The command line client for the ctl module.
    pub kamcmd: PathBuf,
}

impl Servers {
    pub fn from_env() -> Self {
        Self {
            stock: variable("STOCK_KAMAILIO").into(),
            hooked: variable("HOOKED_KAMAILIO").into(),
            module_path: variable("MODULE_PATH"),
            stock_module_path: variable("STOCK_MODULE_PATH"),
            kamcmd: variable("KAMCMD").into(),
        }
    }
}

fn variable(name: &str) -> String {
    env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: `make test` and `make demo` set it"))
}

/// The `kamailio.cfg` that comes with the server, if it is built in its source tree.
pub fn own_configuration() -> Option<String> {
    // In the tree, the program is src/kamailio.
    let servers = Servers::from_env();
    let tree = servers.stock.ancestors().nth(2)?;
    fs::read_to_string(tree.join("etc/kamailio.cfg")).ok()
}

/// The first line of the server's version output.
pub fn version_line(program: &Path) -> String {
    let output = Command::new(program).arg("-v").output();
    let output = output.expect("the server can be run").stdout;
    let text = String::from_utf8(output).expect("the version of the server is text");
    text.lines().next().unwrap_or_default().to_owned()
}

/// The version of a server: major and minor number.
pub fn version(program: &Path) -> (u32, u32) {
    let line = version_line(program);
    // version: kamailio 6.0.1 (x86_64/linux)
    let numbers = line.split(' ').nth(2).and_then(|version| {
        let mut numbers = version.split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    });
    numbers.unwrap_or_else(|| panic!("no version in {line}"))
}

/// Parameters of the core and of jsonrpcs that the tests set and 5.6 does not have.
const NOT_IN_5_6: [&str; 5] = [
    "rpc_exec_delta",
    "tcp_accept_iplimit",
    "tcp_check_timer",
    "tcp_msg_data_timeout",
    "tcp_socket",
];

/// Whether a server of this version has the parameter.
pub fn has_parameter(version: (u32, u32), name: &str) -> bool {
    version >= (5, 7) || !NOT_IN_5_6.contains(&name)
}
