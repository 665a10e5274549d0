//! `instance.reboot`: reset, without shutting down.
//!
//! Proof: the provider counts another boot; later the guest has another boot id.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::instance::Down;
use super::{Fault, FaultKind, Lasts, Scene};
use crate::chaos::target::Target;
use crate::fleet::{Capability, InstanceAction};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reboot {
    pub target: Target,
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
