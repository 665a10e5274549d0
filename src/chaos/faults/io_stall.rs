//! `disk.io_stall`: the disk does not answer.
//!
//! Proof: the block server holds requests without an answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::disks::{DiskFault, about, disk_fault};
use super::{About, Documented};
use crate::chaos::target::Target;
use crate::disk::{DiskCounters, Effect, Requests, Trouble};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IoStall {
    pub target: Target,
    /// Which requests stall.
    #[serde(default)]
    pub on: Requests,
}

impl Documented for IoStall {
    const ABOUT: About = about(
        "A volume that hangs: requests get no answer until the fault ends, and then all of them get \
         one. Whatever waits for the disk waits with it, and a service must be given up by its \
         peers although its machine still answers. An instance whose disk stands still cannot be \
         frozen or shut down meanwhile.",
        "disk.io_stall: { target: { one: web } }",
        "The fleet's block server carries requests out and keeps all answers until the end.",
        "The block server holds requests without an answer.",
    );
}

disk_fault!(IoStall);

impl DiskFault for IoStall {
    fn trouble(&self) -> Trouble {
        Trouble { effect: Effect::Stall, concerns: self.on, range: None, chance: 1.0 }
    }

    fn proof(counters: &DiskCounters) -> Option<String> {
        (counters.stalled > 0).then(|| format!("the block server stalled {} requests", counters.stalled))
    }
}
