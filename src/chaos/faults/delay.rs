//! `network.delay`: frames to and from the targets arrive late.
//!
//! Proof: the switch has held back frames because of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::links::{Rules, touching};
use super::{About, Documented, Ec2, Fault, FaultKind, Scene, Takes};
use crate::chaos::target::{Roster, Target};
use crate::fleet::Capability;
use crate::network::{Impairment, RuleCounters};
use crate::units::Span;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delay {
    pub target: Target,
    /// In each direction: a round trip takes twice this longer.
    pub delay: Span,
    /// Added to `delay`, uniform between minus and plus this.
    #[serde(default)]
    pub jitter: Span,
    /// Whether the links between the targets and the clients are hit too.
    #[serde(default)]
    pub with_client: bool,
}

impl Documented for Delay {
    const ABOUT: About = About {
        details: "A slow or distant network. Each direction is late by itself, so a round trip to a target \
                  takes twice the delay longer.",
        example: "network.delay: { target: { one: web }, delay: 200ms, jitter: 50ms }",
        local: "The fleet's switch holds the frames of the links in question back.",
        ec2: Ec2::Not("there is no switch of ours between its instances"),
        proof: "The switch has held back frames because of it.",
        undo: "The rules are removed from the switch, which confirms that it has none. They are a lease \
                  that ends with its owner.",
    };
}

impl FaultKind for Delay {
    fn target(&self) -> &Target {
        &self.target
    }

    fn needs(&self) -> Capability {
        Capability::Links
    }

    fn takes(&self) -> Takes {
        Takes::Nothing
    }

    fn check(&self, targets: &[String], roster: &Roster) -> Result<(), String> {
        if self.delay.0.is_zero() && self.jitter.0.is_zero() {
            return Err("a delay of nothing changes nothing".to_owned());
        }
        super::partition::some_link(&touching(targets, &roster.owned_names(), self.with_client))
    }

    fn arm(&self, scene: Scene) -> Box<dyn Fault> {
        let links = touching(&scene.targets, &scene.all_names(), self.with_client);
        let impairment = Impairment { delay: self.delay.0, jitter: self.jitter.0, ..Default::default() };
        Rules::new(scene, links, impairment, |counters: &RuleCounters| {
            (counters.delayed > 0).then(|| format!("the switch delayed {} frames", counters.delayed))
        })
    }
}
