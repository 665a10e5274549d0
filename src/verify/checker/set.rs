//! Sets: what was added is there in every later read.
//!
//! An element is *known* from the moment its addition was acknowledged, or a read found it. It is *lost* if a read
//! that began later did not find it and no read after that one does; *stale* if it was missing only for a while;
//! *never read* if no read began after it was known. Elements that were never added, or whose addition was refused,
//! must not be found, and none twice.

use super::Limits;
use super::explain::seconds;
use super::finding::{Finding, count};
use super::linear::{
    Elements, History, HistoryChecker, Lost, Meter, OutOf, deed, items, keys, quantile, told,
};
use crate::journal::{OpOutcome, OpRecord, Verdict};

/// See the module.
pub struct Set;

const NEVER: u64 = u64::MAX;

/// What is known of one element.
#[derive(Clone, Copy)]
struct Element<'a> {
    add: Option<&'a OpRecord>,
    /// Acknowledged, or not refused.
    outcome: OpOutcome,
    known: u64,
    /// Index among the reads, plus one; 0: none.
    last_present: u32,
    last_absent: u32,
    /// The last read whose list this element was counted in.
    counted: u32,
}

/// What was found in one set.
#[derive(Default)]
pub(in crate::verify) struct SetStory {
    pub(in crate::verify) acknowledged: usize,
    pub(in crate::verify) attempts: usize,
    pub(in crate::verify) lost: Vec<Lost>,
    pub(in crate::verify) never_read: usize,
    pub(in crate::verify) stale: usize,
    duplicated: Vec<String>,
    unexpected: Vec<String>,
    /// From known to found in every read from then on, in microseconds.
    latencies: Vec<u64>,
}

/// Looks at one set.
pub(in crate::verify) fn look(key: &str, ops: &[&OpRecord], meter: &mut Meter) -> Result<SetStory, OutOf> {
    let mut story = SetStory::default();
    let mut numbers = Elements::default();
    let mut elements: Vec<Element<'_>> = Vec::new();
    for &op in ops.iter().filter(|op| op.f == "add") {
        let number = numbers.number(&op.input);
        meter.spend(Elements::COST + size_of::<Element<'_>>())?;
        story.attempts += 1;
        let known = if op.outcome == OpOutcome::Ok { op.completed_us } else { NEVER };
        match elements.get_mut(number) {
            None => elements.push(Element {
                add: Some(op),
                outcome: op.outcome,
                known,
                last_present: 0,
                last_absent: 0,
                counted: 0,
            }),
            // Added more than once: whatever promises most counts.
            Some(element) => {
                element.known = element.known.min(known);
                if op.outcome == OpOutcome::Ok || element.outcome == OpOutcome::Fail {
                    (element.add, element.outcome) = (Some(op), op.outcome);
                }
            }
        }
    }
    let mut reads: Vec<&OpRecord> =
        ops.iter().filter(|op| op.f == "read" && op.outcome == OpOutcome::Ok).copied().collect();
    reads.sort_by_key(|read| (read.invoked_us, read.completed_us));
    let all = u32::try_from(reads.len()).unwrap_or(u32::MAX);
    for element in &mut elements {
        element.last_absent = all;
    }
    // From the last read to the first: an element is in every read after the last that it is missing from.
    for (index, read) in (0..all).rev().zip(reads.iter().rev()).map(|(index, read)| (index + 1, *read)) {
        for value in items(&read.output) {
            meter.spend(0)?;
            let Some(element) = numbers.find(value).and_then(|number| elements.get_mut(number)) else {
                story.unexpected.push(format!(
                    "{key}: {}, which nobody ever added",
                    deed(read, &format!("found {value}"))
                ));
                continue;
            };
            if element.counted == index {
                story.duplicated.push(format!("{key}: {}", deed(read, &format!("found {value} twice"))));
                continue;
            }
            element.counted = index;
            element.known = element.known.min(read.completed_us);
            element.last_present = element.last_present.max(index);
            if element.last_absent == index {
                element.last_absent = index - 1;
            }
            if element.outcome == OpOutcome::Fail
                && let Some(add) = element.add
            {
                story.unexpected.push(format!(
                    "{key}: {}, but the only attempt to add it was refused: {}",
                    deed(read, &format!("found {value}")),
                    deed(add, &format!("tried to add {value}"))
                ));
            }
        }
    }
    let read_at = |index: u32| reads.get((index as usize).checked_sub(1)?).copied();
    let last_look = reads.last().map_or(0, |read| read.invoked_us);
    for element in &elements {
        meter.spend(0)?;
        let Some(add) = element.add.filter(|_| element.known != NEVER) else { continue };
        story.acknowledged += usize::from(element.outcome == OpOutcome::Ok);
        // Missing from a read that began when it was known already.
        let missing = read_at(element.last_absent).filter(|read| read.invoked_us > element.known);
        match missing {
            Some(read) if element.last_present < element.last_absent => {
                let seen = read_at(element.last_present);
                let told = tell_lost(key, add, element.known, read, seen, read_at(all));
                story.lost.push(Lost { known_us: element.known, told });
            }
            Some(read) => {
                story.stale += 1;
                story.latencies.push(read.invoked_us - element.known);
            }
            None if element.outcome == OpOutcome::Ok
                && last_look <= element.known
                && element.last_present == 0 =>
            {
                story.never_read += 1;
            }
            None => story.latencies.push(0),
        }
    }
    Ok(story)
}

fn tell_lost(
    key: &str,
    add: &OpRecord,
    known: u64,
    missing: &OpRecord,
    seen: Option<&OpRecord>,
    last: Option<&OpRecord>,
) -> String {
    let value = &add.input;
    let mut text = format!("{key}: {value} was lost.\n  {}", deed(add, &format!("added {value}")));
    if let Some(seen) = seen {
        text.push_str(&format!("\n  {}", deed(seen, "read it for the last time")));
    }
    text.push_str(&format!("\n  {}", deed(missing, "read the set without it")));
    match last.filter(|last| last.invoked_us > missing.invoked_us) {
        Some(last) => text.push_str(&format!(
            "\n  and no later read has it, the last of them at {}",
            seconds(last.completed_us)
        )),
        None => {
            text.push_str(&format!("\n  which began after {}, when it was known to be there", seconds(known)))
        }
    }
    text
}

impl HistoryChecker for Set {
    const NAME: &'static str = "set";
    const KINDS: &'static [&'static str] = &["set"];

    fn check(&self, history: &History<'_>, limits: Limits) -> Result<Finding, OutOf> {
        let mut meter = Meter::new(limits);
        let mut all = SetStory::default();
        let keys = keys(history);
        for ((_, key), ops) in &keys {
            let story = look(key, ops, &mut meter)?;
            all.acknowledged += story.acknowledged;
            all.attempts += story.attempts;
            all.never_read += story.never_read;
            all.stale += story.stale;
            all.lost.extend(story.lost);
            all.duplicated.extend(story.duplicated);
            all.unexpected.extend(story.unexpected);
            all.latencies.extend(story.latencies);
        }
        all.latencies.sort_unstable();
        let wrong = [
            (all.lost.len(), "lost element"),
            (all.duplicated.len(), "duplicated element"),
            (all.unexpected.len(), "unexpected element"),
        ];
        let wrong: Vec<String> = wrong
            .iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, what)| count(*number, what))
            .collect();
        let (acknowledged, stale) = (count(all.acknowledged, "acknowledged element"), all.stale);
        let finding = match (wrong.is_empty(), all.acknowledged, all.never_read) {
            (false, ..) => Finding::new(Verdict::Fail, format!("{} of {acknowledged}", wrong.join(", "))),
            (true, 0, _) => Finding::new(Verdict::Error, "nothing was learned: no addition was acknowledged"),
            (true, _, 0) => Finding::new(
                Verdict::Pass,
                format!("{acknowledged} in {}, all there; {stale} were late", count(keys.len(), "set")),
            ),
            (true, _, some) => Finding::new(
                Verdict::Unknown,
                format!("{} of {acknowledged} were never read afterwards", some),
            ),
        };
        let detail: Vec<String> = [
            told(Lost::texts(&all.lost), "lost"),
            told(all.duplicated.clone(), "duplicated"),
            told(all.unexpected.clone(), "unexpected"),
        ]
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect();
        Ok(finding
            .detailed(detail.join("\n"))
            .measured("attempts", all.attempts as f64)
            .measured("acknowledged", all.acknowledged as f64)
            .measured("lost", all.lost.len() as f64)
            .measured("stale", stale as f64)
            .measured("never_read", all.never_read as f64)
            .measured("duplicated", all.duplicated.len() as f64)
            .measured("unexpected", all.unexpected.len() as f64)
            .measured("visible_after_p50_ms", quantile(&all.latencies, 50) as f64 / 1e3)
            .measured("visible_after_p99_ms", quantile(&all.latencies, 99) as f64 / 1e3)
            .measured("visible_after_max_ms", quantile(&all.latencies, 100) as f64 / 1e3))
    }
}
