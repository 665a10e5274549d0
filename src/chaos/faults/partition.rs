//! `network.partition`: nothing passes between groups of instances.
//!
//! Proof: the switch has dropped frames because of it.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::links::{self, Aim, Link, LinkFault, Proof, between, dropped, touching};
use super::{About, Documented};
use crate::chaos::target::{Roster, Target};
use crate::network::Impairment;

/// Which links are cut. The order of the targets, drawn by the seed, decides who is on which side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// The targets, as one group, from every other instance.
    Isolate,
    /// What the targets send reaches no other instance; they still hear the others.
    OneWay,
    /// The targets into two halves, the first the smaller.
    Halves,
    /// Two halves of the targets with one between them that sees both.
    Bridge,
    /// Every target sees a majority of them, and no two see the same one.
    MajorityRing,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    pub shape: Shape,
    pub target: Target,
    /// Whether the links between the targets and the clients are cut too, for the shapes `isolate` and
    /// `one_way`. Without it clients still reach every instance, so that an instance which answers
    /// without its peers is found out.
    #[serde(default)]
    pub with_client: bool,
}

impl Aim for Partition {
    fn target(&self) -> &Target {
        &self.target
    }

    fn links(&self, targets: &[String], nodes: &[String]) -> BTreeSet<Link> {
        let outsiders: Vec<String> = nodes.iter().filter(|node| !targets.contains(node)).cloned().collect();
        match self.shape {
            Shape::Isolate => touching(targets, &outsiders, self.with_client),
            Shape::OneWay => {
                let cut = touching(targets, &outsiders, self.with_client);
                cut.into_iter().filter(|(from, _)| targets.contains(from)).collect()
            }
            Shape::Halves => {
                let (left, right) = targets.split_at(targets.len() / 2);
                between(left, right)
            }
            Shape::Bridge => {
                let Some((_, sides)) = targets.split_first() else { return BTreeSet::new() };
                let (left, right) = sides.split_at(sides.len() / 2);
                between(left, right)
            }
            Shape::MajorityRing => {
                // On a ring, whoever is further away than this many steps is out of sight.
                let sight = (targets.len() / 2).div_ceil(2);
                let apart = |a: usize, b: usize| a.abs_diff(b).min(targets.len() - a.abs_diff(b));
                let mut cut = BTreeSet::new();
                for (at, from) in targets.iter().enumerate() {
                    let far = targets.iter().enumerate().filter(|(other, _)| apart(at, *other) > sight);
                    cut.extend(far.map(|(_, to)| (from.clone(), to.clone())));
                }
                cut
            }
        }
    }

    fn check(&self, targets: &[String], _: &Roster) -> Result<(), String> {
        let (needed, name) = match self.shape {
            Shape::Isolate | Shape::OneWay => return Ok(()),
            Shape::Halves => (2, "halves"),
            Shape::Bridge => (3, "bridge"),
            Shape::MajorityRing => (4, "majority_ring"),
        };
        if targets.len() < needed {
            return Err(format!(
                "the shape `{name}` needs at least {needed} targets, these are {}",
                targets.len()
            ));
        }
        if self.with_client {
            return Err(format!("`with_client` is for the shapes `isolate` and `one_way`, not for `{name}`"));
        }
        Ok(())
    }
}

impl Documented for Partition {
    const ABOUT: About = About {
        details: "Frames between them are dropped without a word, as by a dead switch or a wrong firewall \
                  rule. Everything else still talks, the management path included.",
        example: "network.partition: { target: { one: web }, shape: isolate }",
        local: "The fleet's switch drops the frames of the links in question.",
        proof: "The switch has dropped frames because of it. Where the service is silent, frames are sent on \
                purpose.",
        ..links::ABOUT
    };
}

impl LinkFault for Partition {
    fn impairment(&self) -> Impairment {
        Impairment { cut: true, ..Default::default() }
    }

    fn proof(&self) -> Proof {
        dropped
    }

    fn sensible(&self) -> Result<(), String> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::plan::CLIENT;

    fn names(count: usize) -> Vec<String> {
        (1..=count).map(|n| format!("n{n}")).collect()
    }

    fn cut(shape: Shape, targets: &[String], nodes: &[String], with_client: bool) -> BTreeSet<Link> {
        Partition { shape, target: Target::Nodes(Vec::new()), with_client }.links(targets, nodes)
    }

    fn link(from: &str, to: &str) -> Link {
        (from.to_owned(), to.to_owned())
    }

    #[test]
    fn shapes_cut_what_they_say() {
        let three = names(3);
        let isolated = cut(Shape::Isolate, &three[..1], &three, false);
        let expected = [("n1", "n2"), ("n2", "n1"), ("n1", "n3"), ("n3", "n1")];
        assert_eq!(isolated, expected.map(|(a, b)| link(a, b)).into());
        let deaf = cut(Shape::OneWay, &three[..1], &three, true);
        assert_eq!(deaf, [("n1", "n2"), ("n1", "n3"), ("n1", CLIENT)].map(|(a, b)| link(a, b)).into());
        assert_eq!(cut(Shape::Halves, &three, &three, false).len(), 4);
        assert_eq!(cut(Shape::Bridge, &three, &three, false), [link("n2", "n3"), link("n3", "n2")].into());
    }

    #[test]
    fn a_ring_leaves_everyone_a_majority_of_their_own() {
        for count in 4..10 {
            let nodes = names(count);
            let cut = cut(Shape::MajorityRing, &nodes, &nodes, false);
            let mut views = BTreeSet::new();
            for a in &nodes {
                let seen: Vec<&String> =
                    nodes.iter().filter(|b| !cut.contains(&(a.clone(), (*b).clone()))).collect();
                assert!(seen.len() > count / 2 && seen.len() < count, "{count}: {seen:?}");
                views.insert(seen);
            }
            assert_eq!(views.len(), count);
            assert!(cut.iter().all(|(a, b)| cut.contains(&(b.clone(), a.clone()))));
        }
    }
}
