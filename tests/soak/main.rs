// SPDX-License-Identifier: GPL-2.0-or-later

//! soak: a real Kamailio with the module under random load, for any length of time. Its
//! counts and its memory are checked all the time.
//!
//! ```text
//! main ─┬ run ─┬─ crowd ── listeners   clients of all kinds, a thread per crowd
//!       │      ├─ fleet                with --fleet, instead of crowd and control
//!       │      ├─ control              changes rules, limit and mode
//!       │      ├─ reader               fetches reports and metrics
//!       │      ├─ residents            connections that stay all the time
//!       │      └─ checks               audit, memory, counts
//!       │  report                      a page with the results
//!       └ cluster                      with --cluster, three servers with one limit
//! ```
//!
//! The test runs in rounds. A round has load and ends with a rest, in which only the
//! residents are connected. Memory can be compared from rest to rest, but not under a load
//! that changes from moment to moment.
#![forbid(unsafe_code)]

mod checks;
mod cluster;
mod control;
mod crowd;
mod fleet;
mod listeners;
mod reader;
mod report;
mod residents;
mod run;

use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{error, fs};

use run::Plan;
use support::kamailio::in_own_network;
use support::kamailio::mode::Mode;

const USAGE: &str = "\
usage: soak [--minutes N] [--seed N] [--attach hooks|interpose] [--fleet | --cluster]
  --minutes N  the duration in minutes (default 10)
  --seed N     the seed of the random choices; the report shows the seed of a run
  --attach     the attachment of the module (default hooks)
  --fleet      the load is a fleet of sources that return again and again: three times
               as many sources as the server's maximum of connections, nearly all of
               which are in use
  --cluster    three servers have one limit; two of them are restarted and killed, and
               their processes of the cluster are stopped";

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

/// Parses the command line. Returns `None` if it only asks for help.
fn plan() -> Result<Option<Plan>, Box<dyn error::Error>> {
    use lexopt::Arg::Long;
    use lexopt::ValueExt;

    let mut plan = Plan {
        minutes: 10,
        seed: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        mode: Mode::Module,
        fleet: false,
        cluster: false,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            // cargo bench passes this option.
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
                    _ => {
                        return Err(
                            format!("--attach: expected hooks or interpose\n{USAGE}").into()
                        );
                    }
                }
            }
            Long("fleet") => plan.fleet = true,
            Long("cluster") => plan.cluster = true,
            other => return Err(format!("{}\n{USAGE}", other.unexpected()).into()),
        }
    }
    if plan.fleet && plan.cluster {
        return Err(format!("--fleet and --cluster exclude each other\n{USAGE}").into());
    }
    if plan.minutes == 0 {
        return Err("--minutes: expected at least 1".into());
    }
    Ok(Some(plan))
}

/// Runs the soak and writes the report. Returns whether it passed.
fn soak(plan: &Plan) -> Result<bool, Box<dyn error::Error>> {
    let mut found: Option<(String, bool)> = None;
    in_own_network(|| {
        found = Some(if plan.cluster {
            cluster::run(plan.minutes, plan.seed, plan.mode)
        } else {
            let seen = run::run(plan);
            (report::page(plan, &seen), seen.failures.is_empty())
        });
    });
    let (page, passed) =
        found.ok_or("nothing was run: creating a network namespace failed; run as root")?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("soak");
    let load = match (plan.fleet, plan.cluster) {
        (true, _) => "-fleet",
        (_, true) => "-cluster",
        _ => "",
    };
    let file = folder.join(format!("{}{load}.txt", plan.mode.attached()));
    fs::create_dir_all(&folder)?;
    fs::write(&file, &page)?;
    println!("\n{page}\nreport: {}", file.display());
    Ok(passed)
}
