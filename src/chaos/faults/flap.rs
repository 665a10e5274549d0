//! `network.flap`: the links to and from the targets go down and up, again and again.
//!
//! Proof: the switch has dropped some frames because of it, and let some pass.

use super::links::{LinkFault, Proof, link_fault};
use crate::network::{self, Impairment};
use crate::units::Span;

link_fault!(Flap {
    /// How long nothing passes: between half and one and a half times this, drawn by the seed each time. It
    /// begins with such a time.
    down: Span,
    /// How long all passes, drawn likewise.
    up: Span,
});

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
