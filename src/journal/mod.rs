//! The journal: the typed, append-only record of one run, one JSON object a line.
//!
//! Everything that is ever said about a run is made from its journal, and can be made again. Rooms that
//! act write events; the report room only reads them. The history of operations is part of it.

pub mod event;
pub mod verdict;

pub use event::{Entry, Event, OpOutcome, OpRecord, Phase};
pub use verdict::Verdict;
