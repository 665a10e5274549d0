//! What faults of the network share: rules go in as one, the switch's counters prove them, and they go
//! out as one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use tokio::time::Instant;

use super::{Fault, FaultError, Scene};
use crate::fleet::plan::CLIENT;
use crate::guest::Session;
use crate::network::{Impairment, LinkRule, RuleCounters, RuleSet};

/// One direction between two ports of the switch.
pub(super) type Link = (String, String);

/// How often the counters are read while there is no proof yet.
const LOOK: Duration = Duration::from_millis(200);
/// The service's own traffic is given this long to meet the rules before we send some.
const OWN_TRAFFIC: Duration = Duration::from_secs(1);
/// For one attempt to send something over a link.
const SEND: Duration = Duration::from_secs(3);

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

/// A fault that is a set of rules on links.
pub(super) struct Rules {
    scene: Scene,
    links: Vec<Link>,
    impairment: Impairment,
    /// Says what the counters prove, if they prove anything.
    proof: fn(&RuleCounters) -> Option<String>,
    /// As the switch last counted, for the words after the heal.
    last: RuleCounters,
}

impl Rules {
    pub(super) fn new(
        scene: Scene,
        links: BTreeSet<Link>,
        impairment: Impairment,
        proof: fn(&RuleCounters) -> Option<String>,
    ) -> Box<Self> {
        let last = RuleCounters::default();
        Box::new(Rules { scene, links: links.into_iter().collect(), impairment, proof, last })
    }

    /// Sends a frame over one of the links, so that proof does not depend on whether the service happens
    /// to talk. What comes of it does not matter: the counters tell.
    async fn send(&self, round: usize, sessions: &mut BTreeMap<String, Arc<dyn Session>>) {
        let Some((from, to)) = self.links.get(round % self.links.len().max(1)) else { return };
        let deadline = Instant::now() + SEND;
        if from == CLIENT {
            let _ = self.scene.fleet.dialer(to).dial(9, deadline).await;
            return;
        }
        let to = match self.scene.node(to) {
            Ok(node) => node.address.to_string(),
            Err(_) => crate::fleet::plan::CLIENT_ADDRESS.to_string(),
        };
        let session = sessions.entry(from.clone()).or_insert_with(|| self.scene.fleet.session(from));
        let command = format!(
            "for n in 1 2 3 4 5 6 7 8; do bash -c 'echo ovenproof > /dev/udp/{to}/9' || ping -c 1 -W 1 {to}; \
             done > /dev/null 2>&1"
        );
        let _ = session.exec(&command, deadline).await;
    }
}

#[async_trait]
impl Fault for Rules {
    async fn inject(&mut self) -> Result<(), FaultError> {
        let seed = self.scene.seed.stream(&format!("links {}", self.scene.fault)).next_u64();
        let rules = self.links.iter().map(|(from, to)| LinkRule {
            from: from.clone(),
            to: to.clone(),
            impairment: self.impairment.clone(),
        });
        let set = RuleSet { fault: self.scene.fault.clone(), seed, rules: rules.collect() };
        Ok(self.scene.fleet.impair(set).await?)
    }

    async fn prove(&mut self) -> Result<String, FaultError> {
        let started = Instant::now();
        let mut sessions = BTreeMap::new();
        for round in 0.. {
            let counters = self.scene.fleet.counters(&self.scene.fault).await?;
            let counters = counters.ok_or_else(|| FaultError::Instance("its rules are gone".to_owned()))?;
            if let Some(evidence) = (self.proof)(&counters) {
                return Ok(evidence);
            }
            if started.elapsed() >= OWN_TRAFFIC {
                self.send(round, &mut sessions).await;
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(FaultError::Instance("its rules met no frame".to_owned()))
    }

    async fn heal(&mut self) -> Result<(), FaultError> {
        let counters = self.scene.fleet.repair(&self.scene.fault).await?;
        if counters != RuleCounters::default() {
            self.last = counters;
        }
        Ok(())
    }

    async fn verify_healed(&mut self) -> Result<String, FaultError> {
        match self.scene.fleet.counters(&self.scene.fault).await? {
            Some(_) => Err(FaultError::Instance("its rules are still installed".to_owned())),
            None => {
                let met = (self.proof)(&self.last).unwrap_or_else(|| "no frame was hit".to_owned());
                Ok(format!("its rules are gone; in all, {met}"))
            }
        }
    }
}
