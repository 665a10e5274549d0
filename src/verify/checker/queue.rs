//! Queues: what goes in comes out, once. The order is not looked at.
//!
//! A dequeue whose answer never came may have taken a value with it. So a value that is missing is *lost* for
//! certain only if more are missing than there were such dequeues.

use super::Limits;
use super::finding::{Finding, count};
use super::linear::{Elements, History, HistoryChecker, Lost, Meter, OutOf, deed, keys, told};
use crate::journal::{OpOutcome, OpRecord, Verdict};

/// See the module.
pub struct Queue;

#[derive(Default)]
pub(in crate::verify) struct QueueStory {
    pub(in crate::verify) acknowledged: usize,
    /// Values acknowledged and never taken out.
    pub(in crate::verify) missing: Vec<Lost>,
    /// Of those, so many may have been taken by dequeues without an answer.
    pub(in crate::verify) excused: usize,
    /// Taken out although nobody saw their enqueue ending.
    recovered: usize,
    duplicated: Vec<String>,
    unexpected: Vec<String>,
    /// Whether it was found empty after the last acknowledged enqueue.
    pub(in crate::verify) drained: bool,
}

impl QueueStory {
    pub(in crate::verify) fn lost(&self) -> usize {
        match self.drained {
            true => self.missing.len() - self.excused,
            false => 0,
        }
    }
}

#[derive(Clone, Copy)]
struct Entry<'a> {
    enqueue: &'a OpRecord,
    acknowledged: u32,
    attempted: u32,
    out: Option<&'a OpRecord>,
    taken: u32,
}

/// Looks at one queue.
pub(in crate::verify) fn look(key: &str, ops: &[&OpRecord], meter: &mut Meter) -> Result<QueueStory, OutOf> {
    let mut story = QueueStory::default();
    let mut numbers = Elements::default();
    let mut entries: Vec<Entry<'_>> = Vec::new();
    let mut last_in = 0;
    for op in ops.iter().filter(|op| op.f == "enqueue") {
        meter.spend(Elements::COST + size_of::<Entry<'_>>())?;
        let number = numbers.number(&op.input);
        if number == entries.len() {
            entries.push(Entry { enqueue: op, acknowledged: 0, attempted: 0, out: None, taken: 0 });
        }
        let Some(entry) = entries.get_mut(number) else { continue };
        entry.attempted += u32::from(op.outcome != OpOutcome::Fail);
        if op.outcome == OpOutcome::Ok {
            entry.acknowledged += 1;
            entry.enqueue = op;
            last_in = last_in.max(op.completed_us);
        }
    }
    let mut unanswered = 0;
    for op in ops.iter().filter(|op| op.f == "dequeue") {
        meter.spend(0)?;
        match op.outcome {
            OpOutcome::Fail => continue,
            OpOutcome::Indeterminate => {
                unanswered += 1;
                continue;
            }
            OpOutcome::Ok => {}
        }
        if op.output.is_null() {
            story.drained |= op.invoked_us > last_in;
            continue;
        }
        let took = deed(op, &format!("took {} out", op.output));
        let Some(entry) = numbers.find(&op.output).and_then(|number| entries.get_mut(number)) else {
            story.unexpected.push(format!("{key}: {took}, which nobody ever put in"));
            continue;
        };
        entry.taken += 1;
        if entry.attempted == 0 {
            let put = deed(entry.enqueue, "tried to put it in");
            story
                .unexpected
                .push(format!("{key}: {took}, but the only attempt to put it in was refused: {put}"));
        } else if entry.taken > entry.attempted {
            let before = entry.out.map(|first| deed(first, "took it before")).unwrap_or_default();
            story.duplicated.push(format!("{key}: {} came out twice.\n  {before}\n  {took}", op.output));
        }
        entry.out = Some(op);
    }
    for entry in &entries {
        story.acknowledged += entry.acknowledged as usize;
        story.recovered += (entry.taken.min(entry.attempted)).saturating_sub(entry.acknowledged) as usize;
        for _ in entry.taken..entry.acknowledged {
            let put = deed(entry.enqueue, &format!("put {} in", entry.enqueue.input));
            let told = format!("{key}: {} never came out: {put}", entry.enqueue.input);
            story.missing.push(Lost { known_us: entry.enqueue.completed_us, told });
        }
    }
    story.excused = story.missing.len().min(unanswered);
    Ok(story)
}

impl HistoryChecker for Queue {
    const NAME: &'static str = "queue";
    const KINDS: &'static [&'static str] = &["queue"];

    fn check(&self, history: &History<'_>, limits: Limits) -> Result<Finding, OutOf> {
        let mut meter = Meter::new(limits);
        let (mut all, mut lost, mut full) = (QueueStory::default(), 0, 0);
        let keys = keys(history);
        for ((_, key), ops) in &keys {
            let story = look(key, ops, &mut meter)?;
            lost += story.lost();
            full += usize::from(!story.drained && !story.missing.is_empty());
            all.acknowledged += story.acknowledged;
            all.excused += story.excused;
            all.recovered += story.recovered;
            all.missing.extend(story.missing);
            all.duplicated.extend(story.duplicated);
            all.unexpected.extend(story.unexpected);
        }
        let wrong = [
            (lost, "lost value"),
            (all.duplicated.len(), "duplicated value"),
            (all.unexpected.len(), "unexpected value"),
        ];
        let wrong: Vec<String> = wrong
            .iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, what)| count(*number, what))
            .collect();
        let acknowledged = count(all.acknowledged, "acknowledged value");
        let finding = match (wrong.is_empty(), all.acknowledged, all.missing.len()) {
            (false, ..) => Finding::new(Verdict::Fail, format!("{} of {acknowledged}", wrong.join(", "))),
            (true, 0, _) => Finding::new(Verdict::Error, "nothing was learned: no value was acknowledged"),
            (true, _, 0) => Finding::new(
                Verdict::Pass,
                format!("{acknowledged} in {}, each out once", count(keys.len(), "queue")),
            ),
            (true, _, some) if full > 0 => Finding::new(
                Verdict::Unknown,
                format!(
                    "{some} of {acknowledged} did not come out, and {} never seen empty",
                    count(full, "queue")
                ),
            ),
            (true, _, some) => Finding::new(
                Verdict::Unknown,
                format!(
                    "{some} of {acknowledged} did not come out, which dequeues without an answer may have taken"
                ),
            ),
        };
        let missing = Lost::texts(&all.missing);
        let detail: Vec<String> =
            [(&missing, "missing"), (&all.duplicated, "duplicated"), (&all.unexpected, "unexpected")]
                .into_iter()
                .filter(|(lines, _)| !lines.is_empty())
                .map(|(lines, what)| told(lines.clone(), what))
                .collect();
        Ok(finding
            .detailed(detail.join("\n"))
            .measured("acknowledged", all.acknowledged as f64)
            .measured("lost", lost as f64)
            .measured("missing", all.missing.len() as f64)
            .measured("recovered", all.recovered as f64)
            .measured("duplicated", all.duplicated.len() as f64)
            .measured("unexpected", all.unexpected.len() as f64))
    }
}
