// SPDX-License-Identifier: GPL-2.0-or-later
//! Single cases: what an operator or an attacker does, and how fast nodes learn of it.

use tcp_conn_limit::cluster::{
    Ban, Cluster, Config, Count, Effects, Keys, MAX_BAN_SECONDS, NodeName, NodeState, Rejected, To,
    TooManyNodes, bound,
};
use tcp_conn_limit::source::{Prefix, PrefixLengths, Source};

use crate::BANNED;
use crate::world::{Setup, World, source};

const OLD: &[u8] = b"the old key, 16 bytes or more";
const NEW: &[u8] = b"the new key, 16 bytes or more";

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

/// One node, without a network.
struct Node {
    cluster: Cluster,
    outbox: Outbox,
    own: Vec<(u32, u32)>,
    /// The bans that it set, and when they end.
    bans: Vec<(Prefix, u64)>,
    /// The same of other nodes.
    received: Vec<(Prefix, u64)>,
}

/// What a node sent and was asked to do.
#[derive(Default)]
struct Outbox {
    sent: Vec<(Option<NodeName>, String)>,
    bans: Vec<(Prefix, u32)>,
    /// Sources that no other node may ban.
    spared: Vec<Prefix>,
    limit: u32,
    states: Vec<(String, NodeState)>,
}

impl Effects for Outbox {
    fn send(&mut self, to: To<'_>, body: &str) {
        let to = match to {
            To::All => None,
            To::Node(name) => Some(name.clone()),
        };
        self.sent.push((to, body.to_owned()));
    }

    fn set(&mut self, _: Source, _: u32) {}

    fn limit(&mut self, _: Source) -> u32 {
        self.limit
    }

    fn ban(&mut self, _: usize, who: Prefix, seconds: u32) -> bool {
        if self.spared.contains(&who) {
            return false;
        }
        self.bans.push((who, seconds));
        seconds > 0
    }

    fn changed(&mut self, node: &tcp_conn_limit::cluster::NodeReport<'_>) {
        self.states.push((node.name.to_string(), node.state));
    }
}

impl Node {
    fn new(text: &str, boot: u64) -> Node {
        Node::with(text, boot, |_| {})
    }

    fn with(text: &str, boot: u64, change: impl FnOnce(&mut Config)) -> Node {
        let keys = Keys::new(OLD, None).unwrap();
        let mut config = Config::new(name(text), boot, [boot, 1], keys);
        change(&mut config);
        Node {
            cluster: Cluster::new(config, 0),
            outbox: Outbox::default(),
            own: Vec::new(),
            bans: Vec::new(),
            received: Vec::new(),
        }
    }

    fn tick(&mut self, now: u64) -> Vec<String> {
        let counts = self.own.iter().map(|(number, own)| Count {
            source: source(*number),
            own: *own,
            limit: 100,
        });
        let bans = self.bans.iter().map(|(who, until)| Ban {
            who: *who,
            seconds: (until.saturating_sub(now) / 1_000) as u32,
        });
        self.cluster.tick(now, counts, bans, &mut self.outbox);
        self.take()
    }

    fn take(&mut self) -> Vec<String> {
        let sent = std::mem::take(&mut self.outbox.sent);
        sent.into_iter().map(|(_, body)| body).collect()
    }

    fn receive(&mut self, now: u64, body: &str) -> Result<(), Rejected> {
        let before = self.outbox.bans.len();
        let result = self.cluster.receive(now, body.as_bytes(), &mut self.outbox);
        for (who, seconds) in &self.outbox.bans[before..] {
            self.received.retain(|(banned, _)| banned != who);
            if *seconds > 0 {
                let until = now + u64::from(*seconds) * 1_000;
                self.received.push((*who, until));
            }
        }
        result
    }

    fn state(&self, now: u64) -> NodeState {
        self.cluster.nodes(now).next().expect("a node").state
    }
}

/// Lets two nodes exchange what they send until `end`. Returns all messages.
fn exchange(a: &mut Node, b: &mut Node, times: std::ops::Range<u64>) -> Vec<String> {
    let mut all = Vec::new();
    for now in times.step_by(100) {
        for body in a.tick(now) {
            let _ = b.receive(now, &body);
            all.push(body);
        }
        for body in b.tick(now) {
            let _ = a.receive(now, &body);
            all.push(body);
        }
    }
    all
}

#[test]
fn two_nodes_know_each_other_after_three_ticks() {
    let (mut a, mut b) = (Node::new("a", 1), Node::new("b", 2));
    a.own = vec![(4, 50)];
    exchange(&mut a, &mut b, 0..300);
    assert_eq!(
        (a.state(300), b.state(300)),
        (NodeState::Alive, NodeState::Alive)
    );
    exchange(&mut a, &mut b, 300..1_500);
    assert_eq!(b.cluster.others(source(4)), 50);
    let of_nodes: Vec<_> = b.cluster.of_nodes(source(4)).collect();
    assert_eq!(of_nodes, [(0, 50)]);
    assert_eq!((a.cluster.size(), b.cluster.size()), (2, 2));
}

#[test]
fn joining_node_gets_all_counts_before_it_has_learned() {
    let mut setup = Setup::calm(5);
    setup.hidden_percent = 0;
    let mut world = World::new(setup);
    world.run(2_000);
    world.kill(4);
    for number in 0..60 {
        world.open(number as usize % 4, number);
    }
    world.run(30_000);
    world.start(4);
    // Well within the 5 s of learning.
    world.run(2_500);
    world.check_sums(60);
}

#[test]
fn many_nodes_that_join_one_after_the_other_get_all_counts() {
    let mut setup = Setup::calm(10);
    setup.hidden_percent = 0;
    let mut world = World::new(setup);
    world.run(2_000);
    (4..10).for_each(|node| world.kill(node));
    for number in 0..60 {
        world.open(number as usize % 4, number);
    }
    world.run(30_000);
    // Each of them wants a dump while the one for another node is under way.
    for node in 4..10 {
        world.start(node);
        world.run(300);
    }
    world.run(4_500);
    world.check_sums(60);
}

#[test]
fn large_growth_is_known_before_the_interval_ends() {
    let mut setup = Setup::calm(3);
    setup.limit = 100;
    let mut world = World::new(setup);
    world.run(5_000);
    for _ in 0..10 {
        (0..20).for_each(|_| assert!(world.open(0, 0)));
        // A tick, and the time that a message takes.
        world.run(200);
        world.check_sums(1);
        world.close(0, 0, 100);
        world.run(2_000);
        world.check_sums(1);
    }
}

#[test]
fn counts_of_a_killed_node_end_after_three_seconds() {
    let mut world = World::new(Setup::calm(3));
    world.run(5_000);
    (0..50).for_each(|_| assert!(world.open(1, 0)));
    world.run(1_200);
    world.check_sums(1);
    world.kill(1);
    world.run(1_500);
    assert_eq!(world.others(0, 0), 50);
    world.run(1_800);
    assert_eq!(world.others(0, 0), 0);
    // One that says that it ends has no counts at once.
    (0..50).for_each(|_| assert!(world.open(2, 0)));
    world.run(1_200);
    assert_eq!(world.others(0, 0), 50);
    world.end(2);
    world.run(100);
    assert_eq!(world.others(0, 0), 0);
}

#[test]
fn each_part_of_a_split_cluster_counts_for_itself() {
    let mut setup = Setup::calm(4);
    setup.limit = 100;
    let mut world = World::new(setup);
    world.run(5_000);
    (0..4).for_each(|node| (0..20).for_each(|_| assert!(world.open(node, 0))));
    world.run(1_500);
    assert_eq!(world.others(0, 0), 60);
    world.network.part = vec![0, 0, 1, 1];
    world.run(4_000);
    assert_eq!(world.others(0, 0), 20);
    world.network.part = vec![0; 4];
    // Each side asks the other one for all of its counts.
    world.run(3_000);
    assert_eq!(world.others(0, 0), 60);
}

#[test]
fn node_that_is_not_heard_is_deaf_to_the_others() {
    let (mut a, mut b) = (Node::new("a", 1), Node::new("b", 2));
    b.own = vec![(4, 50)];
    exchange(&mut a, &mut b, 0..3_000);
    assert_eq!(a.cluster.others(source(4)), 50);
    // What `a` sends does not arrive any more.
    for now in (3_000..14_000).step_by(100) {
        a.tick(now);
        for body in b.tick(now) {
            let _ = a.receive(now, &body);
        }
    }
    assert_eq!(
        (a.state(14_000), b.state(14_000)),
        (NodeState::Deaf, NodeState::Silent)
    );
    assert_eq!(a.cluster.others(source(4)), 0);
    exchange(&mut a, &mut b, 14_000..17_000);
    assert_eq!(
        (a.state(17_000), b.state(17_000)),
        (NodeState::Alive, NodeState::Alive)
    );
    assert_eq!(a.cluster.others(source(4)), 50);
}

#[test]
fn recorded_messages_are_rejected_after_each_restart() {
    let (mut a, mut b) = (Node::new("a", 1), Node::new("b", 2));
    b.own = vec![(4, 50)];
    let mut recorded = exchange(&mut a, &mut b, 0..5_000);
    for (round, boot) in (10..20).enumerate() {
        // The receiver restarts; then both.
        let mut a = Node::new("a", boot);
        for body in &recorded {
            assert!(a.receive(0, body).is_err());
        }
        assert_eq!(a.cluster.others(source(4)), 0);
        let mut b = Node::new("b", boot + 100);
        b.own = vec![(4, 20)];
        let now = 5_000 * (round as u64 + 1);
        let new = exchange(&mut a, &mut b, now..now + 5_000);
        assert_eq!(a.cluster.others(source(4)), 20);
        for body in recorded.iter().chain(&new) {
            assert!(a.receive(now + 5_000, body).is_err());
            assert!(b.receive(now + 5_000, body).is_err());
        }
        assert_eq!(a.cluster.others(source(4)), 20);
        recorded.extend(new);
    }
}

#[test]
fn messages_of_an_earlier_life_are_rejected() {
    let (mut a, mut b) = (Node::new("a", 1), Node::new("b", 2));
    b.own = vec![(4, 50)];
    exchange(&mut a, &mut b, 0..3_000);
    // These are held back.
    let late = b.tick(4_000);
    assert!(!late.is_empty());
    let mut again = Node::new("b", 3);
    exchange(&mut a, &mut again, 4_000..4_500);
    assert_eq!(a.state(4_500), NodeState::Alive);
    assert_eq!(a.cluster.others(source(4)), 0);
    for body in late {
        assert_eq!(a.receive(4_600, &body), Err(Rejected::OldBoot));
    }
    let restarts = a
        .outbox
        .states
        .iter()
        .filter(|(_, state)| *state == NodeState::Alive);
    assert_eq!(restarts.count(), 2);
}

#[test]
fn late_count_does_not_return_after_its_end() {
    // With one row, each interval sweeps it.
    let mut a = Node::with("a", 1, |config| config.max_nodes = 1);
    let mut b = Node::new("b", 2);
    exchange(&mut a, &mut b, 0..3_000);
    b.own = vec![(4, 50)];
    let late = b.tick(3_000);
    b.own.clear();
    exchange(&mut a, &mut b, 3_100..8_000);
    let results: Vec<_> = late.iter().map(|body| a.receive(8_000, body)).collect();
    assert!(results.contains(&Ok(())), "{results:?}");
    assert_eq!(a.cluster.others(source(4)), 0);
}

#[test]
fn life_that_ended_unheard_cannot_follow_a_later_one() {
    let (mut a, mut b) = (Node::new("a", 1), Node::new("b", 2));
    b.own = vec![(4, 50)];
    for body in a.tick(0) {
        let _ = b.receive(0, &body);
    }
    // They echo a pulse of `a`, and are held back.
    let late = b.tick(1_000);
    let mut again = Node::new("b", 3);
    exchange(&mut a, &mut again, 1_000..1_500);
    assert_eq!(a.state(1_500), NodeState::Alive);
    for body in late {
        assert_eq!(a.receive(1_600, &body), Err(Rejected::OldBoot));
    }
    assert_eq!(a.cluster.others(source(4)), 0);
}

#[test]
fn two_nodes_with_one_name_do_not_follow_each_other_forever() {
    let mut nodes = [Node::new("a", 1), Node::new("b", 2), Node::new("b", 3)];
    for now in (0..60_000).step_by(100) {
        for from in 0..nodes.len() {
            for body in nodes[from].tick(now) {
                for to in (0..nodes.len()).filter(|to| *to != from) {
                    let _ = nodes[to].receive(now, &body);
                }
            }
        }
    }
    let [a, ..] = nodes;
    assert!(a.outbox.states.len() <= 2, "{:?}", a.outbox.states);
    assert!(a.cluster.totals().rejected[Rejected::OldBoot as usize] > 50);
}

#[test]
fn strict_bound_holds_at_each_moment_of_a_period() {
    let setup = Setup {
        strict: true,
        delay_ms: 100,
        hidden_percent: 0,
        ..Setup::calm(3)
    };
    let most = bound::strict_total(100, 3, 0);
    for moment in (0..4_000).step_by(40) {
        let mut world = World::new(setup.clone());
        world.run(5_000 + moment);
        for _ in 0..6 {
            for _ in 0..100 {
                for node in 0..3 {
                    world.open(node, 0);
                }
            }
            let total = world.total(0);
            assert!(total <= most, "{total} connections after {moment} ms");
            world.run(40);
        }
    }
}

#[test]
fn strict_mode_lets_one_node_use_the_whole_limit() {
    let setup = Setup {
        strict: true,
        ..Setup::calm(3)
    };
    let mut world = World::new(setup);
    for _ in 0..120 {
        world.run(1_000);
        for _ in 0..100 {
            world.open(0, 0);
        }
    }
    assert_eq!(world.own(0, 0), 100);
}

#[test]
fn keys_change_one_node_at_a_time() {
    let (mut a, mut b) = (Node::new("a", 1), Node::new("b", 2));
    let mut now = 0;
    let mut agree = |a: &mut Node, b: &mut Node, own| {
        b.own = vec![(4, own)];
        exchange(a, b, now..now + 3_000);
        now += 3_000;
        assert_eq!(a.cluster.others(source(4)), own);
    };
    agree(&mut a, &mut b, 50);
    let keys = |first, second| Keys::new(first, second).unwrap();
    for (number, (of_a, of_b)) in [
        (keys(OLD, Some(NEW)), keys(OLD, None)),
        (keys(OLD, Some(NEW)), keys(OLD, Some(NEW))),
        (keys(NEW, Some(OLD)), keys(OLD, Some(NEW))),
        (keys(NEW, Some(OLD)), keys(NEW, Some(OLD))),
        (keys(NEW, None), keys(NEW, Some(OLD))),
        (keys(NEW, None), keys(NEW, None)),
    ]
    .into_iter()
    .enumerate()
    {
        a.cluster.set_keys(of_a);
        b.cluster.set_keys(of_b);
        agree(&mut a, &mut b, 20 + number as u32);
    }
    assert_eq!(a.cluster.totals().rejected[Rejected::Signature as usize], 0);
    b.cluster.set_keys(keys(OLD, None));
    let body = b.tick(now).remove(0);
    assert_eq!(a.receive(now, &body), Err(Rejected::Signature));
    assert!(Rejected::Signature.is_suspect());
}

#[test]
fn lying_node_is_capped_and_can_be_shut_out() {
    let mut a = Node::with("a", 1, |config| {
        config.max_count = 30;
        config.max_sources = 10;
    });
    let mut b = Node::new("b", 2);
    b.own = (0..20).map(|number| (number, u32::MAX)).collect();
    exchange(&mut a, &mut b, 0..3_000);
    let report = a.cluster.nodes(3_000).next().unwrap();
    assert_eq!((report.sources, report.connections), (10, 300));
    assert!(report.capped > 0 && report.overflow > 0);
    assert!(a.cluster.all_others().all(|(_, others)| others == 30));

    a.cluster
        .drop_node(3_000, &name("b"), &mut a.outbox)
        .unwrap();
    exchange(&mut a, &mut b, 3_000..6_000);
    assert_eq!(a.state(6_000), NodeState::Dropped);
    assert_eq!(a.cluster.all_others().count(), 0);
    assert_eq!(a.cluster.size(), 1);
    assert!(a.cluster.totals().rejected[Rejected::Dropped as usize] > 0);

    assert!(a.cluster.admit_node(6_000, &name("b"), &mut a.outbox));
    assert!(!a.cluster.admit_node(6_000, &name("b"), &mut a.outbox));
    b.own = vec![(4, 20)];
    exchange(&mut a, &mut b, 6_000..10_000);
    assert_eq!(
        (a.state(10_000), a.cluster.others(source(4))),
        (NodeState::Alive, 20)
    );
}

#[test]
fn node_can_be_shut_out_before_it_is_heard() {
    let (mut a, mut b) = (Node::new("a", 1), Node::new("b", 2));
    a.cluster.drop_node(0, &name("b"), &mut a.outbox).unwrap();
    exchange(&mut a, &mut b, 0..3_000);
    assert_eq!(a.state(3_000), NodeState::Dropped);
}

#[test]
fn more_nodes_than_there_is_room_for_are_rejected() {
    let mut a = Node::with("a", 1, |config| config.max_nodes = 2);
    let mut others: Vec<Node> = ["b", "c", "d"].map(|text| Node::new(text, 7)).into();
    for other in &mut others[..2] {
        exchange(&mut a, other, 0..1_000);
    }
    assert_eq!(a.cluster.size(), 3);
    let body = others[2].tick(0).remove(0);
    assert_eq!(a.receive(1_000, &body), Err(Rejected::TooManyNodes));
    let dropped = a.cluster.drop_node(1_000, &name("d"), &mut a.outbox);
    assert_eq!(dropped, Err(TooManyNodes));
    // Long after one of them ended, its row is free.
    for now in (1_000..120_000).step_by(500) {
        a.tick(now);
    }
    assert_eq!(a.receive(120_000, &body), Err(Rejected::Unproven));
}

#[test]
fn other_settings_are_named() {
    let (mut a, mut b) = (
        Node::new("a", 1),
        Node::with("b", 2, |config| {
            config.prefixes = PrefixLengths::new(24, 64).unwrap();
        }),
    );
    let body = b.tick(0).remove(0);
    assert_eq!(a.receive(0, &body), Err(Rejected::Prefixes));
    let mut twin = Node::new("a", 9);
    let body = twin.tick(0).remove(0);
    assert_eq!(a.receive(0, &body), Err(Rejected::Own));
    assert_eq!(a.receive(0, ""), Err(Rejected::Malformed));
    assert_eq!(a.receive(0, "Ag"), Err(Rejected::Version));
    assert_eq!(a.receive(0, &"A".repeat(70_000)), Err(Rejected::Malformed));
    let report = a.cluster.nodes(0).next().unwrap();
    assert_eq!(report.rejected[Rejected::Prefixes as usize], 1);
}

#[test]
fn lost_messages_are_counted() {
    let (mut a, mut b) = (Node::new("a", 1), Node::new("b", 2));
    exchange(&mut a, &mut b, 0..3_000);
    let mut lost = 0;
    for now in (3_000..60_000u64).step_by(100) {
        for body in b.tick(now) {
            match now / 100 % 30 {
                0 => lost += 1,
                _ => assert_eq!(a.receive(now, &body), Ok(())),
            }
        }
        for body in a.tick(now) {
            let _ = b.receive(now, &body);
        }
    }
    assert!(lost > 5);
    // The last one is not missed before another one arrives.
    let counted = a.cluster.nodes(60_000).next().unwrap().lost;
    assert!(
        counted == lost || counted + 2 >= lost,
        "{counted} of {lost}"
    );
}

#[test]
fn time_that_goes_back_does_no_harm() {
    let (mut a, mut b) = (Node::new("a", 1), Node::new("b", 2));
    b.own = vec![(4, 50)];
    exchange(&mut a, &mut b, 50_000..53_000);
    exchange(&mut a, &mut b, 0..1_000);
    exchange(&mut a, &mut b, 53_000..56_000);
    assert_eq!(a.cluster.others(source(4)), 50);
}

/// A source as a ban names it.
fn banned(number: u32) -> Prefix {
    source(number).prefix(PrefixLengths::DEFAULT)
}

#[test]
fn bans_travel_once_and_end_everywhere() {
    let with_bans = |text, boot| Node::with(text, boot, |config| config.bans = true);
    let (mut a, mut b) = (with_bans("a", 1), with_bans("b", 2));
    a.bans = vec![(banned(4), 60_000)];
    exchange(&mut a, &mut b, 0..20_000);
    // It is set once, and not sent back.
    assert_eq!(b.outbox.bans.len(), 1);
    let (who, seconds) = b.outbox.bans.remove(0);
    assert!(who == banned(4) && (57..=60).contains(&seconds));
    assert_eq!(a.outbox.bans, []);
    // It is lifted where it was set.
    a.bans.clear();
    exchange(&mut a, &mut b, 20_000..22_500);
    assert_eq!(b.outbox.bans, [(banned(4), 0)]);
    assert_eq!(a.outbox.bans, []);
    // The other node makes it longer.
    a.bans = vec![(banned(4), 40_000)];
    exchange(&mut a, &mut b, 22_500..25_000);
    b.bans = vec![(banned(4), 90_000)];
    exchange(&mut a, &mut b, 25_000..27_500);
    assert!(
        matches!(a.outbox.bans[..], [(_, 60..=65)]),
        "{:?}",
        a.outbox.bans
    );
    // It ends by itself everywhere, without being lifted.
    b.outbox.bans.clear();
    exchange(&mut a, &mut b, 27_500..120_000);
    assert_eq!((a.outbox.bans.len(), b.outbox.bans.len()), (1, 0));
}

#[test]
fn bans_stay_at_home_by_default() {
    let (mut a, mut b) = (
        Node::new("a", 1),
        Node::with("b", 2, |config| config.bans = true),
    );
    a.bans = vec![(banned(4), 60_000)];
    b.bans = vec![(banned(6), 60_000)];
    exchange(&mut a, &mut b, 0..5_000);
    assert_eq!((a.outbox.bans.len(), b.outbox.bans.len()), (0, 0));
}

#[test]
fn prefix_is_banned_as_a_source_is() {
    let with_bans = |text, boot| Node::with(text, boot, |config| config.bans = true);
    let (mut a, mut b) = (with_bans("a", 1), with_bans("b", 2));
    let prefixes = ["0.0.0.0/0", "198.51.100.0/24", "2001:db8::/32"];
    let prefixes = prefixes.map(|text| Prefix::parse_any(text).unwrap());
    a.bans = prefixes.map(|prefix| (prefix, 60_000)).to_vec();
    exchange(&mut a, &mut b, 0..3_000);
    let mut arrived: Vec<Prefix> = b.outbox.bans.iter().map(|(who, _)| *who).collect();
    arrived.sort_unstable();
    assert_eq!(arrived, prefixes);
    assert_eq!(b.cluster.bans_of(0), 3);
    let totals = (a.cluster.totals(), b.cluster.totals());
    assert_eq!((totals.0.bans_sent, totals.0.bans_received), (3, 0));
    assert_eq!((totals.1.bans_sent, totals.1.bans_received), (0, 3));
    a.bans.clear();
    exchange(&mut a, &mut b, 3_000..5_000);
    assert_eq!((b.received.len(), b.cluster.bans_of(0)), (0, 0));
}

#[test]
fn refused_ban_is_tried_again() {
    let with_bans = |text, boot| Node::with(text, boot, |config| config.bans = true);
    let (mut a, mut b) = (with_bans("a", 1), with_bans("b", 2));
    b.outbox.spared = vec![banned(4)];
    a.bans = vec![(banned(4), 90_000)];
    exchange(&mut a, &mut b, 0..15_000);
    assert_eq!((b.received.len(), b.cluster.totals().bans_refused), (0, 1));
    b.outbox.spared.clear();
    exchange(&mut a, &mut b, 15_000..27_000);
    assert_eq!((b.received.len(), b.outbox.bans.len()), (1, 1));
    let totals = b.cluster.totals();
    assert_eq!((totals.bans_refused, totals.bans_received), (1, 1));
}

/// The number and the duration of the bans that another node can have here are limited.
#[test]
fn bans_of_a_node_are_capped() {
    let mut a = Node::with("a", 1, |config| config.bans = true);
    let mut b = Node::with("b", 2, |config| {
        config.bans = true;
        config.max_bans = 5;
        config.max_banned_prefixes = 2;
    });
    let prefixes = (0..4u8).map(|n| Prefix::parse_any(&format!("10.{n}.0.0/16")).unwrap());
    let month = 30 * 86_400_000;
    a.bans = prefixes.map(|prefix| (prefix, month)).collect();
    exchange(&mut a, &mut b, 0..3_000);
    assert_eq!(b.received.len(), 2);
    a.bans.extend((0..9).map(|number| (banned(number), month)));
    exchange(&mut a, &mut b, 3_000..5_000);
    assert_eq!((b.received.len(), b.cluster.bans_of(0)), (5, 5));
    assert!(b.cluster.totals().bans_refused > 0);
    let day = u64::from(MAX_BAN_SECONDS) * 1_000;
    assert!(b.received.iter().all(|(_, until)| *until <= 5_000 + day));
    // Each repetition lets it last longer.
    exchange(&mut a, &mut b, 5_000..30_000);
    assert!(b.received.iter().all(|(_, until)| *until > 15_000 + day));
    assert_eq!(b.cluster.totals().bans_received, 5);
    assert_eq!(a.outbox.bans, []);
}

/// The bans of a node that is shut out are lifted, also those from before a restart. They come
/// back when the node is admitted, except one that this node made longer.
#[test]
fn bans_of_a_dropped_node_are_lifted() {
    let with_bans = |text, boot| Node::with(text, boot, |config| config.bans = true);
    let (mut a, mut b) = (with_bans("a", 1), with_bans("b", 2));
    a.bans = vec![(banned(4), 60_000)];
    exchange(&mut a, &mut b, 0..3_000);
    let mut a = with_bans("a", 3);
    a.bans = vec![(banned(5), 60_000), (banned(6), 60_000)];
    exchange(&mut a, &mut b, 3_000..6_000);
    assert_eq!(b.outbox.bans.len(), 3);
    b.bans = vec![(banned(6), 90_000)];
    exchange(&mut a, &mut b, 6_000..8_000);
    let before = b.outbox.bans.len();
    b.cluster
        .drop_node(8_000, &name("a"), &mut b.outbox)
        .unwrap();
    b.outbox.bans[before..].sort_unstable();
    // The last one is asked for as well, but the ban there is no longer that of the node.
    let lifted = [4, 6, 5].map(|number| (banned(number), 0));
    assert_eq!(b.outbox.bans[before..], lifted);
    exchange(&mut a, &mut b, 8_000..20_000);
    assert_eq!(b.outbox.bans.len(), before + 3);
    assert!(b.cluster.admit_node(20_000, &name("a"), &mut b.outbox));
    exchange(&mut a, &mut b, 20_000..35_000);
    assert!(
        matches!(b.outbox.bans[before + 3..], [(who, 25..=40)] if who == banned(5)),
        "{:?}",
        b.outbox.bans
    );
}

/// The bans of a node that is gone end by time, or by a command.
#[test]
fn bans_outlast_their_node() {
    let with_bans = |text, boot| Node::with(text, boot, |config| config.bans = true);
    let (mut a, mut b) = (with_bans("a", 1), with_bans("b", 2));
    a.bans = vec![(banned(4), 60_000)];
    exchange(&mut a, &mut b, 0..3_000);
    // A restart of the node neither lifts it nor sends it back.
    let mut again = with_bans("a", 3);
    exchange(&mut again, &mut b, 9_000..20_000);
    assert_eq!((b.outbox.bans.len(), again.outbox.bans.len()), (1, 0));
    assert_eq!(
        b.cluster.nodes(20_000).next().unwrap().state,
        NodeState::Alive
    );
}

/// An attacker is often banned on all nodes at the same moment, and for the same time.
#[test]
fn nodes_that_ban_at_once_both_keep_their_bans() {
    // In some of these worlds the messages of both cross.
    for seed in 0..40 {
        let setup = Setup {
            seed,
            delay_ms: 100,
            ..Setup::calm(3)
        };
        both_keep_their_bans(World::new(setup));
    }
}

fn both_keep_their_bans(mut world: World) {
    world.run(5_000);
    world.ban(0, 0, 600);
    world.ban(1, 0, 600);
    for _ in 0..30 {
        world.run(1_000);
        assert!(world.with_ban(0).starts_with(&[0, 1]));
    }
    assert_eq!(world.with_ban(0), [0, 1, 2]);
    // A node that starts gets it.
    world.kill(2);
    world.start(2);
    world.run(15_000);
    assert_eq!(world.with_ban(0), [0, 1, 2]);
    world.lift(0, 0);
    world.lift(1, 0);
    world.run(3_000);
    assert_eq!(world.with_ban(0), []);
}

#[test]
fn each_node_lifts_its_own_ban() {
    let mut world = World::new(Setup::calm(3));
    world.run(5_000);
    for node in [0, 1] {
        world.ban(node, 0, 600);
        world.run(2_000);
    }
    world.lift(0, 0);
    world.run(15_000);
    assert_eq!(world.with_ban(0), [1, 2]);
    world.lift(1, 0);
    world.run(2_000);
    assert_eq!(world.with_ban(0), []);
}

#[test]
fn ban_that_is_lifted_in_a_split_cluster_ends_after_it() {
    let mut world = World::new(Setup::calm(3));
    world.run(5_000);
    world.ban(0, 0, 600);
    world.run(2_000);
    world.network.part = vec![0, 1, 1];
    world.lift(0, 0);
    world.run(60_000);
    assert_eq!(world.with_ban(0), [1, 2]);
    world.network.part = vec![0; 3];
    world.run(15_000);
    assert_eq!(world.with_ban(0), []);
}

#[test]
fn ban_that_is_shortened_ends_everywhere() {
    let mut world = World::new(Setup::calm(3));
    world.run(5_000);
    for number in [0, BANNED - 1] {
        world.ban(0, number, 600);
    }
    world.run(2_000);
    for number in [0, BANNED - 1] {
        assert_eq!(world.with_ban(number), [0, 1, 2]);
        world.ban(0, number, 20);
    }
    world.run(15_000);
    for number in [0, BANNED - 1] {
        assert_eq!(world.with_ban(number), [0, 1, 2]);
    }
    world.run(8_000);
    for number in [0, BANNED - 1] {
        assert_eq!(world.with_ban(number), []);
    }
}

#[test]
fn count_is_capped_at_the_limit_of_its_source() {
    let (mut a, mut b) = (Node::new("a", 1), Node::new("b", 2));
    a.outbox.limit = 40;
    b.own = vec![(4, 90), (6, 30)];
    exchange(&mut a, &mut b, 0..15_000);
    let others = |a: &Node| [4, 6].map(|number| a.cluster.others(source(number)));
    assert_eq!(others(&a), [40, 30]);
    let report = a.cluster.nodes(15_000).next().unwrap();
    assert!(report.capped > 0 && report.connections == 70);
    // That is not a difference: what the node reported did arrive.
    assert_eq!(report.audit.unwrap().differing, 0);
    for (limit, expected) in [(20, [20, 20]), (0, [90, 30]), (80, [80, 30])] {
        a.outbox.limit = limit;
        a.cluster.limits_changed(&mut a.outbox);
        assert_eq!(others(&a), expected);
        let report = a.cluster.nodes(15_000).next().unwrap();
        assert_eq!(report.connections, u64::from(expected[0] + expected[1]));
    }
}
