//! Baking for real, without machines: as root and without, two at once, killed, on a full disk, against those
//! who mean it ill.
//!
//! All stands on the recipe `base`, baked once into a home that outlives the tests (`OVENPROOF_TEST_HOME`).

#![expect(clippy::expect_used, reason = "a test says what went wrong by panicking, its helpers too")]

mod archive;
#[path = "../common/mod.rs"]
mod common;
mod oven;

mod hostile;
mod locks;
mod secrets;
mod steps;
mod unprivileged;
mod withstand;
