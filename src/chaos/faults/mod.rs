//! The fault catalogue: what can be broken, how it is known to be broken, and how it is mended.
//!
//! One file a fault and one line in [`catalogue!`]; what a person reads about it stands there too. A fault knows
//! the fleet only through [`Fleet`](crate::fleet::Fleet); when it happens, for how long, and what a missing
//! proof means is decided by the engine.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::target::{Roster, Target};
use crate::fleet::{Capability, Fleet, FleetError, NodePlan};
use crate::seed::Seed;

mod about;
mod bit_flip;
mod clock;
mod clock_skew;
mod clock_strobe;
mod corrupt;
mod cpu;
mod delay;
mod disk_fill;
mod disks;
mod dns;
mod duplicate;
mod file_corrupt;
mod flap;
mod freeze;
mod inside;
mod instance;
mod io_delay;
mod io_error;
mod io_stall;
mod jitter;
mod kill;
mod links;
mod loss;
mod memory;
mod panic;
mod partition;
mod phoenix;
mod port_block;
mod power_cut;
mod process_kill;
mod process_pause;
mod processes;
mod rate;
mod read_only;
mod reboot;
mod reorder;
mod replace;
mod reset;
mod rules;
mod service_stop;
mod stop;
mod zone_outage;

pub use about::{About, Documented, Ec2, Entry};
pub use instance::BootIds;
pub use partition::Shape;

/// Whether a fault has a beginning and an end, or only a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasts {
    /// From injection to heal: the step says `for`.
    While,
    /// It ends by itself: the step has no `for`.
    Once,
}

/// What a fault takes of the instances that it hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Nothing that another fault would miss.
    Nothing,
    /// One thing in a running instance, such as its clock, which no other fault can have meanwhile. It cannot
    /// begin while the instance as a whole is taken; when that happens later, this ends with the boot.
    Part(&'static str),
    /// The instance as a whole, so that no other such fault can have it meanwhile.
    Instance,
}

/// A fault as a scenario describes it.
pub trait FaultKind: Send + Sync {
    fn target(&self) -> &Target;

    /// What the provider must be able to do.
    fn needs(&self) -> Capability;

    fn lasts(&self) -> Lasts {
        Lasts::While
    }

    fn takes(&self) -> Takes {
        Takes::Instance
    }

    /// Whether it can do anything at all to `targets`, which stand for any that could be chosen; the
    /// error is a sentence.
    fn check(&self, targets: &[String], roster: &Roster) -> Result<(), String> {
        let _ = (targets, roster);
        Ok(())
    }

    /// Whether it can do anything at all to `node`, which could be chosen, now that its image is known; the
    /// error is a sentence.
    fn fits(&self, node: &NodePlan) -> Result<(), String> {
        let _ = node;
        Ok(())
    }

    /// Makes it ready to happen. Nothing has happened yet.
    fn arm(&self, scene: Scene) -> Box<dyn Fault>;
}

/// A fault that is about to happen, happens, or has happened.
///
/// `heal` may be called at any time after arming, also when `inject` failed half way or never ran, and
/// more than once.
#[async_trait]
pub trait Fault: Send {
    async fn inject(&mut self) -> Result<(), FaultError>;

    /// Returns how it is known that the fault took effect, as soon as it is known. Dropped by the caller
    /// when the fault ends first.
    async fn prove(&mut self) -> Result<String, FaultError>;

    /// What was seen of it so far, for the words about a fault that left no proof.
    fn seen(&self) -> String {
        String::new()
    }

    async fn heal(&mut self) -> Result<(), FaultError>;

    /// Checks that nothing of the fault is left, and says how that is known. The fault has ended then;
    /// what it did to the service may not have.
    async fn verify_healed(&mut self) -> Result<String, FaultError>;

    /// Waits until the instances that it hit are ready again.
    async fn back(&mut self) -> Result<Back, FaultError> {
        Ok(Back::Ready(Vec::new()))
    }
}

/// What became of the instances that a fault hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Back {
    /// Each with what is known of it, in words.
    Ready(Vec<(String, String)>),
    /// An instance did not become ready in its time: that is the image's failure, not the tool's.
    NotReady(String),
}

#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The instance is not in the state in which this fault could happen or have happened.
    #[error("{0}")]
    Instance(String),
}

/// Where a fault happens.
#[derive(Clone)]
pub struct Scene {
    /// The fault's id, unique in the run.
    pub fault: String,
    pub fleet: Arc<dyn Fleet>,
    /// Names of the instances it hits, in the order in which they were drawn.
    pub targets: Vec<String>,
    /// How long it will last; `None` for a moment.
    pub lasts: Option<Duration>,
    pub seed: Seed,
    pub boot_ids: BootIds,
}

impl Scene {
    fn node(&self, name: &str) -> Result<&NodePlan, FaultError> {
        let found = self.fleet.plan().nodes.iter().find(|node| node.name == name);
        found.ok_or_else(|| FleetError::NoSuchNode(name.to_owned()).into())
    }

    fn all_names(&self) -> Vec<String> {
        self.fleet.plan().nodes.iter().map(|node| node.name.clone()).collect()
    }
}

/// Generates the enum that scenario files spell, and the way from its variants to their behaviour.
macro_rules! catalogue {
    ($($(#[doc = $doc:literal])+ $name:literal => $module:ident::$params:ident,)+) => {
        /// A fault and its parameters.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        pub enum FaultSpec {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $params($module::$params),)+
        }

        impl FaultSpec {
            /// Every fault there is, family by family.
            pub const CATALOGUE: &[Entry] = &[$(Entry {
                name: $name,
                summary: concat!($($doc),+).trim_ascii(),
                about: &<$module::$params as Documented>::ABOUT,
                schema: || schemars::schema_for!($module::$params),
            },)+];

            /// The catalogue's name, such as `network.partition`.
            pub fn name(&self) -> &'static str {
                match self {
                    $(FaultSpec::$params(_) => $name,)+
                }
            }

            pub fn kind(&self) -> &dyn FaultKind {
                match self {
                    $(FaultSpec::$params(params) => params,)+
                }
            }
        }
    };
}

catalogue! {
    /// The machine vanishes at once and boots again from its own disk at the end.
    "instance.kill" => kill::Kill,
    /// The power button: the guest shuts down in order, and boots again at the end.
    "instance.stop" => stop::Stop,
    /// The clock of the whole machine stands still; nothing in it notices.
    "instance.freeze" => freeze::Freeze,
    /// Reset without shutting down. Ends by itself: no `for`.
    "instance.reboot" => reboot::Reboot,
    /// The machine and its own disk are gone for good; at the end another one is made from the image.
    "instance.replace" => replace::Replace,
    /// All machines of a zone vanish at once and boot again from their own disks at the end.
    "instance.zone_outage" => zone_outage::ZoneOutage,
    /// The whole fleet is destroyed but for its volumes, and made anew from its images at the end.
    "whole.phoenix" => phoenix::Phoenix,
    /// The kernel crashes.
    "instance.panic" => panic::Panic,
    /// The machine vanishes at once, and with it what it had not flushed to its disks.
    "instance.power_cut" => power_cut::PowerCut,
    /// Nothing passes between groups of instances.
    "network.partition" => partition::Partition,
    /// Frames to and from the targets arrive late.
    "network.delay" => delay::Delay,
    /// Each frame to and from the targets is late by another time.
    "network.jitter" => jitter::Jitter,
    /// Some frames to and from the targets never arrive.
    "network.loss" => loss::Loss,
    /// Some frames to and from the targets arrive twice.
    "network.duplicate" => duplicate::Duplicate,
    /// Some frames to and from the targets overtake others.
    "network.reorder" => reorder::Reorder,
    /// In some frames to and from the targets a bit is flipped.
    "network.corrupt" => corrupt::Corrupt,
    /// The links to and from the targets are slow.
    "network.rate" => rate::Rate,
    /// The links to and from the targets go down and up, again and again.
    "network.flap" => flap::Flap,
    /// The targets get wrong answers, or none, when they ask for the addresses of names.
    "network.dns" => dns::Dns,
    /// What is for one port does not arrive.
    "network.port_block" => port_block::PortBlock,
    /// TCP connections to and from the targets break off.
    "network.reset" => reset::Reset,
    /// A file system has no room left.
    "disk.fill" => disk_fill::DiskFill,
    /// Reads, writes or both fail.
    "disk.io_error" => io_error::IoError,
    /// The disk answers late.
    "disk.io_delay" => io_delay::IoDelay,
    /// The disk does not answer.
    "disk.io_stall" => io_stall::IoStall,
    /// The disk takes no writes.
    "disk.read_only" => read_only::ReadOnly,
    /// Some of what is read has a wrong bit.
    "disk.bit_flip" => bit_flip::BitFlip,
    /// Processes that have nothing to do take the CPU.
    "resource.cpu" => cpu::Cpu,
    /// A process that does nothing takes the memory.
    "resource.memory" => memory::Memory,
    /// The time of day is wrong.
    "clock.skew" => clock_skew::ClockSkew,
    /// The time of day jumps to and fro.
    "clock.strobe" => clock_strobe::ClockStrobe,
    /// Processes end, once or again and again.
    "process.kill" => process_kill::ProcessKill,
    /// Processes stand still while the rest of the instance goes on.
    "process.pause" => process_pause::ProcessPause,
    /// A service is not there, and nobody can start it.
    "service.stop" => service_stop::ServiceStop,
    /// Bits of a file are flipped, or its end is cut off.
    "file.corrupt" => file_corrupt::FileCorrupt,
}

impl FaultSpec {
    /// The parameters alone, as a journal keeps them beside the name.
    pub fn params(&self) -> serde_json::Value {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(map)) => map.into_iter().next().map(|(_, v)| v).unwrap_or_default(),
            Ok(_) | Err(_) => serde_json::Value::Null,
        }
    }

    /// The other way: a fault from its name and parameters.
    pub fn from_params(name: &str, params: &serde_json::Value) -> Result<Self, serde_json::Error> {
        serde_json::from_value(serde_json::json!({ name: params }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_gives_back_the_same_fault() {
        let yaml = "network.partition: { shape: isolate, target: { one: etcd }, with_client: true }\n";
        let spec: FaultSpec = crate::diagnostic::parse_yaml(std::path::Path::new("f"), yaml).unwrap();
        assert_eq!(spec.name(), "network.partition");
        let again = FaultSpec::from_params(spec.name(), &spec.params()).unwrap();
        assert_eq!(again.params(), spec.params());
    }

    #[test]
    fn a_slip_in_a_name_is_mended() {
        let yaml = "network.partitoin: { shape: isolate, target: { one: etcd } }\n";
        let bad = crate::diagnostic::parse_yaml::<FaultSpec>(std::path::Path::new("f"), yaml).unwrap_err();
        assert!(bad.help.contains(&"did you mean `network.partition`?".to_owned()), "{bad}");
    }
}
