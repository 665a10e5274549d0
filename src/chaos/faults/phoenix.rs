//! `whole.phoenix`: the whole fleet is destroyed, and comes back with nothing but its data.
//!
//! Proof: as for `instance.replace`, of every instance.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::instance::down_fault;
use super::{About, Documented, Ec2};
use crate::chaos::target::Target;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Phoenix {
    #[serde(skip, default = "everyone")]
    target: Target,
}

fn everyone() -> Target {
    Target::Everyone
}

impl Documented for Phoenix {
    const ABOUT: About = About {
        details: "Every instance is destroyed with its own disk, without a goodbye, and at the end all are made \
                  anew from their images, which need not be those that were baked when the data was written. \
                  What is not on a named volume is lost: that the service then finds its data, and its members \
                  each other, is what this shows.",
        example: "whole.phoenix: {}",
        local: "All hypervisors are killed and all disks but the volumes removed; at the end new machines are \
                made from the images.",
        ec2: Ec2::By(
            "All instances are terminated; at the end others are started from the same images, and \
                      the volumes are attached to them.",
        ),
        proof: "The provider has destroyed every machine; afterwards it runs other ones, and each guest has \
                another boot id.",
        undo: "New machines are made and must get ready. When the tool dies, the fleet of a run goes with it.",
    };
}

down_fault!(Phoenix, Replace, Destroy);
