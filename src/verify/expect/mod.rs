//! Expectations: what a scenario says must hold, judged from the journal of the run alone.
//!
//! What is measured on the way, under these names in [`Judged::measured`]:
//!
//! | expectation | numbers |
//! |---|---|
//! | no acknowledged write lost | `acknowledged_writes`, `lost_writes` (the RPO, in writes) |
//! | linearizable | `registers`, `operations`, `indeterminate`, `violated_registers` |
//! | availability | `availability` (0 to 1), `operations` or `measurements`, `longest_outage_ms`, `p50_ms`, `p95_ms`, `p99_ms` |
//! | recovers within | `slowest_recovery_ms` |
//! | rto | `slowest_ms` |
//! | rpo | `lost_writes`, `acknowledged_writes` |
//! | no acknowledged write lost and rpo, for each fault | `rpo.FAULT`, in writes |
//! | replicas agree | `agreed_after_ms` (from the first question), `agreed_after_heal_ms`, `different_answers` |
//! | files intact | `files` |
//! | availability and recovery, for each fault | `downtime_ms.FAULT`, `rto_from_injection_ms.FAULT`, `rto_from_heal_ms.FAULT`, `steady_from_heal_ms.FAULT` |

mod availability;
mod custom;
mod facts;
mod files;
mod history;
mod known;
mod lost;
mod recovery;
mod replicas;
mod rpo;
mod rto;

#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use availability::Availability;
pub use custom::Custom;
pub use files::FilesIntact;
pub use known::{Complaint, Known};
pub use recovery::RecoversWithin;
pub use replicas::ReplicasAgree;
pub use rpo::{Rpo, RpoOfFault};
pub use rto::Rto;

use super::checker::finding::{Finding, count};
use super::checker::{Budget, append, bank, counter, ids, queue, registers, set};
use super::question::Question;
use crate::journal::event::Judged;
use crate::journal::{Entry, Verdict};
use facts::Facts;
pub(crate) use facts::faults;

/// Something that can be expected of a run. One file each, and one line in [`expectations!`].
trait Expect {
    /// In words, as reports name it.
    fn title(&self) -> String;

    /// Whether it can mean anything in a scenario of which this is known.
    fn check(&self, known: &Known<'_>) -> Result<(), Complaint>;

    /// What instances must be asked for it during the run.
    fn question(&self) -> Option<Question<'_>> {
        None
    }

    fn judge(&self, facts: &Facts<'_>, budget: Budget) -> Finding;
}

/// Generates the enum that scenario files spell, and the way from its variants to their behaviour. A name
/// stands alone, or with the settings in parentheses.
macro_rules! expectations {
    ($($(#[doc = $doc:literal])+ $name:literal => $module:ident::$expect:ident $(($settings:ident))?,)+) => {
        /// Something that must hold for the run to pass.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        pub enum Expectation {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $expect $(($module::$settings))?,)+
        }

        impl Expectation {
            /// The name by which scenarios call it.
            pub fn name(&self) -> &'static str {
                match self {
                    $(expectations!(@pattern $expect _unused $($settings)?) => $name,)+
                }
            }

            fn inner(&self) -> &dyn Expect {
                match self {
                    $(expectations!(@pattern $expect settings $($settings)?) => {
                        expectations!(@inner $module $expect settings $($settings)?)
                    })+
                }
            }
        }
    };
    (@pattern $expect:ident $bound:ident $settings:ident) => { Expectation::$expect($bound) };
    (@pattern $expect:ident $bound:ident) => { Expectation::$expect };
    (@inner $module:ident $expect:ident $bound:ident $settings:ident) => { $bound };
    (@inner $module:ident $expect:ident $bound:ident) => { &$module::$expect };
}

expectations! {
    /// Everything that was acknowledged is still there at the end.
    "no_acknowledged_write_lost" => lost::NoAcknowledgedWriteLost,
    /// Every register behaved as if each operation took effect at one instant between its start and its end.
    "linearizable" => registers::Linearizable,
    /// The service was there for its clients.
    "availability" => availability::Availability(Availability),
    /// After every heal, the service is back within this time.
    "recovers_within" => recovery::RecoversWithin(RecoversWithin),
    /// After a fault, the service is back within a certain time.
    "rto" => rto::Rto(Rto),
    /// At most so many acknowledged writes are lost.
    "rpo" => rpo::Rpo(Rpo),
    /// When every fault is over, all instances give the same answer to one question.
    "replicas_agree" => replicas::ReplicasAgree(ReplicasAgree),
    /// Files that nothing may change are the same in the end as before the first fault.
    "files_intact" => files::FilesIntact(FilesIntact),
    /// What was added to sets is there in every later read, and nothing else.
    "set" => set::Set,
    /// Lists show one order in every read, and everything that was appended before.
    "append" => append::Append,
    /// The sum of all accounts is the same in every read, and no account is below zero.
    "bank" => bank::Bank,
    /// Every read of a counter lies between what must and what may have been added.
    "counter" => counter::Counter,
    /// No id was handed out twice.
    "unique_ids" => ids::UniqueIds,
    /// What was put into queues comes out, once.
    "queue" => queue::Queue,
    /// A command of your own judges the operations.
    "custom" => custom::Custom(Custom),
}

impl Expectation {
    /// The expectation in words, as reports name it.
    pub fn title(&self) -> String {
        self.inner().title()
    }

    /// Whether it can mean anything in a scenario of which this is known.
    pub fn check(&self, known: &Known<'_>) -> Result<(), Complaint> {
        self.inner().check(known)
    }

    /// What instances must be asked for it during the run.
    pub fn question(&self) -> Option<Question<'_>> {
        self.inner().question()
    }
}

/// Judges every expectation over the journal of one run. Faults, phases, operations and probes are all
/// taken from `entries`; a checker that crashes leaves its own expectation unknown and the others judged.
pub fn judge(expectations: &[Expectation], entries: &[Entry], budget: Budget) -> Vec<Judged> {
    let facts = Facts::of(entries);
    let mut all: Vec<Judged> = Vec::new();
    for expectation in expectations {
        let mut judged = judge_one(expectation.inner(), &facts, budget);
        // Expectations about the same writes find the same evidence, which is told once.
        let told = all.iter().find(|other| !judged.detail.is_empty() && other.detail == judged.detail);
        if let Some(other) = told {
            judged.detail = format!("what was found is told under `{}`", other.expectation);
        }
        all.push(judged);
    }
    all
}

fn judge_one(expect: &dyn Expect, facts: &Facts<'_>, budget: Budget) -> Judged {
    let finding = catch_unwind(AssertUnwindSafe(|| expect.judge(facts, budget)));
    let finding = finding.unwrap_or_else(|_| Finding::new(Verdict::Unknown, "the checker crashed"));
    Judged {
        expectation: expect.title(),
        verdict: finding.verdict,
        message: finding.message,
        detail: finding.detail,
        measured: finding.measured,
    }
}
