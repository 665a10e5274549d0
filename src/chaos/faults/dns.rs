//! `network.dns`: the targets get wrong answers, or none, when they ask for the addresses of names.
//!
//! Proof: the switch has given wrong answers, or swallowed questions.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::links::{self, Aim, Link, LinkFault, Proof};
use super::rules::Traffic;
use super::{About, Documented};
use crate::chaos::target::{Roster, Target};
use crate::fleet::plan::CLIENT;
use crate::network::{Impairment, Lie, Names};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dns {
    pub target: Target,
    /// What those who ask get. What they know already they may keep for five seconds.
    pub answer: Lie,
    /// Only questions for these names; without it, all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

impl Aim for Dns {
    fn target(&self) -> &Target {
        &self.target
    }

    /// The server stands where the clients are.
    fn links(&self, targets: &[String], _: &[String]) -> BTreeSet<Link> {
        targets.iter().map(|target| (target.clone(), CLIENT.to_owned())).collect()
    }

    fn check(&self, _: &[String], _: &Roster) -> Result<(), String> {
        Ok(())
    }
}

impl Documented for Dns {
    const ABOUT: About = About {
        details: "The resolver lies, fails or is gone. Only the names of the fleet are resolved over its \
                  network; what stands in a file of the image, or was remembered, is not asked for. Finds \
                  services that give up when a name does not resolve, or that cache a wrong address for \
                  good.",
        example: "network.dns: { target: { one: web }, answer: servfail, names: [web-2] }",
        local: "The fleet's switch answers the questions itself, or drops them.",
        proof: "The switch has given wrong answers or swallowed questions because of it. Where nobody asks, \
                a question is sent on purpose.",
        ..links::ABOUT
    };
}

impl LinkFault for Dns {
    fn impairment(&self) -> Impairment {
        let names = self.names.iter().map(|name| name.trim_end_matches('.').to_ascii_lowercase()).collect();
        Impairment { names: Some(Names { names, answer: self.answer }), ..Default::default() }
    }

    fn proof(&self) -> Proof {
        |counters| match (counters.misled, counters.dropped) {
            (0, 0) => None,
            (0, swallowed) => Some(format!("the switch swallowed {swallowed} questions")),
            (misled, _) => Some(format!("the switch gave {misled} wrong answers")),
        }
    }

    fn traffic(&self) -> Traffic {
        Traffic::Question(self.names.first().cloned().unwrap_or_else(|| CLIENT.to_owned()))
    }

    fn sensible(&self) -> Result<(), String> {
        match self.names.iter().find(|name| !is_name(name)) {
            Some(name) => Err(format!("`{name}` is not a name that anyone could ask for")),
            None => Ok(()),
        }
    }
}

/// Labels of 1 to 63 visible characters, 253 in all.
fn is_name(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    let label =
        |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_graphic());
    name.len() <= 253 && name.split('.').all(label)
}
