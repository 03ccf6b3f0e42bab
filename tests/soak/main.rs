// SPDX-License-Identifier: GPL-2.0-or-later

//! soak: a real Kamailio with the module under random load for as long as one
//! likes, its counts and its memory looked at all the time.
//!
//! ```text
//! main ── run ─┬─ crowd ── doors    clients of all kinds, each in a thread
//!              ├─ fleet             with --fleet, instead of these and of control
//!              ├─ control           who changes rules, limit and mode
//!              ├─ reader            who asks for reports and metrics
//!              ├─ residents         connections that stay all the time
//!              └─ look              audit, memory, counts
//!         report                    a page, from what was seen
//! ```
//!
//! Time goes by in rounds. In a round there is load; it ends with a rest, in
//! which only the residents are connected: what is in memory then can be compared
//! from rest to rest, which under a load that differs from moment to moment it
//! cannot.
#![forbid(unsafe_code)]

mod control;
mod crowd;
mod doors;
mod fleet;
#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
#[path = "../kamailio/harness/mod.rs"]
mod harness;
mod look;
#[allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "the tests use more of it"
)]
#[path = "../kamailio/mode.rs"]
mod mode;
mod reader;
mod report;
mod residents;
mod run;

use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{error, fs};

use harness::in_own_network;
use mode::Mode;
use run::{Plan, Seen};

const USAGE: &str = "\
usage: soak [--minutes N] [--seed N] [--attach hooks|interpose] [--fleet]
  --minutes N  how long, 10 if not given
  --seed N     what the random choices start from; that of a run is in its report
  --attach     how the module is attached, by the hooks if not given
  --fleet      the load is a fleet of sources that come back again and again, three times
               as many as the server takes connections, at nearly all of these";

fn main() -> ExitCode {
    match plan().and_then(|plan| plan.map_or(Ok(true), |plan| soak(&plan))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the command line asks for; `None` if only for help.
fn plan() -> Result<Option<Plan>, Box<dyn error::Error>> {
    use lexopt::Arg::Long;
    use lexopt::ValueExt;

    let mut plan = Plan {
        minutes: 10,
        seed: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        mode: Mode::Module,
        fleet: false,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            // cargo bench adds it.
            Long("bench") => {}
            Long("help") => {
                println!("{USAGE}");
                return Ok(None);
            }
            Long("minutes") => plan.minutes = parser.value()?.parse()?,
            Long("seed") => plan.seed = parser.value()?.parse()?,
            Long("attach") => {
                plan.mode = match parser.value()?.to_str() {
                    Some("hooks") => Mode::Module,
                    Some("interpose") => Mode::Interposed,
                    _ => return Err(format!("hooks or interpose\n{USAGE}").into()),
                }
            }
            Long("fleet") => plan.fleet = true,
            other => return Err(format!("{}\n{USAGE}", other.unexpected()).into()),
        }
    }
    if plan.minutes == 0 {
        return Err("a minute at least".into());
    }
    Ok(Some(plan))
}

/// Runs it and writes the report; whether all was well.
fn soak(plan: &Plan) -> Result<bool, Box<dyn error::Error>> {
    let mut seen: Option<Seen> = None;
    in_own_network(|| seen = Some(run::run(plan)));
    let seen = seen.ok_or("nothing was run, for that takes a network namespace")?;
    let page = report::page(plan, &seen);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("soak");
    let load = if plan.fleet { "-fleet" } else { "" };
    let file = folder.join(format!("{}{load}.txt", plan.mode.attached()));
    fs::create_dir_all(&folder)?;
    fs::write(&file, &page)?;
    println!("\n{page}\nreport: {}", file.display());
    Ok(seen.failures.is_empty())
}
