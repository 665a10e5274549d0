//! `network.corrupt`: in some frames to and from the targets one bit is flipped, behind the Ethernet header.
//!
//! Proof: the switch has flipped bits because of it.

use super::links::{self, LinkFault, Proof, frames, link_fault, some};
use super::{About, Documented};
use crate::network::Impairment;
use crate::units::Share;

link_fault!(Corrupt {
    /// Chance of each frame to be damaged, in each direction.
    share: Share,
});

impl Documented for Corrupt {
    const ABOUT: About = About {
        details: "A bad cable or broken memory on the way. Most checksums find it, and the frame is lost; \
                  what has none, or checks none, takes the damage for data.",
        example: "network.corrupt: { target: { one: web }, share: 5% }",
        local: "The fleet's switch flips one bit behind the Ethernet header of a frame, by lot from the \
                run's seed.",
        proof: "The switch has flipped bits because of it.",
        ..links::ABOUT
    };
}

impl LinkFault for Corrupt {
    fn impairment(&self) -> Impairment {
        Impairment { corrupt: self.share.0, ..Default::default() }
    }

    fn proof(&self) -> Proof {
        |counters| {
            (counters.corrupted > 0)
                .then(|| format!("the switch flipped a bit in {}", frames(counters.corrupted)))
        }
    }

    fn sensible(&self) -> Result<(), String> {
        some(self.share, "a share")
    }
}
