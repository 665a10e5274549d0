//! `instance.replace`: the machine and its disk are gone for good, and another one takes the name.
//!
//! Proof: the provider has destroyed it; after the heal another machine runs, which for its guest means
//! another boot id.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::instance::down_fault;
use super::{About, Documented, Ec2};
use crate::chaos::target::Target;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replace {
    pub target: Target,
}

impl Documented for Replace {
    const ABOUT: About = About {
        details: "As when an instance is retired or terminated and a group starts another one in its place: \
                  all that was on its own disk is lost, and only named volumes are there again. The new \
                  instance has the name, the address and the host key of the old one, and boots from \
                  the image as if for the first time.",
        example: "instance.replace: { target: { one: web } }",
        local: "The hypervisor's process is killed and the disk removed; at the end a new machine is made \
                from the image, with the volumes of the old one.",
        ec2: Ec2::By(
            "The instance is terminated; at the end another is started from the same image, and the \
                      volumes are attached to it.",
        ),
        proof: "The provider has destroyed the machine; afterwards it runs another one, and the guest has \
                another boot id.",
        undo: "A new machine is made and must get ready. When the tool dies, the fleet of a run goes with it.",
    };
}

down_fault!(Replace, Replace, Destroy);
