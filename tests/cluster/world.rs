// SPDX-License-Identifier: GPL-2.0-or-later
//! A simulated cluster: nodes with clocks of their own, and a network that loses, delays,
//! reorders and repeats messages. Everything follows from the setup, the seed and the calls,
//! so each run can be repeated.
//!
//! Each message that a node accepts is checked here: it is genuine, it did not arrive before,
//! it was made after the node started, it is not older than a proof may be, and its sender
//! had not been seen to restart since. So is each ban that it brings: its sender had it, and for
//! as long.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};
use std::rc::Rc;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tcp_conn_limit::cluster::{
    Ban, Cluster, Config, Count, Effects, Keys, MAX_BAN_SECONDS, NodeName, NodeState, Rejected,
    TICK_MS, To, bound,
};
use tcp_conn_limit::source::{Prefix, PrefixLengths, Source};

use crate::{BANNED, SOURCES};

/// A proof that a node is alive is at most this old, in ms of the receiver's clock, if the
/// interval is at most 1 s.
pub(crate) const PROOF_MS: u64 = 10_000;

/// A ban ends at most this much earlier or later on another node than on the one that set it, in
/// ms, while the nodes hear each other: 2.5 s that make no difference, two seconds of rounding, and
/// how much the clocks differ within a cycle if one is twice as fast as the other.
const SAME_END_MS: u64 = 2_500 + 2_000 + CYCLE_MS;

/// A node repeats everything in this time, in ms of its clock, if the interval is 1 s.
const CYCLE_MS: u64 = 12_000;

/// What a world is made with.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    /// The speeds of the clocks of all nodes, in thousandths.
    pub(crate) speeds: Vec<u64>,
    pub(crate) limit: u32,
    pub(crate) hidden_percent: u32,
    pub(crate) interval_ms: u32,
    /// A message takes this long at most, in ms.
    pub(crate) delay_ms: u64,
    pub(crate) strict: bool,
    /// The connections that a source can open at once, and in a second, on each node.
    pub(crate) rate: Option<(u64, u64)>,
    /// How many bans each other node can have on a node, and how many of prefixes that are not
    /// sources all of them.
    pub(crate) ban_room: (usize, usize),
}

/// What the network does with messages.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    /// Messages that are lost, of 100.
    pub(crate) loss: u32,
    /// After a lost message from one node to another, none is lost for this time, in ms.
    pub(crate) loss_gap_ms: u64,
    /// Messages that arrive twice, of 100.
    pub(crate) repeated: u32,
    /// Messages that only arrive after up to this many ms more, of 100.
    pub(crate) late: (u32, u64),
    /// Nodes in different parts do not reach each other.
    pub(crate) part: Vec<u8>,
}

/// A message.
#[derive(Debug)]
struct Packet {
    /// Counts the messages of the world.
    number: u64,
    from: usize,
    /// Counts the lives of the sender.
    life: u32,
    sent: u64,
    body: String,
    /// The bans that its sender had set, and for how many seconds from then.
    bans: Rc<BTreeMap<u32, u32>>,
    /// Not as its sender made it.
    is_forged: bool,
}

/// A process of a node.
struct Running {
    cluster: Cluster,
    outputs: Outputs,
    started: u64,
    accepted: HashSet<u64>,
    /// The newest life of each node of which a message was accepted.
    lives: Vec<u32>,
    dropped: HashSet<usize>,
    /// The bans that it last gave to the cluster.
    sends: Rc<BTreeMap<u32, u32>>,
    /// What messages of other nodes can have brought, by node, life and what is banned.
    heard: HashMap<(usize, u32, u32), Heard>,
}

/// A ban of another node.
#[derive(Clone, Copy)]
struct Heard {
    /// The latest end that was ever heard, by the clock of the node that heard it.
    latest: u64,
    /// When it ends on its own node, by what was heard last.
    ends: u64,
}

/// A ban in effect on a node, as the server keeps it.
#[derive(Clone, Copy, Debug)]
struct InEffect {
    /// When it ends, by the clock of this node.
    until: u64,
    /// This node set it.
    is_own: bool,
}

/// What the cluster asked for.
#[derive(Default)]
struct Outputs {
    sent: Vec<(Option<NodeName>, String)>,
    others: HashMap<Source, u32>,
    of_nodes: HashMap<(usize, Source), u32>,
    base: HashMap<Source, u32>,
    /// The time of the node's clock.
    now: u64,
    bans: BTreeMap<u32, InEffect>,
    /// What rules spare from the bans of other nodes.
    spared: BTreeSet<u32>,
    /// Where an operator set or lifted a ban: then that may differ from those of other nodes.
    touched: BTreeSet<u32>,
    /// The calls of `ban` since the last look.
    asked: Vec<(usize, u32, u32)>,
}

impl Outputs {
    fn ban_in_effect(&self, number: u32, now: u64) -> Option<InEffect> {
        let ban = self.bans.get(&number).copied();
        ban.filter(|ban| ban.until > now)
    }
}

impl Effects for Outputs {
    fn send(&mut self, to: To<'_>, body: &str) {
        let to = match to {
            To::All => None,
            To::Node(name) => Some(name.clone()),
        };
        self.sent.push((to, body.to_owned()));
    }

    fn set(&mut self, source: Source, others: u32) {
        match others {
            0 => self.others.remove(&source),
            _ => self.others.insert(source, others),
        };
    }

    fn set_of_node(&mut self, node: usize, source: Source, count: u32) {
        match count {
            0 => self.of_nodes.remove(&(node, source)),
            _ => self.of_nodes.insert((node, source), count),
        };
    }

    fn base(&mut self, source: Source, base: u32) {
        match base {
            0 => self.base.remove(&source),
            _ => self.base.insert(source, base),
        };
    }

    // As `Limiter::ban_from_node`.
    fn ban(&mut self, node: usize, who: Prefix, seconds: u32) -> bool {
        let number = (0..BANNED).find(|number| target(*number) == who);
        let number = number.expect("a source or prefix that a node banned");
        self.asked.push((node, number, seconds));
        let before = self.ban_in_effect(number, self.now);
        if seconds == 0 {
            if before.is_some_and(|ban| !ban.is_own) {
                self.bans.remove(&number);
            }
            return false;
        }
        if self.spared.contains(&number) {
            return false;
        }
        let until = self.now + u64::from(seconds) * 1_000;
        if !before.is_some_and(|ban| ban.is_own && ban.until > until) {
            let is_own = false;
            self.bans.insert(number, InEffect { until, is_own });
        }
        true
    }
}

struct Node {
    name: NodeName,
    speed: u64,
    offset: u64,
    lives: u32,
    running: Option<Running>,
    /// Stopped by SIGSTOP: messages wait.
    stopped: Option<Vec<Rc<Packet>>>,
    next_tick: u64,
    own: BTreeMap<u32, u32>,
    /// Each change of a count, and when.
    history: HashMap<u32, Vec<(u64, u32)>>,
    /// When the rate allows the next connection of a source, in µs (GCRA).
    arrival: HashMap<u32, u64>,
    died: u64,
}

/// A cluster and its network.
pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) network: Network,
    now: u64,
    rng: SmallRng,
    names: Vec<NodeName>,
    nodes: Vec<Node>,
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    packets: HashMap<u64, Rc<Packet>>,
    order: u64,
    /// All messages that were sent.
    recorded: Vec<Rc<Packet>>,
    /// When the last message from a node to another was lost.
    lost: HashMap<(usize, usize), u64>,
    /// What happened, to see that the tests are not empty.
    pub(crate) seen: Seen,
}

/// How often things happened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) accepted: u64,
    pub(crate) rejected: [u64; Rejected::ALL.len()],
    pub(crate) admitted: u64,
    pub(crate) denied: u64,
    pub(crate) lost: u64,
    /// Connections above the limit of the cluster, and at its bound.
    pub(crate) over_limit: u64,
    pub(crate) at_bound: u64,
    pub(crate) bans: SeenBans,
}

/// How often bans began and ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SeenBans {
    /// What messages of other nodes did.
    pub(crate) set: u64,
    pub(crate) lifted: u64,
    pub(crate) spared: u64,
    /// Bans at the end of a world that another node had for as long.
    pub(crate) agreed: u64,
}

impl Seen {
    pub(crate) fn add(&mut self, other: Seen) {
        self.accepted += other.accepted;
        for (sum, number) in self.rejected.iter_mut().zip(other.rejected) {
            *sum += number;
        }
        self.admitted += other.admitted;
        self.denied += other.denied;
        self.lost += other.lost;
        self.over_limit += other.over_limit;
        self.at_bound += other.at_bound;
        self.bans.set += other.bans.set;
        self.bans.lifted += other.bans.lifted;
        self.bans.spared += other.bans.spared;
        self.bans.agreed += other.bans.agreed;
    }

    pub(crate) fn rejected(&self, reason: Rejected) -> u64 {
        self.rejected[reason as usize]
    }
}

impl Setup {
    /// Nodes with exact clocks, and messages that take 20 ms.
    pub(crate) fn calm(nodes: usize) -> Setup {
        Setup {
            seed: 1,
            speeds: vec![1_000; nodes],
            limit: 100,
            hidden_percent: 10,
            interval_ms: 1_000,
            delay_ms: 20,
            strict: false,
            rate: None,
            ban_room: (100, 100),
        }
    }
}

pub(crate) fn source(number: u32) -> Source {
    // Both families.
    let mut octets = [
        0x20,
        1,
        0xd,
        0xb8,
        0,
        0,
        0,
        number as u8,
        9,
        9,
        9,
        9,
        9,
        9,
        9,
        9,
    ];
    if number.is_multiple_of(2) {
        return Source::new(&number.to_be_bytes(), PrefixLengths::DEFAULT).unwrap();
    }
    octets[4..8].copy_from_slice(&number.to_be_bytes());
    Source::new(&octets, PrefixLengths::DEFAULT).unwrap()
}

/// What a ban names: a source, or a prefix.
fn target(number: u32) -> Prefix {
    if number < SOURCES {
        return source(number).prefix(PrefixLengths::DEFAULT);
    }
    let text = ["198.51.100.0/24", "2001:db8:1::/48"][(number - SOURCES) as usize];
    Prefix::parse_any(text).unwrap()
}

fn keys() -> Keys {
    Keys::new(b"a key of the cluster", None).unwrap()
}

impl World {
    /// All nodes run, but did not hear of each other yet.
    pub(crate) fn new(setup: Setup) -> World {
        let mut rng = SmallRng::seed_from_u64(setup.seed);
        let nodes = setup.speeds.iter().enumerate().map(|(index, speed)| Node {
            name: NodeName::new(&format!("node-{index}")).unwrap(),
            speed: *speed,
            offset: rng.random_range(0..1_000_000_000),
            lives: 0,
            running: None,
            stopped: None,
            next_tick: 0,
            own: BTreeMap::new(),
            history: HashMap::new(),
            arrival: HashMap::new(),
            died: 0,
        });
        let nodes: Vec<Node> = nodes.collect();
        let network = Network {
            loss: 0,
            loss_gap_ms: 0,
            repeated: 0,
            late: (0, 0),
            part: vec![0; nodes.len()],
        };
        let mut world = World {
            setup,
            network,
            now: 0,
            rng,
            names: nodes.iter().map(|node| node.name.clone()).collect(),
            nodes,
            queue: BinaryHeap::new(),
            packets: HashMap::new(),
            order: 0,
            recorded: Vec::new(),
            lost: HashMap::new(),
            seen: Seen::default(),
        };
        for node in 0..world.nodes.len() {
            world.start(node);
        }
        world
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn start(&mut self, node: usize) {
        if self.nodes[node].running.is_some() {
            return;
        }
        let config = Config {
            hidden_percent: self.setup.hidden_percent,
            interval_ms: self.setup.interval_ms,
            strict: self.setup.strict,
            max_nodes: 16,
            bans: true,
            max_bans: self.setup.ban_room.0,
            max_banned_prefixes: self.setup.ban_room.1,
            ..Config::new(
                self.nodes[node].name.clone(),
                self.rng.random(),
                self.rng.random(),
                keys(),
            )
        };
        let local = self.local(node);
        let lives = vec![0; self.nodes.len()];
        let next_tick = self.now + self.rng.random_range(0..100);
        let state = &mut self.nodes[node];
        state.lives += 1;
        state.next_tick = next_tick;
        state.running = Some(Running {
            cluster: Cluster::new(config, local),
            outputs: Outputs::default(),
            started: self.now,
            accepted: HashSet::new(),
            lives,
            dropped: HashSet::new(),
            sends: Rc::default(),
            heard: HashMap::new(),
        });
    }

    /// The process ends at once, and so do its connections.
    pub(crate) fn kill(&mut self, node: usize) {
        let now = self.now;
        let state = &mut self.nodes[node];
        if state.running.is_some() {
            state.died = now;
        }
        state.running = None;
        state.stopped = None;
        for source in std::mem::take(&mut state.own).into_keys() {
            state.history.entry(source).or_default().push((now, 0));
        }
    }

    /// The process ends as it should.
    pub(crate) fn end(&mut self, node: usize) {
        let local = self.local(node);
        if self.nodes[node].stopped.is_some() {
            return;
        }
        if let Some(running) = &mut self.nodes[node].running {
            running.cluster.bye(local, &mut running.outputs);
        }
        self.flush(node);
        self.kill(node);
    }

    pub(crate) fn stop(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        if state.running.is_some() && state.stopped.is_none() {
            state.stopped = Some(Vec::new());
        }
    }

    /// Ends that: the waiting messages arrive, and the tick that is due follows.
    pub(crate) fn resume(&mut self, node: usize) {
        if let Some(waiting) = self.nodes[node].stopped.take() {
            for packet in waiting {
                self.receive(node, &packet);
            }
            self.tick(node);
        }
    }

    pub(crate) fn drop_node(&mut self, at: usize, node: usize) {
        let (local, name) = (self.local(at), self.nodes[node].name.clone());
        if at != node
            && let Some(running) = &mut self.nodes[at].running
        {
            running.outputs.now = local;
            let dropped = running
                .cluster
                .drop_node(local, &name, &mut running.outputs);
            dropped.expect("room for all nodes");
            running.dropped.insert(node);
            // Its bans are lifted, and shorter ones of other nodes apply again.
            self.check_asked(at, |_| true);
        }
    }

    pub(crate) fn admit_node(&mut self, at: usize, node: usize) {
        let (local, name) = (self.local(at), self.nodes[node].name.clone());
        if let Some(running) = &mut self.nodes[at].running {
            let was = running
                .cluster
                .admit_node(local, &name, &mut running.outputs);
            assert_eq!(was, running.dropped.remove(&node));
        }
    }

    /// The time of a node's clock.
    fn local(&self, node: usize) -> u64 {
        let node = &self.nodes[node];
        node.offset + self.now * node.speed / 1_000
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        loop {
            let ticks = self
                .nodes
                .iter()
                .enumerate()
                .filter(|(_, node)| node.can_run());
            let tick = ticks.map(|(index, node)| (node.next_tick, index)).min();
            let arrival = self.queue.peek().map(|Reverse((at, ..))| *at);
            match (tick, arrival) {
                (Some((at, node)), next) if at <= end && next.is_none_or(|next| at < next) => {
                    self.now = self.now.max(at);
                    self.tick(node);
                }
                (_, Some(at)) if at <= end => {
                    self.now = self.now.max(at);
                    if let Some(Reverse((_, order, to))) = self.queue.pop() {
                        let packet = self.packets.remove(&order).expect("a packet");
                        self.receive(to, &packet);
                    }
                }
                _ => break,
            }
        }
        self.now = end;
    }

    fn tick(&mut self, node: usize) {
        let local = self.local(node);
        let limit = self.setup.limit;
        let pause = self.rng.random_range(TICK_MS * 6 / 10..=TICK_MS);
        let state = &mut self.nodes[node];
        state.next_tick = self.now + pause * 1_000 / state.speed;
        let counts = state.own.iter().map(|(number, own)| Count {
            source: source(*number),
            own: *own,
            limit,
        });
        if let Some(running) = &mut state.running {
            let bans = running.outputs.bans.iter();
            let own = bans.filter(|(_, ban)| ban.is_own && ban.until > local);
            // As `PenaltyReport::seconds_left`.
            let left = |ban: &InEffect| (ban.until - local).div_ceil(1_000) as u32;
            let own = own.map(|(number, ban)| (*number, left(ban)));
            running.sends = Rc::new(own.collect());
            let bans = running.sends.iter().map(|(number, seconds)| Ban {
                who: target(*number),
                seconds: *seconds,
            });
            running
                .cluster
                .tick(local, counts, bans, &mut running.outputs);
        }
        self.flush(node);
    }

    /// Gives what a node sent to the network.
    fn flush(&mut self, node: usize) {
        let life = self.nodes[node].lives;
        let Some(running) = &mut self.nodes[node].running else {
            return;
        };
        let bans = Rc::clone(&running.sends);
        for (to, body) in std::mem::take(&mut running.outputs.sent) {
            assert!(body.len() <= 1_200, "{} bytes", body.len());
            let packet = Rc::new(Packet {
                number: self.recorded.len() as u64,
                from: node,
                life,
                sent: self.now,
                body,
                bans: Rc::clone(&bans),
                is_forged: false,
            });
            self.recorded.push(Rc::clone(&packet));
            for receiver in 0..self.nodes.len() {
                if receiver != node
                    && to
                        .as_ref()
                        .is_none_or(|to| *to == self.nodes[receiver].name)
                {
                    self.transmit(receiver, &packet);
                }
            }
        }
    }

    fn transmit(&mut self, to: usize, packet: &Rc<Packet>) {
        let network = self.network.clone();
        if network.part[packet.from] != network.part[to] {
            return;
        }
        let path = (packet.from, to);
        let is_spared = match self.lost.get(&path) {
            Some(at) => self.now - at < network.loss_gap_ms,
            None => false,
        };
        if self.rng.random_range(0..100) < network.loss && !is_spared {
            self.lost.insert(path, self.now);
            self.seen.lost += 1;
            return;
        }
        let copies = 1 + u32::from(self.rng.random_range(0..100) < network.repeated);
        for _ in 0..copies {
            let mut delay = self.rng.random_range(0..=self.setup.delay_ms);
            if self.rng.random_range(0..100) < network.late.0 {
                delay += self.rng.random_range(0..=network.late.1);
            }
            self.deliver(to, delay, packet);
        }
    }

    fn deliver(&mut self, to: usize, delay: u64, packet: &Rc<Packet>) {
        self.order += 1;
        self.packets.insert(self.order, Rc::clone(packet));
        self.queue.push(Reverse((self.now + delay, self.order, to)));
    }

    /// Sends a recorded message again.
    pub(crate) fn replay(&mut self, to: usize, index: usize) {
        if let Some(packet) = self.recorded.get(index % self.recorded.len().max(1)) {
            let packet = Rc::clone(packet);
            self.deliver(to, 0, &packet);
        }
    }

    /// How many messages were sent.
    pub(crate) fn recorded(&self) -> usize {
        self.recorded.len()
    }

    /// Sends a recorded message after a change.
    pub(crate) fn forge(&mut self, to: usize, index: usize, change: Change) {
        let Some(genuine) = self.recorded.get(index % self.recorded.len().max(1)) else {
            return;
        };
        let mut body = genuine.body.clone().into_bytes();
        match change {
            Change::Cut(length) => body.truncate(length % body.len()),
            Change::Byte(at, with) => {
                let at = at % body.len();
                if body[at] == with {
                    return;
                }
                body[at] = with;
            }
            Change::Swap(at) => {
                let at = at % (body.len() - 1);
                if body[at] == body[at + 1] {
                    return;
                }
                body.swap(at, at + 1);
            }
            Change::Add(byte) => body.push(byte),
        }
        // Text, so that it can be kept like the others; a byte that is not ASCII becomes
        // several.
        let body = body.into_iter().map(char::from).collect();
        let packet = Rc::new(Packet {
            number: u64::MAX,
            from: genuine.from,
            life: genuine.life,
            sent: self.now,
            body,
            bans: Rc::clone(&genuine.bans),
            is_forged: true,
        });
        self.deliver(to, 0, &packet);
    }

    fn receive(&mut self, node: usize, packet: &Rc<Packet>) {
        let (now, local) = (self.now, self.local(node));
        let state = &mut self.nodes[node];
        if let Some(waiting) = &mut state.stopped {
            waiting.push(Rc::clone(packet));
            return;
        }
        let Some(running) = &mut state.running else {
            return;
        };
        let body = packet.body.as_bytes();
        running.outputs.now = local;
        let result = running.cluster.receive(local, body, &mut running.outputs);
        let Ok(()) = result else {
            assert_eq!(running.outputs.asked, [], "bans of a rejected message");
            self.seen.rejected[result.unwrap_err() as usize] += 1;
            return;
        };
        self.seen.accepted += 1;
        assert!(!packet.is_forged, "a forged message was accepted");
        assert!(packet.from != node, "its own message was accepted");
        assert!(
            !running.dropped.contains(&packet.from),
            "a dropped node was heard"
        );
        assert!(
            running.accepted.insert(packet.number),
            "a message was accepted twice"
        );
        assert!(
            packet.sent >= running.started,
            "a message from before the start"
        );
        let age = (now - packet.sent) * state.speed / 1_000;
        assert!(age <= PROOF_MS + 1, "a message of {age} ms was accepted");
        let newest = &mut running.lives[packet.from];
        assert!(
            packet.life >= *newest,
            "a message of an earlier life was accepted"
        );
        *newest = packet.life;
        self.hear_bans(node, packet);
        // Only the node that set a ban lifts it.
        self.check_asked(node, |number| !packet.bans.contains_key(&number));
    }

    /// Notes which bans a message brought.
    fn hear_bans(&mut self, at: usize, packet: &Packet) {
        let (local, from) = (self.local(at), packet.from);
        let speed = self.nodes[from].speed;
        let Some(running) = &mut self.nodes[at].running else {
            return;
        };
        for (number, seconds) in packet.bans.iter() {
            let key = (from, packet.life, *number);
            let until = local + u64::from((*seconds).min(MAX_BAN_SECONDS)) * 1_000;
            let before = running.heard.get(&key).map_or(0, |heard| heard.latest);
            let heard = Heard {
                latest: until.max(before),
                ends: packet.sent + u64::from(*seconds) * 1_000_000 / speed,
            };
            running.heard.insert(key, heard);
        }
    }

    /// Asserts that each ban that applies since the last look is one that a node sent, and not
    /// longer, and that those that were lifted may be.
    fn check_asked(&mut self, at: usize, may_lift: impl Fn(u32) -> bool) {
        let local = self.local(at);
        let Some(running) = &mut self.nodes[at].running else {
            return;
        };
        for (row, number, seconds) in std::mem::take(&mut running.outputs.asked) {
            if seconds == 0 {
                assert!(may_lift(number), "{number} lifted, but not by its node");
                self.seen.bans.lifted += 1;
                continue;
            }
            let mut nodes = running.cluster.nodes(local);
            let report = nodes.find(|report| report.index == row).expect("a node");
            let by = self.names.iter().position(|name| name == report.name);
            let by = by.expect("a node of this world");
            let heard = running.heard.iter();
            let heard = heard.filter(|((node, _, what), _)| *node == by && *what == number);
            let latest = heard.map(|(_, heard)| heard.latest).max();
            let until = local + u64::from(seconds) * 1_000;
            assert!(
                Some(until) <= latest,
                "until {until}, but sent was {latest:?}"
            );
            match running.outputs.spared.contains(&number) {
                true => self.seen.bans.spared += 1,
                false => self.seen.bans.set += 1,
            }
        }
    }

    /// An operator bans a source or prefix on a node, which replaces a ban that it had.
    pub(crate) fn ban(&mut self, node: usize, number: u32, seconds: u32) {
        let until = self.local(node) + u64::from(seconds) * 1_000;
        if let Some(running) = &mut self.nodes[node].running {
            let is_own = true;
            running.outputs.touched.insert(number);
            running
                .outputs
                .bans
                .insert(number, InEffect { until, is_own });
        }
    }

    pub(crate) fn lift(&mut self, node: usize, number: u32) {
        if let Some(running) = &mut self.nodes[node].running {
            running.outputs.touched.insert(number);
            running.outputs.bans.remove(&number);
        }
    }

    pub(crate) fn spare(&mut self, node: usize, number: u32, spares: bool) {
        if let Some(running) = &mut self.nodes[node].running {
            match spares {
                true => running.outputs.spared.insert(number),
                false => running.outputs.spared.remove(&number),
            };
        }
    }

    /// Which of the nodes that run have a ban.
    pub(crate) fn with_ban(&self, number: u32) -> Vec<usize> {
        let has = |node: &usize| self.ban_of(*node, number).is_some();
        (0..self.len()).filter(has).collect()
    }

    /// The ban in effect on a node.
    fn ban_of(&self, node: usize, number: u32) -> Option<InEffect> {
        let running = self.nodes[node].running.as_ref()?;
        running.outputs.ban_in_effect(number, self.local(node))
    }

    /// Asserts that no node has more bans of others than it has room for.
    pub(crate) fn check_bans_have_room(&self) {
        let (of_node, of_prefixes) = self.setup.ban_room;
        for at in 0..self.len() {
            let Some(running) = &self.nodes[at].running else {
                continue;
            };
            for report in running.cluster.nodes(self.local(at)) {
                let bans = running.cluster.bans_of(report.index);
                assert!(bans <= of_node, "{bans} bans of {report:?} on node {at}");
            }
            let is_of_other = |number: &u32| {
                let ban = self.ban_of(at, *number);
                ban.is_some_and(|ban| !ban.is_own)
            };
            let prefixes = (SOURCES..BANNED).filter(is_of_other).count();
            assert!(prefixes <= of_prefixes, "{prefixes} prefixes on node {at}");
        }
    }

    /// Asserts that all running nodes have the bans that one of them set, and none that was
    /// lifted or shortened, if there is room for all.
    pub(crate) fn check_bans(&mut self) {
        if self.setup.ban_room.0 < BANNED as usize {
            return;
        }
        let mut agreed = 0;
        let alive: Vec<usize> = (0..self.len())
            .filter(|node| self.nodes[*node].can_run())
            .collect();
        let left = |node: usize, ban: InEffect| ban.until - self.local(node);
        // What a node set, and how much is left of it.
        let set = |node: usize, number| {
            let own = self.ban_of(node, number).filter(|ban| ban.is_own);
            // On other nodes a longer one ends this long after it was repeated.
            let most = u64::from(MAX_BAN_SECONDS) * 1_000 - CYCLE_MS;
            own.map_or(0, |ban| left(node, ban).min(most))
        };
        for at in &alive {
            let Some(running) = &self.nodes[*at].running else {
                continue;
            };
            let local = self.local(*at);
            for number in (0..BANNED).filter(|number| !running.outputs.spared.contains(number)) {
                let ban = self.ban_of(*at, number);
                let has = ban.map_or(0, |ban| left(*at, ban));
                let heard = running.heard.iter();
                let heard = heard.filter(|((_, _, what), _)| *what == number);
                let most = heard.map(|((by, life, _), heard)| {
                    // A ban of a node that ended stays, as does one that ended by itself while
                    // the nodes did not hear each other.
                    let lives = alive.contains(by) && self.nodes[*by].lives == *life;
                    match lives && heard.ends > self.now {
                        true => set(*by, number) + SAME_END_MS,
                        false => heard.latest.saturating_sub(local),
                    }
                });
                let most = most.max().unwrap_or(0);
                let is_own = ban.is_some_and(|ban| ban.is_own);
                assert!(
                    is_own || has <= most,
                    "node {at} bans {number} for {has} ms, but should for at most {most} ms"
                );
                let others = alive.iter().filter(|other| *other != at);
                let least = others.map(|other| set(*other, number)).max().unwrap_or(0);
                if least > SAME_END_MS && !running.outputs.touched.contains(&number) {
                    assert!(
                        has + SAME_END_MS >= least,
                        "node {at} bans {number} for {has} ms, but another one for {least} ms"
                    );
                    agreed += 1;
                }
            }
        }
        self.seen.bans.agreed += agreed;
    }

    /// Tries to open a connection. Whether there is room is as in the server: its own count
    /// and what the cluster set.
    pub(crate) fn open(&mut self, node: usize, number: u32) -> bool {
        let (now, setup) = (self.now, &self.setup);
        let state = &mut self.nodes[node];
        if !state.can_run() {
            return false;
        }
        let Some(running) = &state.running else {
            return false;
        };
        let own = state.own.get(&number).copied().unwrap_or(0);
        let others = running
            .outputs
            .others
            .get(&source(number))
            .copied()
            .unwrap_or(0);
        let base = running
            .outputs
            .base
            .get(&source(number))
            .copied()
            .unwrap_or(0);
        let nodes = running.cluster.size();
        let strict_own = base + bound::strict_share(setup.limit, base + others, nodes);
        if own + others >= setup.limit || setup.strict && own >= strict_own {
            self.seen.denied += 1;
            return false;
        }
        if let Some((burst, per_second)) = setup.rate {
            let step = 1_000_000 / per_second;
            let arrival = state
                .arrival
                .get(&number)
                .copied()
                .unwrap_or(0)
                .max(now * 1_000);
            if arrival - now * 1_000 > (burst - 1) * step {
                return false;
            }
            state.arrival.insert(number, arrival + step);
        }
        self.seen.admitted += 1;
        self.set_own(node, number, own + 1);
        true
    }

    pub(crate) fn close(&mut self, node: usize, number: u32, connections: u32) {
        let own = self.own(node, number);
        if own > 0 && self.nodes[node].running.is_some() {
            self.set_own(node, number, own.saturating_sub(connections));
        }
    }

    fn set_own(&mut self, node: usize, number: u32, own: u32) {
        let now = self.now;
        let state = &mut self.nodes[node];
        match own {
            0 => state.own.remove(&number),
            _ => state.own.insert(number, own),
        };
        state.history.entry(number).or_default().push((now, own));
    }

    pub(crate) fn own(&self, node: usize, number: u32) -> u32 {
        self.nodes[node].own.get(&number).copied().unwrap_or(0)
    }

    /// The connections of a source on all nodes.
    pub(crate) fn total(&self, number: u32) -> u64 {
        (0..self.len())
            .map(|node| u64::from(self.own(node, number)))
            .sum()
    }

    /// The longest time between two reports of a node, in ms of real time.
    pub(crate) fn interval_ms(&self) -> u64 {
        let slowest = self.setup.speeds.iter().min().expect("a node");
        let local = u64::from(self.setup.interval_ms) + TICK_MS;
        (local * 1_000).div_ceil(*slowest)
    }

    /// The longest time until each node repeated everything, in ms of real time.
    pub(crate) fn cycle_ms(&self) -> u64 {
        11 * self.interval_ms() + self.setup.delay_ms
    }

    /// The longest time until a change on a node is known on all others, in ms of real time,
    /// if no message is lost.
    pub(crate) fn staleness_ms(&self) -> u64 {
        self.interval_ms() + self.setup.delay_ms
    }

    /// Asserts what each node has of each other node: a count that this node had at most
    /// `staleness_ms` ago, or 0. With `exact`, 0 only if the node may have hidden its count
    /// in that time.
    pub(crate) fn check_views(&self, numbers: u32, staleness_ms: u64, exact: bool) {
        let threshold = bound::threshold(
            self.setup.limit,
            self.len() as u32,
            self.setup.hidden_percent,
        );
        let since = self.now.saturating_sub(staleness_ms);
        let slowest = self.setup.speeds.iter().min().expect("a node");
        // Messages that an attacker held back can arrive as long as a proof is valid.
        let dead_ms = (PROOF_MS + 3_000 + TICK_MS) * 1_000 / slowest + 1;
        for (at, node) in self
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| node.can_run())
        {
            let Some(running) = &node.running else {
                continue;
            };
            let local = self.local(at);
            for report in running.cluster.nodes(local) {
                let from = self.index(report.name);
                for number in 0..numbers {
                    let key = (report.index, source(number));
                    let view = running.outputs.of_nodes.get(&key).copied().unwrap_or(0);
                    let is_dead = self.nodes[from].running.is_none();
                    let is_gone = is_dead && self.nodes[from].died + dead_ms < self.now;
                    assert!(
                        view == 0 || !is_gone,
                        "counts of a node that ended: {report:?}"
                    );
                    let had = self.had(from, number, since);
                    let hidden = had.iter().any(|count| *count < threshold);
                    let fits = match view {
                        0 => !exact || hidden,
                        _ => had.contains(&view),
                    };
                    assert!(
                        fits,
                        "at {} node {at} has {view} connections of source {number} on node {from}, \
                         which had {had:?}; {:?}",
                        self.now, report,
                    );
                }
            }
        }
    }

    /// The counts that a source had on a node since a time.
    fn had(&self, node: usize, number: u32, since: u64) -> Vec<u32> {
        let mut had = Vec::new();
        if let Some(history) = self.nodes[node].history.get(&number) {
            for (at, count) in history.iter().rev() {
                had.push(*count);
                if *at <= since {
                    return had;
                }
            }
        }
        had.push(0);
        had
    }

    fn index(&self, name: &NodeName) -> usize {
        let found = self.nodes.iter().position(|node| node.name == *name);
        found.expect("a node of this world")
    }

    /// What a node knows of a source on all others.
    pub(crate) fn others(&self, node: usize, number: u32) -> u32 {
        let running = self.nodes[node].running.as_ref().expect("a running node");
        running.cluster.others(source(number))
    }

    /// Asserts that all running nodes know all connections of the others.
    pub(crate) fn check_sums(&self, numbers: u32) {
        for node in (0..self.len()).filter(|node| self.nodes[*node].can_run()) {
            for number in 0..numbers {
                let others = self.total(number) - u64::from(self.own(node, number));
                assert_eq!(
                    u64::from(self.others(node, number)),
                    others,
                    "{node} {number}"
                );
            }
        }
    }

    /// Asserts that all running nodes agree with what the others have, that ended nodes have
    /// no counts, and that the tables are what the cluster says.
    pub(crate) fn check_converged(&self, numbers: u32) {
        let alive: Vec<usize> = (0..self.len())
            .filter(|node| self.nodes[*node].can_run())
            .collect();
        let threshold = bound::threshold(
            self.setup.limit,
            alive.len() as u32,
            self.setup.hidden_percent,
        );
        for at in &alive {
            let Some(running) = &self.nodes[*at].running else {
                continue;
            };
            let local = self.local(*at);
            assert_eq!(running.cluster.size(), alive.len() as u32, "node {at}");
            assert!(!running.cluster.is_learning(local) || self.now - running.started < 20_000);
            for number in 0..numbers {
                let reported = |node: &usize| match self.own(*node, number) {
                    own if own >= threshold => own,
                    _ => 0,
                };
                let expected: u32 = alive.iter().filter(|node| *node != at).map(reported).sum();
                let source = source(number);
                assert_eq!(
                    running.cluster.others(source),
                    expected,
                    "node {at} source {number}"
                );
                let set = running.outputs.others.get(&source).copied().unwrap_or(0);
                assert_eq!(set, expected, "node {at} source {number}");
                for (index, count) in running.cluster.of_nodes(source) {
                    assert_eq!(running.outputs.of_nodes[&(index, source)], count);
                }
            }
            let all: HashMap<Source, u32> = running.cluster.all_others().collect();
            assert_eq!(all, running.outputs.others);
            let sum: u64 = running
                .outputs
                .of_nodes
                .values()
                .map(|count| u64::from(*count))
                .sum();
            let mut reported = 0;
            for report in running.cluster.nodes(local) {
                let is_alive = alive.contains(&self.index(report.name));
                assert_eq!(report.state == NodeState::Alive, is_alive, "{report:?}");
                reported += report.connections;
                if is_alive {
                    let audit = report.audit.expect("an audit");
                    assert_eq!((audit.differing, audit.lasting), (0, 0), "{report:?}");
                    assert_eq!(audit.reported, report.connections);
                }
            }
            assert_eq!(reported, sum);
        }
    }
}

impl Node {
    fn can_run(&self) -> bool {
        self.running.is_some() && self.stopped.is_none()
    }
}

/// How a message is forged.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Cut(usize),
    Byte(usize, u8),
    Swap(usize),
    Add(u8),
}
