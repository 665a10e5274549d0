//! Reports: terminal, live progress, JUnit, Markdown and HTML. All are made from the journal and nothing
//! else, so that each can be made again later, byte for byte.
//!
//! `fold` turns entries into a [`Run`]; the other modules each turn a [`Run`] into one kind of text. This
//! room never judges, never asks a fleet, never looks at a clock, and writes no file by itself.

mod fold;
pub mod html;
pub mod junit;
pub mod markdown;
pub mod numbers;
pub mod progress;
pub mod run;
#[cfg(test)]
pub(crate) mod sample;
mod sentences;
pub mod terminal;
mod words;

pub use run::Run;

use sentences::{consequences, identity, mark, replay, service, story, when};
