//! `disk.bit_flip`: what is read from the disk has flipped bits.
//!
//! Proof: the block server has flipped bits.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::disks::{DiskFault, Region, about, always, check_chance, disk_fault};
use super::{About, Documented};
use crate::chaos::target::Target;
use crate::disk::{DiskCounters, Effect, Requests, Trouble};
use crate::units::Share;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BitFlip {
    pub target: Target,
    /// Share of the sectors that have one.
    #[serde(default = "always")]
    pub chance: Share,
    /// Only in this part of the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Region>,
}

impl Documented for BitFlip {
    const ABOUT: About = about(
        "Silent corruption: some sectors read with one bit wrong, without an error, and the same bit \
         each time. What is stored stays right, so that the fault can end; what the guest has read \
         meanwhile and still holds in memory, or has written back, stays wrong.",
        "disk.bit_flip: { target: { one: web }, chance: 1% }",
        "The fleet's block server flips a bit of the sectors that the run's seed chooses, in what it answers.",
        "The block server has answered reads with flipped bits.",
    );
}

disk_fault!(BitFlip);

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
