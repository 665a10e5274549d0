//! Which instances a fault hits: by name, by role, by zone, by lot, or by asking the service.
//!
//! Choosing is pure: the same roster, taken set and random stream give the same instances. Asking the
//! service who leads happens in the engine; here a leader is only a choice that cannot be made yet.

use std::collections::BTreeSet;

use rand::Rng;
use rand::seq::SliceRandom;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::diagnostic::Located;
use crate::fleet::FleetPlan;

/// Whom a fault hits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// These instances, by name, such as `[etcd-1, etcd-2]`.
    Nodes(Vec<Located<String>>),
    /// One instance of this role, chosen by the seed.
    One(Located<String>),
    /// Every instance of this role.
    All(Located<String>),
    /// Fewer than half of this role's instances, as many as that allows, chosen by the seed.
    Minority(Located<String>),
    /// More than half of this role's instances, as few as that takes, chosen by the seed.
    Majority(Located<String>),
    /// Every instance in this zone, whatever its role.
    Zone(Located<String>),
    /// The instance of this role that the scenario's `leader` probe finds when the fault is due.
    Leader(Located<String>),
    /// Every instance of the fleet.
    Everyone,
}

/// One instance, as far as choosing goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    pub name: String,
    pub role: String,
    pub zone: String,
}

/// All instances of a fleet in order of role, then index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster(pub Vec<Seat>);

/// What a target came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// These instances, in the order in which they were drawn.
    Nodes(Vec<String>),
    /// One of these; only the service knows which.
    LeaderOf(Vec<String>),
    /// Not enough instances are free of other faults.
    Taken,
}

impl Roster {
    pub fn of(plan: &FleetPlan) -> Self {
        let seats = plan.nodes.iter().map(|node| Seat {
            name: node.name.clone(),
            role: node.role.clone(),
            zone: node.zone.clone(),
        });
        Roster(seats.collect())
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|seat| seat.name.as_str())
    }

    /// The names as the fault catalogue wants them.
    pub fn owned_names(&self) -> Vec<String> {
        self.names().map(str::to_owned).collect()
    }

    pub fn roles(&self) -> BTreeSet<&str> {
        self.0.iter().map(|seat| seat.role.as_str()).collect()
    }

    pub fn zones(&self) -> BTreeSet<&str> {
        self.0.iter().map(|seat| seat.zone.as_str()).collect()
    }

    fn of_role(&self, role: &str) -> Vec<String> {
        self.0.iter().filter(|seat| seat.role == role).map(|seat| seat.name.clone()).collect()
    }
}

impl Target {
    /// Every instance that the target might come to.
    pub fn candidates(&self, roster: &Roster) -> Vec<String> {
        match self {
            Target::Nodes(names) => names.iter().map(|name| name.value.clone()).collect(),
            Target::Everyone => roster.owned_names(),
            Target::Zone(zone) => {
                roster.0.iter().filter(|s| s.zone == zone.value).map(|s| s.name.clone()).collect()
            }
            Target::One(role)
            | Target::All(role)
            | Target::Minority(role)
            | Target::Majority(role)
            | Target::Leader(role) => roster.of_role(role),
        }
    }

    /// How many of `total` candidates the target takes.
    pub fn wanted(&self, total: usize) -> usize {
        match self {
            Target::Nodes(_) | Target::All(_) | Target::Zone(_) | Target::Everyone => total,
            Target::One(_) | Target::Leader(_) => 1.min(total),
            Target::Minority(_) => total.saturating_sub(1) / 2,
            Target::Majority(_) => (total / 2 + 1).min(total),
        }
    }

    /// Whether the seed or the service has a say.
    pub fn is_fixed(&self) -> bool {
        matches!(self, Target::Nodes(_) | Target::All(_) | Target::Zone(_) | Target::Everyone)
    }

    /// Draws the instances, none of them in `taken`.
    pub fn choose(&self, roster: &Roster, taken: &BTreeSet<String>, lot: &mut impl Rng) -> Choice {
        let candidates = self.candidates(roster);
        let wanted = self.wanted(candidates.len());
        let mut free: Vec<String> =
            candidates.iter().filter(|name| !taken.contains(*name)).cloned().collect();
        match self {
            Target::Leader(_) if free.len() == candidates.len() => Choice::LeaderOf(free),
            Target::Leader(_) => Choice::Taken,
            _ if free.len() < wanted => Choice::Taken,
            _ => {
                free.shuffle(lot);
                free.truncate(wanted);
                Choice::Nodes(free)
            }
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Nodes(names) => {
                let names: Vec<&str> = names.iter().map(|name| name.value.as_str()).collect();
                f.write_str(&names.join(", "))
            }
            Target::One(role) => write!(f, "one {role}"),
            Target::All(role) => write!(f, "all of {role}"),
            Target::Minority(role) => write!(f, "a minority of {role}"),
            Target::Majority(role) => write!(f, "a majority of {role}"),
            Target::Zone(zone) => write!(f, "zone {zone}"),
            Target::Leader(role) => write!(f, "the leader of {role}"),
            Target::Everyone => write!(f, "the whole fleet"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;
    use proptest::prelude::*;

    fn roster(count: u8) -> Roster {
        let seat = |name: String, zone: &str| Seat {
            role: name.split('-').next().unwrap_or_default().to_owned(),
            name,
            zone: zone.to_owned(),
        };
        let etcd = (1..=count).map(|n| seat(format!("etcd-{n}"), if n % 2 == 0 { "b" } else { "a" }));
        Roster(etcd.chain([seat("web-1".to_owned(), "a")]).collect())
    }

    fn etcd() -> Located<String> {
        "etcd".to_owned().into()
    }

    #[test]
    fn a_zone_is_whoever_stands_in_it() {
        let zone = Target::Zone("a".to_owned().into());
        assert_eq!(zone.candidates(&roster(3)), ["etcd-1", "etcd-3", "web-1"]);
    }

    #[test]
    fn a_minority_leaves_a_majority() {
        for (total, minority, majority) in [(1, 0, 1), (2, 0, 2), (3, 1, 2), (4, 1, 3), (5, 2, 3)] {
            assert_eq!(Target::Minority(etcd()).wanted(total), minority);
            assert_eq!(Target::Majority(etcd()).wanted(total), majority);
        }
    }

    proptest! {
        #[test]
        fn a_choice_is_repeatable_and_avoids_the_taken(seed: u64, count in 1_u8..9, busy in 1_u8..9) {
            let roster = roster(count);
            let taken = BTreeSet::from([format!("etcd-{busy}")]);
            let targets = [Target::One(etcd()), Target::Minority(etcd()), Target::Majority(etcd())];
            for target in targets {
                let first = target.choose(&roster, &taken, &mut Seed(seed).stream("t"));
                prop_assert_eq!(&first, &target.choose(&roster, &taken, &mut Seed(seed).stream("t")));
                if let Choice::Nodes(nodes) = first {
                    prop_assert_eq!(nodes.len(), target.wanted(usize::from(count)));
                    prop_assert!(nodes.iter().all(|node| !taken.contains(node)));
                }
            }
        }
    }
}
