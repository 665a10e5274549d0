//! The command line as a person meets it who has no fleet yet and makes mistakes; boots nothing.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking, its helpers too")]
#![expect(clippy::expect_used, reason = "a test says what went wrong by panicking, its helpers too")]

mod arguments;
mod check;
#[path = "../common/mod.rs"]
mod common;
mod files;
mod fleet_files;
mod help;
mod histories;
mod journals;
mod recipes;
mod refusal;
mod report;
mod scenarios;
