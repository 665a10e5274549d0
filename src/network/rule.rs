//! What can be wrong with a link. Rules are data: the engine above makes them, the switch obeys them.

use std::net::Ipv4Addr;
use std::ops::AddAssign;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The rules that one fault puts on the network, installed and removed as one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuleSet {
    /// The fault's id; unique among the installed sets.
    pub fault: String,
    /// Every random choice for these rules is drawn from streams of this seed, one a link.
    pub seed: u64,
    pub rules: Vec<LinkRule>,
}

/// What happens to frames that go from one port to another. One direction: the way back is a rule of its
/// own. Rules of several sets on one link all apply, in order of installation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkRule {
    /// Name of the sending port: a node, or `client`.
    pub from: String,
    pub to: String,
    pub impairment: Impairment,
}

/// Chances are between 0 and 1 and are drawn for each frame by itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Impairment {
    /// The frames that it concerns; without it, all.
    pub only: Option<Filter>,
    /// Nothing passes.
    pub cut: bool,
    /// Nothing passes at times.
    pub flap: Option<Flap>,
    pub delay: Duration,
    /// How far a frame's delay strays from `delay`; see [`Distribution`]. Frames keep their order all the same:
    /// a frame leaves no earlier than the one before it. Only `reorder` changes the order.
    pub jitter: Duration,
    pub distribution: Distribution,
    /// Chance to be lost, outside of `bursts`.
    pub loss: f64,
    pub bursts: Option<Bursts>,
    pub duplicate: f64,
    /// Chance that a frame is sent at once while `delay` holds the others back.
    pub reorder: f64,
    /// Chance that one bit of the frame is flipped.
    pub corrupt: f64,
    /// Bytes a second; with `queue_bytes` as the most that may wait, without it a thousand full frames.
    pub rate: Option<u64>,
    pub queue_bytes: Option<u64>,
    /// Chance of a TCP segment to end its connection: both ends get a reset in its stead. The segments that
    /// open a connection are spared.
    pub reset: f64,
    pub names: Option<Names>,
}

/// How delays stray. The sum of both is never below zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// Evenly between `delay` minus and plus `jitter`.
    #[default]
    Uniform,
    /// A bell around `delay`; `jitter` is its standard deviation.
    Normal,
    /// Most a little early, a few very late; `delay` is the mean and `jitter` the standard deviation.
    Pareto,
}

/// Loss that comes in bursts (Gilbert-Elliott): with each frame the link may turn bad, or good again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bursts {
    /// Chance of a good link to turn bad.
    pub enter: f64,
    /// Chance of a bad link to turn good: a burst is 1/`leave` frames long in the mean.
    pub leave: f64,
    /// Chance of a frame to be lost while the link is bad.
    pub loss: f64,
}

/// Times in which nothing passes, and times in which all does. They begin with the rules, with a time of
/// the first kind; each is between half and one and a half times as long as said here. All links of one set
/// go up and down together, as with one cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flap {
    pub down: Duration,
    pub up: Duration,
}

/// IPv4 packets of one protocol. A packet in fragments has ports only in the first of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    pub protocol: Protocol,
    /// The port that they are for; without it, any.
    pub port: Option<u16>,
    /// Whether those that come from `port` count as well.
    pub replies: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
}

/// Questions for names that are answered wrongly, or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// In lower case; none means all.
    pub names: Vec<String>,
    pub answer: Lie,
}

/// What becomes of a question for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lie {
    /// The name does not exist.
    Nxdomain,
    /// The server cannot say.
    Servfail,
    /// No answer comes.
    Timeout,
    /// This is the address, such as `address: 10.77.0.99`.
    Address(Ipv4Addr),
}

/// What the rules of one fault did so far, summed over its links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RuleCounters {
    /// Frames that met a rule of this fault and that it concerns.
    pub seen: u64,
    pub dropped: u64,
    pub delayed: u64,
    pub duplicated: u64,
    /// Frames that overtook another one.
    pub reordered: u64,
    pub corrupted: u64,
    /// TCP segments that were replaced by a reset to each end.
    pub reset: u64,
    /// Questions for names that got a wrong answer.
    pub misled: u64,
}

impl AddAssign<&RuleCounters> for RuleCounters {
    fn add_assign(&mut self, other: &RuleCounters) {
        self.seen += other.seen;
        self.dropped += other.dropped;
        self.delayed += other.delayed;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupted += other.corrupted;
        self.reset += other.reset;
        self.misled += other.misled;
    }
}

impl Impairment {
    /// Every chance in it, by name.
    pub(super) fn chances(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let bursts = self.bursts.map(|bursts| {
            [("bursts.enter", bursts.enter), ("bursts.leave", bursts.leave), ("bursts.loss", bursts.loss)]
        });
        let own = [
            ("loss", self.loss),
            ("duplicate", self.duplicate),
            ("reorder", self.reorder),
            ("corrupt", self.corrupt),
            ("reset", self.reset),
        ];
        own.into_iter().chain(bursts.into_iter().flatten())
    }
}
