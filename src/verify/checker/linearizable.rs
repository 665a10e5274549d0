//! Whether a register's history is linearizable: whether each operation can be given one instant between
//! its start and its end at which it took effect, so that every answer is right.
//!
//! The search is Lowe's just-in-time form of the Wing and Gong search, run breadth first through time. It
//! walks over the starts and ends of operations and keeps every *configuration* the register could be in:
//! the value, and which operations under way have already taken effect. An operation is given its instant
//! only when it must have one, at its end. When no configuration is left, the history up to that end cannot
//! be explained. Configurations of the past are forgotten, so memory follows the number of operations under
//! way, not the length of the history.
//!
//! Four observations about registers keep the configurations few; each only drops one for which an at least
//! as good one is kept:
//!
//! 1. *Observers first.* An operation that only looks (a read) and is right now, takes effect now.
//! 2. *Silent writes.* A write that another write replaces before anybody looks may be placed directly before
//!    any write that takes effect while it is under way. So whenever a write takes effect, every other write
//!    under way earns *credit*: at its end it is allowed to have gone unseen. Only writes that are seen cost
//!    a choice.
//! 3. *Twins.* Of several equal operations under way, the one that ends first goes first.
//! 4. *Use.* A value is not left while somebody must still find it and nobody can set it again, and not taken
//!    on the way to another unless somebody finds it.

use super::Limits;
use super::history::Op;
use super::plan::Plan;
use super::prepare::prepare;
use super::walk::{Config, Walk, Walked};

/// What the search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Linearizable,
    Violated,
    /// The budget ran out first; the text says which part of it.
    Unknown(String),
}

/// Judges the history of one register, given in any order.
pub fn check(ops: &[Op], limits: Limits) -> Outcome {
    let plan = Plan::new(prepare(ops));
    match plan.slots {
        0..=64 => search::<1>(&plan, limits),
        65..=128 => search::<2>(&plan, limits),
        129..=256 => search::<4>(&plan, limits),
        257..=1024 => search::<16>(&plan, limits),
        more => Outcome::Unknown(format!("{more} operations under way at the same time, at most 1024 fit")),
    }
}

/// Searches with few configurations first: a history that is linearizable is mostly seen to be so by
/// following a handful. Only when those die out are more followed, up to what memory allows.
fn search<const N: usize>(plan: &Plan, limits: Limits) -> Outcome {
    // Twice the width each: the frontier, its successor, the stack, what is kept of them, and the set of those
    // already seen, which a hash table holds with half of its room empty. 16 leaves some to spare.
    let most = (limits.memory_bytes / (16 * size_of::<(Config<N>, bool)>())).max(1);
    let mut width = 64.min(most);
    loop {
        match Walk::<N>::new(plan, limits.deadline, width).run() {
            Walked::Through => return Outcome::Linearizable,
            Walked::Died { complete: true } => return Outcome::Violated,
            Walked::Died { complete: false } if width < most => {
                width = width.saturating_mul(32).min(most);
            }
            Walked::Died { .. } => {
                return Outcome::Unknown(format!("memory: more than {most} configurations"));
            }
            Walked::OutOfTime => return Outcome::Unknown("time".to_owned()),
        }
    }
}
