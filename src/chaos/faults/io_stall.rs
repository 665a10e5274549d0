//! `disk.io_stall`: the disk does not answer.
//!
//! Proof: the block server holds requests without an answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::disks::Troubled;
use super::{About, Documented, Ec2, Fault, FaultKind, Scene, Takes};
use crate::chaos::target::Target;
use crate::disk::{DiskCounters, Effect, Requests, Trouble};
use crate::fleet::Capability;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IoStall {
    pub target: Target,
    /// Which requests stall.
    #[serde(default)]
    pub on: Requests,
}

impl Documented for IoStall {
    const ABOUT: About = About {
        details: "A volume that hangs: requests get no answer until the fault ends, and then all of them get \
                  one. Whatever waits for the disk waits with it, and a service must be given up by its \
                  peers although its machine still answers. An instance whose disk stands still cannot be \
                  frozen or shut down meanwhile.",
        example: "disk.io_stall: { target: { one: web } }",
        local: "The fleet's block server carries requests out and keeps all answers until the end.",
        ec2: Ec2::Not("its disks are not behind a server of ours"),
        proof: "The block server holds requests without an answer.",
        undo: "The rule is removed from the block server, which confirms that it has none. It is a lease that ends \
               with its owner.",
    };
}

impl FaultKind for IoStall {
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
        let trouble = Trouble { effect: Effect::Stall, concerns: self.on, range: None, chance: 1.0 };
        Troubled::new(scene, trouble, |counters: &DiskCounters| {
            (counters.stalled > 0).then(|| format!("the block server stalled {} requests", counters.stalled))
        })
    }
}
