// SPDX-License-Identifier: GPL-2.0-or-later
//! The cluster in simulation: nodes that share the limit of a source, with clocks of
//! different speeds, over a network that loses, delays, reorders and repeats messages, and
//! with an attacker that forges messages and sends recorded ones again.
//!
//! A failing case shrinks to a short one. CASES sets the number of cases of each property;
//! with `--release` a thousand of them take a few seconds.

mod acts;
mod cases;
mod world;

use std::cell::RefCell;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tcp_conn_limit::cluster::{Rejected, bound};

use acts::{Act, Trouble, act, perform, perform_trouble, rate, setup, trouble};
use world::{Seen, Setup, World};

/// The sources of all worlds.
const SOURCES: u32 = 3;

/// These sources, and some prefixes, which can be banned.
const BANNED: u32 = SOURCES + 2;

/// Runs random cases, as many as CASES says if it is set. Gives what all of them saw to
/// `check`, unless there were fewer than usual.
fn property<S: Strategy>(
    usual: u32,
    strategy: S,
    run: impl Fn(S::Value) -> Seen,
    check: impl FnOnce(Seen),
) {
    let cases = std::env::var("CASES");
    let cases = cases.map_or(usual, |text| text.parse().expect("CASES is a number"));
    let mut runner = TestRunner::new(ProptestConfig {
        cases,
        // A case runs once for each step of shrinking.
        max_shrink_iters: 4_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let seen = RefCell::new(Seen::default());
    let result = runner.run(&strategy, |case| {
        seen.borrow_mut().add(run(case));
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    if cases >= usual {
        check(seen.into_inner());
    }
}

/// Asserts the bound after each connection, and what each node has of the others after each
/// act. At the end, after a cycle, all nodes agree.
fn run_bounded(setup: Setup, acts: &[Act], network: impl Fn(&mut World)) -> Seen {
    let mut world = World::new(setup);
    // All nodes know each other before the sources come.
    world.run(5_000);
    network(&mut world);
    let mut staleness_ms = world.staleness_ms();
    if world.network.loss > 0 {
        staleness_ms += world.interval_ms();
    }
    let nodes = world.len() as u32;
    let (limit, percent) = (world.setup.limit, world.setup.hidden_percent);
    let (burst, per_second) = world.setup.rate.unwrap_or((u64::MAX, u64::MAX));
    let growth = bound::Growth {
        burst,
        per_second,
        staleness_ms,
    };
    let most = match world.setup.strict {
        true => bound::strict_total(limit, nodes, percent),
        false => bound::total(limit, nodes, percent, growth),
    };
    for act in acts {
        perform(&mut world, act, &mut |world, number| {
            let total = world.total(number);
            assert!(total <= most, "{total} connections, but at most {most}");
            world.seen.over_limit += u64::from(total > limit.into());
            world.seen.at_bound += u64::from(total == most);
        });
        world.check_views(SOURCES, staleness_ms, true);
    }
    acts::calm(&mut world);
    world.run(world.cycle_ms());
    world.check_views(SOURCES, staleness_ms, true);
    world.check_converged(SOURCES);
    world.seen
}

/// The bound of DESIGN §4.10: messages take up to 100 ms, and arrive in any order and
/// repeatedly, but arrive.
#[test]
fn bound_holds_while_messages_arrive() {
    let strategy = (setup(2_000), rate(), vec(act(), 1..40));
    let run = |(setup, rate, acts): (Setup, _, Vec<Act>)| {
        run_bounded(Setup { rate, ..setup }, &acts, |world| {
            world.network.repeated = 20;
        })
    };
    property(150, strategy, run, |seen| {
        assert!(seen.over_limit > 0 && seen.at_bound > 0, "{seen:?}");
        assert!(
            seen.denied > 0 && seen.rejected(Rejected::Repeated) > 0,
            "{seen:?}"
        );
        assert!(seen.rejected(Rejected::Signature) > 0, "{seen:?}");
    });
}

/// The same with one interval more, if of the messages of two intervals one is lost.
#[test]
fn bound_holds_while_single_messages_are_lost() {
    let strategy = (setup(1_200), rate(), vec(act(), 1..40));
    let run = |(setup, rate, acts): (Setup, _, Vec<Act>)| {
        run_bounded(Setup { rate, ..setup }, &acts, |world| {
            world.network.loss = 30;
            world.network.loss_gap_ms = 2 * world.interval_ms();
        })
    };
    property(150, strategy, run, |seen| {
        assert!(seen.lost > 0 && seen.over_limit > 0, "{seen:?}");
    });
}

/// The bound of strict mode, for sources without a rate.
#[test]
fn strict_bound_holds() {
    let run = |(setup, acts): (Setup, Vec<Act>)| {
        // Strict mode expects a staleness in time of the node's clock.
        let speeds = vec![1_000; setup.speeds.len()];
        let strict = Setup {
            strict: true,
            speeds,
            ..setup
        };
        run_bounded(strict, &acts, |_| {})
    };
    property(150, (setup(2_000), vec(act(), 1..60)), run, |seen| {
        assert!(seen.admitted > 0 && seen.denied > 0, "{seen:?}");
    });
}

/// Nodes are killed, stopped, started and shut out; the network splits, loses most messages
/// or delivers them seconds late; an attacker sends recorded messages again. What a node has
/// of another one is never anything but a count that it really had, no old or forged message
/// is applied (`world`), and after five cycles of quiet all nodes agree: a count whose end was
/// lost is not repeated for three cycles, is removed within the next one, and compared in the
/// one after it.
///
/// Nodes also ban sources and prefixes, lift bans, and spare some of them. No node bans what no
/// other node banned, or for longer (`world`), and there are never more bans of a node than have
/// room. After the quiet each ban in effect on a node that is alive is in effect on all others
/// that do not spare it, and no node has one that a node lifted or shortened.
#[test]
fn nodes_agree_after_any_trouble() {
    let run = |(setup, troubles): (Setup, Vec<Trouble>)| {
        let mut world = World::new(setup);
        // A count can be as old as the last record that arrived.
        let oldest_ms = 5 * world.cycle_ms();
        for trouble in &troubles {
            perform_trouble(&mut world, trouble);
            world.check_views(SOURCES, oldest_ms, false);
            world.check_bans_have_room();
        }
        acts::calm(&mut world);
        world.run(acts::LATE_MS + 5 * world.cycle_ms());
        world.check_converged(SOURCES);
        world.check_bans_have_room();
        world.check_bans();
        world.seen
    };
    property(60, (setup(2_000), vec(trouble(), 1..50)), run, |seen| {
        for reason in [
            Rejected::Malformed,
            Rejected::Signature,
            Rejected::Own,
            Rejected::NotForThisNode,
            Rejected::Dropped,
            Rejected::Unproven,
            Rejected::OldBoot,
            Rejected::Repeated,
            Rejected::Late,
        ] {
            assert!(
                seen.rejected(reason) > 0,
                "never {}: {seen:?}",
                reason.name()
            );
        }
        let bans = seen.bans;
        assert!(
            bans.set > 0 && bans.lifted > 0 && bans.spared > 0 && bans.agreed > 0,
            "{bans:?}"
        );
    });
}
