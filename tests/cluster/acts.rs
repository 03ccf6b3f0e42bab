// SPDX-License-Identifier: GPL-2.0-or-later
//! What happens in a world: sources that come and go, an attacker, and trouble.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::world::{Change, Setup, World};
use crate::{BANNED, SOURCES};

/// The clocks of some nodes, more often of few than of many. The fastest clock is at most
/// `ratio` thousandths of the slowest one, and all have between half and twice the speed of
/// real time.
fn speeds(ratio: u64) -> impl Strategy<Value = Vec<u64>> {
    let nodes = prop_oneof![5 => 2..=4usize, 2 => 5..=7usize, 1 => 8..=12usize];
    let parts = nodes.prop_flat_map(|nodes| vec(0..=1_000u64, nodes));
    let slowest = 500..=2_000 * 1_000 / ratio;
    (slowest, parts).prop_map(move |(slowest, parts)| {
        let range = slowest * (ratio - 1_000) / 1_000;
        let speed = |part| slowest + range * part / 1_000;
        parts.into_iter().map(speed).collect()
    })
}

pub(crate) fn setup(ratio: u64) -> impl Strategy<Value = Setup> {
    let limit = prop_oneof![1..20u32, 20..200u32, Just(1024u32)];
    let percent = prop_oneof![Just(0u32), Just(10), Just(20)];
    // For all bans, or for fewer.
    let ban_room = prop_oneof![3 => Just((100, 100)), 1 => Just((2, 1))];
    let setup = (
        any::<u64>(),
        speeds(ratio),
        limit,
        percent,
        0..=100u64,
        ban_room,
    );
    setup.prop_map(
        |(seed, speeds, limit, hidden_percent, delay_ms, ban_room)| Setup {
            seed,
            speeds,
            limit,
            hidden_percent,
            interval_ms: 1_000,
            delay_ms,
            strict: false,
            rate: None,
            ban_room,
        },
    )
}

/// A burst, and connections a second.
pub(crate) fn rate() -> impl Strategy<Value = Option<(u64, u64)>> {
    prop_oneof![
        1 => Just(None),
        4 => (1..40u64, 1..50u64).prop_map(Some),
    ]
}

/// What sources and an attacker do.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Open(Index, u32, u32),
    /// On all nodes at once.
    OpenEverywhere(u32, u32),
    Close(Index, u32, u32),
    CloseEverywhere(u32),
    Run(u64),
    /// Sends a recorded message again.
    Replay(Index, Index),
    /// Sends the last messages again, in their order.
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

pub(crate) fn act() -> impl Strategy<Value = Act> {
    let (node, number) = (any::<Index>, || 0..SOURCES);
    prop_oneof![
        4 => (node(), number(), 1..60u32).prop_map(|(n, s, c)| Act::Open(n, s, c)),
        6 => (number(), 1..60u32).prop_map(|(s, c)| Act::OpenEverywhere(s, c)),
        3 => (node(), number(), 1..60u32).prop_map(|(n, s, c)| Act::Close(n, s, c)),
        1 => number().prop_map(Act::CloseEverywhere),
        8 => (1..1_500u64).prop_map(Act::Run),
        1 => (node(), any::<Index>()).prop_map(|(to, index)| Act::Replay(to, index)),
        1 => (node(), 1..200usize).prop_map(|(to, last)| Act::ReplayLast(to, last)),
        1 => (node(), any::<Index>(), change())
            .prop_map(|(to, index, change)| Act::Forge(to, index, change)),
    ]
}

/// Performs it. `admitted` is called after each connection, with its source.
pub(crate) fn perform(world: &mut World, act: &Act, admitted: &mut dyn FnMut(&mut World, u32)) {
    let (nodes, recorded) = (world.len(), world.recorded());
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
        Act::Replay(to, index) if recorded > 0 => {
            world.replay(to.index(nodes), index.index(recorded));
        }
        Act::ReplayLast(to, last) => {
            for index in recorded.saturating_sub(*last)..recorded {
                world.replay(to.index(nodes), index);
            }
        }
        Act::Forge(to, index, change) if recorded > 0 => {
            world.forge(to.index(nodes), index.index(recorded), *change);
        }
        Act::Replay(..) | Act::Forge(..) => {}
    }
}

/// The same, and what goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    Act(Act),
    Kill(Index),
    End(Index),
    Start(Index),
    Restart(Index),
    Stop(Index),
    Resume(Index),
    Part(Vec<u8>),
    /// Lost, repeated and late messages, of 100.
    Network(u32, u32, (u32, u64)),
    Drop(Index, Index),
    Admit(Index, Index),
    /// A node bans a source or prefix for this many seconds of its clock.
    Ban(Index, u32, u32),
    Lift(Index, u32),
    /// A rule of a node spares a source or prefix from the bans of others, or no longer.
    Spare(Index, u32, bool),
}

/// A message is late by at most this, in ms.
pub(crate) const LATE_MS: u64 = 6_000;

pub(crate) fn trouble() -> impl Strategy<Value = Trouble> {
    let (node, banned) = (any::<Index>, || 0..BANNED);
    // Some end during the quiet, and some are longer than one that a node can send.
    let seconds = prop_oneof![2 => 1..200u32, 4 => 300..2_000u32, 1 => Just(100_000u32)];
    prop_oneof![
        20 => act().prop_map(Trouble::Act),
        4 => (1..9_000u64).prop_map(|ms| Trouble::Act(Act::Run(ms))),
        1 => node().prop_map(Trouble::Kill),
        1 => node().prop_map(Trouble::End),
        2 => node().prop_map(Trouble::Start),
        1 => node().prop_map(Trouble::Restart),
        1 => node().prop_map(Trouble::Stop),
        2 => node().prop_map(Trouble::Resume),
        1 => vec(0..2u8, 12).prop_map(Trouble::Part),
        1 => Just(Trouble::Part(vec![0; 12])),
        2 => (0..60u32, 0..50u32, (0..50u32, 0..LATE_MS))
            .prop_map(|(loss, repeated, late)| Trouble::Network(loss, repeated, late)),
        1 => (node(), node()).prop_map(|(at, node)| Trouble::Drop(at, node)),
        1 => (node(), node()).prop_map(|(at, node)| Trouble::Admit(at, node)),
        4 => (node(), banned(), seconds).prop_map(|(at, who, s)| Trouble::Ban(at, who, s)),
        2 => (node(), banned()).prop_map(|(at, who)| Trouble::Lift(at, who)),
        1 => (node(), banned(), any::<bool>())
            .prop_map(|(at, who, spares)| Trouble::Spare(at, who, spares)),
    ]
}

pub(crate) fn perform_trouble(world: &mut World, trouble: &Trouble) {
    let nodes = world.len();
    match trouble {
        Trouble::Act(act) => perform(world, act, &mut |_, _| {}),
        Trouble::Kill(node) => world.kill(node.index(nodes)),
        Trouble::End(node) => world.end(node.index(nodes)),
        Trouble::Start(node) => world.start(node.index(nodes)),
        Trouble::Restart(node) => {
            world.kill(node.index(nodes));
            world.start(node.index(nodes));
        }
        Trouble::Stop(node) => world.stop(node.index(nodes)),
        Trouble::Resume(node) => world.resume(node.index(nodes)),
        Trouble::Part(parts) => world.network.part.clone_from(parts),
        Trouble::Network(loss, repeated, late) => {
            world.network.loss = *loss;
            world.network.repeated = *repeated;
            world.network.late = *late;
        }
        Trouble::Drop(at, node) => world.drop_node(at.index(nodes), node.index(nodes)),
        Trouble::Admit(at, node) => world.admit_node(at.index(nodes), node.index(nodes)),
        Trouble::Ban(at, who, seconds) => world.ban(at.index(nodes), *who, *seconds),
        Trouble::Lift(at, who) => world.lift(at.index(nodes), *who),
        Trouble::Spare(at, who, spares) => world.spare(at.index(nodes), *who, *spares),
    }
}

/// Ends all trouble. Nodes that are not running stay so.
pub(crate) fn calm(world: &mut World) {
    let nodes = world.len();
    world.network.part.fill(0);
    world.network.loss = 0;
    world.network.repeated = 0;
    world.network.late = (0, 0);
    for node in 0..nodes {
        world.resume(node);
        (0..nodes).for_each(|other| world.admit_node(node, other));
    }
}
