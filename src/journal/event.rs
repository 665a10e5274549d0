//! What can happen in a run. Fields are only ever added, with defaults, so that old journals stay readable.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Verdict;
use crate::fleet::Timing;

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Microseconds since the run started, on a clock that never jumps.
    pub at_us: u64,
    pub event: Event,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The fleet is created and becomes ready.
    Boot,
    /// Steady state is checked before anything is broken.
    Baseline,
    /// Workload and timeline run.
    Chaos,
    /// Every fault is healed; the fleet is given time to recover.
    Recovery,
    /// Checkers judge.
    Check,
    Teardown,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Always the first line.
    RunStarted(RunStarted),
    /// Anything from the last `PhaseStarted` on belongs to that phase.
    PhaseStarted {
        phase: Phase,
    },
    /// The concrete schedule that the seed gave: what `--replay` runs again.
    Scheduled {
        steps: Vec<ScheduledFault>,
    },
    /// An instance changed: created, ready, stopped, started, ...
    Instance {
        node: String,
        what: String,
    },
    /// How long a stage on the way to a ready fleet took.
    Timing(Timing),
    Injected {
        fault: String,
        targets: Vec<String>,
    },
    /// The fault is known to have taken effect; `evidence` says how, in words.
    Proven {
        fault: String,
        evidence: String,
    },
    /// The fault could not be injected, or left no proof: the run's verdict is an error.
    NotProven {
        fault: String,
        reason: String,
    },
    /// The fault ended. `verified`: it is known to be gone.
    Healed {
        fault: String,
        verified: bool,
        evidence: String,
    },
    /// The fault was not tried because the provider cannot do it.
    Skipped {
        fault: String,
        reason: String,
    },
    /// One measurement of the steady state; `at_us` of the entry is its end.
    Probe {
        probe: String,
        node: Option<String>,
        ok: bool,
        latency_us: u64,
        detail: String,
    },
    /// This probe is not measured all the time, so it says nothing about how soon the service was back.
    PartTime {
        probe: String,
    },
    /// A workload is about to start. Journals without it are of workloads of the kind `register`.
    Workload {
        workload: String,
        kind: String,
        /// What checkers must know of it, such as the accounts of a bank; null for most kinds.
        plan: Value,
    },
    /// What one instance said when an expectation asked it; see `verify::question`.
    Said {
        /// The title of the expectation.
        expectation: String,
        node: String,
        /// Counts the times that this was asked, from 0.
        round: u32,
        /// The answer; null: it gave none, and `detail` says why.
        answer: Option<String>,
        detail: String,
    },
    /// One operation of a workload, written when it completed or was given up.
    Op(OpRecord),
    /// An expectation was judged.
    Judged(Judged),
    /// An instance itself gave a sign of trouble.
    Symptom(Symptom),
    /// Something a person should know, such as what is not deterministic.
    Note {
        text: String,
    },
    /// Always the last line of a run that ended in order.
    RunFinished {
        verdict: Verdict,
        reason: String,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStarted {
    pub run: String,
    pub tool_version: String,
    /// RFC 3339.
    pub started_at: String,
    pub scenario: String,
    pub scenario_file: String,
    /// BLAKE3 of the scenario file.
    pub scenario_digest: String,
    pub seed: u64,
    pub provider: String,
    /// Role -> image id.
    pub images: BTreeMap<String, String>,
    /// Names in the order of the report.
    pub expectations: Vec<String>,
}

/// A fault with its place in time; times count from the start of the chaos phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScheduledFault {
    /// Unique in the run, such as `f1-network.partition`.
    pub fault: String,
    /// The catalogue's name, such as `network.partition`.
    pub kind: String,
    pub inject_at_us: u64,
    /// `None`: the fault has no duration of its own (a reboot).
    pub heal_at_us: Option<u64>,
    /// The parameters, as in the scenario.
    pub params: Value,
    /// Chosen by the seed; empty when they can only be known at injection (`leader`).
    pub targets: Vec<String>,
}

/// An operation as its client saw it. Values are what the model understands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpRecord {
    /// Name of the workload it belongs to.
    pub workload: String,
    /// The client; one client has at most one operation under way.
    pub process: u32,
    /// The node it was sent to.
    pub node: String,
    pub key: String,
    /// The operation's name in its model: `read`, `write`, `cas`, `add`, ...
    pub f: String,
    /// What was asked: the value to write; null for a read.
    pub input: Value,
    /// What was answered: the value read.
    pub output: Value,
    pub outcome: OpOutcome,
    pub invoked_us: u64,
    /// When the answer came or the client gave up.
    pub completed_us: u64,
    /// The error, or what made the outcome indeterminate.
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpOutcome {
    /// Acknowledged: it happened.
    Ok,
    /// Refused: it did not happen and never will.
    Fail,
    /// Nobody knows: it may have happened, before or later.
    Indeterminate,
}

/// A line of a console or a log that tells of trouble.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symptom {
    pub node: String,
    pub source: SymptomSource,
    pub kind: SymptomKind,
    /// Without control characters, cut to what fits into a report.
    pub line: String,
    /// When it was printed, as well as that is known; 0 for what is older than the run.
    pub seen_us: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SymptomSource {
    Console,
    /// The log of the init system.
    Log,
    /// The list of failed units at the end of the run.
    Units,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SymptomKind {
    KernelPanic,
    OutOfMemory,
    Segfault,
    FailedUnit,
    FileSystem,
    IoError,
    HungTask,
    /// About the machine underneath, not about the image: stalls and clocks of a loaded host.
    Environment,
}

impl SymptomSource {
    pub fn text(self) -> &'static str {
        match self {
            SymptomSource::Console => "console",
            SymptomSource::Log => "log",
            SymptomSource::Units => "list of failed units",
        }
    }
}

impl SymptomKind {
    pub fn text(self) -> &'static str {
        match self {
            SymptomKind::KernelPanic => "kernel panic",
            SymptomKind::OutOfMemory => "process killed for memory",
            SymptomKind::Segfault => "crashed process",
            SymptomKind::FailedUnit => "failed unit",
            SymptomKind::FileSystem => "file system error",
            SymptomKind::IoError => "I/O error",
            SymptomKind::HungTask => "hung task",
            SymptomKind::Environment => "stumbling machine",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    pub expectation: String,
    pub verdict: Verdict,
    /// One line: what was found.
    pub message: String,
    /// The evidence in full, for a person to follow; may have many lines.
    #[serde(default)]
    pub detail: String,
    /// Numbers behind the verdict, such as `availability` or `longest_outage_ms`.
    #[serde(default)]
    pub measured: BTreeMap<String, f64>,
}
