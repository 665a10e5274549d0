//! What can be wrong with a disk. Rules are data: the engine above makes them, the disks obey them.

use std::ops::Range;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The rule that one fault puts on disks of some nodes, installed and removed as one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiskRules {
    /// The fault's id; unique among what is installed.
    pub fault: String,
    /// Every random choice is drawn from streams of this seed, one a disk.
    pub seed: u64,
    pub nodes: Vec<String>,
    /// Only the disk of this name of each of them. Without it, all their disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    pub trouble: Trouble,
}

/// What happens to the requests that it concerns. Troubles of several faults on one disk all apply; of two
/// that let a request fail, the one that was there first has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trouble {
    pub effect: Effect,
    pub concerns: Requests,
    /// Bytes of the disk; only requests that touch them are concerned. Flushes are on no place and only
    /// concerned without it.
    pub range: Option<Range<u64>>,
    /// Chance of each concerned request, between 0 and 1. Of a flipped bit: of each sector, once and for all.
    pub chance: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It fails, and does nothing.
    Error,
    /// It is answered so much later, and up to `jitter` more.
    Delay { delay: Duration, jitter: Duration },
    /// It is answered when the trouble is over.
    Stall,
    /// One bit of what is read is wrong, and the same one each time; what is stored stays right.
    BitFlip,
}

/// Which requests are concerned. Flushes, trims and zeroes are writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Requests {
    Reads,
    Writes,
    #[default]
    All,
}

/// What the trouble of one fault did so far, summed over its disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DiskCounters {
    pub failed_reads: u64,
    pub failed_writes: u64,
    pub delayed: u64,
    pub stalled: u64,
    /// Sectors that were read with a flipped bit.
    pub flipped: u64,
}

impl DiskCounters {
    /// `None` if there are none.
    pub fn sum(counters: impl Iterator<Item = DiskCounters>) -> Option<DiskCounters> {
        counters.reduce(|mut sum, counters| {
            sum += counters;
            sum
        })
    }
}

impl std::ops::AddAssign for DiskCounters {
    fn add_assign(&mut self, other: Self) {
        self.failed_reads += other.failed_reads;
        self.failed_writes += other.failed_writes;
        self.delayed += other.delayed;
        self.stalled += other.stalled;
        self.flipped += other.flipped;
    }
}
