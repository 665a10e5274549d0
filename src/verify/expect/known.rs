//! What an expectation can know of the scenario that it stands in, and its complaint when it cannot mean
//! anything there.

use std::collections::{BTreeMap, BTreeSet};

use crate::verify::probes::Mode;
use crate::verify::workload::WorkloadKind;

/// A scenario as expectations see it.
pub struct Known<'a> {
    /// Name and kind of each.
    pub workloads: Vec<(&'a str, WorkloadKind)>,
    /// The steady probes by name.
    pub probes: BTreeMap<&'a str, Mode>,
    pub roles: BTreeSet<&'a str>,
    /// The kinds of the faults in the timeline.
    pub faults: BTreeSet<&'a str>,
}

/// Why an expectation cannot mean anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    pub message: String,
    /// What was written, and what could be written in its place.
    pub instead: Option<(String, Vec<String>)>,
    pub help: Option<String>,
}

impl Complaint {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Complaint { message: message.into(), instead: None, help: None }
    }

    #[must_use]
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl Known<'_> {
    /// `what` is judged from operations.
    pub(super) fn has_workload_for(&self, what: &str) -> Result<(), Complaint> {
        match self.workloads.is_empty() {
            false => Ok(()),
            true => Err(Complaint::new(format!(
                "{what} is judged from the operations of a workload, and there is none"
            ))
            .help("add `workload:`")),
        }
    }

    /// `what` is judged from the operations of workloads of certain kinds.
    pub(super) fn has_kind_for(&self, what: &str, kinds: &[&str]) -> Result<(), Complaint> {
        self.has_workload_for(what)?;
        match self.workloads.iter().any(|(_, kind)| kinds.contains(&kind.name())) {
            true => Ok(()),
            false => Err(Complaint::new(format!("{what} says nothing of the workloads that there are"))
                .help(format!("it needs a workload of the kind `{}`", kinds.join("` or `")))),
        }
    }

    pub(super) fn has_faults(&self) -> Result<(), Complaint> {
        match self.faults.is_empty() {
            false => Ok(()),
            true => Err(Complaint::new("there is no fault to recover from: `timeline` is empty")),
        }
    }

    pub(super) fn has_fault(&self, kind: &str) -> Result<(), Complaint> {
        named("fault in the timeline called", kind, &self.faults)
    }

    pub(super) fn has_workload(&self, name: &str) -> Result<(), Complaint> {
        named("workload", name, &self.workloads.iter().map(|(name, _)| *name).collect())
    }

    /// A probe of this name is measured while faults are at work.
    pub(super) fn has_probe(&self, name: &str) -> Result<(), Complaint> {
        named("steady probe", name, &self.probes.keys().copied().collect())?;
        match self.probes.get(name).is_some_and(|mode| mode.watches()) {
            true => Ok(()),
            false => Err(Complaint::new(format!(
                "the steady probe `{name}` is not measured while faults are at work"
            ))
            .help("give it the mode `continuous` or `during`")),
        }
    }

    /// Something can show how soon the service is back after a fault.
    pub(super) fn has_recoveries(&self) -> Result<(), Complaint> {
        self.has_faults()?;
        let watches = self.probes.values().any(|mode| *mode == Mode::Continuous);
        match watches || !self.workloads.is_empty() {
            true => Ok(()),
            false => Err(Complaint::new("nothing shows how soon the service is back")
                .help("add a workload, or a steady probe of the mode `continuous`")),
        }
    }

    /// No role at all means every instance.
    pub(super) fn has_role(&self, role: Option<&str>) -> Result<(), Complaint> {
        role.map_or(Ok(()), |role| named("role", role, &self.roles))
    }
}

fn named(what: &str, name: &str, known: &BTreeSet<&str>) -> Result<(), Complaint> {
    if known.contains(name) {
        return Ok(());
    }
    let quoted: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    Err(Complaint {
        message: format!("there is no {what} `{name}`"),
        instead: Some((name.to_owned(), known.iter().map(|name| (*name).to_owned()).collect())),
        help: Some(format!("expected one of {}", quoted.join(", "))),
    })
}
