//! `instance.reboot`: reset, without shutting down.
//!
//! Proof: the provider counts another boot; later the guest has another boot id.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::instance::Down;
use super::{About, Documented, Ec2, Fault, FaultKind, Lasts, Scene};
use crate::chaos::target::Target;
use crate::fleet::{Capability, InstanceAction};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reboot {
    pub target: Target,
}

impl Documented for Reboot {
    const ABOUT: About = About {
        details: "The reset button: nothing is shut down, the memory is lost, the disk keeps what was \
                  written.",
        example: "instance.reboot: { target: { one: web } }",
        local: "The hypervisor resets the machine.",
        ec2: Ec2::By(
            "RebootInstances, which forces a reset only when the guest does not react to it; `instance.panic` is closer.",
        ),
        proof: "The provider counts another boot; later the guest has another boot id.",
        undo: "It ends by itself; the machine must get ready.",
    };
}

impl FaultKind for Reboot {
    fn target(&self) -> &Target {
        &self.target
    }

    fn needs(&self) -> Capability {
        Capability::Reboot
    }

    fn lasts(&self) -> Lasts {
        Lasts::Once
    }

    fn arm(&self, scene: Scene) -> Box<dyn Fault> {
        Down::new(scene, InstanceAction::Reboot)
    }
}
