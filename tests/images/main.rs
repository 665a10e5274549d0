//! Images once they are baked: what is said of them, what they become, what goes and what is damaged.
//!
//! Needs the tools that bake, and starts no machine. The images come from the home of the VM tests; whatever is
//! broken on purpose is a copy.

#![expect(clippy::expect_used, reason = "a test says what went wrong by panicking, its helpers too")]

#[path = "../common/mod.rs"]
mod common;

mod contents;
mod homes;
mod keeping;
mod reproducible;
