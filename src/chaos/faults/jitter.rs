//! `network.jitter`: each frame to and from the targets is late by another time, so that latency is never
//! the same twice.
//!
//! Proof: the switch has held back frames because of it.

use super::links::{self, LinkFault, Proof, delayed, link_fault};
use super::{About, Documented};
use crate::network::Impairment;
use crate::units::Span;

link_fault!(Jitter {
    /// A frame is late by anything between nothing and this, in each direction.
    up_to: Span,
});

impl Documented for Jitter {
    const ABOUT: About = About {
        details: "A network whose latency is never the same twice, as behind a busy router: what measures \
                  round trips to tell the dead from the slow errs. Frames keep their order.",
        example: "network.jitter: { target: { one: web }, up_to: 300ms }",
        local: "The fleet's switch holds each frame of the links in question back, by lot from the run's \
                seed.",
        proof: "The switch has held back frames because of it.",
        ..links::ABOUT
    };
}

impl LinkFault for Jitter {
    fn impairment(&self) -> Impairment {
        let half = self.up_to.0 / 2;
        Impairment { delay: half, jitter: half, ..Default::default() }
    }

    fn proof(&self) -> Proof {
        delayed
    }

    fn sensible(&self) -> Result<(), String> {
        match self.up_to.0.is_zero() {
            true => Err("a jitter of nothing changes nothing".to_owned()),
            false => Ok(()),
        }
    }
}
