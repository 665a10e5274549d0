//! One rule on one link: what it does to each frame, and when it lets it go.
//!
//! A stage decides and counts. It never holds frames and never reads a clock: the fabric does both.
//!
//! Decisions are drawn from the link's own stream, the same number of draws for every frame, so that the n-th
//! frame of a link meets the same choices whatever the timing and whatever happens on other links. What depends
//! on timing is only whether a rate's queue is full.

use std::time::{Duration, Instant};

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::rule::{Impairment, RuleCounters};

/// Waiting room of a `rate` that names none: a thousand full frames, as long as a netem queue.
const DEFAULT_QUEUE_BYTES: u64 = 1_514_000;
/// The most that one stage holds back, so that a long delay on a busy link cannot take all memory.
const HELD_LIMIT: usize = 64 << 20;
/// Longer delays are this long: nothing that is measured waits for a day.
const LONGEST: Duration = Duration::from_secs(86_400);
const ETHERNET_HEADER: usize = 14;

/// Where a frame goes from a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Drop,
    /// On to the next stage, now.
    Pass,
    /// On to the next stage at this instant.
    Hold(Instant),
}

/// What a stage decided for one frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) frame: Fate,
    /// A second, undamaged copy that leaves right behind the frame.
    pub(super) copy: Option<Fate>,
    /// The bit of the frame to flip, counted from the first bit of the first byte.
    pub(super) flip: Option<usize>,
}

pub(super) struct Stage {
    /// The installed set that this stage belongs to.
    pub(super) set: u64,
    /// Position in the order of installation, unique in the fabric.
    pub(super) order: u64,
    pub(super) counters: RuleCounters,
    /// Bytes of the frames that the fabric holds for this stage.
    pub(super) held: usize,
    rule: Impairment,
    stream: ChaCha8Rng,
    /// When the last frame that kept its place leaves; nothing behind it may leave earlier.
    last_exit: Option<Instant>,
    /// When the rate has sent everything that it accepted.
    idle_at: Option<Instant>,
}

impl Stage {
    pub(super) fn new(set: u64, order: u64, rule: Impairment, stream: ChaCha8Rng) -> Self {
        Stage {
            set,
            order,
            counters: RuleCounters::default(),
            held: 0,
            rule,
            stream,
            last_exit: None,
            idle_at: None,
        }
    }

    /// Decides for a frame of `length` bytes that reaches the stage at `now`.
    pub(super) fn meet(&mut self, now: Instant, length: usize) -> Decision {
        self.counters.seen += 1;
        if self.rule.cut {
            self.counters.dropped += 1;
            return Decision { frame: Fate::Drop, copy: None, flip: None };
        }
        let lost = self.chance() < self.rule.loss;
        let doubled = self.chance() < self.rule.duplicate;
        let corrupted = self.chance() < self.rule.corrupt;
        let overtakes = self.chance() < self.rule.reorder;
        let sway = self.chance();
        let position = self.stream.next_u64();
        if lost {
            self.counters.dropped += 1;
            return Decision { frame: Fate::Drop, copy: None, flip: None };
        }
        let wait = self.wait(sway);
        let overtakes = overtakes && !wait.is_zero();
        let frame = self.leave(now, length, wait, overtakes);
        let copy = doubled.then(|| self.leave(now, length, wait, false)).filter(|fate| *fate != Fate::Drop);
        if copy.is_some() {
            self.counters.duplicated += 1;
        }
        let bits = length.saturating_sub(ETHERNET_HEADER) as u64 * 8;
        let flip = (corrupted && frame != Fate::Drop && bits > 0)
            .then(|| ETHERNET_HEADER * 8 + (position % bits) as usize);
        if flip.is_some() {
            self.counters.corrupted += 1;
        }
        Decision { frame, copy, flip }
    }

    /// A frame that was held for this stage is gone.
    pub(super) fn let_go(&mut self, length: usize) {
        self.held = self.held.saturating_sub(length);
    }

    /// Uniform between 0 and 1, 1 excluded: a chance of 1 always strikes and a chance of 0 never.
    fn chance(&mut self) -> f64 {
        (self.stream.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn wait(&self, sway: f64) -> Duration {
        let (delay, jitter) = (self.rule.delay.min(LONGEST), self.rule.jitter.min(LONGEST));
        (delay + jitter.mul_f64(2.0 * sway)).saturating_sub(jitter)
    }

    /// First the rate, as a bottleneck with a queue before it, then the way, which is `wait` long.
    fn leave(&mut self, now: Instant, length: usize, wait: Duration, overtakes: bool) -> Fate {
        if self.held + length > HELD_LIMIT {
            self.counters.dropped += 1;
            return Fate::Drop;
        }
        let Some(sent_at) = self.transmit(now, length) else {
            self.counters.dropped += 1;
            return Fate::Drop;
        };
        let exit = if overtakes {
            self.counters.reordered += 1;
            sent_at
        } else {
            // Jitter alone never reorders: TCP would take that for loss, and nobody asked for it.
            let exit = self.last_exit.map_or(sent_at + wait, |last| last.max(sent_at + wait));
            self.last_exit = Some(exit);
            exit
        };
        if exit <= now {
            return Fate::Pass;
        }
        self.counters.delayed += 1;
        self.held += length;
        Fate::Hold(exit)
    }

    /// When the last bit is on the wire; `None` if the queue has no room.
    fn transmit(&mut self, now: Instant, length: usize) -> Option<Instant> {
        let Some(rate) = self.rule.rate else { return Some(now) };
        if rate == 0 {
            return None;
        }
        let start = self.idle_at.map_or(now, |idle| idle.max(now));
        let waiting = start.duration_since(now).as_nanos() * u128::from(rate) / 1_000_000_000;
        let room = u128::from(self.rule.queue_bytes.unwrap_or(DEFAULT_QUEUE_BYTES));
        // A frame that finds the line idle does not wait, so it needs no room.
        if waiting > 0 && waiting + length as u128 > room {
            return None;
        }
        let nanos = length as u128 * 1_000_000_000 / u128::from(rate);
        let line = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).min(LONGEST);
        let end = start + line;
        self.idle_at = Some(end);
        Some(end)
    }
}
