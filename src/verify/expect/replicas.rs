//! Replicas that agree: when every fault is over, every instance says the same.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::availability::millis;
use super::facts::{Facts, Saying};
use super::known::{Complaint, Known};
use super::{Expect, Finding, count};
use crate::journal::Verdict;
use crate::units::Span;
use crate::verify::Budget;
use crate::verify::question::{Ask, Question, When};

/// When every fault is over, all instances give the same answer to one question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplicasAgree {
    /// What each is asked: for what it holds, in an order that does not depend on the instance.
    pub ask: Ask,
    /// Ask only instances of this role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// They must agree within this time, counted from the first question, which comes when steady state holds
    /// again and every last look of the workloads is over.
    #[serde(default = "ten_seconds")]
    pub within: Span,
    /// Limit for one answer.
    #[serde(default = "ten_seconds")]
    pub timeout: Span,
}

fn ten_seconds() -> Span {
    Span(Duration::from_secs(10))
}

impl Expect for ReplicasAgree {
    fn title(&self) -> String {
        match &self.role {
            Some(role) => format!("the replicas of {role} agree within {}", self.within),
            None => format!("all replicas agree within {}", self.within),
        }
    }

    fn check(&self, known: &Known<'_>) -> Result<(), Complaint> {
        known.has_role(self.role.as_deref())
    }

    fn question(&self) -> Option<Question<'_>> {
        Some(Question {
            role: self.role.as_deref(),
            ask: self.ask.clone(),
            timeout: self.timeout.0,
            when: When::UntilEqual(self.within.0),
        })
    }

    fn judge(&self, facts: &Facts<'_>, _: Budget) -> Finding {
        let title = self.title();
        let said: Vec<&(u64, Saying<'_>)> =
            facts.said.iter().filter(|(_, saying)| saying.expectation == title).collect();
        let mut rounds: BTreeMap<u32, Vec<&(u64, Saying<'_>)>> = BTreeMap::new();
        for saying in said {
            rounds.entry(saying.1.round).or_default().push(saying);
        }
        let Some((_, last)) = rounds.last_key_value() else {
            return Finding::new(Verdict::Error, "nothing was learned: nobody was asked");
        };
        if last.len() < 2 {
            return Finding::new(
                Verdict::Error,
                "nothing was learned: one instance always agrees with itself",
            );
        }
        let mut answers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut silent = Vec::new();
        for (_, saying) in last {
            match saying.answer {
                Ok(answer) => answers.entry(answer).or_default().push(saying.node),
                Err(why) => silent.push(format!("{}: {why}", saying.node)),
            }
        }
        let end = |round: &[&(u64, Saying<'_>)]| round.iter().map(|(at, _)| *at).max().unwrap_or_default();
        let begin =
            rounds.values().next().map(|first| first.iter().map(|(at, _)| *at).min().unwrap_or_default());
        let took = end(last).saturating_sub(begin.unwrap_or_default());
        let healed = facts.faults.iter().filter_map(|fault| fault.healed).max();
        let detail = tell(&answers, &silent);
        let all = count(last.len(), "instance");
        let finding = match (answers.len(), silent.is_empty()) {
            (1, true) if answers.keys().all(|answer| answer.is_empty()) => {
                Finding::new(Verdict::Error, format!("nothing was learned: {all} gave an empty answer"))
            }
            (1, true) => {
                let since = healed.map(|healed| end(last).saturating_sub(healed));
                let after =
                    since.map(|since| format!(", {} after the last heal", millis(since))).unwrap_or_default();
                let message =
                    format!("{all} said the same {} after they were first asked{after}", millis(took));
                let finding = Finding::new(Verdict::Pass, message);
                match since {
                    Some(since) => finding.measured("agreed_after_heal_ms", since as f64 / 1e3),
                    None => finding,
                }
            }
            // Who does not answer may hold anything.
            (0 | 1, false) => Finding::new(
                Verdict::Fail,
                format!("{} of {all} gave no answer within {}", silent.len(), self.within),
            ),
            (several, _) => Finding::new(
                Verdict::Fail,
                format!("{all} gave {several} different answers, still so after {}", millis(took)),
            ),
        };
        Finding { detail, ..finding }
            .measured("agreed_after_ms", took as f64 / 1e3)
            .measured("different_answers", answers.len() as f64)
    }
}

/// Each answer, cut to what a person reads, and where it differs from the first one.
fn tell(answers: &BTreeMap<&str, Vec<&str>>, silent: &[String]) -> String {
    let mut lines = Vec::new();
    let first = answers.keys().next().copied().unwrap_or_default();
    for (answer, nodes) in answers {
        if answers.len() > 1 {
            let shown: String = answer.chars().take(300).collect();
            let cut = if shown.len() < answer.len() { " ..." } else { "" };
            lines.push(format!("{} said: {shown}{cut}", nodes.join(", ")));
            let differs = answer.lines().zip(first.lines()).position(|(a, b)| a != b);
            if let Some((line, text)) = differs.and_then(|at| Some((at, answer.lines().nth(at)?))) {
                let shown: String = text.chars().take(120).collect();
                lines.push(format!("  first different in line {}: {shown}", line + 1));
            }
        }
    }
    lines.extend(silent.iter().map(|text| format!("no answer from {text}")));
    lines.join("\n")
}
