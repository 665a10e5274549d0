//! A fault that is a set of rules on links: they go in as one, the switch's counters prove them, and they go
//! out as one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::links::{Link, Proof};
use super::{Fault, FaultError, Scene};
use crate::fleet::plan::{CLIENT, CLIENT_ADDRESS};
use crate::guest::Session;
use crate::network::{Impairment, LinkRule, RuleCounters, RuleSet, dns};

/// How often the counters are read while there is no proof yet.
const LOOK: Duration = Duration::from_millis(200);
/// The service's own traffic is given this long to meet the rules before we send some.
const OWN_TRAFFIC: Duration = Duration::from_secs(1);
/// For one attempt to send something over a link.
const SEND: Duration = Duration::from_secs(3);

/// What can be sent over a link, so that proof does not depend on whether the service happens to talk.
pub(super) enum Traffic {
    /// To this UDP port, a few at once.
    Datagrams(u16),
    /// To this TCP port, with a byte if it opens.
    Connection(u16),
    /// For the address of this name.
    Question(String),
}

pub(super) struct Rules {
    scene: Scene,
    links: Vec<Link>,
    impairment: Impairment,
    proof: Proof,
    traffic: Traffic,
    /// As the switch last counted, for the words after the heal.
    last: RuleCounters,
}

impl Rules {
    pub(super) fn new(
        scene: Scene,
        links: BTreeSet<Link>,
        impairment: Impairment,
        proof: Proof,
        traffic: Traffic,
    ) -> Box<Self> {
        let last = RuleCounters::default();
        Box::new(Rules { scene, links: links.into_iter().collect(), impairment, proof, traffic, last })
    }

    /// Sends something over one of the links. What comes of it does not matter: the counters tell.
    async fn send(&self, round: usize, sessions: &mut BTreeMap<String, Arc<dyn Session>>) {
        let Some((from, to)) = self.links.get(round % self.links.len().max(1)) else { return };
        let deadline = Instant::now() + SEND;
        if from == CLIENT {
            let (Traffic::Connection(port) | Traffic::Datagrams(port)) = self.traffic else { return };
            if let Ok(mut stream) = self.scene.fleet.dialer(to).dial(port, deadline).await {
                let _ = timeout_at(deadline, stream.write_all(b"\n")).await;
                let _ = timeout_at(deadline, stream.read(&mut [0; 64])).await;
            }
            return;
        }
        let to = match self.scene.node(to) {
            Ok(node) => node.address.to_string(),
            Err(_) => CLIENT_ADDRESS.to_string(),
        };
        let session = sessions.entry(from.clone()).or_insert_with(|| self.scene.fleet.session(from));
        let _ = session.exec(&command(&self.traffic, &to), deadline).await;
    }
}

/// A command that sends it from an instance to the address `to`.
fn command(traffic: &Traffic, to: &str) -> String {
    let commands = match traffic {
        Traffic::Datagrams(port) => {
            let shell = format!("for n in 1 2 3 4 5 6 7 8; do echo ovenproof > /dev/udp/{to}/{port}; done");
            format!("bash -c '{shell}' || ping -c 8 -i 0.2 -W 1 {to}")
        }
        Traffic::Connection(port) => {
            let shell = format!("exec 3<>/dev/tcp/{to}/{port} && echo >&3 && head -c 64 <&3");
            format!("timeout 2 bash -c '{shell}'")
        }
        Traffic::Question(name) => {
            let bytes: String = dns::question(name).iter().map(|byte| format!("\\{byte:03o}")).collect();
            format!("bash -c 'printf \"{bytes}\" > /dev/udp/{to}/{}'", dns::PORT)
        }
    };
    format!("({commands}) > /dev/null 2>&1")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_one_that_a_shell_can_ask() {
        let command = command(&Traffic::Question("n-1".to_owned()), "10.77.0.1");
        insta::assert_snapshot!(command, @r#"(bash -c 'printf "\157\166\001\000\000\001\000\000\000\000\000\000\003\156\055\061\000\000\001\000\001" > /dev/udp/10.77.0.1/53') > /dev/null 2>&1"#);
    }
}
