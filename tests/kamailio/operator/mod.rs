// SPDX-License-Identifier: GPL-2.0-or-later

//! The operator's side: settings, rules, reports, log lines, metrics and scripts.

mod arguments;
mod ban_scripts;
mod bans;
mod changes;
mod kemi;
mod listeners;
mod load;
mod logs;
mod metrics;
mod modes;
mod networks;
mod overview;
mod rate;
mod registrar;
mod reloads;
mod rules;
mod script;
mod set_rules;
mod settings;
mod shield;
mod silence;
mod sources;
mod tables;
mod transports;
mod trust;
mod xhttp_rpc;
