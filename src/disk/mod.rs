//! The block server behind the disks of local VMs, and the ways in which they fail on purpose.
//!
//! A [`Disk`] is a stack of layers over an image: the uppermost is its own, those below are never written
//! again and may be shared by any number of disks, so that a snapshot or a fork copies nothing. Before the
//! layers stands a write cache, as in a real drive: what the guest has not flushed is in the cache alone, and a
//! power cut loses as much of it as it is told to. QEMU reaches a disk over NBD on a socket that it inherits.
//!
//! The room knows disks, sectors and faults by their ids; it knows nothing of VMs, scenarios or verdicts.
//! It never writes below the uppermost layer, and touches nothing of the host but the files it is told to
//! use.
//!
//! | part | owns |
//! |---|---|
//! | `map`, [`layer`] | which sectors a layer has, and the sparse file that has them |
//! | `cache` | what the guest has written and not flushed |
//! | [`crash`] | how much of that outlives a power cut |
//! | [`fault`] | the troubles as data: what the engine above asks for |
//! | `troubles`, `bell` | those of one disk: what they do to a request, what they did so far |
//! | [`device`] | the disk itself: reads, writes, flushes, snapshots, power cuts |
//! | [`nbd`] | the protocol, and the threads that speak it |

mod bell;
mod cache;
pub mod crash;
pub mod device;
pub mod fault;
pub mod layer;
mod map;
pub mod nbd;
#[cfg(test)]
pub(crate) use tests::client as testing;
#[cfg(test)]
mod tests;
mod troubles;

pub use crash::{Cut, Unflushed};
pub use device::{Disk, Keeping};
pub use fault::{DiskCounters, DiskRules, Effect, Requests, Trouble};
pub use layer::Layer;
pub use nbd::Serving;
pub use troubles::Troubles;

/// The unit in which everything is counted, and which a power cut never splits.
pub const SECTOR: u64 = 512;
