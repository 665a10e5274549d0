//! One rule on one link: what it does to each frame, and when it lets it go.
//!
//! A stage decides and counts. It never holds frames and never reads a clock: the fabric does both.
//!
//! Decisions are drawn from the link's own stream, the same number of draws for every frame, so that the n-th
//! frame of a link meets the same choices whatever the timing and whatever happens on other links. What depends
//! on timing is only whether a rate's queue is full and whether a flapping link is down.

use std::time::{Duration, Instant};

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::packet::{self, Misled};
use super::rule::{Distribution, Flap, Impairment, RuleCounters};

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

/// What the switch itself sends because of a frame.
pub(super) struct Forged {
    /// Goes on instead of the frame, if anything does.
    pub(super) onward: Option<Vec<u8>>,
    /// Goes back to the frame's sender.
    pub(super) back: Option<Vec<u8>>,
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
    flapping: Option<Flapping>,
    /// Whether a burst of loss is going on.
    bad: bool,
    /// When the last frame that kept its place leaves; nothing behind it may leave earlier.
    last_exit: Option<Instant>,
    /// When the rate has sent everything that it accepted.
    idle_at: Option<Instant>,
}

impl Stage {
    /// `stream` is of the link alone, `flaps` is the same on every link of the set.
    pub(super) fn new(
        (set, order): (u64, u64),
        rule: Impairment,
        stream: ChaCha8Rng,
        now: Instant,
        flaps: ChaCha8Rng,
    ) -> Self {
        Stage {
            flapping: rule.flap.map(|flap| Flapping::new(flap, now, flaps)),
            bad: false,
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

    /// Whether the rule is about this frame.
    pub(super) fn concerns(&self, frame: &[u8]) -> bool {
        self.rule.only.as_ref().is_none_or(|filter| packet::matches(filter, frame))
    }

    /// What is sent instead of a frame that the rule answers itself; [`Stage::meet`] does not see that frame.
    pub(super) fn forge(&mut self, frame: &[u8]) -> Option<Forged> {
        if let Some(names) = &self.rule.names {
            let misled = packet::mislead(names, frame)?;
            self.counters.seen += 1;
            return Some(match misled {
                Misled::Answer(answer) => {
                    self.counters.misled += 1;
                    Forged { onward: None, back: Some(answer) }
                }
                Misled::Silence => {
                    self.counters.dropped += 1;
                    Forged { onward: None, back: None }
                }
            });
        }
        if self.rule.reset > 0.0 {
            let (onward, back) = packet::resets(frame)?;
            // Only segments that could be hit draw: how many others there are is a matter of timing.
            if self.chance() < self.rule.reset {
                self.counters.seen += 1;
                self.counters.reset += 1;
                return Some(Forged { onward: Some(onward), back: Some(back) });
            }
        }
        None
    }

    /// Decides for a frame of `length` bytes that reaches the stage at `now`.
    pub(super) fn meet(&mut self, now: Instant, length: usize) -> Decision {
        if self.rule.names.is_some() {
            // It asked for nothing that the rule is about.
            return Decision { frame: Fate::Pass, copy: None, flip: None };
        }
        self.counters.seen += 1;
        if self.rule.cut {
            return self.drop();
        }
        let (lot, turn) = (self.chance(), self.chance());
        let doubled = self.chance() < self.rule.duplicate;
        let corrupted = self.chance() < self.rule.corrupt;
        let overtakes = self.chance() < self.rule.reorder;
        let sway = (self.chance(), self.chance());
        let position = self.stream.next_u64();
        let lost = lot < self.loss(turn);
        let down = self.flapping.as_mut().is_some_and(|flapping| flapping.is_down(now));
        if lost || down {
            return self.drop();
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

    fn drop(&mut self) -> Decision {
        self.counters.dropped += 1;
        Decision { frame: Fate::Drop, copy: None, flip: None }
    }

    /// The chance of this frame to be lost; `turn` decides whether a burst begins or ends with it.
    fn loss(&mut self, turn: f64) -> f64 {
        let Some(bursts) = self.rule.bursts else { return self.rule.loss };
        self.bad = if self.bad { turn >= bursts.leave } else { turn < bursts.enter };
        if self.bad { bursts.loss } else { self.rule.loss }
    }

    /// Uniform between 0 and 1, 1 excluded: a chance of 1 always strikes and a chance of 0 never.
    fn chance(&mut self) -> f64 {
        (self.stream.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn wait(&self, sway: (f64, f64)) -> Duration {
        let (delay, jitter) = (self.rule.delay.min(LONGEST), self.rule.jitter.min(LONGEST));
        if jitter.is_zero() {
            return delay;
        }
        let seconds = delay.as_secs_f64() + jitter.as_secs_f64() * stray(self.rule.distribution, sway);
        Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(LONGEST).min(LONGEST)
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
            // With nothing before it, it was merely quick.
            self.counters.reordered += u64::from(self.last_exit.is_some_and(|last| last > sent_at));
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

/// How many times the jitter a frame's delay strays from the mean, from two uniform draws.
fn stray(distribution: Distribution, (one, other): (f64, f64)) -> f64 {
    match distribution {
        Distribution::Uniform => 2.0 * one - 1.0,
        // Box and Muller.
        Distribution::Normal => (-2.0 * (1.0 - one).ln()).sqrt() * (std::f64::consts::TAU * other).cos(),
        // Of shape 3, which has a mean of 3/2 and a variance of 3/4.
        Distribution::Pareto => ((1.0 - one).powf(-1.0 / 3.0) - 1.5) / 0.75_f64.sqrt(),
    }
}

/// A link that is down at times: when, follows from its stream and the instant at which it began.
struct Flapping {
    flap: Flap,
    stream: ChaCha8Rng,
    down: bool,
    until: Instant,
}

/// No time of a flapping link is shorter, so that catching up with the clock is never long.
const SHORTEST_FLAP: Duration = Duration::from_millis(1);

impl Flapping {
    fn new(flap: Flap, now: Instant, stream: ChaCha8Rng) -> Self {
        let mut flapping = Flapping { flap, stream, down: false, until: now };
        flapping.turn();
        flapping
    }

    fn is_down(&mut self, now: Instant) -> bool {
        while self.until <= now {
            self.turn();
        }
        self.down
    }

    fn turn(&mut self) {
        self.down = !self.down;
        let mean = if self.down { self.flap.down } else { self.flap.up };
        let share = (self.stream.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        self.until += mean.clamp(SHORTEST_FLAP, LONGEST).mul_f64(0.5 + share).max(SHORTEST_FLAP);
    }
}
