//! What can be wrong with a link. Rules are data: the engine above makes them, the switch obeys them.

use std::time::Duration;

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
    /// Nothing passes.
    pub cut: bool,
    pub delay: Duration,
    /// Added to `delay`, uniform between minus and plus this (never below zero in sum). Frames keep their order
    /// all the same: a frame leaves no earlier than the one before it. Only `reorder` changes the order.
    pub jitter: Duration,
    pub loss: f64,
    pub duplicate: f64,
    /// Chance that a frame is sent at once while `delay` holds the others back.
    pub reorder: f64,
    /// Chance that one bit of the frame is flipped.
    pub corrupt: f64,
    /// Bytes a second; with `queue_bytes` as the most that may wait, without it a thousand full frames.
    pub rate: Option<u64>,
    pub queue_bytes: Option<u64>,
}

/// What the rules of one fault did so far, summed over its links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RuleCounters {
    /// Frames that met a rule of this fault.
    pub seen: u64,
    pub dropped: u64,
    pub delayed: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub corrupted: u64,
}
