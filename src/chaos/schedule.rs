//! From a timeline and a seed to a concrete schedule: what happens when, to whom.
//!
//! Pure: the same timeline, roster and seed give the same schedule on every machine. It is what
//! `ovenproof check` prints, what the journal holds and what a replay runs again.

use std::collections::BTreeSet;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::faults::{FaultSpec, Lasts, Takes};
use super::target::{Choice, Roster, Target};
use crate::diagnostic::Located;
use crate::journal::event::ScheduledFault;
use crate::seed::Seed;
use crate::units::Span;

/// One line of a scenario's timeline. Steps may overlap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// When it happens, counted from the end of the baseline.
    pub at: Located<Span>,
    /// How long it lasts; left out for a fault that ends by itself.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Located<Span>>,
    /// What happens.
    pub inject: Located<FaultSpec>,
}

impl Step {
    /// When it is over; the moment itself for one that ends by itself.
    pub fn ends(&self) -> Duration {
        self.at.value.0 + self.lasts.as_ref().map_or(Duration::ZERO, |lasts| lasts.value.0)
    }

    /// Microseconds at which it begins and ends; the same twice for one that ends by itself.
    fn window(&self) -> (u64, u64) {
        (micros(self.at.value.0), micros(self.ends()))
    }

    /// Whether the two cannot have the same instance.
    fn rivals(&self, other: &Step) -> bool {
        let ((begin, end), (other_begin, other_end)) = (self.window(), other.window());
        let meet = begin < other_end && other_begin < end || begin == other_begin;
        match (self.inject.kind().takes(), other.inject.kind().takes()) {
            (Takes::Nothing, _) | (_, Takes::Nothing) => false,
            (Takes::Instance, Takes::Instance) => meet,
            (Takes::Part(part), Takes::Part(other)) => meet && part == other,
            // What an instance loses while something is done in it ends with its boot; only the other way
            // round there is nobody to do it to.
            (Takes::Part(_), Takes::Instance) => meet && begin >= other_begin,
            (Takes::Instance, Takes::Part(_)) => meet && other_begin >= begin,
        }
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// The id of the fault that the `index`th step (from 0) makes.
pub fn fault_id(index: usize, fault: &FaultSpec) -> String {
    format!("f{}-{}", index + 1, fault.name())
}

/// A step that cannot get the instances it needs, whatever the seed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Conflict {
    /// Index in the timeline.
    pub step: usize,
    pub message: String,
}

/// How often the lot is drawn anew when it left a later step without an instance.
const ATTEMPTS: u32 = 32;

/// Draws the schedule, in order of time.
pub fn schedule(timeline: &[Step], roster: &Roster, seed: Seed) -> Result<Vec<ScheduledFault>, Conflict> {
    let mut result = draw(timeline, roster, seed, 0);
    for attempt in 1..ATTEMPTS {
        if result.is_ok() {
            break;
        }
        result = draw(timeline, roster, seed, attempt);
    }
    let mut steps: Vec<ScheduledFault> = (timeline.iter().zip(result?).enumerate())
        .map(|(index, (step, targets))| scheduled(index, step, targets))
        .collect();
    steps.sort_by_key(|step| step.inject_at_us);
    Ok(steps)
}

/// The instances of each step; none where only the service knows.
fn draw(timeline: &[Step], roster: &Roster, seed: Seed, attempt: u32) -> Result<Vec<Vec<String>>, Conflict> {
    // Those without a choice go first, then those who must have the whole role, then those who can give way.
    let mut order: Vec<(usize, &Step)> = timeline.iter().enumerate().collect();
    order.sort_by_key(|(_, step)| match step.inject.kind().target() {
        target if target.is_fixed() => 0,
        Target::Leader(_) => 1,
        _ => 2,
    });
    let mut drawn: Vec<(usize, &Step, Choice)> = Vec::new();
    for (index, step) in order {
        let mut taken = BTreeSet::new();
        let mut holders = Vec::new();
        for (other, rival, choice) in &drawn {
            if let (true, Choice::Nodes(nodes) | Choice::LeaderOf(nodes)) = (step.rivals(rival), choice) {
                taken.extend(nodes.iter().cloned());
                holders.push(fault_id(*other, &rival.inject));
            }
        }
        let mut lot = seed.stream(&format!("target f{} attempt {attempt}", index + 1));
        let target = step.inject.kind().target();
        let choice = target.choose(roster, &taken, &mut lot);
        if let Choice::Taken = choice {
            let name = step.inject.name();
            let holders = holders.join(" and ");
            let message =
                format!("{name} cannot have {target}: not enough is left by {holders} at that time");
            return Err(Conflict { step: index, message });
        }
        drawn.push((index, step, choice));
    }
    drawn.sort_by_key(|(index, _, _)| *index);
    let targets = drawn.into_iter().map(|(_, _, choice)| match choice {
        Choice::Nodes(nodes) => nodes,
        Choice::LeaderOf(_) | Choice::Taken => Vec::new(),
    });
    Ok(targets.collect())
}

fn scheduled(index: usize, step: &Step, targets: Vec<String>) -> ScheduledFault {
    let (inject_at_us, heal_at_us) = step.window();
    ScheduledFault {
        fault: fault_id(index, &step.inject),
        kind: step.inject.name().to_owned(),
        inject_at_us,
        heal_at_us: (step.inject.kind().lasts() == Lasts::While).then_some(heal_at_us),
        params: step.inject.params(),
        targets,
    }
}

/// A schedule for a person, one line a fault.
pub fn describe(steps: &[ScheduledFault]) -> String {
    let seconds = |us: u64| format!("{:.1}s", us as f64 / 1e6);
    let lines = steps.iter().map(|step| {
        let until = step.heal_at_us.map_or(String::new(), |end| format!(" to {}", seconds(end)));
        let whom = match step.targets.is_empty() {
            true => "known only then (leader)".to_owned(),
            false => step.targets.join(", "),
        };
        format!("{:>7}{until:<10}  {:<24} {whom}", seconds(step.inject_at_us), step.fault)
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::target::Seat;
    use proptest::prelude::*;
    use std::path::Path;

    fn roster() -> Roster {
        let seat = |role: &str, n: usize| Seat {
            name: format!("{role}-{n}"),
            role: role.to_owned(),
            zone: ["c", "a", "b"].get(n % 3).unwrap().to_string(),
        };
        let etcd = (1..=5).map(|n| seat("etcd", n));
        Roster(etcd.chain((1..=2).map(|n| seat("web", n))).collect())
    }

    fn steps(yaml: &str) -> Vec<Step> {
        crate::diagnostic::parse_yaml(Path::new("t"), yaml).unwrap()
    }

    #[test]
    fn a_schedule_reads_well() {
        let timeline = steps(
            "- { at: 10s, for: 20s, inject: { network.partition: { shape: halves, target: { all: etcd } } } }\n\
             - { at: 5s, inject: { instance.reboot: { target: { one: web } } } }\n\
             - { at: 12s, for: 3s, inject: { instance.kill: { target: { leader: etcd } } } }\n",
        );
        let drawn = schedule(&timeline, &roster(), Seed(7)).unwrap();
        insta::assert_snapshot!(describe(&drawn), @"
         5.0s            f2-instance.reboot       web-2
        10.0s to 30.0s   f1-network.partition     etcd-2, etcd-3, etcd-4, etcd-1, etcd-5
        12.0s to 15.0s   f3-instance.kill         known only then (leader)
        ");
    }

    #[test]
    fn an_instance_cannot_be_down_twice() {
        let timeline = steps(
            "- { at: 1s, for: 5s, inject: { instance.kill: { target: { majority: etcd } } } }\n\
             - { at: 3s, for: 5s, inject: { instance.freeze: { target: { majority: etcd } } } }\n",
        );
        let conflict = schedule(&timeline, &roster(), Seed(1)).unwrap_err();
        assert_eq!(conflict.step, 1);
        insta::assert_snapshot!(conflict, @"instance.freeze cannot have a majority of etcd: not enough is left by f1-instance.kill at that time");
    }

    #[test]
    fn what_is_done_in_an_instance_needs_it_up_when_it_begins() {
        let skew = "inject: { clock.skew: { target: { nodes: [web-1] }, by: 1h } }";
        let strobe = "inject: { clock.strobe: { target: { nodes: [web-1] }, by: 1h } }";
        let cpu = "inject: { resource.cpu: { target: { nodes: [web-1] } } }";
        let kill = "inject: { instance.kill: { target: { nodes: [web-1] } } }";
        let drawn = |first: &str, second: &str| {
            let yaml = format!("- {{ at: 1s, for: 5s, {first} }}\n- {{ at: 3s, for: 5s, {second} }}\n");
            schedule(&steps(&yaml), &roster(), Seed(1)).map(|_| ())
        };
        // They get along, and a machine may vanish whatever goes on in it.
        assert_eq!(drawn(skew, cpu), Ok(()));
        assert_eq!(drawn(skew, kill), Ok(()));
        // One clock cannot be wrong in two ways, and nothing can be done in a machine that is off.
        assert_eq!(drawn(skew, strobe).unwrap_err().step, 1);
        assert_eq!(drawn(kill, skew).unwrap_err().step, 1);
    }

    fn any_step() -> impl Strategy<Value = String> {
        let target = prop_oneof![
            Just("{ one: etcd }"),
            Just("{ minority: etcd }"),
            Just("{ majority: etcd }"),
            Just("{ one: web }"),
            Just("{ nodes: [etcd-2, web-1] }"),
            Just("{ zone: b }"),
            Just("{ leader: etcd }"),
        ];
        let fault = prop_oneof![
            Just("instance.kill: { target: T }"),
            Just("instance.freeze: { target: T }"),
            Just("network.delay: { delay: 50ms, target: T }"),
            Just("network.partition: { shape: isolate, target: T }"),
        ];
        (0_u64..60, 1_u64..30, fault, target).prop_map(|(at, lasts, fault, target)| {
            format!("- {{ at: {at}s, for: {lasts}s, inject: {{ {} }} }}\n", fault.replace('T', target))
        })
    }

    proptest! {
        #[test]
        fn the_seed_decides_and_nobody_is_taken_twice(
            seed: u64,
            lines in proptest::collection::vec(any_step(), 1..6),
        ) {
            let timeline = steps(&lines.concat());
            let first = schedule(&timeline, &roster(), Seed(seed));
            prop_assert_eq!(&first, &schedule(&timeline, &roster(), Seed(seed)));
            let Ok(drawn) = first else { return Ok(()) };
            for (at, a) in drawn.iter().enumerate() {
                prop_assert!(a.heal_at_us.is_some_and(|end| end > a.inject_at_us));
                for b in &drawn[at + 1..] {
                    let whole = a.kind.starts_with("instance") && b.kind.starts_with("instance");
                    let apart = b.inject_at_us >= a.heal_at_us.unwrap();
                    let shared = a.targets.iter().any(|node| b.targets.contains(node));
                    prop_assert!(!whole || apart || !shared, "{a:?} {b:?}");
                }
            }
        }
    }
}
