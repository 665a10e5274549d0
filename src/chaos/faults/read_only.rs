//! `disk.read_only`: the disk takes no writes.
//!
//! Proof: the block server has refused writes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::disks::Troubled;
use super::{About, Documented, Ec2, Fault, FaultKind, Scene, Takes};
use crate::chaos::target::Target;
use crate::disk::{DiskCounters, Effect, Requests, Trouble};
use crate::fleet::Capability;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadOnly {
    pub target: Target,
}

impl Documented for ReadOnly {
    const ABOUT: About = About {
        details: "A drive that has reached its end of life, or an array that protects itself: what is there can \
                  be read, nothing can be written. The guest gets an input/output error for each write and \
                  flush, and usually makes its file system read-only until the next boot.",
        example: "disk.read_only: { target: { one: web } }",
        local: "The fleet's block server refuses writes, zeroes, trims and flushes.",
        ec2: Ec2::Not("its disks are not behind a server of ours"),
        proof: "The block server has refused writes.",
        undo: "The rule is removed from the block server, which confirms that it has none. It is a lease that ends \
               with its owner. A guest that has made its file system read-only keeps it so.",
    };
}

impl FaultKind for ReadOnly {
    fn target(&self) -> &Target {
        &self.target
    }

    fn needs(&self) -> Capability {
        Capability::Disks
    }

    fn takes(&self) -> Takes {
        Takes::Nothing
    }

    fn arm(&self, scene: Scene) -> Box<dyn Fault> {
        let (effect, concerns) = (Effect::Error, Requests::Writes);
        let trouble = Trouble { effect, concerns, range: None, chance: 1.0 };
        Troubled::new(scene, trouble, |counters: &DiskCounters| {
            let refused = counters.failed_writes;
            (refused > 0).then(|| format!("the block server refused {refused} writes"))
        })
    }
}
