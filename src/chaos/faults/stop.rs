//! `instance.stop`: the guest shuts down in order and the machine is gone.
//!
//! Proof: the provider no longer has it, and after the heal it is another boot, for the
//! provider and for the guest.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::instance::down_fault;
use super::{About, Documented, Ec2};
use crate::chaos::target::Target;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    pub target: Target,
}

impl Documented for Stop {
    const ABOUT: About = About {
        details: "As in maintenance: services are told to end and may say goodbye to their peers, file \
                  systems are unmounted.",
        example: "instance.stop: { target: { one: web } }",
        local: "The power button is pressed by ACPI, and the machine is waited for.",
        ec2: Ec2::By("StopInstances."),
        proof: "The provider no longer has the machine; afterwards it counts another boot, and the guest \
                  has another boot id.",
        undo: "The machine boots from its own disk and must get ready.",
    };
}

down_fault!(Stop, Stop, Stop);
