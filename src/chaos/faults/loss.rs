//! `network.loss`: some frames to and from the targets never arrive.
//!
//! Proof: the switch has dropped frames because of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::links::{self, LinkFault, Proof, dropped, link_fault, some};
use super::{About, Documented};
use crate::network::{self, Impairment};
use crate::units::Share;

/// Loss that comes in bursts, as of a bad cable or a busy radio (Gilbert-Elliott): with each frame a link
/// may turn bad, or good again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bursts {
    /// Chance of a good link to turn bad.
    pub enter: Share,
    /// Chance of a bad link to turn good: at 10%, a burst is ten frames long in the mean.
    pub leave: Share,
    /// Chance of a frame to be lost while the link is bad.
    #[serde(default = "all")]
    pub loss: Share,
}

fn all() -> Share {
    Share(1.0)
}

link_fault!(Loss {
    /// Chance of each frame to be lost, in each direction, outside of bursts.
    #[serde(default)]
    loss: Share,
    /// Bursts in which more is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bursts: Option<Bursts>,
});

impl Documented for Loss {
    const ABOUT: About = About {
        details: "A bad cable or an overloaded link. Without `bursts` each frame has the same chance to be \
                  lost; with them, a link turns bad for a while and good again, which hurts TCP far more at \
                  the same share of losses.",
        example: "network.loss: { target: { one: web }, bursts: { enter: 1%, leave: 10% } }",
        local: "The fleet's switch drops frames of the links in question, by lot from the run's seed.",
        proof: "The switch has dropped frames because of it.",
        ..links::ABOUT
    };
}

impl LinkFault for Loss {
    fn impairment(&self) -> Impairment {
        let bursts = self.bursts.as_ref().map(|bursts| network::Bursts {
            enter: bursts.enter.0,
            leave: bursts.leave.0,
            loss: bursts.loss.0,
        });
        Impairment { loss: self.loss.0, bursts, ..Default::default() }
    }

    fn proof(&self) -> Proof {
        dropped
    }

    fn sensible(&self) -> Result<(), String> {
        match &self.bursts {
            None => some(self.loss, "a loss"),
            Some(bursts) => {
                some(bursts.enter, "an `enter`")?;
                some(bursts.loss, "a `loss` in bursts")
            }
        }
    }
}
