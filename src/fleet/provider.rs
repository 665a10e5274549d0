//! The seam between those who break fleets and those who run them.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::plan::{FleetPlan, NodePlan};
use super::timing::Timing;
use crate::disk::{Cut, DiskCounters, DiskRules, Unflushed};
use crate::guest::{Dialer, Session, SessionError};
use crate::network::{RuleCounters, RuleSet};
use crate::seed::Seed;

/// How a fleet is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lifetime {
    /// Ends with the [`Fleet`] handle that created it, however that process ends.
    Run,
    /// Stays until `down`.
    UntilDown,
}

/// A request to create a fleet.
#[derive(Debug, Clone)]
pub struct Launch {
    pub plan: FleetPlan,
    pub lifetime: Lifetime,
    /// Restore a snapshot of the same plan if there is one, instead of booting.
    pub warm: bool,
    /// The snapshot of volumes that the fleet's volumes begin as; it must have none yet.
    pub volumes_from: Option<String>,
    /// Where console logs and the like are kept after the fleet is gone; `None`: they go with it.
    pub keep_logs: Option<PathBuf>,
    /// Where every frame between the nodes is recorded; must outlive the fleet.
    pub pcap: Option<PathBuf>,
}

/// A thing that a provider may or may not be able to do to an instance or its network. Faults name what
/// they need; what a provider lacks is reported as skipped, with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    Stop,
    Kill,
    Freeze,
    Reboot,
    /// Destroy an instance and make it anew from its image.
    Replace,
    /// Losing, with the power, what was not flushed.
    PowerCut,
    /// Per-direction rules on the links between nodes.
    Links,
    /// Rules on the disks of nodes.
    Disks,
    Session,
}

/// What can be done to an instance as a whole. Each returns when it has taken effect, not before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceAction {
    /// Power button; waits for the guest to shut down, then for the machine to be gone.
    Stop,
    /// The machine vanishes at once; the disk keeps what the host had taken.
    Kill,
    /// Like `Kill`, and its own disk goes too: only its volumes are left.
    Destroy,
    /// Boots a stopped or killed instance from its own disk, and a destroyed one from a new one: another
    /// machine of the same name.
    Start,
    /// Stops the clock of the whole machine; nothing in it notices.
    Freeze,
    Thaw,
    /// Reset without shutting down.
    Reboot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    Running,
    Frozen,
    Stopped,
    /// There is a name and a place for it, and its volumes.
    Destroyed,
}

/// What the provider itself knows of an instance, without asking its guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStatus {
    pub node: String,
    pub state: InstanceState,
    /// How often it was booted or reset since it was created; 1 after creation.
    pub boots: u32,
    /// The kernel command line's boot id or the process id: names this incarnation in proofs.
    pub incarnation: String,
}

#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error("the fleet `{0}` exists already")]
    Exists(String),
    #[error("there is no fleet `{0}`")]
    NoSuchFleet(String),
    #[error("there is no node `{0}`")]
    NoSuchNode(String),
    #[error("{0} is not possible on this provider: {1}")]
    NotCapable(String, String),
    /// An instance did not become ready; `console` holds the last lines of its console.
    #[error("{node} was not ready within {within}: {last}")]
    NotReady { node: String, within: crate::units::Span, last: String, console: String },
    #[error("{node} could not be started: {reason}")]
    Start { node: String, reason: String, console: String },
    /// The supervisor, the hypervisor or the cloud API failed.
    #[error("{0}")]
    Provider(String),
    #[error(transparent)]
    Session(#[from] SessionError),
    /// What lies on the data disks cannot be had as it was asked for.
    #[error(transparent)]
    Volume(#[from] super::qemu::volumes::VolumeError),
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
}

/// Where fleets run.
#[async_trait]
pub trait Provider: Send + Sync {
    fn name(&self) -> &'static str;

    /// `Ok` if this provider can do it, else why not.
    fn capable(&self, capability: Capability) -> Result<(), String>;

    /// Creates the fleet and boots every instance; returns when all are started, not yet ready.
    async fn create(&self, launch: Launch) -> Result<Arc<dyn Fleet>, FleetError>;

    /// A handle to a fleet that runs already.
    async fn attach(&self, fleet: &str) -> Result<Arc<dyn Fleet>, FleetError>;

    /// Names of the fleets that exist, running or broken.
    async fn list(&self) -> Result<Vec<String>, FleetError>;
}

/// A fleet that exists. Handles are cheap to clone behind their `Arc` and safe to use at once.
#[async_trait]
pub trait Fleet: Send + Sync {
    fn plan(&self) -> &FleetPlan;

    /// Whether this handle created the fleet from a snapshot instead of booting it.
    fn restored(&self) -> bool;

    /// How long the stages of its creation took, as far as they happened outside the guests; empty if this
    /// handle did not create the fleet.
    fn timings(&self) -> Vec<Timing>;

    /// Returns, with the reason, when what runs the fleet is gone: nothing that is seen from then on says
    /// anything about the images. May never return.
    async fn lost(&self) -> String;

    /// Saves the whole fleet at one instant, so that the next one of the same plan need not boot. To be
    /// called when all is ready and nothing has been broken yet. Does nothing where there is nothing to
    /// gain; says whether it saved.
    async fn save(&self) -> Result<bool, FleetError>;

    async fn status(&self, node: &str) -> Result<InstanceStatus, FleetError>;

    async fn act(&self, node: &str, action: InstanceAction) -> Result<(), FleetError>;

    /// Connects to a node as `client`. Never fails by itself: errors come from dialing.
    fn dialer(&self, node: &str) -> Arc<dyn Dialer>;

    /// A new shell session on a node over the management path; connects at its first use.
    fn session(&self, node: &str) -> Arc<dyn Session>;

    /// Installs the rules of one fault, all at once.
    async fn impair(&self, rules: RuleSet) -> Result<(), FleetError>;

    /// Removes the rules of one fault; removing what is not there is no error.
    async fn repair(&self, fault: &str) -> Result<RuleCounters, FleetError>;

    /// What the rules of one fault did so far; `None` if no such rules are installed.
    async fn counters(&self, fault: &str) -> Result<Option<RuleCounters>, FleetError>;

    /// The machine vanishes at once, and of what it had not flushed to its disks only `unflushed` is kept.
    /// Returns when it is gone; it boots from what is left.
    async fn power_cut(&self, node: &str, unflushed: Unflushed, seed: Seed) -> Result<Cut, FleetError>;

    /// Installs the rules of one fault on disks.
    async fn impair_disks(&self, rules: DiskRules) -> Result<(), FleetError>;

    /// Removes the rules of one fault from all disks; removing what is not there is no error.
    async fn repair_disks(&self, fault: &str) -> Result<DiskCounters, FleetError>;

    /// What the rules of one fault on disks did so far; `None` if no such rules are installed.
    async fn disk_counters(&self, fault: &str) -> Result<Option<DiskCounters>, FleetError>;

    /// Everything the node's console printed so far, across boots.
    async fn console(&self, node: &str) -> Result<Vec<u8>, FleetError>;

    /// Waits until the node's readiness probe passes.
    async fn wait_ready(&self, node: &NodePlan, deadline: Instant) -> Result<(), FleetError>;

    /// Destroys every instance and everything that belonged to the fleet.
    async fn destroy(&self) -> Result<(), FleetError>;
}
