//! One walk through a history with a bounded number of configurations; see [`super::linearizable`] for the
//! method and why what is left out may be left out.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Instant;

use super::history::{ABSENT, Action, OPEN, Op, ValueId};
use super::mask::Mask;
use super::plan::{Edge, Plan};

/// What the register may look like at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Config<const N: usize> {
    value: ValueId,
    /// Under way and already in effect.
    done: Mask<N>,
    /// Writes under way, not in effect, that may have gone unseen.
    credit: Mask<N>,
}

pub(super) enum Walked {
    Through,
    /// `complete`: no configuration was left out for want of room.
    Died {
        complete: bool,
    },
    OutOfTime,
}

/// What will still start, for one value.
#[derive(Debug, Clone, Copy, Default)]
struct Ahead {
    /// Completed operations that need the value.
    must_find: u32,
    /// Indeterminate operations that need it.
    may_find: u32,
    /// Operations that set it.
    set: u32,
}

pub(super) struct Walk<'a, const N: usize> {
    plan: &'a Plan,
    deadline: Option<Instant>,
    width: usize,
    complete: bool,
    steps: u32,
    frontier: Vec<Config<N>>,
    next: Vec<Config<N>>,
    seen: HashSet<(Config<N>, bool), BuildHasherDefault<Mixer>>,
    stack: Vec<(Config<N>, bool)>,
    /// The operation in each slot.
    in_slot: Vec<Op>,
    active: Mask<N>,
    observers: Mask<N>,
    closed_writes: Mask<N>,
    cas: Mask<N>,
    open: Mask<N>,
    ahead: Vec<Ahead>,
    differs_ahead: u32,
}

struct OutOfTime;

impl<'a, const N: usize> Walk<'a, N> {
    pub(super) fn new(plan: &'a Plan, deadline: Option<Instant>, width: usize) -> Self {
        let mut ahead = vec![Ahead::default(); plan.values];
        let mut differs_ahead = 0;
        for op in &plan.ops {
            if let Some(entry) = op.action.needs().and_then(|value| ahead.get_mut(value as usize)) {
                match op.completed {
                    OPEN => entry.may_find += 1,
                    _ => entry.must_find += 1,
                }
            }
            if let Some(entry) = op.action.sets().and_then(|value| ahead.get_mut(value as usize)) {
                entry.set += 1;
            }
            differs_ahead += u32::from(matches!(op.action, Action::Differs(_)));
        }
        let nothing = Op { action: Action::Read(ABSENT), invoked: 0, completed: 0, record: 0 };
        Walk {
            plan,
            deadline,
            width,
            complete: true,
            steps: 0,
            frontier: vec![Config { value: ABSENT, done: Mask::EMPTY, credit: Mask::EMPTY }],
            next: Vec::new(),
            seen: HashSet::default(),
            stack: Vec::new(),
            in_slot: vec![nothing; plan.slots],
            active: Mask::EMPTY,
            observers: Mask::EMPTY,
            closed_writes: Mask::EMPTY,
            cas: Mask::EMPTY,
            open: Mask::EMPTY,
            ahead,
            differs_ahead,
        }
    }

    pub(super) fn run(mut self) -> Walked {
        let plan = self.plan;
        for edge in &plan.edges {
            let index = match edge {
                Edge::Start(index) | Edge::End(index) => *index,
            };
            let (Some(op), Some(slot)) = (plan.ops.get(index), plan.slot_of.get(index)) else { continue };
            match edge {
                Edge::Start(_) => self.start(*op, *slot),
                Edge::End(_) => {
                    if self.end(*op, *slot).is_err() {
                        return Walked::OutOfTime;
                    }
                    if self.frontier.is_empty() {
                        return Walked::Died { complete: self.complete };
                    }
                }
            }
        }
        Walked::Through
    }

    fn start(&mut self, op: Op, slot: usize) {
        if let Some(place) = self.in_slot.get_mut(slot) {
            *place = op;
        }
        self.active.insert(slot);
        if op.completed == OPEN {
            self.open.insert(slot);
        }
        if let Some(entry) = op.action.needs().and_then(|value| self.ahead.get_mut(value as usize)) {
            match op.completed {
                OPEN => entry.may_find -= 1,
                _ => entry.must_find -= 1,
            }
        }
        if let Some(entry) = op.action.sets().and_then(|value| self.ahead.get_mut(value as usize)) {
            entry.set -= 1;
        }
        match op.action {
            Action::Read(_) | Action::Differs(_) => {
                self.differs_ahead -= u32::from(matches!(op.action, Action::Differs(_)));
                self.observers.insert(slot);
                for config in &mut self.frontier {
                    if agrees(op.action, config.value) {
                        config.done.insert(slot);
                    }
                }
            }
            Action::Write(_) if op.completed != OPEN => self.closed_writes.insert(slot),
            Action::Write(_) => {}
            Action::Cas { .. } => self.cas.insert(slot),
        }
    }

    /// Makes `op`, which ends now, take effect in every configuration, in every way that matters.
    fn end(&mut self, op: Op, slot: usize) -> Result<(), OutOfTime> {
        self.seen.clear();
        let frontier = std::mem::take(&mut self.frontier);
        for config in &frontier {
            self.tick()?;
            if config.done.has(slot) {
                self.emit(*config, slot);
            } else {
                self.explore(*config, op, slot)?;
            }
            if self.is_crowded() {
                self.complete = false;
                break;
            }
        }
        for mask in
            [&mut self.active, &mut self.observers, &mut self.closed_writes, &mut self.cas, &mut self.open]
        {
            mask.remove(slot);
        }
        self.frontier = std::mem::replace(&mut self.next, frontier);
        self.next.clear();
        self.drop_dominated();
        if self.frontier.len() > self.width {
            self.frontier.truncate(self.width);
            self.complete = false;
        }
        Ok(())
    }

    /// Keeps a configuration in which the operation in `slot` took effect; its bits are free again.
    fn emit(&mut self, mut config: Config<N>, slot: usize) {
        config.done.remove(slot);
        config.credit.remove(slot);
        self.next.push(config);
    }

    /// Follows every useful series of changes after which the operation in `slot` is in effect.
    ///
    /// A series ends as soon as it is: whatever else could change now can as well change later.
    fn explore(&mut self, from: Config<N>, op: Op, slot: usize) -> Result<(), OutOfTime> {
        if from.credit.has(slot) {
            self.pass_unseen(from, op, slot);
            // Seen or not makes a difference only if somebody may look.
            if op.action.sets().is_some_and(|value| self.is_useless(&from, value)) {
                return Ok(());
            }
        }
        self.stack.clear();
        self.follow(from, false);
        while let Some((config, fruitless)) = self.stack.pop() {
            if self.is_crowded() {
                self.complete = false;
                return Ok(());
            }
            self.tick()?;
            let pending = self.active.minus(config.done).minus(self.observers);
            for chosen in pending.iter() {
                self.step(config, fruitless, chosen, op, slot);
            }
        }
        Ok(())
    }

    /// Puts a configuration on the stack, once for each end.
    fn follow(&mut self, config: Config<N>, fruitless: bool) {
        if self.seen.insert((config, fruitless)) {
            self.stack.push((config, fruitless));
        }
    }

    /// Whether there is no room for more; what is kept is cut down to the width afterwards.
    fn is_crowded(&self) -> bool {
        self.next.len().max(self.seen.len()) > self.width.saturating_mul(2)
    }

    /// Lets the operation in the slot `chosen` take effect, if that is possible and useful. `fruitless`: the
    /// last change set a value that nobody found, so another write would only have hidden it.
    fn step(&mut self, config: Config<N>, fruitless: bool, chosen: usize, op: Op, slot: usize) {
        let Some(change) = self.in_slot.get(chosen).copied() else { return };
        let (value, is_write) = match change.action {
            Action::Write(value) if !fruitless => (value, true),
            Action::Cas { expected, new } if expected == config.value => (new, false),
            _ => return,
        };
        let pending = self.active.minus(config.done);
        if self.has_earlier_twin(pending, chosen, change) {
            return;
        }
        let mut after = Config { value, ..config };
        after.done.insert(chosen);
        if is_write {
            after.credit = after.credit.or(pending.and(self.closed_writes));
        }
        after.credit.remove(chosen);
        let mut found = false;
        for observer in pending.and(self.observers).iter() {
            if self.in_slot.get(observer).is_some_and(|op| agrees(op.action, value)) {
                after.done.insert(observer);
                found = true;
            }
        }
        if self.is_orphaned(&after, config.value) {
            return;
        }
        if after.done.has(slot) {
            self.emit(after, slot);
            return;
        }
        let fruitless = !found && (is_write || self.open.has(chosen));
        if after.credit.has(slot) && !config.credit.has(slot) {
            // Taking this value only to hide `op` is worth it if somebody finds the value later; otherwise
            // `op` may as well be the one that is seen.
            if found || !self.is_useless(&after, value) {
                self.pass_unseen(after, op, slot);
            }
        }
        // After a fruitless change only a compare-and-set of that very value can follow.
        let expects = |slot: usize| self.in_slot.get(slot).is_some_and(|op| op.action.needs() == Some(value));
        if !fruitless || self.active.minus(after.done).and(self.cas).iter().any(expects) {
            self.follow(after, fruitless);
        }
    }

    /// Keeps `config` with the write in `slot` placed unseen before a write that hid it.
    fn pass_unseen(&mut self, mut config: Config<N>, op: Op, slot: usize) {
        config.done.insert(slot);
        if !op.action.sets().is_some_and(|value| self.is_orphaned(&config, value)) {
            self.emit(config, slot);
        }
    }

    /// Whether an equal operation under way ends earlier, or as late and stands in a lower slot.
    fn has_earlier_twin(&self, pending: Mask<N>, slot: usize, op: Op) -> bool {
        pending.minus(self.observers).iter().any(|other| {
            self.in_slot.get(other).is_some_and(|twin| {
                twin.action == op.action && (twin.completed, other) < (op.completed, slot)
            })
        })
    }

    /// Whether somebody must still find `value` that is gone and that nothing can set again.
    fn is_orphaned(&self, config: &Config<N>, value: ValueId) -> bool {
        if config.value == value {
            return false;
        }
        let ahead = self.ahead.get(value as usize).copied().unwrap_or_default();
        if ahead.set > 0 {
            return false;
        }
        let pending = self.active.minus(config.done);
        let is_set = pending.iter().any(|slot| self.action(slot).sets() == Some(value));
        !is_set
            && (ahead.must_find > 0
                || pending.minus(self.open).iter().any(|slot| self.action(slot).needs() == Some(value)))
    }

    /// Whether it makes no difference that the register held `value`, as nobody can find it any more.
    fn is_useless(&self, config: &Config<N>, value: ValueId) -> bool {
        let ahead = self.ahead.get(value as usize).copied().unwrap_or_default();
        self.differs_ahead == 0
            && ahead.must_find + ahead.may_find == 0
            && !self.active.minus(config.done).iter().any(|slot| {
                let action = self.action(slot);
                action.needs() == Some(value) || matches!(action, Action::Differs(_))
            })
    }

    fn action(&self, slot: usize) -> Action {
        self.in_slot.get(slot).map_or(Action::Write(ABSENT), |op| op.action)
    }

    /// Drops equal configurations and those for which another with the same value is at least as good.
    fn drop_dominated(&mut self) {
        if self.frontier.len() < 2 {
            return;
        }
        self.seen.clear();
        let seen = &mut self.seen;
        self.frontier.retain(|config| seen.insert((*config, false)));
        self.frontier.sort_unstable_by_key(|config| config.value);
        let mut kept: Vec<Config<N>> = Vec::with_capacity(self.frontier.len());
        for group in self.frontier.chunk_by(|a, b| a.value == b.value) {
            // Pairwise: worth it while groups are small.
            if group.len() > 512 {
                kept.extend_from_slice(group);
                continue;
            }
            let dominated = |index: usize, config: &Config<N>| {
                group.iter().enumerate().any(|(other, better)| {
                    other != index
                        && self.is_as_good(better, config)
                        && (other < index || !self.is_as_good(config, better))
                })
            };
            kept.extend(
                group
                    .iter()
                    .enumerate()
                    .filter(|(index, config)| !dominated(*index, config))
                    .map(|(_, c)| *c),
            );
        }
        self.frontier = kept;
    }

    /// Whether everything that can follow `b` can follow `a`; both have the same value.
    fn is_as_good(&self, a: &Config<N>, b: &Config<N>) -> bool {
        let differ = a.done.xor(b.done);
        // Observers: done is better. Open writes: not done is better, as they owe nothing.
        let open_writes = self.open.minus(self.cas);
        let worse = b.done.minus(a.done).and(self.observers).or(a.done.minus(b.done).and(open_writes));
        // Writes that must happen: not done but excused is the best; otherwise they must be the same.
        let excused = a.credit.minus(a.done);
        let unlike = differ.or(a.credit.xor(b.credit)).and(self.closed_writes).minus(excused);
        worse.is_empty() && unlike.is_empty() && differ.and(self.cas).is_empty()
    }

    fn tick(&mut self) -> Result<(), OutOfTime> {
        self.steps = self.steps.wrapping_add(1);
        let late = |deadline| Instant::now() >= deadline;
        match self.steps.is_multiple_of(1024) && self.deadline.is_some_and(late) {
            true => Err(OutOfTime),
            false => Ok(()),
        }
    }
}

/// Whether an observer is right when the register holds `value`.
fn agrees(action: Action, value: ValueId) -> bool {
    match action {
        Action::Read(found) => found == value,
        Action::Differs(other) => other != value,
        Action::Write(_) | Action::Cas { .. } => false,
    }
}

/// Hashes configurations: multiply and fold, as nobody chooses them to collide. The set compares them in
/// full, so a collision costs time and never a verdict.
#[derive(Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.write_u64(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }

    fn write_u64(&mut self, n: u64) {
        let product = u128::from(self.0 ^ n ^ 0x9e37_79b9_7f4a_7c15) * 0xa076_1d64_78bd_642f;
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
