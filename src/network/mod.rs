//! The userspace switch that joins local VMs, and the ways in which its links fail on purpose.
//!
//! The switch is a library driven by the fleet's supervisor. It knows ports by name, frames and rules; it
//! knows nothing of VMs, scenarios or verdicts.

pub mod rule;

pub use rule::{Impairment, LinkRule, RuleCounters, RuleSet};
