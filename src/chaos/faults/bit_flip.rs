//! `disk.bit_flip`: what is read from the disk has flipped bits.
//!
//! Proof: the block server has flipped bits.

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
    const ABOUT: About = About {
        details: "Silent corruption: some sectors read with one bit wrong, without an error, and the same bit \
                  each time. What is stored stays right, so that the fault can end; what the guest has read \
                  meanwhile and still holds in memory, or has written back, stays wrong.",
        example: "disk.bit_flip: { target: { one: web }, chance: 1% }",
        local: "The fleet's block server flips a bit of the sectors that the run's seed chooses, in what it answers.",
        ec2: Ec2::Not("its disks are not behind a server of ours"),
        proof: "The block server has answered reads with flipped bits.",
        undo: "The rule is removed from the block server, which confirms that it has none. It is a lease that ends \
               with its owner.",
    };
}

impl FaultKind for BitFlip {
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
        let (effect, concerns, chance) = (Effect::BitFlip, Requests::Reads, self.chance.0);
        let range = self.range.map(Region::bytes);
        Troubled::new(scene, Trouble { effect, concerns, range, chance }, |counters: &DiskCounters| {
            let flipped = counters.flipped;
            (flipped > 0).then(|| format!("the block server flipped a bit in {flipped} sectors"))
        })
    }
}
