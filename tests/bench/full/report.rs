// SPDX-License-Identifier: GPL-2.0-or-later

//! The tables.

use crate::policy::{LEVELS, RESERVE};
use crate::{Modelled, Network, Record, Waits};

pub(crate) fn print(record: &Record) {
    println!(
        "Policies in the engine, in virtual time. Pressure \"{LEVELS}\", reserve {RESERVE}. Waits in \
         seconds; -: failed."
    );
    for Modelled { load, outcomes } in &record.modelled {
        println!(
            "\nA server for {} connections, {} for each source. {} phones come each second and \
             stay {} s; {} trunks open a connection every {} s. Then {} greedy sources try every \
             {} ms and keep what they get, for {} s.\n",
            load.max,
            load.limit,
            load.phones_per_second,
            load.phone_stays / 1_000,
            load.trunks,
            load.trunk_period / 1_000,
            load.greedy,
            load.greedy_retry,
            (load.end - load.calm) / 1_000,
        );
        head("policy", "trunks");
        for outcome in outcomes {
            println!(
                "  {:<24}{}{}{:>16}{:>9}",
                outcome.policy.name(),
                row(&outcome.phones),
                row(&outcome.trunks),
                outcome.greedy_most,
                outcome.in_use,
            );
        }
    }
    let plan = &record.plan;
    println!(
        "\n{}. A server for {} connections, {} for each source, {} phones registered. \
         {} greedy sources fill it and keep trying; then {} phones and {} connections of a \
         trunk come each second for {} s, stay {} s, try again after {} ms and give up after \
         {} s.\n",
        record.version.trim().trim_start_matches("version: "),
        plan.max,
        plan.limit,
        plan.registered,
        plan.greedy,
        plan.phones_per_second,
        plan.trunk_per_second,
        plan.visits.window.as_secs(),
        plan.visits.stays.as_secs(),
        plan.visits.retry.as_millis(),
        plan.visits.patience.as_secs(),
    );
    head("server", "trunk");
    for served in &record.served {
        println!(
            "  {:<24}{}{}{:>16}{:>9}",
            served.server.name(),
            row(&served.phones),
            row(&served.trunk),
            served.greedy,
            served.in_use,
        );
    }
    print_shared(record);
    if let Some(network) = &record.network {
        print_network(network);
    }
}

fn print_shared(record: &Record) {
    let plan = &record.nat_plan;
    println!(
        "\nOne address, whose limit is {} in the core and {} in the module, and {} untrusted \
         connections for {} s. {} phones register, then {} silent clients come, keep what they \
         get, and come again after a pause if they are rejected or closed; then {} phones come each second for {} s, try again after \
         {} ms and give up after {} s.\n",
        plan.core_limit,
        plan.wide_limit,
        plan.untrusted_limit,
        plan.trust_timeout,
        plan.registered,
        plan.silent,
        plan.phones_per_second,
        plan.window.as_secs(),
        plan.retry.as_millis(),
        plan.patience.as_secs(),
    );
    println!(
        "  {:<28}{:>7}{:>12}{:>8}{:>30}{:>13}",
        "server", "pause", "registered", "kept", "phones in, median, p99", "silent have"
    );
    for shared in &record.shared {
        println!(
            "  {:<28}{:>5} s{:>12}{:>8}{}{:>13}",
            shared.server.name(),
            shared.pause.as_secs(),
            shared.registered,
            shared.kept,
            row(&shared.phones),
            shared.silent,
        );
    }
}

fn print_network(Network { plan, entered }: &Network) {
    println!(
        "\nOne network: a server for {} connections, {} for each address and, in the module, {} \
         for each /16. {} addresses of one /16 want {} connections together, keep what they \
         get, and come again after {} s. {} phones of this /16 are registered; then {} phones \
         of other networks and {} more of this /16 come each second for {} s, stay {} s, try \
         again after {} ms and give up after {} s.\n",
        plan.max,
        plan.limit,
        plan.network_limit,
        plan.addresses,
        plan.wanted,
        plan.pause.as_secs(),
        plan.registered,
        plan.others_per_second,
        plan.neighbours_per_second,
        plan.visits.window.as_secs(),
        plan.visits.stays.as_secs(),
        plan.visits.retry.as_millis(),
        plan.visits.patience.as_secs(),
    );
    println!(
        "  {:<30}{:>30}{:>30}{:>10}{:>16}{:>9}",
        "server",
        "others in, median, p99",
        "of the /16 in, median, p99",
        "kept",
        "attackers have",
        "in use"
    );
    for entered in entered {
        let rule = if entered.known { ", a rule" } else { "" };
        println!(
            "  {:<30}{}{}{:>10}{:>16}{:>9}",
            format!("{}{rule}", entered.server.name()),
            row(&entered.others),
            row(&entered.neighbours),
            format!("{}/{}", entered.kept, entered.registered),
            entered.attackers,
            entered.in_use,
        );
    }
}

fn head(what: &str, trunk: &str) {
    println!(
        "  {what:<24}{:>30}{:>30}{:>16}{:>9}",
        "phones in, median, p99",
        format!("{trunk} in, median, p99"),
        "greedy have",
        "in use"
    );
}

fn row(waits: &Waits) -> String {
    let time = |share| match waits.quantile(share) {
        Some(seconds) => format!("{seconds:.3}"),
        None => "-".to_owned(),
    };
    format!("{:>12.1} %{:>8}{:>8}", waits.share(), time(0.5), time(0.99))
}
