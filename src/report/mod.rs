//! Reports: terminal, live progress, JUnit, Markdown and HTML. All are made from the journal and nothing
//! else, so that each can be made again later, byte for byte.
//!
//! [`fold`] turns entries into a [`Run`]; the other modules each turn a [`Run`] into one kind of text. This
//! room never judges, never asks a fleet, never looks at a clock, and writes no file by itself.

pub mod fold;
pub mod numbers;
#[cfg(test)]
pub(crate) mod sample;

pub use fold::Run;
