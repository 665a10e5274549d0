//! The whole loop on real machines: bake, boot, break, verify, gate, and what is left after being killed.
//!
//! The images are baked once into a home that outlives the tests (`OVENPROOF_TEST_HOME`), as on a
//! developer's machine: baking again finds them by their content.

#![expect(clippy::expect_used, reason = "a test says what went wrong by panicking, its helpers too")]

#[path = "../common/mod.rs"]
mod common;
mod machines;

mod bake;
mod boots;
mod clouds;
mod controls;
mod databases;
mod faults;
mod gate;
mod initramfs;
mod killed;
mod links;
mod readme;
mod restored;
mod servers;
mod snapshots;
mod systems;
mod torture;
mod volumes;
