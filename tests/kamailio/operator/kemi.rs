// SPDX-License-Identifier: GPL-2.0-or-later

//! KEMI scripts: the examples of the documentation in each language, and callbacks that do
//! not exist.

use std::fs;

use support::kamailio::mode::{Mode, attached_either_way, server_has};
use support::kamailio::{Config, Via, source, until};

attached_either_way!(
    example_in_javascript_works,
    example_in_lua_works,
    example_in_python_works,
    missing_callback_is_reported,
    callback_is_called_when_the_pressure_changes,
);

/// A language of scripts.
#[derive(Clone, Copy)]
struct Language {
    /// In the title of the example.
    name: &'static str,
    module: &'static str,
    engine: &'static str,
    file: &'static str,
    /// A script that logs each change of the pressure.
    pressure: &'static str,
}

const JAVASCRIPT: Language = Language {
    name: "JavaScript",
    module: "app_jsdt",
    engine: "jsdt",
    file: "script.js",
    pressure: r#"
function ksr_request_route() {
    return 1;
}

function ksr_event(evname) {
    KSR.notice(evname + " from " + KSR.pv.get("$tcp_conn_limit(pressure_was)")
        + " to " + KSR.tcp_conn_limit.pressure_level() + "\n");
    return 1;
}
"#,
};
const LUA: Language = Language {
    name: "Lua",
    module: "app_lua",
    engine: "lua",
    file: "script.lua",
    pressure: r#"
function ksr_request_route()
    return 1
end

function ksr_event(evname)
    KSR.notice(evname .. " from " .. KSR.pv.get("$tcp_conn_limit(pressure_was)")
        .. " to " .. KSR.tcp_conn_limit.pressure_level() .. "\n")
    return 1
end
"#,
};
const PYTHON: Language = Language {
    name: "Python",
    module: "app_python3",
    engine: "python",
    file: "script.py",
    pressure: r#"
import KSR as KSR


def mod_init():
    return Script()


class Script:
    def child_init(self, rank):
        return 0

    def ksr_request_route(self, msg):
        return 1

    def ksr_event(self, msg, evname):
        was = KSR.pv.get("$tcp_conn_limit(pressure_was)")
        level = KSR.tcp_conn_limit.pressure_level()
        KSR.notice(f"{evname} from {was} to {level}\n")
        return 1
"#,
};

impl Language {
    /// Whether the server has the module for it. If not, prints that the test is skipped.
    fn is_available(self) -> bool {
        server_has(self.module)
    }

    /// The script in the documentation.
    fn example(self) -> String {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/kamailio-glue/tcp_conn_limit/doc/tcp_conn_limit_script.xml"
        );
        let text = fs::read_to_string(path).expect("the documentation can be read");
        let title = format!("<title>A KEMI script in {}</title>", self.name);
        let (_, text) = text.split_once(&title).expect("it has this example");
        let (_, text) = text.split_once("<programlisting").expect("a listing");
        let (_, text) = text.split_once(">\n").expect("its start");
        let (text, _) = text.split_once("</programlisting>").expect("its end");
        let lines = text.lines().filter(|line| *line != "...");
        let text: String = lines.map(|line| format!("{line}\n")).collect();
        text.replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&")
    }

    fn config(self, mode: Mode, callback: &str) -> Config {
        self.config_with(mode, callback, &self.example())
    }

    fn config_with(self, mode: Mode, callback: &str, script: &str) -> Config {
        let load = format!("\"@DIR@/{}\"", self.file);
        mode.with_module()
            .limit(2)
            .rule("127.81.0.0/16=1")
            .module("pv.so")
            .module(&format!("{}.so", self.module))
            .modparam(self.module, "load", &load)
            .file(self.file, script)
            .text_param("event_callback", callback)
            .route(&format!("cfgengine \"{}\"\n", self.engine))
    }
}

fn assert_example_works(mode: Mode, language: Language) {
    if !language.is_available() {
        return;
    }
    let server = language.config(mode, "ksr_tcp_conn_limit_event").start();
    let mut held = server.admit_all(2, Via::Tcp, source(80, 0, 1));
    assert_eq!(held[0].ask("me"), "OK");
    server.wait_for_log(1, "127.80.0.1 has 2 of 2 connections, rule default");
    let mut other = server.admit(Via::Tcp, source(81, 0, 1));
    assert_eq!(other.ask("me"), "OK");
    server.wait_for_log(1, "127.81.0.1 has 1 of 1 connections, rule 127.81.0.0/16");
    server.reject(Via::Tcp, source(80, 0, 1));
    server.wait_for_log(1, "too many connections: 127.80.0.1");
    // In monitor mode the address may open another, and no event is noted.
    server.rpc("tcp_conn_limit.set_mode", serde_json::json!(["monitor"]));
    held.push(server.admit(Via::Tcp, source(81, 0, 1)));
    assert_eq!(held[2].ask("me"), "OK");
    until("the log has the event of the other source", || {
        server
            .log()
            .contains("would reject connection from 127.81.0.1")
    });
    // A scanner is banned, and its connection stays.
    let scanner = source(82, 0, 1);
    held.push(server.admit(Via::Tcp, scanner));
    assert_eq!(held[3].ask_as("me", "friendly-scanner 1.0"), "OK");
    server.wait_for_log(1, "127.82.0.1 is banned for 3600 s");
    server.rpc("tcp_conn_limit.set_mode", serde_json::json!(["enforce"]));
    server.reject(Via::Tcp, scanner);
    assert!(held[3].is_admitted());
    let log = mode.finish(server, &[]);
    assert_eq!(log.lines_with("too many connections").len(), 1, "{log}");
    assert_eq!(log.lines_with("has 2 of 1 connections").len(), 0, "{log}");
}

fn example_in_javascript_works(mode: Mode) {
    assert_example_works(mode, JAVASCRIPT);
}

fn example_in_lua_works(mode: Mode) {
    assert_example_works(mode, LUA);
}

fn example_in_python_works(mode: Mode) {
    assert_example_works(mode, PYTHON);
}

fn missing_callback_is_reported(mode: Mode) {
    for language in [JAVASCRIPT, LUA, PYTHON] {
        if !language.is_available() {
            continue;
        }
        let server = language.config(mode, "no_such_function").start();
        server.wait_for_log(1, "event_callback is \"no_such_function\"");
        // The engine itself may also log an error.
        let log = mode.finish(server, &["no_such_function"]);
        log.assert_error(&["no_such_function", language.engine, "correct the modparam"]);
    }
}

fn callback_is_called_when_the_pressure_changes(mode: Mode) {
    for language in [JAVASCRIPT, LUA, PYTHON] {
        if !language.is_available() {
            continue;
        }
        let server = language
            .config_with(mode, "ksr_event", language.pressure)
            .core("tcp_max_connections=10")
            .text_param("pressure", "50:50% 80:1")
            .start();
        let mut held: Vec<_> = (1..=5)
            .map(|n| server.admit(Via::Tcp, source(83, 0, n)))
            .collect();
        server.wait_for_log(1, "tcp-conn-limit:pressure from 0 to 1");
        held.extend((6..=8).map(|n| server.admit(Via::Tcp, source(83, 0, n))));
        server.wait_for_log(1, "tcp-conn-limit:pressure from 1 to 2");
        drop(held);
        server.wait_for_connections(0);
        server.wait_for_log(1, "tcp-conn-limit:pressure from 2 to 0");
        mode.finish(server, &[]);
    }
}
