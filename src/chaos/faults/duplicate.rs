//! `network.duplicate`: some frames to and from the targets arrive twice.
//!
//! Proof: the switch has doubled frames because of it.

use super::links::{LinkFault, Proof, frames, link_fault, some};
use crate::network::Impairment;
use crate::units::Share;

link_fault!(Duplicate {
    /// Chance of each frame to arrive twice, in each direction.
    share: Share,
});

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
