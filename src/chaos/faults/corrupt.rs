//! `network.corrupt`: in some frames to and from the targets one bit is flipped, behind the Ethernet header.
//!
//! Proof: the switch has flipped bits because of it.

use super::links::{LinkFault, Proof, frames, link_fault, some};
use crate::network::Impairment;
use crate::units::Share;

link_fault!(Corrupt {
    /// Chance of each frame to be damaged, in each direction.
    share: Share,
});

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
