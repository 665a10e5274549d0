//! `network.reorder`: some frames to and from the targets overtake others.
//!
//! Proof: the switch has let frames overtake others because of it.

use std::time::Duration;

use super::links::{self, LinkFault, Proof, frames, link_fault, some};
use super::{About, Documented};
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

impl Documented for Reorder {
    const ABOUT: About = About {
        details: "As over paths of different length: all frames are held back, but some are not and overtake \
                  those before them. TCP takes it for loss and slows down.",
        example: "network.reorder: { target: { one: web }, share: 25%, delay: 50ms }",
        local: "The fleet's switch holds the frames of the links in question back, and lets some go at once, \
                by lot from the run's seed.",
        proof: "Frames overtook others in the switch because of it.",
        ..links::ABOUT
    };
}

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
