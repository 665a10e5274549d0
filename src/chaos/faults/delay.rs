//! `network.delay`: frames to and from the targets arrive late.
//!
//! Proof: the switch has held back frames because of it.

use super::links::{self, LinkFault, Proof, delayed, link_fault};
use super::{About, Documented};
use crate::network::{Distribution, Impairment};
use crate::units::Span;

link_fault!(Delay {
    /// In each direction: a round trip takes twice this longer.
    delay: Span,
    /// How far the delay of a frame strays from `delay`.
    #[serde(default)]
    jitter: Span,
    /// How it strays.
    #[serde(default)]
    distribution: Distribution,
});

impl Documented for Delay {
    const ABOUT: About = About {
        details: "A slow or distant network. Each direction is late by itself, so a round trip to a target \
                  takes twice the delay longer. Jitter never changes the order of frames.",
        example: "network.delay: { target: { one: web }, delay: 200ms, jitter: 50ms, distribution: pareto }",
        local: "The fleet's switch holds the frames of the links in question back.",
        proof: "The switch has held back frames because of it.",
        ..links::ABOUT
    };
}

impl LinkFault for Delay {
    fn impairment(&self) -> Impairment {
        Impairment {
            delay: self.delay.0,
            jitter: self.jitter.0,
            distribution: self.distribution,
            ..Default::default()
        }
    }

    fn proof(&self) -> Proof {
        delayed
    }

    fn sensible(&self) -> Result<(), String> {
        match self.delay.0.is_zero() && self.jitter.0.is_zero() {
            true => Err("a delay of nothing changes nothing".to_owned()),
            false => Ok(()),
        }
    }
}
