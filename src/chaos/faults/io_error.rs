//! `disk.io_error`: requests to the disk fail.
//!
//! Proof: the block server has let requests fail.

use super::disks::{self, DiskFault, Region, always, check_chance, disk_fault};
use super::{About, Documented};
use crate::disk::{DiskCounters, Effect, Requests, Trouble};
use crate::units::Share;

disk_fault!(IoError {
    /// Which requests fail.
    #[serde(default)]
    on: Requests,
    /// Chance of each request to fail.
    #[serde(default = "always")]
    chance: Share,
    /// Only in this part of the disk; without it, everywhere, flushes included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    range: Option<Region>,
});

impl Documented for IoError {
    const ABOUT: About = About {
        details: "A dying disk: the guest gets an input/output error for reads, writes or both, in a part of \
                  the disk or everywhere, always or by chance. A file system that cannot write usually makes \
                  itself read-only and stays so until the next boot: that is for the image to survive. To a \
                  virtio disk every failure looks the same, a full one too; `disk.fill` is the fault that \
                  fills a file system.",
        example: "disk.io_error: { target: { one: web }, on: writes, chance: 10% }",
        local: "The fleet's block server answers with an error and does nothing; QEMU reports it to the \
                guest.",
        proof: "The block server has let requests fail.",
        ..disks::ABOUT
    };
}

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
