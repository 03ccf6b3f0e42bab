// SPDX-License-Identifier: GPL-2.0-or-later

//! The metrics for Prometheus, and the alerts and the dashboard that use them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::{Value, json};

use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Client, Server, Via, number, source};
use support::programs::root;

attached_either_way!(
    scrape_has_every_counter,
    counters_are_documented,
    busiest_sources_are_scraped_with_labels,
);

const MONITORING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/kamailio-glue/monitoring");
const PREFIX: &str = "kamailio_tcp_conn_limit_";

/// The metrics of a scrape.
#[track_caller]
fn metrics(server: &Server) -> BTreeMap<String, f64> {
    let page = server.scrape();
    let lines = page.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            // name[{labels}] value [time]
            let (name, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            let name = name.split('{').next().unwrap_or_default();
            let value = rest.split(' ').next().and_then(|value| value.parse().ok());
            let value = value.unwrap_or_else(|| panic!("no number in {line}"));
            (name.to_owned(), value)
        })
        .collect()
}

/// A server on which every event has happened that its counters count.
fn eventful(mode: Mode) -> (Server, Vec<Client>) {
    let server = mode
        .with_module()
        .limit(4)
        .core("tcp_max_connections=500")
        .http("all")
        .rules_file("127.60.0.0/16=2\n")
        .start();
    let mut held = server.admit_all(4, Via::Tcp, source(61, 0, 1));
    held.extend(server.admit_all(2, Via::Tcp, source(60, 0, 1)));
    for _ in 0..5 {
        server.reject(Via::Tcp, source(60, 0, 1));
    }
    // Wait for the log line before the mode changes.
    server.wait_for_log(1, "rejected connection from 127.60.0.1");
    server.rpc("tcp_conn_limit.set_mode", json!(["monitor"]));
    held.extend(server.admit_all(3, Via::Tcp, source(60, 0, 1)));
    server.rpc("tcp_conn_limit.reload", json!([]));
    server.rpc("tcp_conn_limit.reload", json!([]));
    (server, held)
}

fn scrape_has_every_counter(mode: Mode) {
    let (server, _held) = eventful(mode);
    server.wait_for_counter("connections", 9);
    server.wait_for_counter("busiest_connections", 5);
    let metrics = metrics(&server);
    let metric = |name: &str| {
        let value = metrics.get(&format!("{PREFIX}{name}"));
        *value.unwrap_or_else(|| panic!("no {PREFIX}{name} in {metrics:#?}"))
    };
    // The scraper is itself a connection and a source: there is one more of each if the
    // watcher counted during the scrape.
    let gauges = (metric("connections"), metric("sources"));
    assert!([(9.0, 2.0), (10.0, 3.0)].contains(&gauges), "{gauges:?}");
    for (name, value) in [
        // 5 connections where 2 are allowed, and 4 of 4.
        ("busiest_connections", 5.0),
        ("highest_share", 250.0),
        ("near_limit", 2.0),
        ("admitted", 10.0),
        ("rejected", 5.0),
        ("would_reject", 3.0),
        ("errors", 0.0),
        ("panics", 0.0),
        ("table_full", 0.0),
        ("full_rejected", 0.0),
        ("untracked", 0.0),
        ("untracked_rejected", 0.0),
        ("bad_address", 0.0),
        ("stale_token", 0.0),
        ("descriptor_reused", 0.0),
        ("reloads", 2.0),
        ("capacity", 500.0),
        ("rules", 1.0),
        ("rules_set", 0.0),
        ("limit", 4.0),
        ("mode", 1.0),
        ("on_full", 0.0),
        ("rate_interval", 0.0),
        ("burst", 0.0),
        ("banned", 0.0),
        ("rate_rejected", 0.0),
        ("rate_would_reject", 0.0),
        ("ban_rejected", 0.0),
        ("ban_would_reject", 0.0),
        ("bans", 0.0),
        ("would_ban", 0.0),
        ("penalty_silent", 0.0),
        ("penalty_tls", 0.0),
        ("penalty_rejected", 0.0),
        ("penalty_rate", 0.0),
        ("penalty_script", 0.0),
        ("forgotten", 0.0),
    ] {
        assert_eq!(metric(name), value, "{name}");
    }
    let stats = server.rpc("tcp_conn_limit.stats", json!([]));
    for name in ["slots", "memory"] {
        assert_eq!(metric(name), number(&stats, name) as f64, "{name}");
    }
    // The watcher may be about to count some.
    assert!(metric("log_suppressed") <= number(&stats, "log_suppressed") as f64);
    // kamcmd and others get the same values.
    assert_eq!(server.counter("tcp_conn_limit", "would_reject"), 3);
    assert_eq!(server.counter("tcp_conn_limit", "reloads"), 2);
    let all = server.kamcmd(&["stats.get_statistics", "tcp_conn_limit:"]);
    assert!(all.contains("tcp_conn_limit:rules = 1"), "{all}");
    mode.finish(server, &[]);
}

fn counters_are_documented(mode: Mode) {
    let (server, _held) = eventful(mode);
    let names = server.rpc("cnt.var_list", json!(["tcp_conn_limit"]));
    let names = names.as_array().expect("a list of counters");
    assert!(names.len() >= 20, "{names:?}");
    let documented = monitoring("metrics.md");
    for name in names {
        let help = server.rpc("cnt.help", json!(["tcp_conn_limit", name]));
        let help = help.as_str().unwrap_or_default();
        assert!(help.len() > 10, "{name}: {help}");
        let name = name.as_str().expect("a name");
        let row = format!("| `{PREFIX}{name}` | ");
        assert!(documented.contains(&row), "no row for {name}");
    }
    let rows = documented.lines().filter(|line| line.starts_with("| `"));
    assert_eq!(rows.count(), names.len(), "rows for unknown counters");
    mode.finish(server, &[]);
}

/// The names of metrics in a query.
fn named(query: &str) -> BTreeSet<String> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    query
        .split(|c| !is_of_name(c))
        .filter(|word| word.starts_with("kamailio_"))
        .map(ToOwned::to_owned)
        .collect()
}

/// All queries in a dashboard, which may have panels within panels.
fn queries<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("expr").and_then(Value::as_str));
            fields.values().for_each(|field| queries(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, found)),
        _ => {}
    }
}

#[track_caller]
fn monitoring(file: &str) -> String {
    let path = format!("{MONITORING}/{file}");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[track_caller]
fn assert_scraped(wanted: &BTreeSet<String>) {
    let ours = wanted.iter().filter(|name| name.starts_with(PREFIX));
    assert!(ours.count() > 3, "too few are ours: {wanted:?}");
    let (server, _held) = eventful(Mode::Module);
    let metrics = metrics(&server);
    for name in wanted {
        assert!(
            metrics.contains_key(name),
            "{name} is not among {:#?}",
            metrics.keys()
        );
    }
    Mode::Module.finish(server, &[]);
}

#[test]
fn dashboard_uses_existing_metrics() {
    let dashboard: Value =
        serde_json::from_str(&monitoring("grafana.json")).expect("the dashboard is JSON");
    assert!(dashboard["title"].is_string());
    let panels = dashboard["panels"].as_array().expect("panels");
    assert!(panels.len() > 3);
    for panel in panels {
        assert!(panel["title"].is_string(), "{panel}");
    }
    let mut found = Vec::new();
    queries(&dashboard, &mut found);
    for query in &found {
        assert!(!named(query).is_empty(), "{query}");
    }
    assert_scraped(&found.iter().flat_map(|query| named(query)).collect());
}

#[test]
fn alerts_use_existing_metrics() {
    let alerts = monitoring("alerts.yml");
    let lines = alerts.lines().filter(|line| !line.trim().starts_with('#'));
    let mut wanted = BTreeSet::new();
    for line in lines {
        wanted.extend(named(line));
    }
    assert!(alerts.contains("alert:") && alerts.contains("expr:"));
    assert_scraped(&wanted);
    // The operator must notice a full table.
    assert!(
        wanted.contains(&format!("{PREFIX}table_full")),
        "{wanted:?}"
    );
}

/// The parameters and the routes of the recipe in the cookbook.
#[track_caller]
fn recipe() -> (String, String) {
    let path = "kamailio-glue/tcp_conn_limit/doc/tcp_conn_limit_cookbook.xml";
    let text = fs::read_to_string(root().join(path)).expect("the cookbook");
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")];
    let text = entities.iter().fold(text, |text, (entity, character)| {
        text.replace(entity, character)
    });
    let begin = "modparam(\"xhttp_prom\", \"xhttp_prom_stats\", \"all\")\n# A source";
    let (_, rest) = text.split_once(begin).expect("the recipe");
    let (recipe, _) = rest.split_once("\n...").expect("its end");
    let (params, routes) = recipe.split_once("event_route").expect("a route");
    let params = params.lines().filter(|line| line.starts_with("modparam"));
    let params: Vec<&str> = params.collect();
    (params.join("\n"), format!("event_route{routes}\n"))
}

/// The cookbook's recipe for the busiest sources works on a server without changes.
fn busiest_sources_are_scraped_with_labels(mode: Mode) {
    let (params, routes) = recipe();
    let server = mode
        .with_module()
        .limit(7)
        .rule("127.60.0.0/16=unlimited")
        .core("tcp_accept_no_cl=yes")
        .module("pv.so")
        .module("xhttp.so")
        .module("xhttp_prom.so")
        .modparam("xhttp_prom", "xhttp_prom_stats", "\"all\"")
        .modparam("xhttp_prom", "xhttp_prom_buf_size", "65536")
        .also_route(&format!("{params}\n{routes}"))
        .start();
    let _held = (
        server.admit_all(9, Via::Tcp, source(60, 0, 1)),
        server.admit_all(5, Via::Tcp, source(61, 0, 1)),
    );
    let _few: Vec<Client> = (1..=30)
        .map(|host| server.admit(Via::Tcp, source(62, 0, host)))
        .collect();
    let page = server.scrape();
    let lines: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("kamailio_tcp_conn_limit_top{"))
        .collect();
    assert_eq!(lines.len(), 20, "{page}");
    for (labels, value) in [
        (["127.60.0.1", "127.60.0.0/16", "0"], "9"),
        (["127.61.0.1", "default", "7"], "5"),
    ] {
        let [source, rule, limit] = labels;
        let labels = format!("{{source=\"{source}\", rule=\"{rule}\", limit=\"{limit}\"}} ");
        let line = lines
            .iter()
            .find_map(|line| Some(line.split_once(&labels)?.1));
        let found = line.unwrap_or_else(|| panic!("{labels}: {lines:#?}"));
        let number: f64 = found.split(' ').next().unwrap_or_default().parse().unwrap();
        assert_eq!(number, value.parse::<f64>().unwrap());
    }
    mode.finish(server, &[]);
}
