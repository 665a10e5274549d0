//! `network.flap`: the links to and from the targets go down and up, again and again.
//!
//! Proof: the switch has dropped some frames because of it, and let some pass.

use super::links::{self, LinkFault, Proof, link_fault};
use super::{About, Documented};
use crate::network::{self, Impairment};
use crate::units::Span;

link_fault!(Flap {
    /// How long nothing passes: between half and one and a half times this, drawn by the seed each time. It
    /// begins with such a time.
    down: Span,
    /// How long all passes, drawn likewise.
    up: Span,
});

impl Documented for Flap {
    const ABOUT: About = About {
        details: "A loose cable or a port that resets: the links are cut and come back before anyone is sure \
                  that they are gone. Finds failovers that begin anew each time.",
        example: "network.flap: { target: { one: web }, down: 500ms, up: 2s }",
        local: "The fleet's switch drops the frames of the links in question at times that follow from the \
                run's seed; all links of the fault go down together.",
        proof: "The switch has dropped some frames because of it, and let others pass.",
        ..links::ABOUT
    };
}

impl LinkFault for Flap {
    fn impairment(&self) -> Impairment {
        let flap = network::Flap { down: self.down.0, up: self.up.0 };
        Impairment { flap: Some(flap), ..Default::default() }
    }

    fn proof(&self) -> Proof {
        |counters| {
            let (dropped, seen) = (counters.dropped, counters.seen);
            (0 < dropped && dropped < seen).then(|| format!("the switch dropped {dropped} of {seen} frames"))
        }
    }

    fn sensible(&self) -> Result<(), String> {
        match self.down.0.is_zero() || self.up.0.is_zero() {
            true => Err("a link that flaps is down for some time and up for some time".to_owned()),
            false => Ok(()),
        }
    }
}
