//! Checkers: pure functions from a history to what it proves.

pub mod append;
pub mod bank;
pub mod counter;
pub mod explain;
pub mod finding;
pub mod history;
pub mod ids;
pub mod linear;
pub mod linearizable;
mod mask;
mod plan;
mod prepare;
pub mod queue;
pub mod registers;
pub mod set;
pub mod shrink;
mod walk;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

/// How much a checker may spend before it must say `unknown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// For each expectation.
    pub time: Duration,
    /// For what a checker remembers of its search; the history itself is not counted.
    pub memory_bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { time: Duration::from_secs(60), memory_bytes: 512 << 20 }
    }
}

impl Budget {
    /// Starts the clock.
    pub fn start(self) -> Limits {
        // A budget too long to end is no deadline at all.
        Limits { deadline: Instant::now().checked_add(self.time), memory_bytes: self.memory_bytes }
    }
}

/// A budget that is being spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub deadline: Option<Instant>,
    pub memory_bytes: usize,
}
