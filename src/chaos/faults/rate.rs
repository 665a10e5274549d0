//! `network.rate`: the links to and from the targets are slow, and have little room for what waits.
//!
//! Proof: the switch has held back frames because of it.

use super::links::{self, LinkFault, Proof, delayed, link_fault};
use super::{About, Documented};
use crate::network::Impairment;
use crate::units::{Bandwidth, Size};

link_fault!(Rate {
    /// How much passes, on each link and in each direction by itself.
    rate: Bandwidth,
    /// How much may wait; what does not fit is lost. Without it, a thousand full frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    queue: Option<Size>,
});

impl Documented for Rate {
    const ABOUT: About = About {
        details: "A bottleneck: frames leave one after another, those that wait stand in a queue, and what \
                  finds it full is lost. A long queue means delay, a short one means loss.",
        example: "network.rate: { target: { one: web }, rate: 1Mbit/s, queue: 64K }",
        local: "The fleet's switch sends the frames of each link in question at this rate.",
        proof: "The switch has held back frames because of it.",
        ..links::ABOUT
    };
}

impl LinkFault for Rate {
    fn impairment(&self) -> Impairment {
        let queue_bytes = self.queue.map(|queue| queue.0);
        Impairment { rate: Some(self.rate.0), queue_bytes, ..Default::default() }
    }

    fn proof(&self) -> Proof {
        |counters| {
            let lost = match counters.dropped {
                0 => String::new(),
                lost => format!(" and dropped {lost}"),
            };
            Some(delayed(counters)? + &lost)
        }
    }

    fn sensible(&self) -> Result<(), String> {
        Ok(())
    }
}
