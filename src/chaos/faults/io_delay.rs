//! `disk.io_delay`: the disk answers late.
//!
//! Proof: the block server has held back answers.

use super::disks::{self, DiskFault, disk_fault};
use super::{About, Documented};
use crate::disk::{DiskCounters, Effect, Requests, Trouble};
use crate::units::Span;

disk_fault!(IoDelay {
    delay: Span,
    /// Added to `delay`, uniform between nothing and this.
    #[serde(default)]
    jitter: Span,
    /// Which requests are late.
    #[serde(default)]
    on: Requests,
});

impl Documented for IoDelay {
    const ABOUT: About = About {
        details: "A disk that is overworked or about to fail: each answer comes so much later, while \
                  requests do not wait for one another. A database that waits for its log gets slow.",
        example: "disk.io_delay: { target: { one: web }, delay: 200ms, on: writes }",
        local: "The fleet's block server carries each request out and holds its answer back.",
        proof: "The block server has held back answers.",
        ..disks::ABOUT
    };
}

impl DiskFault for IoDelay {
    fn trouble(&self) -> Trouble {
        let effect = Effect::Delay { delay: self.delay.0, jitter: self.jitter.0 };
        Trouble { effect, concerns: self.on, range: None, chance: 1.0 }
    }

    fn proof(counters: &DiskCounters) -> Option<String> {
        (counters.delayed > 0).then(|| format!("the block server delayed {} answers", counters.delayed))
    }

    fn sensible(&self) -> Result<(), String> {
        match self.delay.0.is_zero() && self.jitter.0.is_zero() {
            true => Err("a delay of nothing changes nothing".to_owned()),
            false => Ok(()),
        }
    }
}
