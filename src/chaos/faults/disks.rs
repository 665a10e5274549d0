//! What faults of disks share: a rule goes in on all targets, the block server's counters prove it, and it
//! goes out as one. They differ only in the rule and in what the counters must show.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{About, Ec2, Fault, FaultError, Scene};
use crate::disk::{DiskCounters, DiskRules, Requests, Trouble};
use crate::fleet::NodePlan;
use crate::guest::Session;
use crate::recipe::ROOT_DISK;
use crate::units::{Share, Size};

/// How often the counters are read while there is no proof yet.
const LOOK: Duration = Duration::from_millis(200);
/// The service's own reads and writes are given this long to meet the rule before we make some.
const OWN_TRAFFIC: Duration = Duration::from_secs(1);
/// For one attempt to use the disk, which may well stand still.
const USE: Duration = Duration::from_secs(3);

/// What one fault of disks does; [`disk_fault!`] makes the rest of it.
pub(super) trait DiskFault {
    fn trouble(&self) -> Trouble;

    /// Says what the counters prove, if they prove anything.
    fn proof(counters: &DiskCounters) -> Option<String>;

    /// Whether the parameters can do anything at all; the error is a sentence.
    fn sensible(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Declares a fault on disks: its own parameters, and those by which such a fault chooses its disks.
macro_rules! disk_fault {
    ($name:ident { $($(#[$meta:meta])* $field:ident: $type:ty,)* }) => {
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            pub target: $crate::chaos::target::Target,
            $($(#[$meta])* pub $field: $type,)*
            /// Hits only this disk of each target: `root`, its own, or a volume by its name. Without it, all
            /// of its disks.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub disk: Option<String>,
        }

        impl super::FaultKind for $name {
            fn target(&self) -> &$crate::chaos::target::Target {
                &self.target
            }

            fn needs(&self) -> $crate::fleet::Capability {
                $crate::fleet::Capability::Disks
            }

            fn takes(&self) -> super::Takes {
                super::Takes::Nothing
            }

            fn check(&self, _: &[String], _: &$crate::chaos::target::Roster) -> Result<(), String> {
                super::disks::DiskFault::sensible(self)
            }

            fn fits(&self, node: &$crate::fleet::NodePlan) -> Result<(), String> {
                super::disks::has(node, self.disk.as_deref())
            }

            fn arm(&self, scene: super::Scene) -> Box<dyn super::Fault> {
                let trouble = super::disks::DiskFault::trouble(self);
                let proof = <$name as super::disks::DiskFault>::proof;
                super::disks::Troubled::new(scene, self.disk.clone(), trouble, proof)
            }
        }
    };
}
pub(super) use disk_fault;

/// Whether an instance has the disk; the error is a sentence.
pub(super) fn has(node: &NodePlan, disk: Option<&str>) -> Result<(), String> {
    let known = || std::iter::once(ROOT_DISK).chain(node.volumes.iter().map(|volume| volume.name.as_str()));
    match disk {
        Some(disk) if !known().any(|name| name == disk) => {
            let known: Vec<String> = known().map(|name| format!("`{name}`")).collect();
            Err(format!("{} has no disk `{disk}`, expected {}", node.name, known.join(" or ")))
        }
        _ => Ok(()),
    }
}

/// What is true of every fault of disks; the rest is each fault's own.
pub(super) const ABOUT: About = About {
    details: "",
    example: "",
    local: "",
    ec2: Ec2::Not("its disks are not behind a server of ours"),
    proof: "",
    undo: "The rule is removed from the block server, which confirms that it has none. It is a lease that ends \
           with its owner.",
};

/// A part of a disk, in bytes from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Region {
    pub from: Size,
    /// The first byte that is not concerned any more.
    pub to: Size,
}

impl Region {
    pub(super) fn check(region: Option<&Region>) -> Result<(), String> {
        match region {
            Some(region) if region.from >= region.to => {
                Err(format!("from {} to {} there is nothing", region.from, region.to))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn bytes(self) -> Range<u64> {
        self.from.0..self.to.0
    }
}

pub(super) fn always() -> Share {
    Share(1.0)
}

pub(super) fn check_chance(chance: Share) -> Result<(), String> {
    match chance.0 > 0.0 {
        true => Ok(()),
        false => Err("a chance of 0% changes nothing".to_owned()),
    }
}

/// A fault that is a rule on disks.
pub(super) struct Troubled {
    scene: Scene,
    /// `None`: all of them.
    disk: Option<String>,
    trouble: Trouble,
    /// Says what the counters prove, if they prove anything.
    proof: fn(&DiskCounters) -> Option<String>,
    /// As they were last, for the words after the heal.
    last: DiskCounters,
}

impl Troubled {
    pub(super) fn new(
        scene: Scene,
        disk: Option<String>,
        trouble: Trouble,
        proof: fn(&DiskCounters) -> Option<String>,
    ) -> Box<Self> {
        Box::new(Troubled { scene, disk, trouble, proof, last: DiskCounters::default() })
    }

    /// Uses the disk of a target, so that proof does not depend on what the service happens to do. Reads
    /// where the rule is; writes only where they do no harm.
    fn command(&self, node: &str, round: u64) -> String {
        let volumes = self.scene.node(node).map(|node| node.volumes.as_slice()).unwrap_or_default();
        let volume = volumes.iter().find(|volume| self.disk.as_ref() == Some(&volume.name));
        let first = self.trouble.range.as_ref().map_or(round % 256, |range| range.start / 4096 + round % 4);
        // What is mounted as the root need not lie on a disk: it may be checked or covered by something else.
        let (disk, folder) = match volume {
            Some(volume) => (
                format!("basename $(readlink -f /sys/dev/block/$(mountpoint -d {}))", volume.mount),
                volume.mount.as_str(),
            ),
            None => (
                format!(
                    "grep -l '^{ROOT_DISK} *$' /sys/block/*/serial /sys/block/*/device/serial | cut -d / -f 4"
                ),
                "/var/tmp",
            ),
        };
        let read = format!(
            "disk=$({disk}); \
             dd if=/dev/$disk of=/dev/null bs=4096 count=1 skip={first} iflag=direct"
        );
        let write =
            format!("f={folder}/.ovenproof-$$; dd if=/dev/zero of=$f bs=4096 count=1 conv=fsync; rm -f $f");
        let command = match self.trouble.concerns {
            Requests::Writes => write,
            Requests::Reads | Requests::All => read,
        };
        format!("{{ {command}; }} > /dev/null 2>&1")
    }
}

#[async_trait]
impl Fault for Troubled {
    async fn inject(&mut self) -> Result<(), FaultError> {
        let seed = self.scene.seed.stream(&format!("disks {}", self.scene.fault)).next_u64();
        let (fault, nodes) = (self.scene.fault.clone(), self.scene.targets.clone());
        let rules = DiskRules { fault, seed, nodes, disk: self.disk.clone(), trouble: self.trouble.clone() };
        Ok(self.scene.fleet.impair_disks(rules).await?)
    }

    async fn prove(&mut self) -> Result<String, FaultError> {
        let started = Instant::now();
        let sessions = self.scene.targets.iter().map(|name| (name, self.scene.fleet.session(name)));
        let sessions: Vec<(&String, Arc<dyn Session>)> = sessions.collect();
        for round in 0.. {
            let counters = self.scene.fleet.disk_counters(&self.scene.fault).await?;
            let counters = counters.ok_or_else(|| FaultError::Instance("its rule is gone".to_owned()))?;
            if let Some(evidence) = (self.proof)(&counters) {
                return Ok(evidence);
            }
            if started.elapsed() >= OWN_TRAFFIC
                && let Some((name, session)) = sessions.get(round % sessions.len().max(1))
            {
                // What comes of it does not matter: the counters tell.
                let _ = session.exec(&self.command(name, round as u64), Instant::now() + USE).await;
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(FaultError::Instance("its rule met no request".to_owned()))
    }

    async fn heal(&mut self) -> Result<(), FaultError> {
        let counters = self.scene.fleet.repair_disks(&self.scene.fault).await?;
        if counters != DiskCounters::default() {
            self.last = counters;
        }
        Ok(())
    }

    async fn verify_healed(&mut self) -> Result<String, FaultError> {
        match self.scene.fleet.disk_counters(&self.scene.fault).await? {
            Some(_) => Err(FaultError::Instance("its rule is still installed".to_owned())),
            None => {
                let met = (self.proof)(&self.last).unwrap_or_else(|| "no request was hit".to_owned());
                Ok(format!("its rule is gone; in all, {met}"))
            }
        }
    }
}
