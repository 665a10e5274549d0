//! How a service looked to those who used it: outages, and how soon it was back after a fault. The one place
//! where these numbers are defined, for expectations and reports alike.
//!
//! Times are microseconds since the run started. Nothing here knows a journal, and nothing here judges.

use crate::journal::{OpOutcome, OpRecord};

/// Something that was tried, and whether it was well: an operation, or a measurement of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    pub start: u64,
    pub end: u64,
    pub ok: bool,
}

/// A fault that was injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault<'a> {
    pub name: &'a str,
    pub injected: u64,
    /// `None`: the journal does not say that it ended.
    pub healed: Option<u64>,
    /// It has only a moment, as a reboot.
    pub moment: bool,
}

impl Fault<'_> {
    /// Until when it is met by what goes on. What has only a moment is met by whatever comes after it.
    pub fn met_until(&self) -> u64 {
        self.healed.filter(|_| !self.moment).unwrap_or(u64::MAX)
    }
}

/// When the service was back after a fault had ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Back {
    /// So many microseconds after the end.
    After(u64),
    /// It was tried again and again for so long, to the end of the record, and never was well.
    Never(u64),
    /// Nobody knows, and why. It certainly was not back for this long.
    Unclear(u64, &'static str),
}

/// The recovery times of one fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// The longest outage that it met. Overlapping faults share their outages: nobody can tell whose they were.
    pub downtime: Option<u64>,
    /// From its injection to the end of that outage, which is the first success after it.
    pub from_injection: Option<u64>,
    /// From its end to the first success of what clients notice, begun after that end.
    pub success: Back,
    /// From its end until steady state: until an operation, and a measurement of every probe, begun after that
    /// end had succeeded. The slowest decides.
    pub steady: Back,
}

impl Back {
    /// The time, if it is known.
    pub fn known(self) -> Option<u64> {
        match self {
            Back::After(time) => Some(time),
            Back::Never(_) | Back::Unclear(..) => None,
        }
    }
}

impl From<&OpRecord> for Attempt {
    fn from(op: &OpRecord) -> Self {
        let end = op.completed_us.max(op.invoked_us);
        Attempt { start: op.invoked_us, end, ok: op.outcome == OpOutcome::Ok }
    }
}

/// The stretches in which something was under way or refused and nothing succeeded: each begins at the last
/// success, or at the first attempt after it if nothing was under way, and lasts to the next success, or to
/// the end of the last attempt. Time in which nobody asked does not count, so a slow workload is no outage.
/// Pairs of start and end, in order of time.
pub fn gaps(attempts: &[Attempt]) -> Vec<(u64, u64)> {
    let mut by_end = attempts.to_vec();
    by_end.sort_by_key(|attempt| attempt.end);
    // For each attempt, the earliest start among it and all that ended later.
    let mut earliest: Vec<u64> = Vec::with_capacity(by_end.len());
    let mut least = u64::MAX;
    for attempt in by_end.iter().rev() {
        least = least.min(attempt.start);
        earliest.push(least);
    }
    earliest.reverse();
    let mut gaps = Vec::new();
    let mut last_ok = 0;
    let mut begins = None;
    for (attempt, earliest) in by_end.iter().zip(&earliest) {
        let begin = *begins.get_or_insert((*earliest).max(last_ok));
        if attempt.ok {
            gaps.push((begin, attempt.end));
            last_ok = attempt.end;
            begins = None;
        }
    }
    if let (Some(begin), Some(last)) = (begins, by_end.last()) {
        gaps.push((begin, last.end));
    }
    gaps
}

/// Nearest rank in a sorted slice: a value that really occurred. `None` when it is empty.
pub fn quantile(sorted: &[u64], share: f64) -> Option<u64> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// The times of every fault, in the order given. `noticed` is what clients notice; `signs` are all by which it
/// is known that the service is well, `noticed` among them.
pub fn times(faults: &[Fault<'_>], noticed: &[Attempt], signs: &[&[Attempt]]) -> Vec<Times> {
    let gaps = gaps(noticed);
    let of = |(index, fault): (usize, &Fault<'_>)| {
        let healed = fault.healed.unwrap_or(u64::MAX);
        let met = gaps.iter().filter(|(start, end)| *start <= healed && *end >= fault.injected);
        let outage = met.max_by_key(|(start, end)| end.saturating_sub(*start));
        let others: Vec<&Fault<'_>> =
            faults.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, other)| other).collect();
        Times {
            downtime: outage.map(|(start, end)| end.saturating_sub(*start)),
            from_injection: outage.map(|(_, end)| end.saturating_sub(fault.injected)),
            success: back(fault, &others, &[noticed]),
            steady: back(fault, &others, signs),
        }
    };
    faults.iter().enumerate().map(of).collect()
}

fn back(fault: &Fault<'_>, others: &[&Fault<'_>], signs: &[&[Attempt]]) -> Back {
    let Some(healed) = fault.healed else { return Back::Unclear(0, "its end is not in the journal") };
    if others.iter().any(|other| other.injected <= healed && other.healed.is_none_or(|end| end > healed)) {
        return Back::Unclear(0, "another fault was still at work when it was healed");
    }
    let next_fault = others.iter().map(|other| other.injected).filter(|injected| *injected > healed).min();
    let mut slowest = None;
    for attempts in signs {
        let since = || attempts.iter().filter(|attempt| attempt.start >= healed);
        let first = since().filter(|attempt| attempt.ok).map(|attempt| attempt.end).min();
        let watched = since().map(|attempt| attempt.end).max().unwrap_or(healed);
        let until = watched.min(next_fault.unwrap_or(u64::MAX));
        match first {
            Some(first) if first <= until => slowest = slowest.max(Some(first.saturating_sub(healed))),
            _ if next_fault.is_some_and(|next| next <= watched) => {
                let why = "the next fault came before the service was back";
                return Back::Unclear(until.saturating_sub(healed), why);
            }
            _ if watched == healed => return Back::Unclear(0, "nobody watched after it was healed"),
            _ => return Back::Never(until.saturating_sub(healed)),
        }
    }
    slowest.map_or(Back::Unclear(0, "nobody watched"), Back::After)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attempt(start: u64, end: u64, ok: bool) -> Attempt {
        Attempt { start, end, ok }
    }

    fn fault(injected: u64, healed: u64) -> Fault<'static> {
        Fault { name: "f", injected, healed: Some(healed), moment: false }
    }

    #[test]
    fn an_outage_is_time_without_success_while_somebody_waits() {
        let attempts = [
            attempt(0, 10, true),
            // Asked at 20, refused; asked at 30, unanswered; the next success comes at 500.
            attempt(20, 25, false),
            attempt(30, 400, false),
            attempt(410, 500, true),
            // Nobody asked from 500 to 900.
            attempt(900, 910, true),
        ];
        assert_eq!(gaps(&attempts), [(0, 10), (20, 500), (900, 910)]);
        assert_eq!(gaps(&attempts[..3]).last(), Some(&(20, 400)));
        assert_eq!(gaps(&[]), []);
    }

    #[test]
    fn a_fault_is_followed_from_injection_and_from_heal() {
        let ops = [attempt(0, 10, true), attempt(20, 190, false), attempt(205, 260, true)];
        let slow = [attempt(201, 210, false), attempt(250, 290, true)];
        let times = times(&[fault(15, 200)], &ops, &[&ops, &slow]);
        assert_eq!(
            times,
            [Times {
                downtime: Some(240),
                from_injection: Some(245),
                success: Back::After(60),
                steady: Back::After(90)
            }]
        );
    }

    #[test]
    fn the_slowest_sign_decides_and_what_is_not_known_is_not_guessed() {
        let quick = [attempt(101, 110, true)];
        let slow = [attempt(101, 105, false), attempt(120, 180, true)];
        let bad = [attempt(110, 120, false)];
        let steady = |faults: &[Fault<'_>], signs: &[&[Attempt]]| times(faults, &quick, signs)[0].steady;
        let one = [fault(50, 100)];
        assert_eq!(steady(&one, &[&quick]), Back::After(10));
        assert_eq!(steady(&one, &[&quick, &slow]), Back::After(80));
        assert_eq!(steady(&one, &[&quick, &bad]), Back::Never(20));
        assert!(matches!(steady(&[fault(50, 100), fault(170, 175)], &[&slow]), Back::Unclear(70, _)));
        assert!(matches!(steady(&[fault(50, 100), fault(90, 120)], &[&quick]), Back::Unclear(0, _)));
        assert!(matches!(steady(&one, &[]), Back::Unclear(0, "nobody watched")));
        assert!(matches!(steady(&one, &[&[]]), Back::Unclear(0, _)));
        assert!(matches!(steady(&[Fault { healed: None, ..one[0] }], &[&quick]), Back::Unclear(0, _)));
    }

    proptest! {
        #[test]
        fn gaps_never_overlap_and_lie_within_the_attempts(
            raw in prop::collection::vec((0_u64..1_000, 0_u64..200, any::<bool>()), 1..40)
        ) {
            let attempts: Vec<_> = raw.iter().map(|(at, took, ok)| attempt(*at, at + took, *ok)).collect();
            let gaps = gaps(&attempts);
            prop_assert!(gaps.windows(2).all(|pair| pair[0].1 <= pair[1].0));
            let first = attempts.iter().map(|attempt| attempt.start).min().unwrap();
            let last = attempts.iter().map(|attempt| attempt.end).max().unwrap();
            prop_assert!(gaps.iter().all(|(start, end)| first <= *start && start <= end && *end <= last));
        }

        #[test]
        fn no_numbers_make_it_panic(
            raw in prop::collection::vec((any::<u64>(), any::<u64>(), any::<bool>()), 0..20),
            when in prop::collection::vec((any::<u64>(), prop::option::of(any::<u64>())), 0..5)
        ) {
            let attempts: Vec<_> =
                raw.iter().map(|(a, b, ok)| attempt(*a.min(b), *a.max(b), *ok)).collect();
            let faults: Vec<_> = when
                .iter()
                .map(|(injected, healed)| Fault { healed: *healed, ..fault(*injected, 0) })
                .collect();
            prop_assert_eq!(times(&faults, &attempts, &[&attempts]).len(), faults.len());
        }
    }
}
