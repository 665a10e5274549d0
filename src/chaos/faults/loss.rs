//! `network.loss`: some frames to and from the targets never arrive.
//!
//! Proof: the switch has dropped frames because of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::links::{Rules, touching};
use super::partition::dropped;
use super::{About, Documented, Ec2, Fault, FaultKind, Scene, Takes};
use crate::chaos::target::{Roster, Target};
use crate::fleet::Capability;
use crate::network::Impairment;
use crate::units::Share;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Loss {
    pub target: Target,
    /// Chance of each frame to be lost, in each direction.
    pub loss: Share,
    /// Whether the links between the targets and the clients are hit too.
    #[serde(default)]
    pub with_client: bool,
}

impl Documented for Loss {
    const ABOUT: About = About {
        details: "A bad cable or an overloaded link: each frame has the same chance to be lost. TCP sends \
                  again and gets slow.",
        example: "network.loss: { target: { one: web }, loss: 20% }",
        local: "The fleet's switch drops frames of the links in question, by lot from the run's seed.",
        ec2: Ec2::Not("there is no switch of ours between its instances"),
        proof: "The switch has dropped frames because of it.",
        undo: "The rules are removed from the switch, which confirms that it has none. They are a lease \
                  that ends with its owner.",
    };
}

impl FaultKind for Loss {
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
        if self.loss.0 <= 0.0 {
            return Err("a loss of 0% changes nothing".to_owned());
        }
        super::partition::some_link(&touching(targets, &roster.owned_names(), self.with_client))
    }

    fn arm(&self, scene: Scene) -> Box<dyn Fault> {
        let links = touching(&scene.targets, &scene.all_names(), self.with_client);
        let impairment = Impairment { loss: self.loss.0, ..Default::default() };
        Rules::new(scene, links, impairment, dropped)
    }
}
