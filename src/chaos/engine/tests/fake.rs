//! A fleet in this process: a register service over HTTP on in-memory streams, with links that can be cut
//! and instances that can be killed. Fast enough that a whole run takes seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::disk::{Cut, DiskCounters, DiskRules, Unflushed};
use crate::fleet::plan::CLIENT;
use crate::fleet::{
    Capability, Fleet, FleetError, FleetPlan, InstanceAction, InstanceState, InstanceStatus, Launch,
    NodePlan, Provider,
};
use crate::guest::{DialError, Dialer, ExecOutput, ExitStatus, Session, SessionError, Stream};
use crate::network::{Impairment, RuleCounters, RuleSet};
use crate::seed::Seed;
use crate::store::ImageId;
use crate::units::Size;

/// What is wrong with the service or the tool, besides the faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Flaw {
    #[default]
    None,
    /// A killed instance takes with it what was acknowledged since its last boot.
    Forgetful,
    /// Faults of every kind are accepted and change nothing.
    NoEffect,
    /// Nothing that was done can be undone.
    Sticky,
    /// Every answer is 500.
    Broken,
    /// An instance that was started again never is ready.
    NeverBack,
    /// An instance that was started again is ready four seconds later.
    Slow,
    /// The provider cannot put rules on links.
    NoLinks,
    /// A console tells of a kernel panic.
    Panicking,
    /// A service crashed and was started again.
    Crashing,
}

pub(super) struct FakeProvider {
    pub(super) flaw: Flaw,
    pub(super) fleet: Mutex<Option<Arc<FakeFleet>>>,
}

pub(super) struct FakeFleet {
    flaw: Flaw,
    plan: FleetPlan,
    world: Arc<Mutex<World>>,
    pub(super) destroyed: AtomicBool,
    /// How often rules were installed and removed.
    pub(super) repairs: AtomicU32,
}

struct World {
    flaw: Flaw,
    nodes: BTreeMap<String, Node>,
    /// One store for all: a service that replicates at once.
    store: BTreeMap<String, String>,
    /// What a forgetful service still has after a kill.
    durable: BTreeMap<String, String>,
    rules: BTreeMap<String, (RuleSet, RuleCounters)>,
    troubles: BTreeMap<String, DiskCounters>,
}

struct Node {
    state: InstanceState,
    boots: u32,
    console: String,
    /// The faults that are held in the guest.
    held: BTreeSet<String>,
    /// Cancelled when the incarnation ends: its connections break.
    alive: CancellationToken,
}

impl World {
    /// Whether a frame gets from one port to another; the rules count it.
    fn passes(&mut self, from: &str, to: &str) -> bool {
        if self.flaw == Flaw::NoEffect {
            return true;
        }
        let mut passes = true;
        for (set, counters) in self.rules.values_mut() {
            for rule in set.rules.iter().filter(|rule| rule.from == from && rule.to == to) {
                *counters += &effect(&rule.impairment, counters.seen);
                passes &= !rule.impairment.cut;
            }
        }
        passes
    }

    /// Whether `node` reaches a majority, itself included.
    fn has_quorum(&mut self, node: &str) -> bool {
        let peers: Vec<String> = self.nodes.keys().cloned().collect();
        let mut reached = 0;
        for peer in &peers {
            let up = self.nodes.get(peer).is_some_and(|peer| peer.state == InstanceState::Running);
            let there = peer == node || self.passes(node, peer) && self.passes(peer, node);
            reached += usize::from(up && there);
        }
        reached * 2 > peers.len()
    }
}

/// What a switch would count for one frame, everything that is possible being certain.
fn effect(rule: &Impairment, seen: u64) -> RuleCounters {
    let lost =
        rule.cut || rule.loss > 0.0 || rule.bursts.is_some() || rule.flap.is_some() && seen.is_multiple_of(2);
    let late = !rule.delay.is_zero() || !rule.jitter.is_zero() || rule.rate.is_some();
    RuleCounters {
        seen: 1,
        dropped: u64::from(lost),
        delayed: u64::from(late),
        duplicated: u64::from(rule.duplicate > 0.0),
        reordered: u64::from(rule.reorder > 0.0),
        corrupted: u64::from(rule.corrupt > 0.0),
        reset: u64::from(rule.reset > 0.0),
        misled: u64::from(rule.names.is_some()),
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap()
}

impl FakeProvider {
    pub(super) fn new(flaw: Flaw) -> Self {
        FakeProvider { flaw, fleet: Mutex::new(None) }
    }

    pub(super) fn fleet(&self) -> Arc<FakeFleet> {
        self.fleet.lock().unwrap().clone().unwrap()
    }
}

/// A plan of `count` instances of the role `reg`.
pub(super) fn plan(count: u8) -> FleetPlan {
    let node = |index: u8| NodePlan {
        name: format!("reg-{index}"),
        role: "reg".to_owned(),
        index,
        zone: "a".to_owned(),
        address: Ipv4Addr::new(10, 77, 0, 10 + index),
        image: ImageId::from_hash(blake3::hash(b"reg")),
        memory: Size(1 << 29),
        cpus: 1,
        disk: Size(1 << 32),
        ready: None,
        files: Vec::new(),
        volumes: Vec::new(),
    };
    FleetPlan { name: "fake".to_owned(), nodes: (1..=count).map(node).collect() }
}

#[async_trait]
impl Provider for FakeProvider {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn capable(&self, capability: Capability) -> Result<(), String> {
        match self.flaw == Flaw::NoLinks && capability == Capability::Links {
            true => Err("it has no links".to_owned()),
            false => Ok(()),
        }
    }

    async fn create(&self, launch: Launch) -> Result<Arc<dyn Fleet>, FleetError> {
        let node = || Node {
            state: InstanceState::Running,
            boots: 1,
            console: "booted\n".to_owned(),
            held: BTreeSet::new(),
            alive: CancellationToken::new(),
        };
        let nodes = launch.plan.nodes.iter().map(|plan| (plan.name.clone(), node())).collect();
        let world = World {
            flaw: self.flaw,
            nodes,
            store: BTreeMap::new(),
            durable: BTreeMap::new(),
            rules: BTreeMap::new(),
            troubles: BTreeMap::new(),
        };
        let fleet = Arc::new(FakeFleet {
            flaw: self.flaw,
            plan: launch.plan,
            world: Arc::new(Mutex::new(world)),
            destroyed: AtomicBool::new(false),
            repairs: AtomicU32::new(0),
        });
        *self.fleet.lock().unwrap() = Some(Arc::clone(&fleet));
        Ok(fleet)
    }

    async fn attach(&self, fleet: &str) -> Result<Arc<dyn Fleet>, FleetError> {
        Err(FleetError::NoSuchFleet(fleet.to_owned()))
    }

    async fn list(&self) -> Result<Vec<String>, FleetError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Fleet for FakeFleet {
    fn plan(&self) -> &FleetPlan {
        &self.plan
    }

    fn restored(&self) -> bool {
        false
    }

    fn timings(&self) -> Vec<crate::fleet::Timing> {
        Vec::new()
    }

    async fn lost(&self) -> String {
        std::future::pending().await
    }

    async fn save(&self) -> Result<bool, FleetError> {
        Ok(false)
    }

    async fn status(&self, node: &str) -> Result<InstanceStatus, FleetError> {
        let world = lock(&self.world);
        let found = world.nodes.get(node).ok_or_else(|| FleetError::NoSuchNode(node.to_owned()))?;
        let incarnation = format!("incarnation {}", found.boots);
        Ok(InstanceStatus { node: node.to_owned(), state: found.state, boots: found.boots, incarnation })
    }

    async fn act(&self, node: &str, action: InstanceAction) -> Result<(), FleetError> {
        let undone = matches!(action, InstanceAction::Start | InstanceAction::Thaw);
        if self.flaw == Flaw::NoEffect || self.flaw == Flaw::Sticky && undone {
            return Ok(());
        }
        let mut world = lock(&self.world);
        let durable = world.durable.clone();
        let down = matches!(
            action,
            InstanceAction::Kill | InstanceAction::Stop | InstanceAction::Reboot | InstanceAction::Destroy
        );
        if down && self.flaw == Flaw::Forgetful {
            world.store = durable;
        }
        let found = world.nodes.get_mut(node).ok_or_else(|| FleetError::NoSuchNode(node.to_owned()))?;
        if down {
            found.alive.cancel();
            found.state = InstanceState::Stopped;
        }
        match action {
            InstanceAction::Kill | InstanceAction::Stop => {}
            InstanceAction::Destroy => found.state = InstanceState::Destroyed,
            InstanceAction::Start | InstanceAction::Reboot => {
                found.state = InstanceState::Running;
                found.boots += 1;
                found.alive = CancellationToken::new();
            }
            InstanceAction::Freeze => found.state = InstanceState::Frozen,
            InstanceAction::Thaw => found.state = InstanceState::Running,
        }
        Ok(())
    }

    fn dialer(&self, node: &str) -> Arc<dyn Dialer> {
        Arc::new(Door { node: node.to_owned(), world: Arc::clone(&self.world) })
    }

    fn session(&self, node: &str) -> Arc<dyn Session> {
        Arc::new(Door { node: node.to_owned(), world: Arc::clone(&self.world) })
    }

    async fn impair(&self, rules: RuleSet) -> Result<(), FleetError> {
        lock(&self.world).rules.insert(rules.fault.clone(), (rules, RuleCounters::default()));
        Ok(())
    }

    async fn repair(&self, fault: &str) -> Result<RuleCounters, FleetError> {
        self.repairs.fetch_add(1, Ordering::Relaxed);
        let mut world = lock(&self.world);
        if self.flaw == Flaw::Sticky {
            return Ok(world.rules.get(fault).map(|(_, counters)| *counters).unwrap_or_default());
        }
        Ok(world.rules.remove(fault).map(|(_, counters)| counters).unwrap_or_default())
    }

    async fn counters(&self, fault: &str) -> Result<Option<RuleCounters>, FleetError> {
        Ok(lock(&self.world).rules.get(fault).map(|(_, counters)| *counters))
    }

    async fn power_cut(&self, node: &str, _: Unflushed, _: Seed) -> Result<Cut, FleetError> {
        self.act(node, InstanceAction::Kill).await?;
        Ok(Cut { unflushed: 3, kept: 1, lost: 2, torn: 0 })
    }

    async fn impair_disks(&self, rules: DiskRules) -> Result<(), FleetError> {
        lock(&self.world).troubles.insert(rules.fault, DiskCounters::default());
        Ok(())
    }

    async fn repair_disks(&self, fault: &str) -> Result<DiskCounters, FleetError> {
        let mut world = lock(&self.world);
        match self.flaw {
            Flaw::Sticky => Ok(world.troubles.get(fault).copied().unwrap_or_default()),
            _ => Ok(world.troubles.remove(fault).unwrap_or_default()),
        }
    }

    async fn disk_counters(&self, fault: &str) -> Result<Option<DiskCounters>, FleetError> {
        let mut world = lock(&self.world);
        // A disk is always in use.
        let met = u64::from(self.flaw != Flaw::NoEffect);
        Ok(world.troubles.get_mut(fault).map(|counters| {
            let (failed_reads, failed_writes) = (met, met);
            *counters +=
                DiskCounters { failed_reads, failed_writes, delayed: met, stalled: met, flipped: met };
            *counters
        }))
    }

    async fn console(&self, node: &str) -> Result<Vec<u8>, FleetError> {
        let mut console = lock(&self.world).nodes[node].console.clone();
        if self.flaw == Flaw::Panicking {
            console.push_str("[    9.1] Kernel panic - not syncing: Fatal exception\n");
        }
        Ok(console.into_bytes())
    }

    async fn wait_ready(&self, node: &NodePlan, deadline: Instant) -> Result<(), FleetError> {
        loop {
            let status = self.status(&node.name).await?;
            let back = self.flaw != Flaw::NeverBack || status.boots == 1;
            if self.flaw == Flaw::Slow && status.boots > 1 {
                sleep(Duration::from_secs(4)).await;
            }
            if status.state == InstanceState::Running && back {
                return Ok(());
            }
            if !back || Instant::now() >= deadline {
                let within = crate::units::Span(Duration::from_secs(1));
                let (last, console) = ("no answer".to_owned(), "kernel panic".to_owned());
                return Err(FleetError::NotReady { node: node.name.clone(), within, last, console });
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn destroy(&self) -> Result<(), FleetError> {
        self.destroyed.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// The way into one instance.
/// Whoever connects to this port crashes.
pub(super) const CRASHES: u16 = 666;

struct Door {
    node: String,
    world: Arc<Mutex<World>>,
}

#[async_trait]
impl Dialer for Door {
    async fn dial(&self, port: u16, deadline: Instant) -> Result<Box<dyn Stream>, DialError> {
        assert!(port != CRASHES, "a bug in the client");
        let (state, reached, alive) = {
            let mut world = lock(&self.world);
            let reached = world.passes(CLIENT, &self.node) && world.passes(&self.node, CLIENT);
            let node = world.nodes.get(&self.node).ok_or(DialError::Unreachable)?;
            (node.state, reached, node.alive.clone())
        };
        match state {
            InstanceState::Stopped | InstanceState::Destroyed => Err(DialError::Unreachable),
            InstanceState::Running if reached => {
                let (ours, theirs) = tokio::io::duplex(16 << 10);
                let (node, world) = (self.node.clone(), Arc::clone(&self.world));
                let serving = async move { alive.run_until_cancelled(serve(node, world, theirs)).await };
                tokio::spawn(serving);
                Ok(Box::new(ours))
            }
            InstanceState::Frozen | InstanceState::Running => {
                sleep_until(deadline).await;
                Err(DialError::TimedOut)
            }
        }
    }
}

/// Answers requests on one connection until it ends.
async fn serve(node: String, world: Arc<Mutex<World>>, mut stream: DuplexStream) {
    let mut buffer = Vec::new();
    loop {
        let head_end = loop {
            if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
                continue;
            }
            return;
        };
        let head = String::from_utf8_lossy(&buffer[..head_end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.map_or(0, |text| text.trim().parse().unwrap());
        while buffer.len() < head_end + length {
            if !stream.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
                return;
            }
        }
        let body = String::from_utf8_lossy(&buffer[head_end..head_end + length]).into_owned();
        buffer.drain(..head_end + length);
        while lock(&world).nodes[&node].state == InstanceState::Frozen {
            sleep(Duration::from_millis(5)).await;
        }
        let (method, rest) = head.split_once(' ').unwrap();
        let key = rest.split(' ').next().unwrap().to_owned();
        let answer = answer(&node, &world, method, key, body);
        // A reply to someone who is cut off gets lost; the connection stays as it is.
        if let Some((status, body)) = answer {
            let text = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            if stream.write_all(text.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

fn answer(
    node: &str,
    world: &Mutex<World>,
    method: &str,
    key: String,
    body: String,
) -> Option<(u16, String)> {
    let mut world = lock(world);
    if !(world.passes(CLIENT, node) && world.passes(node, CLIENT)) {
        return None;
    }
    Some(match (world.flaw, method) {
        (Flaw::Broken, _) => (500, String::new()),
        _ if !world.has_quorum(node) => (503, String::new()),
        (_, "get") if key == "/health" => (200, "well".to_owned()),
        // The lowest instance that runs leads.
        (_, "get") if key == "/leader" => {
            let first = world.nodes.iter().find(|(_, node)| node.state == InstanceState::Running);
            (if first.is_some_and(|(name, _)| name == node) { 200 } else { 404 }, String::new())
        }
        (_, "get") => world.store.get(&key).map_or((404, String::new()), |value| (200, value.clone())),
        _ => {
            world.store.insert(key, body);
            (204, String::new())
        }
    })
}

#[async_trait]
impl Session for Door {
    async fn exec(&self, command: &str, deadline: Instant) -> Result<ExecOutput, SessionError> {
        let (state, boots, flaw) = {
            let world = lock(&self.world);
            let node = &world.nodes[&self.node];
            (node.state, node.boots, world.flaw)
        };
        match state {
            InstanceState::Stopped | InstanceState::Destroyed => {
                return Err(SessionError::Connect("it is off".to_owned()));
            }
            InstanceState::Frozen => {
                let _ = timeout_at(deadline, std::future::pending::<()>()).await;
                return Err(SessionError::TimedOut);
            }
            InstanceState::Running => {}
        }
        let output = |code, stdout: String| {
            let status = ExitStatus::Code(code);
            Ok(ExecOutput { status, stdout: stdout.into_bytes(), stderr: Vec::new() })
        };
        let boot = format!("{}-boot-{boots}\n", self.node);
        let mut world = lock(&self.world);
        let node = world.nodes.get_mut(&self.node).unwrap();
        if command.contains("sysrq-trigger") {
            if flaw != Flaw::NoEffect {
                node.console.push_str("Kernel panic - not syncing\n");
            }
            return output(0, "5\n".to_owned());
        }
        // A fault in the guest says in its first line what it is at.
        let words: Vec<&str> = command.lines().next().unwrap_or_default().split(' ').collect();
        if let ["#", "ovenproof", fault, what] = words.as_slice() {
            check_shell(command);
            let held = node.held.contains(*fault);
            return match *what {
                "begin" => {
                    node.held.insert((*fault).to_owned());
                    output(0, format!("{boot}before\n"))
                }
                "look" => output(i32::from(!held || flaw == Flaw::NoEffect), "it was looked at".to_owned()),
                "heal" => {
                    if flaw != Flaw::Sticky {
                        node.held.remove(*fault);
                    }
                    output(0, String::new())
                }
                "gone" => output(i32::from(held), "it was looked for".to_owned()),
                other => panic!("{other}"),
            };
        }
        let crash = "99.5 systemd[1]: reg.service: Failed with result 'core-dump'.";
        match command {
            _ if command.contains("boot_id") => output(0, boot),
            _ if command.starts_with("date") && flaw == Flaw::Crashing => {
                output(0, format!("100.0\n--\n{crash}\n"))
            }
            _ if command.starts_with("date") => output(0, "100.0\n--\n".to_owned()),
            _ => output(0, "a line of the service's log\n".to_owned()),
        }
    }

    async fn put(&self, _: &str, _: &[u8], _: u32, _: Instant) -> Result<(), SessionError> {
        Ok(())
    }

    async fn get(&self, _: &str, _: Instant) -> Result<Vec<u8>, SessionError> {
        Ok(Vec::new())
    }
}

/// Has a shell read a script, and every file that the script writes, without running them. Each only once: it
/// keeps everyone else waiting.
fn check_shell(script: &str) {
    use std::io::Write;
    static READ: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if !READ.lock().unwrap().insert(script.to_owned()) {
        return;
    }
    let files = script.split("OVENPROOF_END_OF_FILE'\n").skip(1);
    let files = files.map(|rest| rest.split("\nOVENPROOF_END_OF_FILE").next().unwrap());
    for text in [script].into_iter().chain(files) {
        let mut shell = std::process::Command::new("sh");
        let mut shell = shell.arg("-n").stdin(std::process::Stdio::piped()).spawn().unwrap();
        shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success(), "{text}");
    }
}
