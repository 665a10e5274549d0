//! `disk.io_delay`: the disk answers late.
//!
//! Proof: the block server has held back answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::disks::{DiskFault, about, disk_fault};
use super::{About, Documented};
use crate::chaos::target::Target;
use crate::disk::{DiskCounters, Effect, Requests, Trouble};
use crate::units::Span;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IoDelay {
    pub target: Target,
    pub delay: Span,
    /// Added to `delay`, uniform between nothing and this.
    #[serde(default)]
    pub jitter: Span,
    /// Which requests are late.
    #[serde(default)]
    pub on: Requests,
}

impl Documented for IoDelay {
    const ABOUT: About = about(
        "A disk that is overworked or about to fail: each answer comes so much later, while requests \
         do not wait for one another. A database that waits for its log gets slow.",
        "disk.io_delay: { target: { one: web }, delay: 200ms, on: writes }",
        "The fleet's block server carries each request out and holds its answer back.",
        "The block server has held back answers.",
    );
}

disk_fault!(IoDelay);

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
