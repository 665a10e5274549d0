//! The journal: the typed, append-only record of one run, one JSON object a line.
//!
//! Everything that is ever said about a run is made from its journal, and can be made again. Rooms that
//! act write events; the report room only reads them. The history of operations is part of it.
//!
//! [`Journal`] is the writing end and belongs to the process that runs the scenario; [`read`] gives back
//! what was written, also after that process was killed. This room never interprets what it keeps.

pub mod event;
mod reader;
pub mod verdict;
mod writer;

pub use event::{Entry, Event, OpOutcome, OpRecord, Phase};
pub use reader::{JournalError, read};
pub use verdict::Verdict;
pub use writer::Journal;
