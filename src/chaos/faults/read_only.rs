//! `disk.read_only`: the disk takes no writes.
//!
//! Proof: the block server has refused writes.

use super::disks::{self, DiskFault, disk_fault};
use super::{About, Documented};
use crate::disk::{DiskCounters, Effect, Requests, Trouble};

disk_fault!(ReadOnly {});

impl Documented for ReadOnly {
    const ABOUT: About = About {
        details: "A drive that has reached its end of life, or an array that protects itself: what is there \
                  can be read, nothing can be written. The guest gets an input/output error for each write \
                  and flush, and usually makes its file system read-only until the next boot.",
        example: "disk.read_only: { target: { one: web } }",
        local: "The fleet's block server refuses writes, zeroes, trims and flushes.",
        proof: "The block server has refused writes.",
        ..disks::ABOUT
    };
}

impl DiskFault for ReadOnly {
    fn trouble(&self) -> Trouble {
        Trouble { effect: Effect::Error, concerns: Requests::Writes, range: None, chance: 1.0 }
    }

    fn proof(counters: &DiskCounters) -> Option<String> {
        let refused = counters.failed_writes;
        (refused > 0).then(|| format!("the block server refused {refused} writes"))
    }
}
