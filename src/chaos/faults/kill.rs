//! `instance.kill`: the machine vanishes as if its host had died.
//!
//! Proof: the provider no longer has it, and after the heal it is another boot, for the
//! provider and for the guest. What the guest
//! had written without flushing survives in the host's page cache, so this is not a power cut.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::instance::down_fault;
use super::{About, Documented, Ec2};
use crate::chaos::target::Target;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kill {
    pub target: Target,
}

impl Documented for Kill {
    const ABOUT: About = About {
        details: "As when a host dies or a hypervisor is killed: no goodbye to peers, open connections go \
                  silent. What the guest had written but not flushed is still on the disk at the next \
                  boot, because the host's memory holds it; `instance.power_cut` is the fault that loses \
                  it.",
        example: "instance.kill: { target: { one: web } }",
        local: "The hypervisor's process is killed.",
        ec2: Ec2::By("The instance is stopped by force, without waiting for its operating system."),
        proof: "The provider no longer has the machine; afterwards it counts another boot, and the guest \
                  has another boot id.",
        undo: "The machine boots from its own disk and must get ready. When the tool dies, the fleet of a run \
               goes with it.",
    };
}

down_fault!(Kill, Kill, Kill);
