//! `network.reorder`: some frames to and from the targets overtake others.
//!
//! Proof: the switch has let frames overtake others because of it.

use std::time::Duration;

use super::links::{LinkFault, Proof, frames, link_fault, some};
use crate::network::Impairment;
use crate::units::{Share, Span};

fn held() -> Span {
    Span(Duration::from_millis(50))
}

link_fault!(Reorder {
    /// Chance of each frame to overtake those before it, in each direction.
    share: Share,
    /// How long the others are held back, so that there is something to overtake.
    #[serde(default = "held")]
    delay: Span,
});

impl LinkFault for Reorder {
    fn impairment(&self) -> Impairment {
        Impairment { delay: self.delay.0, reorder: self.share.0, ..Default::default() }
    }

    fn proof(&self) -> Proof {
        |counters| {
            (counters.reordered > 0)
                .then(|| format!("{} overtook others in the switch", frames(counters.reordered)))
        }
    }

    fn sensible(&self) -> Result<(), String> {
        some(self.share, "a share")?;
        match self.delay.0.is_zero() {
            true => Err("without a delay there is nothing to overtake".to_owned()),
            false => Ok(()),
        }
    }
}
