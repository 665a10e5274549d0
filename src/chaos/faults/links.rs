//! What faults of the network share: they are rules on links, and differ only in which links, in what
//! happens there, and in what the switch's counters must show.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules::{Rules, Traffic};
use super::{About, Ec2, Fault, FaultKind, Scene, Takes};
use crate::chaos::target::{Roster, Target};
use crate::diagnostic::closest;
use crate::fleet::Capability;
use crate::fleet::plan::CLIENT;
use crate::network::{Impairment, RuleCounters};
use crate::units::Share;

/// One direction between two ports of the switch.
pub(super) type Link = (String, String);

/// Says what the counters prove, if they prove anything.
pub(super) type Proof = fn(&RuleCounters) -> Option<String>;

/// Which links a fault hits.
pub(super) trait Aim {
    fn target(&self) -> &Target;

    /// `nodes` is every instance of the fleet, the targets among them.
    fn links(&self, targets: &[String], nodes: &[String]) -> BTreeSet<Link>;

    /// Whether the parameters that say so can be meant; the error is a sentence.
    fn check(&self, targets: &[String], roster: &Roster) -> Result<(), String>;
}

/// A fault of the network.
pub(super) trait LinkFault: Aim + Send + Sync {
    fn impairment(&self) -> Impairment;

    fn proof(&self) -> Proof;

    /// What is sent over its links when the service itself sends nothing that would prove it.
    fn traffic(&self) -> Traffic {
        Traffic::Datagrams(DISCARD)
    }

    /// Whether its own parameters change anything at all; the error is a sentence.
    fn sensible(&self) -> Result<(), String>;
}

/// The port of the discard protocol: nobody listens there.
const DISCARD: u16 = 9;

impl<F: LinkFault> FaultKind for F {
    fn target(&self) -> &Target {
        Aim::target(self)
    }

    fn needs(&self) -> Capability {
        Capability::Links
    }

    fn takes(&self) -> Takes {
        Takes::Nothing
    }

    fn check(&self, targets: &[String], roster: &Roster) -> Result<(), String> {
        self.sensible()?;
        Aim::check(self, targets, roster)?;
        match self.links(targets, &roster.owned_names()).is_empty() {
            false => Ok(()),
            true => {
                Err("there is no link that it could hit; `with_client: true` adds those to the clients"
                    .into())
            }
        }
    }

    fn arm(&self, scene: Scene) -> Box<dyn Fault> {
        let links = self.links(&scene.targets, &scene.all_names());
        Rules::new(scene, links, self.impairment(), self.proof(), self.traffic())
    }
}

/// Which way the frames go that a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Both ways.
    #[default]
    Both,
    /// What the targets send.
    Out,
    /// What is sent to the targets.
    In,
}

impl Direction {
    pub(super) fn is_both(&self) -> bool {
        *self == Direction::Both
    }
}

/// How most faults of the network choose their links.
pub(super) struct Ends<'a> {
    pub(super) peers: Option<&'a [String]>,
    pub(super) direction: Direction,
    pub(super) with_client: bool,
}

impl Ends<'_> {
    pub(super) fn links(&self, targets: &[String], nodes: &[String]) -> BTreeSet<Link> {
        let links = match self.peers {
            Some(peers) => between(targets, peers),
            None => touching(targets, nodes, self.with_client),
        };
        let wanted = |(from, to): &Link| match self.direction {
            Direction::Both => true,
            Direction::Out => targets.contains(from),
            Direction::In => targets.contains(to),
        };
        links.into_iter().filter(wanted).collect()
    }

    pub(super) fn check(&self, roster: &Roster) -> Result<(), String> {
        let Some(peers) = self.peers else { return Ok(()) };
        if self.with_client {
            return Err(format!("with `peers`, name `{CLIENT}` among them instead of `with_client: true`"));
        }
        if peers.is_empty() {
            return Err("`peers` is empty".to_owned());
        }
        let known: Vec<&str> = roster.names().chain([CLIENT]).collect();
        match peers.iter().find(|peer| !known.contains(&peer.as_str())) {
            None => Ok(()),
            Some(peer) => {
                let near = closest(peer, known.iter().copied());
                let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                Err(format!("the fleet has no instance `{peer}`{near}"))
            }
        }
    }
}

/// Declares a fault on links: its own parameters, and those by which such a fault chooses its links.
macro_rules! link_fault {
    ($name:ident { $($(#[$meta:meta])* $field:ident: $type:ty,)* }) => {
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            pub target: $crate::chaos::target::Target,
            $($(#[$meta])* pub $field: $type,)*
            /// Hits only the links between the targets and these instances, by name; `client` stands for
            /// the clients. Without it, those between the targets and every instance.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub peers: Option<Vec<String>>,
            /// Hits only what the targets send (`out`), or what they are sent (`in`).
            #[serde(default, skip_serializing_if = "super::links::Direction::is_both")]
            pub direction: super::links::Direction,
            /// Whether the links between the targets and the clients are hit too.
            #[serde(default)]
            pub with_client: bool,
        }

        impl $name {
            fn ends(&self) -> super::links::Ends<'_> {
                super::links::Ends {
                    peers: self.peers.as_deref(),
                    direction: self.direction,
                    with_client: self.with_client,
                }
            }
        }

        impl super::links::Aim for $name {
            fn target(&self) -> &$crate::chaos::target::Target {
                &self.target
            }

            fn links(
                &self,
                targets: &[String],
                nodes: &[String],
            ) -> std::collections::BTreeSet<super::links::Link> {
                self.ends().links(targets, nodes)
            }

            fn check(&self, _: &[String], roster: &$crate::chaos::target::Roster) -> Result<(), String> {
                self.ends().check(roster)
            }
        }
    };
}
pub(super) use link_fault;

/// Both directions between every member of `left` and every member of `right`, without repetition.
pub(super) fn between(left: &[String], right: &[String]) -> BTreeSet<Link> {
    let pairs = left.iter().flat_map(|a| right.iter().map(move |b| (a.clone(), b.clone())));
    pairs.filter(|(a, b)| a != b).flat_map(|(a, b)| [(a.clone(), b.clone()), (b, a)]).collect()
}

/// Every link that touches one of `targets`.
pub(super) fn touching(targets: &[String], nodes: &[String], with_client: bool) -> BTreeSet<Link> {
    let mut others = nodes.to_vec();
    others.extend(with_client.then(|| CLIENT.to_owned()));
    between(targets, &others)
}

/// What is true of every fault of the network; the rest is each fault's own.
pub(super) const ABOUT: About = About {
    details: "",
    example: "",
    local: "",
    ec2: Ec2::Not("there is no switch of ours between its instances"),
    proof: "",
    undo: "The rules are removed from the switch, which confirms that it has none. They are a lease that ends \
           with its owner.",
};

/// Refuses a share of nothing.
pub(super) fn some(share: Share, what: &str) -> Result<(), String> {
    match share.0 > 0.0 {
        true => Ok(()),
        false => Err(format!("{what} of 0% changes nothing")),
    }
}

/// The proof that frames were dropped.
pub(super) fn dropped(counters: &RuleCounters) -> Option<String> {
    (counters.dropped > 0).then(|| format!("the switch dropped {}", frames(counters.dropped)))
}

/// The proof that frames were held back.
pub(super) fn delayed(counters: &RuleCounters) -> Option<String> {
    (counters.delayed > 0).then(|| format!("the switch delayed {}", frames(counters.delayed)))
}

/// So many frames, in words.
pub(super) fn frames(count: u64) -> String {
    match count {
        1 => "1 frame".to_owned(),
        _ => format!("{count} frames"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::target::Seat;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    fn links(ends: &Ends<'_>) -> Vec<String> {
        let links = ends.links(&names(&["a"]), &names(&["a", "b", "c"]));
        links.iter().map(|(from, to)| format!("{from}>{to}")).collect()
    }

    #[test]
    fn links_are_chosen_by_peers_and_direction() {
        let all = Ends { peers: None, direction: Direction::Both, with_client: false };
        assert_eq!(links(&all), ["a>b", "a>c", "b>a", "c>a"]);
        assert_eq!(
            links(&Ends { direction: Direction::Out, with_client: true, ..all }),
            ["a>b", "a>c", "a>client"]
        );
        let peers = names(&["b", "client"]);
        let some = Ends { peers: Some(&peers), direction: Direction::In, with_client: false };
        assert_eq!(links(&some), ["b>a", "client>a"]);
    }

    #[test]
    fn peers_that_are_not_there_are_refused() {
        let seat = |name: &str| Seat { name: name.to_owned(), role: String::new(), zone: String::new() };
        let roster = Roster(vec![seat("etcd-1"), seat("etcd-2")]);
        let check = |peers: &[&str], with_client| {
            let peers = names(peers);
            Ends { peers: Some(&peers), direction: Direction::Both, with_client }.check(&roster)
        };
        assert_eq!(check(&["etcd-2", "client"], false), Ok(()));
        let slip = "the fleet has no instance `etcd-3`; did you mean `etcd-1`?";
        assert_eq!(check(&["etcd-3"], false), Err(slip.to_owned()));
        assert!(check(&[], false).is_err() && check(&["etcd-1"], true).is_err());
    }
}
