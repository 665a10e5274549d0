//! Lists: every read shows the same order, and what was acknowledged is in every later read.
//!
//! All reads of a list must be beginnings of the longest one. Given that, each rule of real time can be checked in
//! one pass: an acknowledged element is in every read that began later; elements stand in the order in which their
//! appends followed one another; no read is shorter than one that ended before it began; nothing is read before
//! its append began.

use super::Limits;
use super::finding::{Finding, count};
use super::linear::{Elements, History, HistoryChecker, Lost, Meter, OutOf, deed, items, keys, told};
use crate::journal::{OpOutcome, OpRecord, Verdict};

/// See the module.
pub struct Append;

#[derive(Default)]
pub(in crate::verify) struct ListStory {
    pub(in crate::verify) acknowledged: usize,
    pub(in crate::verify) lost: Vec<Lost>,
    pub(in crate::verify) never_read: usize,
    /// Two reads that cannot both be beginnings of one list.
    forked: Vec<String>,
    duplicated: Vec<String>,
    unexpected: Vec<String>,
    /// Right in some order, but not in that of time.
    out_of_time: Vec<String>,
}

/// Looks at one list.
pub(in crate::verify) fn look(key: &str, ops: &[&OpRecord], meter: &mut Meter) -> Result<ListStory, OutOf> {
    let mut story = ListStory::default();
    let mut numbers = Elements::default();
    let mut appends: Vec<&OpRecord> = Vec::new();
    for op in ops.iter().filter(|op| op.f == "append") {
        meter.spend(Elements::COST + size_of::<(&OpRecord, usize, u32)>())?;
        let number = numbers.number(&op.input);
        match appends.get_mut(number) {
            None => appends.push(op),
            // Appended twice: whatever promises most counts.
            Some(known) if op.outcome == OpOutcome::Ok || known.outcome == OpOutcome::Fail => *known = op,
            Some(_) => {}
        }
    }
    let mut reads: Vec<&OpRecord> =
        ops.iter().filter(|op| op.f == "read" && op.outcome == OpOutcome::Ok).copied().collect();
    reads.sort_by_key(|read| (read.invoked_us, read.completed_us));
    story.acknowledged = appends.iter().filter(|op| op.outcome == OpOutcome::Ok).count();
    let Some(longest) = reads.iter().max_by_key(|read| items(&read.output).len()).copied() else {
        story.never_read = story.acknowledged;
        return Ok(story);
    };
    let list = items(&longest.output);

    // Place in the list by element's number; duplicates and strangers on the way.
    let mut place: Vec<Option<usize>> = vec![None; numbers.len()];
    for (index, value) in list.iter().enumerate() {
        meter.spend(0)?;
        let Some(number) = numbers.find(value) else {
            let read = deed(longest, &format!("read {value}"));
            story.unexpected.push(format!("{key}: {read}, which nobody ever appended"));
            continue;
        };
        match place.get_mut(number) {
            Some(slot @ None) => *slot = Some(index),
            _ => story.duplicated.push(format!("{key}: {}", deed(longest, &format!("read {value} twice")))),
        }
        if let Some(append) = appends.get(number).filter(|append| append.outcome == OpOutcome::Fail) {
            story.unexpected.push(format!(
                "{key}: {}, but the only attempt to append it was refused: {}",
                deed(longest, &format!("read {value}")),
                deed(append, &format!("tried to append {value}"))
            ));
        }
    }
    for read in &reads {
        let other = items(&read.output);
        let mut differs = None;
        for (index, (a, b)) in other.iter().zip(list).enumerate() {
            meter.spend(0)?;
            if a != b {
                differs = Some((index, a, b));
                break;
            }
        }
        if let Some((index, a, b)) = differs {
            story.forked.push(format!(
                "{key}: two reads disagree at place {}.\n  {}\n  {}",
                index + 1,
                deed(read, &format!("read {a} there")),
                deed(longest, &format!("read {b} there"))
            ));
        }
    }
    // With two orders there is no place that an element has.
    if story.forked.is_empty() {
        real_time(key, &appends, &numbers, &reads, list, &place, &mut story, meter)?;
    }
    lost(key, &appends, &reads, &place, &mut story);
    Ok(story)
}

/// Acknowledged and in no read that began later, although there was one.
fn lost(
    key: &str,
    appends: &[&OpRecord],
    reads: &[&OpRecord],
    place: &[Option<usize>],
    story: &mut ListStory,
) {
    let Some(last) = reads.last() else { return };
    // What stands in the list and began last: everything acknowledged before that must stand there as well.
    let newest = appends.iter().zip(place).filter(|(_, place)| place.is_some());
    let newest = newest.map(|(append, _)| append).max_by_key(|append| append.invoked_us);
    for (append, place) in appends.iter().zip(place) {
        if append.outcome != OpOutcome::Ok {
            continue;
        }
        let value = &append.input;
        let is_there = match story.forked.is_empty() {
            true => place.is_some_and(|place| place < items(&last.output).len()),
            false => items(&last.output).contains(value),
        };
        let lost = |proof: String| Lost {
            known_us: append.completed_us,
            told: format!(
                "{key}: {value} was lost.\n  {}\n  {proof}",
                deed(append, &format!("appended {value}"))
            ),
        };
        match (last.invoked_us > append.completed_us, is_there) {
            (true, false) => story
                .lost
                .push(lost(format!("{}, the last to begin", deed(last, "read the list without it")))),
            (false, false) if place.is_none() => {
                match newest.filter(|new| new.invoked_us > append.completed_us) {
                    Some(new) => {
                        let after = deed(new, &format!("appended {} after it", new.input));
                        story.lost.push(lost(format!("{after}, which was read without it")));
                    }
                    None => story.never_read += 1,
                }
            }
            _ => {}
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "the parts of one look, split for length alone")]
fn real_time(
    key: &str,
    appends: &[&OpRecord],
    numbers: &Elements,
    reads: &[&OpRecord],
    list: &[serde_json::Value],
    place: &[Option<usize>],
    story: &mut ListStory,
    meter: &mut Meter,
) -> Result<(), OutOf> {
    let append_at = |index: usize| list.get(index).and_then(|value| appends.get(numbers.find(value)?));
    // From the end: the append after this place that was acknowledged first.
    let mut earliest: Option<&OpRecord> = None;
    for index in (0..list.len()).rev() {
        meter.spend(0)?;
        let Some(append) = append_at(index) else { continue };
        if let Some(later) = earliest.filter(|later| later.completed_us < append.invoked_us) {
            story.out_of_time.push(format!(
                "{key}: {} stands before {}, but was appended after it.\n  {}\n  {}",
                append.input,
                later.input,
                deed(later, &format!("appended {}", later.input)),
                deed(append, &format!("appended {}", append.input))
            ));
        }
        let is_first = earliest.is_none_or(|known| append.completed_us < known.completed_us);
        if append.outcome == OpOutcome::Ok && is_first {
            earliest = Some(append);
        }
    }
    // The shortest read among those that began at this one or later.
    let mut shortest: Vec<&OpRecord> = Vec::with_capacity(reads.len());
    for read in reads.iter().rev() {
        let len = |read: &OpRecord| items(&read.output).len();
        let least = shortest.last().copied().filter(|known| len(known) <= len(read)).unwrap_or(read);
        shortest.push(least);
    }
    shortest.reverse();
    let after = |time: u64| shortest.get(reads.partition_point(|read| read.invoked_us <= time)).copied();
    for (append, place) in appends.iter().zip(place) {
        meter.spend(0)?;
        let (Some(place), OpOutcome::Ok) = (place, append.outcome) else { continue };
        if let Some(read) = after(append.completed_us).filter(|read| items(&read.output).len() <= *place) {
            story.out_of_time.push(format!(
                "{key}: a read missed {}, which was there already.\n  {}\n  {}",
                append.input,
                deed(append, &format!("appended {}", append.input)),
                deed(read, "read the list without it")
            ));
        }
    }
    for read in reads {
        meter.spend(0)?;
        let length = items(&read.output).len();
        if let Some(later) = after(read.completed_us).filter(|later| items(&later.output).len() < length) {
            story.out_of_time.push(format!(
                "{key}: a list became shorter.\n  {}\n  {}",
                deed(read, &format!("read {length} elements")),
                deed(later, &format!("read {}", items(&later.output).len()))
            ));
        }
        // The elements of a read are in the order of the list, so the youngest may stand anywhere.
        let future = (0..length).filter_map(append_at).find(|append| append.invoked_us > read.completed_us);
        if let Some(append) = future {
            story.out_of_time.push(format!(
                "{key}: {} was read before its append began.\n  {}\n  {}",
                append.input,
                deed(read, "read it"),
                deed(append, "appended it")
            ));
        }
    }
    Ok(())
}

impl HistoryChecker for Append {
    const NAME: &'static str = "append";
    const KINDS: &'static [&'static str] = &["append"];

    fn check(&self, history: &History<'_>, limits: Limits) -> Result<Finding, OutOf> {
        let mut meter = Meter::new(limits);
        let mut all = ListStory::default();
        let keys = keys(history);
        for ((_, key), ops) in &keys {
            let story = look(key, ops, &mut meter)?;
            all.acknowledged += story.acknowledged;
            all.never_read += story.never_read;
            all.lost.extend(story.lost);
            all.forked.extend(story.forked);
            all.duplicated.extend(story.duplicated);
            all.unexpected.extend(story.unexpected);
            all.out_of_time.extend(story.out_of_time);
        }
        let lost = Lost::texts(&all.lost);
        let parts = [
            (&lost, "lost element"),
            (&all.forked, "read in another order"),
            (&all.duplicated, "duplicated element"),
            (&all.unexpected, "unexpected element"),
            (&all.out_of_time, "violation of real time"),
        ];
        let wrong: Vec<String> = parts
            .iter()
            .filter(|(lines, _)| !lines.is_empty())
            .map(|(lines, what)| match lines.len() {
                1 => format!("1 {what}"),
                some => format!(
                    "{some} {}",
                    what.replacen("element", "elements", 1)
                        .replacen("violation", "violations", 1)
                        .replacen("read", "reads", 1)
                ),
            })
            .collect();
        let acknowledged = count(all.acknowledged, "acknowledged element");
        let finding = match (wrong.is_empty(), all.acknowledged, all.never_read) {
            (false, ..) => Finding::new(Verdict::Fail, format!("{}; {acknowledged}", wrong.join(", "))),
            (true, 0, _) => Finding::new(Verdict::Error, "nothing was learned: no append was acknowledged"),
            (true, _, 0) => Finding::new(
                Verdict::Pass,
                format!("{acknowledged} in {}, all there and in one order", count(keys.len(), "list")),
            ),
            (true, _, some) => {
                Finding::new(Verdict::Unknown, format!("{some} of {acknowledged} were never read afterwards"))
            }
        };
        let detail: Vec<String> = parts
            .iter()
            .filter(|(lines, _)| !lines.is_empty())
            .map(|(lines, _)| told((*lines).clone(), "of the same sort"))
            .collect();
        Ok(finding
            .detailed(detail.join("\n"))
            .measured("acknowledged", all.acknowledged as f64)
            .measured("lost", all.lost.len() as f64)
            .measured("forked", all.forked.len() as f64)
            .measured("duplicated", all.duplicated.len() as f64)
            .measured("unexpected", all.unexpected.len() as f64)
            .measured("out_of_time", all.out_of_time.len() as f64)
            .measured("never_read", all.never_read as f64))
    }
}
