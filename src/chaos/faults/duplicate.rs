//! `network.duplicate`: some frames to and from the targets arrive twice.
//!
//! Proof: the switch has doubled frames because of it.

use super::links::{self, LinkFault, Proof, frames, link_fault, some};
use super::{About, Documented};
use crate::network::Impairment;
use crate::units::Share;

link_fault!(Duplicate {
    /// Chance of each frame to arrive twice, in each direction.
    share: Share,
});

impl Documented for Duplicate {
    const ABOUT: About = About {
        details: "As when a route changes or a link layer sends again what had arrived. TCP notices; a \
                  protocol over UDP may do a thing twice.",
        example: "network.duplicate: { target: { one: web }, share: 20% }",
        local: "The fleet's switch sends a copy behind the frame, by lot from the run's seed.",
        proof: "The switch has doubled frames because of it.",
        ..links::ABOUT
    };
}

impl LinkFault for Duplicate {
    fn impairment(&self) -> Impairment {
        Impairment { duplicate: self.share.0, ..Default::default() }
    }

    fn proof(&self) -> Proof {
        |counters| {
            (counters.duplicated > 0).then(|| format!("the switch doubled {}", frames(counters.duplicated)))
        }
    }

    fn sensible(&self) -> Result<(), String> {
        some(self.share, "a share")
    }
}
