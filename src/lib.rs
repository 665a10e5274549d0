//! ovenproof bakes machine images and proves that they survive.
//!
//! The rooms, from the lowest to the highest; a lower room never imports a higher one:
//!
//! | room | owns |
//! |---|---|
//! | [`units`], [`seed`], [`diagnostic`], [`home`], [`userns`] | vocabulary that every room shares |
//! | [`hypervisor`] | running a machine with QEMU: how guests run here, the conversation with one |
//! | `aws` | talking to EC2: clients, errors, tags, waiting, what we are allowed to call (feature `ec2`) |
//! | [`guest`] | reaching into one instance: dialing a port, a shell session, one measurement |
//! | [`recipe`] | recipe file -> rendered, validated plan |
//! | [`store`] | layers, images, channels: what is on disk, by content |
//! | [`bake`] | plan -> layers -> disk -> image |
//! | [`network`] | the userspace switch that joins local VMs |
//! | [`disk`] | the block server behind local VMs' disks |
//! | [`fleet`] | named instances of images on a provider; the ledger of what exists |
//! | [`journal`] | the typed, append-only record of a run |
//! | [`verify`] | probes, workloads, histories, checkers |
//! | [`chaos`] | scenarios, schedules, faults, the engine that runs them |
//! | [`report`] | JUnit, terminal, Markdown and HTML, all made from the journal |
//! | [`cli`] | one file a command: arguments in, printing out |

#[cfg(feature = "ec2")]
pub mod aws;
pub mod bake;
pub mod chaos;
pub mod cli;
pub mod diagnostic;
pub mod disk;
pub mod fleet;
pub mod guest;
pub mod home;
pub mod hypervisor;
pub mod journal;
pub mod network;
pub mod recipe;
pub mod report;
pub mod seed;
pub mod store;
pub mod units;
pub mod userns;
pub mod verify;
