//! What a checker found.

use std::collections::BTreeMap;

use crate::journal::{OpRecord, Verdict};

/// What was found about one expectation.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub verdict: Verdict,
    /// One line.
    pub message: String,
    /// The evidence in full, for a person to follow.
    pub detail: String,
    /// The numbers behind it.
    pub measured: BTreeMap<String, f64>,
    /// The smallest piece of the history that proves a violation; empty where none does by itself.
    pub piece: Vec<OpRecord>,
}

impl Finding {
    pub fn new(verdict: Verdict, message: impl Into<String>) -> Self {
        Finding {
            verdict,
            message: message.into(),
            detail: String::new(),
            measured: BTreeMap::new(),
            piece: Vec::new(),
        }
    }

    #[must_use]
    pub fn measured(mut self, name: impl Into<String>, number: f64) -> Self {
        self.measured.insert(name.into(), number);
        self
    }

    #[must_use]
    pub fn detailed(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }
}

/// `1 write`, `2 writes`, `3 histories`.
pub fn count(number: usize, what: &str) -> String {
    match (number, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{number} {stem}ies"),
        _ => format!("{number} {what}s"),
    }
}
