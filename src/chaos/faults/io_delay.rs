//! `disk.io_delay`: the disk answers late.
//!
//! Proof: the block server has held back answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::disks::Troubled;
use super::{About, Documented, Ec2, Fault, FaultKind, Scene, Takes};
use crate::chaos::target::{Roster, Target};
use crate::disk::{DiskCounters, Effect, Requests, Trouble};
use crate::fleet::Capability;
use crate::units::Span;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IoDelay {
    pub target: Target,
    pub delay: Span,
    /// Added to `delay`, uniform between nothing and this.
    #[serde(default)]
    pub jitter: Span,
    /// Which requests are late.
    #[serde(default)]
    pub on: Requests,
}

impl Documented for IoDelay {
    const ABOUT: About = About {
        details: "A disk that is overworked or about to fail: each answer comes so much later, while requests \
                  do not wait for one another. A database that waits for its log gets slow.",
        example: "disk.io_delay: { target: { one: web }, delay: 200ms, on: writes }",
        local: "The fleet's block server carries each request out and holds its answer back.",
        ec2: Ec2::Not("its disks are not behind a server of ours"),
        proof: "The block server has held back answers.",
        undo: "The rule is removed from the block server, which confirms that it has none. It is a lease that ends \
               with its owner.",
    };
}

impl FaultKind for IoDelay {
    fn target(&self) -> &Target {
        &self.target
    }

    fn needs(&self) -> Capability {
        Capability::Disks
    }

    fn takes(&self) -> Takes {
        Takes::Nothing
    }

    fn check(&self, targets: &[String], roster: &Roster) -> Result<(), String> {
        let _ = (targets, roster);
        match self.delay.0.is_zero() && self.jitter.0.is_zero() {
            true => Err("a delay of nothing changes nothing".to_owned()),
            false => Ok(()),
        }
    }

    fn arm(&self, scene: Scene) -> Box<dyn Fault> {
        let effect = Effect::Delay { delay: self.delay.0, jitter: self.jitter.0 };
        let trouble = Trouble { effect, concerns: self.on, range: None, chance: 1.0 };
        Troubled::new(scene, trouble, |counters: &DiskCounters| {
            (counters.delayed > 0).then(|| format!("the block server delayed {} answers", counters.delayed))
        })
    }
}
