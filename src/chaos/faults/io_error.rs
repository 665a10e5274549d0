//! `disk.io_error`: requests to the disk fail.
//!
//! Proof: the block server has let requests fail.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::disks::{Region, Troubled, always, check_chance};
use super::{About, Documented, Ec2, Fault, FaultKind, Scene, Takes};
use crate::chaos::target::{Roster, Target};
use crate::disk::{DiskCounters, Effect, Requests, Trouble};
use crate::fleet::Capability;
use crate::units::Share;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IoError {
    pub target: Target,
    /// Which requests fail.
    #[serde(default)]
    pub on: Requests,
    /// Chance of each request to fail.
    #[serde(default = "always")]
    pub chance: Share,
    /// Only in this part of the disk; without it, everywhere, flushes included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Region>,
}

impl Documented for IoError {
    const ABOUT: About = About {
        details: "A dying disk: the guest gets an input/output error for reads, writes or both, in a part of the \
                  disk or everywhere, always or by chance. A file system that cannot write usually makes \
                  itself read-only and stays so until the next boot: that is for the image to survive. To \
                  a virtio disk every failure looks the same, a full one too; `disk.fill` is the fault that \
                  fills a file system.",
        example: "disk.io_error: { target: { one: web }, on: writes, chance: 10% }",
        local: "The fleet's block server answers with an error and does nothing; QEMU reports it to the guest.",
        ec2: Ec2::Not("its disks are not behind a server of ours"),
        proof: "The block server has let requests fail.",
        undo: "The rule is removed from the block server, which confirms that it has none. It is a lease that ends \
               with its owner. A guest that has made its file system read-only keeps it so.",
    };
}

impl FaultKind for IoError {
    fn target(&self) -> &Target {
        &self.target
    }

    fn needs(&self) -> Capability {
        Capability::Disks
    }

    fn takes(&self) -> Takes {
        Takes::Nothing
    }

    fn check(&self, targets: &[String], roster: &Roster) -> Result<(), String> {
        let _ = (targets, roster);
        check_chance(self.chance)?;
        Region::check(self.range.as_ref())
    }

    fn arm(&self, scene: Scene) -> Box<dyn Fault> {
        let (effect, concerns, chance) = (Effect::Error, self.on, self.chance.0);
        let range = self.range.map(Region::bytes);
        Troubled::new(scene, Trouble { effect, concerns, range, chance }, failed)
    }
}

/// What the counters say of failed requests.
pub(super) fn failed(counters: &DiskCounters) -> Option<String> {
    let DiskCounters { failed_reads, failed_writes, .. } = counters;
    (failed_reads + failed_writes > 0)
        .then(|| format!("the block server let {failed_reads} reads and {failed_writes} writes fail"))
}
