//! The life of one fault: due, aimed, injected, proven, healed, verified, over.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard};
use tokio::time::{Instant, sleep_until, timeout};

use super::leader;
use super::phases::Stage;
use crate::chaos::faults::{Back, Fault, FaultSpec, Scene, Takes};
use crate::chaos::target::Target;
use crate::journal::Event;
use crate::journal::event::ScheduledFault;

/// A fleet that does not answer within this does not answer at all.
const FLEET: Duration = Duration::from_secs(120);
/// A fault that was injected late is still given this long to leave a proof.
const PROOF: Duration = Duration::from_secs(3);
/// A fault that has only a moment may come so much later, when an earlier one ends late, and has as long to leave a
/// proof.
const LATE_MOMENT: Duration = Duration::from_secs(15);
/// A service without a leader, in the middle of an election, is asked for this long.
const ELECTION: Duration = Duration::from_secs(20);
/// A heal that fails is tried this often.
const HEAL_TRIES: u32 = 3;

/// What is left to say of a fault when it is over.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Why the run cannot pass because of the tool: not proven, not healed.
    pub(super) problems: Vec<String>,
    /// Why an instance is still not back.
    pub(super) not_back: Option<String>,
    /// The fault, if it is still there: what does not work then says nothing about the image.
    pub(super) left: Option<String>,
}

/// Whom a fault hits, and what it has of them.
struct Aim {
    targets: Vec<String>,
    /// Its own until it is over.
    taken: Vec<OwnedRwLockWriteGuard<()>>,
    /// No other fault's own until it has begun: nothing can be done in an instance that is down.
    to_begin: Vec<OwnedRwLockReadGuard<()>>,
}

pub(super) struct Life {
    pub(super) stage: Arc<Stage>,
    pub(super) step: ScheduledFault,
    pub(super) spec: FaultSpec,
    /// When the chaos phase began.
    pub(super) began: Instant,
}

impl Life {
    /// Lives through the fault. Whatever happens on the way, and when the run is cancelled, it is healed
    /// before this returns.
    pub(super) async fn live(self) -> Outcome {
        let mut outcome = Outcome::default();
        if !self.sleep_until(self.began + Duration::from_micros(self.step.inject_at_us)).await {
            return outcome;
        }
        let Aim { targets, taken: _taken, to_begin } = match self.aim().await {
            Ok(Some(aim)) => aim,
            Ok(None) => return outcome,
            Err(reason) => {
                self.not_proven(&mut outcome, reason);
                return outcome;
            }
        };
        let mut fault = self.spec.kind().arm(Scene {
            fault: self.step.fault.clone(),
            fleet: Arc::clone(&self.stage.fleet),
            targets: targets.clone(),
            lasts: self.end().map(|end| end.saturating_duration_since(Instant::now())),
            seed: self.stage.seed,
            boot_ids: self.stage.boot_ids.clone(),
        });
        let injected = match timeout(FLEET, fault.inject()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the fleet did not answer".to_owned()),
        };
        drop(to_begin);
        if let Err(reason) = injected {
            self.not_proven(&mut outcome, format!("it could not be injected: {reason}"));
            if let Err(reason) = heal(fault.as_mut()).await {
                self.not_healed(&mut outcome, reason);
            }
            return outcome;
        }
        self.record(Event::Injected { fault: self.step.fault.clone(), targets });
        self.prove(fault.as_mut(), &mut outcome).await;
        if let Some(end) = self.end() {
            self.sleep_until(end).await;
        }
        self.heal(fault.as_mut(), &mut outcome).await;
        outcome
    }

    fn end(&self) -> Option<Instant> {
        self.step.heal_at_us.map(|end| self.began + Duration::from_micros(end))
    }

    /// Whom it hits, and the right to what it takes of them. `None`: cancelled.
    async fn aim(&self) -> Result<Option<Aim>, String> {
        let until = self.end().unwrap_or_else(|| Instant::now() + LATE_MOMENT);
        let aimed = async {
            let mut targets = self.step.targets.clone();
            if let (true, Target::Leader(role), Some(probe)) =
                (targets.is_empty(), self.spec.kind().target(), &self.stage.scenario.spec.leader)
            {
                let until = until.min(Instant::now() + ELECTION);
                targets = vec![leader::find(probe, &self.stage.targets, role, until).await?];
            }
            if targets.is_empty() {
                return Err("it has no target".to_owned());
            }
            let late = |_| format!("{} did not come back from an earlier fault", targets.join(", "));
            let own = async |part: &str| {
                let names = targets.iter().map(|target| format!("{target}{part}"));
                tokio::time::timeout_at(until, self.stage.hold(names)).await.map_err(late)
            };
            let (taken, to_begin) = match self.spec.kind().takes() {
                Takes::Nothing => Default::default(),
                Takes::Instance => (own("").await?, Vec::new()),
                Takes::Part(part) => {
                    let taken = own(&format!(" {part}")).await?;
                    let up = self.stage.share(targets.iter().cloned());
                    (taken, tokio::time::timeout_at(until, up).await.map_err(late)?)
                }
            };
            Ok(Aim { targets, taken, to_begin })
        };
        self.stage.cancel.run_until_cancelled(aimed).await.transpose()
    }

    async fn prove(&self, fault: &mut dyn Fault, outcome: &mut Outcome) {
        let now = Instant::now();
        let until = self.end().map_or(now + LATE_MOMENT, |end| end.max(now + PROOF));
        let proof = tokio::time::timeout_at(until, fault.prove());
        match self.stage.cancel.run_until_cancelled(proof).await {
            None => {}
            Some(Ok(Ok(evidence))) => {
                self.record(Event::Proven { fault: self.step.fault.clone(), evidence });
            }
            Some(Ok(Err(error))) => self.not_proven(outcome, error.to_string()),
            Some(Err(_)) => {
                let seen = match fault.seen() {
                    none if none.is_empty() => none,
                    seen => format!("; last seen: {seen}"),
                };
                self.not_proven(outcome, format!("it left no proof until its end{seen}"));
            }
        }
    }

    async fn heal(&self, fault: &mut dyn Fault, outcome: &mut Outcome) {
        if let Err(reason) = heal(fault).await {
            self.not_healed(outcome, reason);
            return;
        }
        match timeout(FLEET, fault.verify_healed()).await {
            Ok(Ok(evidence)) => {
                self.record(Event::Healed { fault: self.step.fault.clone(), verified: true, evidence });
            }
            Ok(Err(error)) => return self.not_healed(outcome, error.to_string()),
            Err(_) => return self.not_healed(outcome, "the fleet did not answer".to_owned()),
        }
        // Whoever cancels wants the fleet gone, not back.
        match self.stage.cancel.run_until_cancelled(fault.back()).await {
            None => {}
            Some(Ok(Back::Ready(known))) => {
                for (node, what) in known {
                    self.record(Event::Instance { node, what });
                }
            }
            Some(Ok(Back::NotReady(reason))) => {
                self.record(Event::Note { text: format!("{}: {reason}", self.step.fault) });
                outcome.not_back = Some(reason);
            }
            Some(Err(error)) => self.not_proven(outcome, error.to_string()),
        }
    }

    fn not_proven(&self, outcome: &mut Outcome, reason: String) {
        outcome.problems.push(format!("{} was not proven: {reason}", self.step.fault));
        self.record(Event::NotProven { fault: self.step.fault.clone(), reason });
    }

    fn not_healed(&self, outcome: &mut Outcome, reason: String) {
        outcome.problems.push(format!("{} was not healed: {reason}", self.step.fault));
        let fault = self.step.fault.clone();
        outcome.left = Some(fault.clone());
        self.record(Event::Healed { fault, verified: false, evidence: reason });
    }

    fn record(&self, event: Event) {
        self.stage.journal.record(event);
    }

    /// Whether the time has come, and not the end of the run.
    async fn sleep_until(&self, when: Instant) -> bool {
        self.stage.cancel.run_until_cancelled(sleep_until(when)).await.is_some()
    }
}

async fn heal(fault: &mut dyn Fault) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..HEAL_TRIES {
        match timeout(FLEET, fault.heal()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last = "the fleet did not answer".to_owned(),
        }
    }
    Err(last)
}
