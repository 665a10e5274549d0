//! `instance.kill`: the machine vanishes as if its host had died.
//!
//! Proof: the provider no longer has it, and after the heal it is another boot, for the
//! provider and for the guest. What the guest
//! had written without flushing survives in the host's page cache, so this is not a power cut.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::instance::Down;
use super::{Fault, FaultKind, Scene};
use crate::chaos::target::Target;
use crate::fleet::{Capability, InstanceAction};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kill {
    pub target: Target,
}

impl FaultKind for Kill {
    fn target(&self) -> &Target {
        &self.target
    }

    fn needs(&self) -> Capability {
        Capability::Kill
    }

    fn arm(&self, scene: Scene) -> Box<dyn Fault> {
        Down::new(scene, InstanceAction::Kill)
    }
}
