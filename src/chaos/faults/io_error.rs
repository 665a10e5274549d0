//! `disk.io_error`: requests to the disk fail.
//!
//! Proof: the block server has let requests fail.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::disks::{DiskFault, Region, about, always, check_chance, disk_fault};
use super::{About, Documented};
use crate::chaos::target::Target;
use crate::disk::{DiskCounters, Effect, Requests, Trouble};
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
    const ABOUT: About = about(
        "A dying disk: the guest gets an input/output error for reads, writes or both, in a part of the \
         disk or everywhere, always or by chance. A file system that cannot write usually makes \
         itself read-only and stays so until the next boot: that is for the image to survive. To \
         a virtio disk every failure looks the same, a full one too; `disk.fill` is the fault that \
         fills a file system.",
        "disk.io_error: { target: { one: web }, on: writes, chance: 10% }",
        "The fleet's block server answers with an error and does nothing; QEMU reports it to the guest.",
        "The block server has let requests fail.",
    );
}

disk_fault!(IoError);

impl DiskFault for IoError {
    fn trouble(&self) -> Trouble {
        let range = self.range.map(Region::bytes);
        Trouble { effect: Effect::Error, concerns: self.on, range, chance: self.chance.0 }
    }

    fn proof(counters: &DiskCounters) -> Option<String> {
        let DiskCounters { failed_reads, failed_writes, .. } = counters;
        (failed_reads + failed_writes > 0)
            .then(|| format!("the block server let {failed_reads} reads and {failed_writes} writes fail"))
    }

    fn sensible(&self) -> Result<(), String> {
        check_chance(self.chance)?;
        Region::check(self.range.as_ref())
    }
}
