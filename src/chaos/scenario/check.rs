//! What must be right in a scenario beyond its form, each complaint with its place.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{ScenarioSpec, duration};
use crate::chaos::faults::Lasts;
use crate::chaos::schedule::Step;
use crate::chaos::target::{Roster, Target};
use crate::diagnostic::{BadFile, Located, Position};
use crate::fleet::plan::resolve;
use crate::store::{Image, ImageId, Manifest};
use crate::units::Span;
use crate::verify::Expectation;
use crate::verify::expect::{Complaint, Known};
use crate::verify::probes::Mode;
use crate::verify::workload::Workload;

/// A run of a day finds no more than one of an hour, and journals are kept in memory.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// More than a person writes.
const MOST_STEPS: usize = 500;

struct Checker<'a> {
    path: &'a Path,
    text: &'a str,
    spec: &'a ScenarioSpec,
}

/// Checks everything that can be known without images; returns what the checks found out on the way.
pub(super) fn all(path: &Path, text: &str, spec: &ScenarioSpec) -> Result<(Roster, Vec<Workload>), BadFile> {
    let checker = Checker { path, text, spec };
    if spec.name.trim().is_empty() || spec.name.chars().any(char::is_control) {
        return Err(checker.bad(spec.name.at, "a scenario needs a name of one line"));
    }
    let roster = checker.fleet()?;
    checker.steady(&roster)?;
    let workloads = checker.workload(&roster)?;
    checker.timeline(&roster)?;
    checker.expect(&workloads, &roster)?;
    checker.allow()?;
    Ok((roster, workloads))
}

/// An image of which nothing is known yet, so that a fleet can be planned before anything is baked.
pub(super) fn unbaked() -> Image {
    let manifest = Manifest::blank(ImageId::from_hash(blake3::hash(b"unbaked")), "");
    Image { manifest, dir: PathBuf::new() }
}

impl Checker<'_> {
    fn bad(&self, at: Option<Position>, message: impl Into<String>) -> BadFile {
        BadFile::at(self.path, self.text, at, message)
    }

    fn fleet(&self) -> Result<Roster, BadFile> {
        let plan = resolve("check", &self.spec.fleet, |_| Ok::<_, Infallible>(unbaked()));
        let plan = plan.map_err(|error| match error.at {
            None => BadFile::at_field(self.path, self.text, "fleet", error.message),
            at => self.bad(at, error.message),
        })?;
        Ok(Roster::of(&plan))
    }

    fn role(&self, at: Option<Position>, role: &str, roster: &Roster) -> Result<(), BadFile> {
        let roles = roster.roles();
        match roles.contains(role) {
            true => Ok(()),
            false => Err(self
                .bad(at, format!("the fleet has no role `{role}`"))
                .suggest(role, roles.iter().copied())
                .help(expected(&roles))),
        }
    }

    fn steady(&self, roster: &Roster) -> Result<(), BadFile> {
        if self.spec.steady.is_empty() {
            return Err(BadFile::at_field(self.path, self.text, "steady", "`steady` is empty").help(
                "a scenario needs at least one probe that says what the service does when all is well",
            ));
        }
        let modes = || self.spec.steady.iter().map(|probe| probe.mode);
        let when = match (modes().any(Mode::holds_before), modes().any(Mode::holds_after)) {
            (true, true) => None,
            (false, _) => Some(("before the first fault", "before")),
            (true, false) => Some(("after the last fault", "after")),
        };
        if let Some((when, mode)) = when {
            let message = format!("no probe of `steady` must hold {when}");
            return Err(BadFile::at_field(self.path, self.text, "steady", message)
                .help(format!("give one of them the mode `continuous`, `around` or `{mode}`")));
        }
        let mut names = BTreeSet::new();
        for probe in &self.spec.steady {
            if !names.insert(probe.name.as_str()) {
                return Err(self.bad(probe.at, format!("there are two steady probes `{}`", probe.name)));
            }
            if probe.every.0 < Duration::from_millis(1) {
                return Err(
                    self.bad(probe.at, "a probe cannot be measured more often than every millisecond")
                );
            }
            if let Some(role) = &probe.role {
                self.role(probe.at, role, roster)?;
            }
        }
        Ok(())
    }

    fn workload(&self, roster: &Roster) -> Result<Vec<Workload>, BadFile> {
        let mut names = BTreeSet::new();
        let mut ready = Vec::new();
        for spec in &self.spec.workload {
            if let Some(role) = &spec.role {
                self.role(spec.at, role, roster)?;
            }
            let workload = Workload::load(spec, self.path, self.text)?;
            if !names.insert(workload.name().to_owned()) {
                return Err(self
                    .bad(spec.at, format!("there are two workloads `{}`", workload.name()))
                    .help("give each a `name` of its own"));
            }
            ready.push(workload);
        }
        Ok(ready)
    }

    fn timeline(&self, roster: &Roster) -> Result<(), BadFile> {
        let steps = &self.spec.timeline;
        if steps.is_empty() && self.spec.duration.is_none() {
            let message = "`timeline` is empty and there is no `duration`";
            return Err(BadFile::at_field(self.path, self.text, "timeline", message)
                .help("a scenario that breaks nothing must say how long it runs"));
        }
        if steps.len() > MOST_STEPS {
            return Err(self.bad(None, format!("`timeline` has more than {MOST_STEPS} steps")));
        }
        for step in steps {
            self.step(step, roster)?;
        }
        let (total, at) = (duration(self.spec), self.spec.duration.as_ref().and_then(|given| given.at));
        if total > LONGEST {
            return Err(
                self.bad(at, format!("the scenario would run {}, at most 24h are possible", Span(total)))
            );
        }
        if total.is_zero() {
            return Err(self.bad(at, "a scenario of no duration learns nothing"));
        }
        for step in steps {
            if step.ends() > total || step.at.value.0 >= total {
                let place = step.lasts.as_ref().map_or(step.at.at, |lasts| lasts.at);
                return Err(self
                    .bad(
                        place,
                        format!(
                            "this would last until {}, after the end at {}",
                            Span(step.ends()),
                            Span(total)
                        ),
                    )
                    .help("give a longer `duration`, or leave it out"));
            }
        }
        Ok(())
    }

    fn step(&self, step: &Step, roster: &Roster) -> Result<(), BadFile> {
        let name = step.inject.name();
        match (step.inject.kind().lasts(), &step.lasts) {
            (Lasts::While, None) => {
                return Err(self
                    .bad(step.inject.at, format!("`{name}` needs `for`"))
                    .help("say how long it lasts, such as `for: 10s`"));
            }
            (Lasts::Once, Some(lasts)) => {
                return Err(self.bad(lasts.at, format!("`{name}` ends by itself and has no `for`")));
            }
            (Lasts::While, Some(lasts)) if lasts.value.0.is_zero() => {
                return Err(self.bad(lasts.at, "a fault of no duration cannot be proven"));
            }
            _ => {}
        }
        let target = step.inject.kind().target();
        self.target(target, step.inject.at, roster)?;
        let candidates = target.candidates(roster);
        let wanted = target.wanted(candidates.len());
        if wanted == 0 {
            return Err(self.bad(
                step.inject.at,
                format!("{target} would be nobody, there being only {}", candidates.len()),
            ));
        }
        let sample: Vec<String> = candidates.into_iter().take(wanted).collect();
        step.inject.kind().check(&sample, roster).map_err(|message| self.bad(step.inject.at, message))
    }

    fn target(&self, target: &Target, step: Option<Position>, roster: &Roster) -> Result<(), BadFile> {
        match target {
            Target::Nodes(nodes) => {
                if nodes.is_empty() {
                    return Err(self.bad(step, "`nodes` is empty"));
                }
                let known: BTreeSet<&str> = roster.names().collect();
                let mut seen = BTreeSet::new();
                for node in nodes {
                    if !known.contains(node.value.as_str()) {
                        return Err(self
                            .bad(node.at, format!("the fleet has no instance `{node}`"))
                            .suggest(node, known.iter().copied())
                            .help(expected(&known)));
                    }
                    if !seen.insert(node.value.as_str()) {
                        return Err(self.bad(node.at, format!("`{node}` is named twice")));
                    }
                }
                Ok(())
            }
            Target::Zone(zone) => {
                let zones = roster.zones();
                match zones.contains(zone.value.as_str()) {
                    true => Ok(()),
                    false => Err(self
                        .bad(zone.at, format!("the fleet has no instance in zone `{zone}`"))
                        .suggest(zone, zones.iter().copied())
                        .help(expected(&zones))),
                }
            }
            Target::Everyone => Ok(()),
            Target::Leader(role) if self.spec.leader.is_none() => Err(self
                .bad(role.at, "the scenario does not say how to find a leader")
                .help("add `leader:` with a probe that passes on the leader alone")),
            Target::One(role)
            | Target::All(role)
            | Target::Minority(role)
            | Target::Majority(role)
            | Target::Leader(role) => self.role(role.at, role, roster),
        }
    }

    fn allow(&self) -> Result<(), BadFile> {
        for exception in &self.spec.allow {
            // Shorter texts are in nearly every line.
            if exception.pattern.trim().chars().count() < 5 {
                let message = format!("`{}` would allow too much", exception.pattern);
                return Err(self.bad(exception.at, message).help("a `pattern` has at least 5 characters"));
            }
            if exception.reason.trim().is_empty() {
                return Err(self.bad(exception.at, "an exception needs a `reason`"));
            }
        }
        Ok(())
    }

    fn expect(&self, workloads: &[Workload], roster: &Roster) -> Result<(), BadFile> {
        if self.spec.expect.is_empty() {
            return Err(BadFile::at_field(self.path, self.text, "expect", "`expect` is empty")
                .help("a scenario needs at least one expectation"));
        }
        let mut titles = BTreeSet::new();
        for expectation in &self.spec.expect {
            if !titles.insert(expectation.title()) {
                return Err(self.bad(expectation.at, format!("`{}` is expected twice", expectation.title())));
            }
            self.expectation(expectation, workloads, roster)?;
        }
        Ok(())
    }

    fn expectation(
        &self,
        expectation: &Located<Expectation>,
        workloads: &[Workload],
        roster: &Roster,
    ) -> Result<(), BadFile> {
        let known = Known {
            workloads: workloads.iter().map(|workload| (workload.name(), workload.kind())).collect(),
            probes: self.spec.steady.iter().map(|probe| (probe.name.as_str(), probe.mode)).collect(),
            roles: roster.roles(),
            faults: self.spec.timeline.iter().map(|step| step.inject.name()).collect(),
        };
        expectation.check(&known).map_err(|Complaint { message, instead, help }| {
            let mut bad = self.bad(expectation.at, message);
            if let Some((found, known)) = instead {
                bad = bad.suggest(&found, known.iter().map(String::as_str));
            }
            help.into_iter().fold(bad, BadFile::help)
        })
    }
}

fn expected(names: &BTreeSet<&str>) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    format!("expected one of {}", quoted.join(", "))
}
