//! The recovery point objective: how many acknowledged writes may be gone in the end.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::facts::{Facts, is_of_kind};
use super::known::{Complaint, Known};
use super::lost::{NoAcknowledgedWriteLost, Tally};
use super::{Expect, Finding, count};
use crate::journal::Verdict;
use crate::verify::Budget;

/// At most so many acknowledged writes are lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Rpo {
    /// In the whole run.
    Run(u32),
    /// For each fault.
    Fault(RpoOfFault),
}

/// At most so many acknowledged writes are lost for each fault, or for each of one kind.
///
/// A lost write counts for the faults that were at work when it was acknowledged; otherwise for the next one, and
/// after the last for that one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RpoOfFault {
    /// Judge only faults of this kind, such as `instance.kill`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    pub at_most: u32,
}

impl<'de> Deserialize<'de> for Rpo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

/// Reads either way of writing it.
struct Written;

impl<'de> Visitor<'de> for Written {
    type Value = Rpo;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of writes such as `0`, or `{ fault: instance.kill, at_most: 0 }`")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Rpo, E> {
        let few = u32::try_from(number);
        few.map(Rpo::Run).map_err(|_| E::custom(format!("{number} is too large a number of writes")))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Rpo, E> {
        let few = u64::try_from(number);
        few.map_or_else(|_| Err(E::custom("a number of writes is not below 0")), |few| self.visit_u64(few))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Rpo, A::Error> {
        RpoOfFault::deserialize(MapAccessDeserializer::new(map)).map(Rpo::Fault)
    }
}

impl Expect for Rpo {
    fn title(&self) -> String {
        let at_most = |most: u32| format!("at most {} lost", count(most as usize, "acknowledged write"));
        match self {
            Rpo::Run(most) => format!("rpo: {}", at_most(*most)),
            Rpo::Fault(RpoOfFault { fault, at_most: most }) => {
                format!("rpo: {}, {}", fault.as_deref().unwrap_or("every fault"), at_most(*most))
            }
        }
    }

    fn check(&self, known: &Known<'_>) -> Result<(), Complaint> {
        NoAcknowledgedWriteLost.check(known)?;
        match self {
            Rpo::Run(_) => Ok(()),
            Rpo::Fault(RpoOfFault { fault: None, .. }) => known.has_faults(),
            Rpo::Fault(RpoOfFault { fault: Some(kind), .. }) => known.has_fault(kind),
        }
    }

    /// What is lost is defined in one place; here it is only said how much of it may be.
    fn judge(&self, facts: &Facts<'_>, budget: Budget) -> Finding {
        let tally = match Tally::of(facts, budget) {
            Ok(tally) => tally,
            Err(nothing) => return nothing,
        };
        let mut finding = tally.finding(facts);
        let (over, judged) = self.over(&tally, facts, &finding.message);
        match (judged, finding.verdict, over) {
            (0, ..) => {
                finding.verdict = Verdict::Error;
                finding.message = "nothing was learned: no such fault was injected".to_owned();
            }
            (_, Verdict::Fail, Some(over)) => finding.message = over,
            // Whatever is lost may be, but more may be lost on keys that nobody could read.
            (_, Verdict::Fail, None) if !tally.unread.is_empty() => {
                finding.verdict = Verdict::Unknown;
                finding.message =
                    format!("{}, and {} never answered", finding.message, count(tally.unread.len(), "key"));
            }
            (_, Verdict::Fail, None) => finding.verdict = Verdict::Pass,
            _ => {}
        }
        finding
    }
}

impl Rpo {
    /// What is lost beyond what may be, in words, and of how many it was looked at. `all` says what is lost in the
    /// whole run.
    fn over(&self, tally: &Tally, facts: &Facts<'_>, all: &str) -> (Option<String>, usize) {
        let lost = |lost: usize| format!("{} lost", count(lost, "acknowledged write"));
        match self {
            Rpo::Run(most) => {
                let over = tally.lost() > *most as usize;
                (over.then(|| all.to_owned()), 1)
            }
            Rpo::Fault(of) => {
                let meant = |name: &str| of.fault.as_ref().is_none_or(|kind| is_of_kind(name, kind));
                let all: Vec<(&str, usize)> =
                    tally.by_fault(facts).into_iter().filter(|(name, _)| meant(name)).collect();
                let over: Vec<String> = all
                    .iter()
                    .filter(|(_, some)| *some > of.at_most as usize)
                    .map(|(name, some)| format!("{name}: {}", lost(*some)))
                    .collect();
                ((!over.is_empty()).then(|| over.join("; ")), all.len())
            }
        }
    }
}
