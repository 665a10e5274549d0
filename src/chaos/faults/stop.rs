//! `instance.stop`: the guest shuts down in order and the machine is gone.
//!
//! Proof: the provider no longer has it, and after the heal it is another boot, for the
//! provider and for the guest.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::instance::Down;
use super::{Fault, FaultKind, Scene};
use crate::chaos::target::Target;
use crate::fleet::{Capability, InstanceAction};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    pub target: Target,
}

impl FaultKind for Stop {
    fn target(&self) -> &Target {
        &self.target
    }

    fn needs(&self) -> Capability {
        Capability::Stop
    }

    fn arm(&self, scene: Scene) -> Box<dyn Fault> {
        Down::new(scene, InstanceAction::Stop)
    }
}
