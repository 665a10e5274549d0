//! Checkers: pure functions from a history to what it proves.

pub mod history;
pub mod linearizable;
mod mask;
mod prepare;
mod shrink;

#[cfg(test)]
mod tests;

use std::time::Duration;

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
