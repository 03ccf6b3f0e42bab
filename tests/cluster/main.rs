// SPDX-License-Identifier: GPL-2.0-or-later
//! The cluster in simulation: nodes that share the limit of a source, with clocks of
//! different speeds, over a network that loses, delays, reorders and repeats messages, and
//! with an attacker that forges messages and sends recorded ones again.
//!
//! A failing case shrinks to a short one. CASES sets the number of cases of each property.

mod world;

use std::cell::RefCell;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tcp_conn_limit::cluster::bound;
use world::{Change, Seen, Setup, World};

/// Random cases of a property. CASES sets another number.
fn cases(usual: u32) -> u32 {
    let text = std::env::var("CASES");
    text.map_or(usual, |text| text.parse().expect("CASES is a number"))
}

/// A case runs once for each step of shrinking, so there must not be too many.
fn config(usual: u32) -> ProptestConfig {
    ProptestConfig {
        max_shrink_iters: 4_000,
        ..ProptestConfig::with_cases(cases(usual))
    }
}

/// The sources of all worlds.
const SOURCES: u32 = 3;

/// The clocks of `nodes` nodes. The fastest one is at most `ratio` thousandths of the slowest
/// one.
fn speeds(nodes: std::ops::RangeInclusive<usize>, ratio: u64) -> impl Strategy<Value = Vec<u64>> {
    let slowest = 500..=2_000 * 1_000 / ratio;
    (slowest, vec(0..=1_000u64, nodes)).prop_map(move |(slowest, parts)| {
        let range = slowest * (ratio - 1_000) / 1_000;
        parts
            .into_iter()
            .map(|part| slowest + range * part / 1_000)
            .collect()
    })
}

fn setup(nodes: std::ops::RangeInclusive<usize>, ratio: u64) -> impl Strategy<Value = Setup> {
    let limit = prop_oneof![1..20u32, 20..200u32, Just(1024u32)];
    let percent = prop_oneof![Just(0u32), Just(10), Just(20)];
    (
        any::<u64>(),
        speeds(nodes, ratio),
        limit,
        percent,
        0..=100u64,
    )
        .prop_map(|(seed, speeds, limit, hidden_percent, delay_ms)| Setup {
            seed,
            speeds,
            limit,
            hidden_percent,
            interval_ms: 1_000,
            delay_ms,
            strict: false,
            rate: None,
        })
}

/// What sources do.
#[derive(Clone, Debug)]
enum Act {
    Open(Index, u32, u32),
    /// On all nodes at once.
    OpenEverywhere(u32, u32),
    Close(Index, u32, u32),
    CloseEverywhere(u32),
    Run(u64),
    Attack(Attack),
}

/// What an attacker does.
#[derive(Clone, Debug)]
enum Attack {
    Replay(Index, Index),
    /// The last messages, in their order.
    ReplayLast(Index, usize),
    Forge(Index, Index, Change),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        any::<usize>().prop_map(Change::Cut),
        (any::<usize>(), any::<u8>()).prop_map(|(at, with)| Change::Byte(at, with)),
        any::<usize>().prop_map(Change::Swap),
        any::<u8>().prop_map(Change::Add),
    ]
}

fn attack() -> impl Strategy<Value = Attack> {
    prop_oneof![
        (any::<Index>(), any::<Index>()).prop_map(|(to, index)| Attack::Replay(to, index)),
        (any::<Index>(), 1..200usize).prop_map(|(to, last)| Attack::ReplayLast(to, last)),
        (any::<Index>(), any::<Index>(), change())
            .prop_map(|(to, index, change)| Attack::Forge(to, index, change)),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let number = 0..SOURCES;
    prop_oneof![
        4 => (any::<Index>(), number.clone(), 1..60u32).prop_map(|(n, s, c)| Act::Open(n, s, c)),
        6 => (number.clone(), 1..60u32).prop_map(|(s, c)| Act::OpenEverywhere(s, c)),
        3 => (any::<Index>(), number.clone(), 1..60u32).prop_map(|(n, s, c)| Act::Close(n, s, c)),
        1 => number.prop_map(Act::CloseEverywhere),
        8 => (1..1_500u64).prop_map(Act::Run),
        2 => attack().prop_map(Act::Attack),
    ]
}

/// Performs it. `admitted` is called after each connection, with its source.
fn perform(world: &mut World, act: &Act, admitted: &mut dyn FnMut(&mut World, u32)) {
    let nodes = world.len();
    match act {
        Act::Open(node, number, connections) => {
            for _ in 0..*connections {
                if world.open(node.index(nodes), *number) {
                    admitted(world, *number);
                }
            }
        }
        Act::OpenEverywhere(number, connections) => {
            for _ in 0..*connections {
                for node in 0..nodes {
                    if world.open(node, *number) {
                        admitted(world, *number);
                    }
                }
            }
        }
        Act::Close(node, number, connections) => {
            world.close(node.index(nodes), *number, *connections);
        }
        Act::CloseEverywhere(number) => {
            (0..nodes).for_each(|node| world.close(node, *number, u32::MAX));
        }
        Act::Run(ms) => world.run(*ms),
        Act::Attack(attack) => perform_attack(world, attack),
    }
}

fn perform_attack(world: &mut World, attack: &Attack) {
    let (nodes, recorded) = (world.len(), world.recorded());
    if recorded == 0 {
        return;
    }
    match attack {
        Attack::Replay(to, index) => world.replay(to.index(nodes), index.index(recorded)),
        Attack::ReplayLast(to, last) => {
            for index in recorded.saturating_sub(*last)..recorded {
                world.replay(to.index(nodes), index);
            }
        }
        Attack::Forge(to, index, change) => {
            world.forge(to.index(nodes), index.index(recorded), *change);
        }
    }
}

thread_local! {
    /// What all cases of a test saw. Each test runs in a thread of its own.
    static SEEN: RefCell<Seen> = RefCell::default();
}

fn remember(world: &World) {
    SEEN.with_borrow_mut(|seen| {
        seen.accepted += world.seen.accepted;
        seen.admitted += world.seen.admitted;
        seen.denied += world.seen.denied;
        for (sum, number) in seen.rejected.iter_mut().zip(world.seen.rejected) {
            *sum += number;
        }
    });
}

/// Asserts that the bound holds after each connection.
fn run_bounded(setup: Setup, acts: &[Act], network: impl FnOnce(&mut World)) {
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
            if world.seen.highest.0 < total {
                world.seen.highest = (total, most);
            }
        });
        world.check_views(SOURCES, staleness_ms, true);
    }
    remember(&world);
    // Another node's silence or a message that is still missed would be a mistake here.
    world.network.loss = 0;
    world.run(world.cycle_ms());
    world.check_views(SOURCES, staleness_ms, true);
    world.check_converged(SOURCES);
}

fn rate() -> impl Strategy<Value = Option<(u64, u64)>> {
    prop_oneof![
        1 => Just(None),
        4 => (1..40u64, 1..50u64).prop_map(Some),
    ]
}

proptest! {
    #![proptest_config(config(250))]

    /// DESIGN's bound: messages take up to 100 ms, arrive in any order and repeatedly, but
    /// arrive.
    #[test]
    fn bound_holds_while_messages_arrive(
        setup in setup(2..=8, 2_000),
        rate in rate(),
        acts in vec(act(), 1..40),
    ) {
        run_bounded(Setup { rate, ..setup }, &acts, |world| world.network.repeated = 20);
    }

    /// The same with one interval more, if of the messages of two intervals one is lost.
    #[test]
    fn bound_holds_while_single_messages_are_lost(
        setup in setup(2..=6, 1_200),
        rate in rate(),
        acts in vec(act(), 1..40),
    ) {
        run_bounded(Setup { rate, ..setup }, &acts, |world| {
            world.network.loss = 30;
            world.network.loss_gap_ms = 2 * world.interval_ms();
        });
    }

    /// The bound of strict mode, for sources without a rate.
    #[test]
    fn strict_bound_holds(
        setup in setup(2..=6, 1_001),
        acts in vec(act(), 1..60),
    ) {
        // The staleness that strict mode expects is in time of the node's clock.
        let speeds = vec![1_000; setup.speeds.len()];
        run_bounded(Setup { strict: true, speeds, ..setup }, &acts, |_| {});
    }
}

/// What goes wrong.
#[derive(Clone, Debug)]
enum Chaos {
    Act(Act),
    Kill(Index),
    End(Index),
    Start(Index),
    Restart(Index),
    Stop(Index),
    Resume(Index),
    Part(Vec<u8>),
    Network(u32, u32, (u32, u64)),
    Drop(Index, Index),
    Admit(Index, Index),
}

fn chaos() -> impl Strategy<Value = Chaos> {
    let node = any::<Index>;
    prop_oneof![
        20 => act().prop_map(Chaos::Act),
        4 => (1..9_000u64).prop_map(|ms| Chaos::Act(Act::Run(ms))),
        1 => node().prop_map(Chaos::Kill),
        1 => node().prop_map(Chaos::End),
        2 => node().prop_map(Chaos::Start),
        1 => node().prop_map(Chaos::Restart),
        1 => node().prop_map(Chaos::Stop),
        2 => node().prop_map(Chaos::Resume),
        1 => vec(0..2u8, 12).prop_map(Chaos::Part),
        1 => Just(Chaos::Part(vec![0; 12])),
        2 => (0..60u32, 0..50u32, (0..50u32, 0..6_000u64))
            .prop_map(|(loss, repeated, late)| Chaos::Network(loss, repeated, late)),
        1 => (node(), node()).prop_map(|(at, node)| Chaos::Drop(at, node)),
        1 => (node(), node()).prop_map(|(at, node)| Chaos::Admit(at, node)),
    ]
}

fn perform_chaos(world: &mut World, chaos: &Chaos) {
    let nodes = world.len();
    match chaos {
        Chaos::Act(act) => perform(world, act, &mut |_, _| {}),
        Chaos::Kill(node) => world.kill(node.index(nodes)),
        Chaos::End(node) => world.end(node.index(nodes)),
        Chaos::Start(node) => world.start(node.index(nodes)),
        Chaos::Restart(node) => {
            world.kill(node.index(nodes));
            world.start(node.index(nodes));
        }
        Chaos::Stop(node) => world.stop(node.index(nodes)),
        Chaos::Resume(node) => world.resume(node.index(nodes)),
        Chaos::Part(parts) => world.network.part = parts.clone(),
        Chaos::Network(loss, repeated, late) => {
            world.network.loss = *loss;
            world.network.repeated = *repeated;
            world.network.late = *late;
        }
        Chaos::Drop(at, node) => world.drop_node(at.index(nodes), node.index(nodes)),
        Chaos::Admit(at, node) => world.admit_node(at.index(nodes), node.index(nodes)),
    }
}

proptest! {
    #![proptest_config(config(150))]

    /// Nodes are killed, stopped, started and shut out; the network splits, loses most
    /// messages or delivers them seconds late; an attacker sends recorded messages again.
    /// What a node has of another one is never anything but a count that it really had, no
    /// old or forged message is applied (`world`), and after three cycles of quiet all nodes
    /// agree.
    #[test]
    fn nodes_agree_after_any_trouble(
        setup in setup(2..=12, 2_000),
        chaos in vec(chaos(), 1..60),
    ) {
        let mut world = World::new(setup);
        // A count can be as old as the last record that arrived.
        let oldest_ms = 4 * world.cycle_ms();
        for step in &chaos {
            perform_chaos(&mut world, step);
            world.check_views(SOURCES, oldest_ms, false);
        }
        let nodes = world.len();
        world.network.part.fill(0);
        (world.network.loss, world.network.repeated, world.network.late) = (0, 0, (0, 0));
        for node in 0..nodes {
            world.resume(node);
            (0..nodes).for_each(|other| world.admit_node(node, other));
        }
        let late_ms = 6_000;
        world.run(late_ms + 3 * world.cycle_ms() + world.interval_ms());
        remember(&world);
        world.check_converged(SOURCES);
    }
}
