//! `disk.io_stall`: the disk does not answer.
//!
//! Proof: the block server holds requests without an answer.

use super::disks::{self, DiskFault, disk_fault};
use super::{About, Documented};
use crate::disk::{DiskCounters, Effect, Requests, Trouble};

disk_fault!(IoStall {
    /// Which requests stall.
    #[serde(default)]
    on: Requests,
});

impl Documented for IoStall {
    const ABOUT: About = About {
        details: "A volume that hangs: requests get no answer until the fault ends, and then all of them get \
                  one. Whatever waits for the disk waits with it, and a service must be given up by its \
                  peers although its machine still answers. An instance whose disk stands still cannot be \
                  frozen or shut down meanwhile.",
        example: "disk.io_stall: { target: { one: web } }",
        local: "The fleet's block server carries requests out and keeps all answers until the end.",
        proof: "The block server holds requests without an answer.",
        ..disks::ABOUT
    };
}

impl DiskFault for IoStall {
    fn trouble(&self) -> Trouble {
        Trouble { effect: Effect::Stall, concerns: self.on, range: None, chance: 1.0 }
    }

    fn proof(counters: &DiskCounters) -> Option<String> {
        (counters.stalled > 0).then(|| format!("the block server stalled {} requests", counters.stalled))
    }
}
