//! The smallest piece of a history that already proves a violation.

use super::history::{Action, OPEN, Op};

/// What was known of the history at the time `at`: what had started, with whatever had not ended yet open.
pub(super) fn up_to(ops: &[Op], at: u64) -> Vec<Op> {
    ops.iter()
        .filter(|op| op.invoked <= at)
        .filter(|op| op.completed <= at || !matches!(op.action, Action::Read(_) | Action::Differs(_)))
        .map(|op| Op { completed: if op.completed <= at { op.completed } else { OPEN }, ..*op })
        .collect()
}
