//! `disk.bit_flip`: what is read from the disk has flipped bits.
//!
//! Proof: the block server has flipped bits.

use super::disks::{self, DiskFault, Region, always, check_chance, disk_fault};
use super::{About, Documented};
use crate::disk::{DiskCounters, Effect, Requests, Trouble};
use crate::units::Share;

disk_fault!(BitFlip {
    /// Share of the sectors that have one.
    #[serde(default = "always")]
    chance: Share,
    /// Only in this part of the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    range: Option<Region>,
});

impl Documented for BitFlip {
    const ABOUT: About = About {
        details: "Silent corruption: some sectors read with one bit wrong, without an error, and the same \
                  bit each time. What is stored stays right, so that the fault can end; what the guest has \
                  read meanwhile and still holds in memory, or has written back, stays wrong.",
        example: "disk.bit_flip: { target: { one: web }, chance: 1% }",
        local: "The fleet's block server flips a bit of the sectors that the run's seed chooses, in what it \
                answers.",
        proof: "The block server has answered reads with flipped bits.",
        ..disks::ABOUT
    };
}

impl DiskFault for BitFlip {
    fn trouble(&self) -> Trouble {
        let range = self.range.map(Region::bytes);
        Trouble { effect: Effect::BitFlip, concerns: Requests::Reads, range, chance: self.chance.0 }
    }

    fn proof(counters: &DiskCounters) -> Option<String> {
        let flipped = counters.flipped;
        (flipped > 0).then(|| format!("the block server flipped a bit in {flipped} sectors"))
    }

    fn sensible(&self) -> Result<(), String> {
        check_chance(self.chance)?;
        Region::check(self.range.as_ref())
    }
}
