//! EC2 without AWS: the tool as it is, through the SDK, against moto. Starts no machine and leaves the network alone.

#![expect(clippy::expect_used, reason = "a test says what went wrong by panicking, its helpers too")]

#[path = "../common/mod.rs"]
mod common;

mod images;
mod killed;
mod moto;
mod proxy;
mod random;
mod sealed;
