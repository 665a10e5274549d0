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
//! | replicas agree | `agreed_after_ms` (from the first question), `agreed_after_heal_ms`, `different_answers` |
//! | files intact | `files` |
//! | availability and recovery, for each fault | `downtime_ms.FAULT`, `rto_from_injection_ms.FAULT`, `rto_from_heal_ms.FAULT` |

mod availability;
mod facts;
mod files;
mod known;
mod lost;
mod order;
mod recovery;
mod replicas;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use availability::Availability;
pub use files::FilesIntact;
pub use known::{Complaint, Known};
pub use recovery::RecoversWithin;
pub use replicas::ReplicasAgree;

use super::checker::Budget;
use super::question::Question;
use crate::journal::event::Judged;
use crate::journal::{Entry, Verdict};
use facts::Facts;

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
    "linearizable" => order::Linearizable,
    /// The service was there for its clients.
    "availability" => availability::Availability(Availability),
    /// After every heal, the service is back within this time.
    "recovers_within" => recovery::RecoversWithin(RecoversWithin),
    /// When every fault is over, all instances give the same answer to one question.
    "replicas_agree" => replicas::ReplicasAgree(ReplicasAgree),
    /// Files that nothing may change are the same in the end as before the first fault.
    "files_intact" => files::FilesIntact(FilesIntact),
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
    expectations
        .iter()
        .map(|expectation| {
            let finding = catch_unwind(AssertUnwindSafe(|| expectation.inner().judge(&facts, budget)));
            let finding = finding.unwrap_or_else(|_| Finding::new(Verdict::Unknown, "the checker crashed"));
            Judged {
                expectation: expectation.title(),
                verdict: finding.verdict,
                message: finding.message,
                detail: finding.detail,
                measured: finding.measured,
            }
        })
        .collect()
}

/// What was found about one expectation.
struct Finding {
    verdict: Verdict,
    message: String,
    detail: String,
    measured: BTreeMap<String, f64>,
}

impl Finding {
    fn new(verdict: Verdict, message: impl Into<String>) -> Self {
        Finding { verdict, message: message.into(), detail: String::new(), measured: BTreeMap::new() }
    }

    fn measured(mut self, name: impl Into<String>, number: f64) -> Self {
        self.measured.insert(name.into(), number);
        self
    }
}

/// `1 write`, `2 writes`.
fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
