//! `instance.freeze`: the clock of the whole machine stands still, as when a host swaps or migrates it.
//!
//! Proof: the provider says so, and a connection to the instance gets no answer of any kind.

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::instance::{bring_back, expect_state, ready};
use super::{About, Back, Documented, Ec2, Fault, FaultError, FaultKind, Scene};
use crate::chaos::target::Target;
use crate::fleet::{Capability, InstanceAction, InstanceState};
use crate::guest::DialError;

/// How long an instance must keep silent.
const SILENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    pub target: Target,
}

impl Documented for Freeze {
    const ABOUT: About = About {
        details: "As when a host swaps, migrates or overcommits: peers see an instance that keeps its \
                  connections and says nothing, and afterwards it believes that no time has passed. Finds \
                  leases that are trusted for too long.",
        example: "instance.freeze: { target: { one: web } }",
        local: "The hypervisor stops all virtual CPUs and the clock.",
        ec2: Ec2::Not("it offers no way to stop the clock of an instance; hibernation shuts it down"),
        proof: "The provider says that the machine stands still, and a connection to it gets no answer \
                  of any kind.",
        undo: "The machine goes on. A lease in the fleet's supervisor ends with its owner and lets it \
                  go on, whatever the owner died of.",
    };
}

impl FaultKind for Freeze {
    fn target(&self) -> &Target {
        &self.target
    }

    fn needs(&self) -> Capability {
        Capability::Freeze
    }

    fn arm(&self, scene: Scene) -> Box<dyn Fault> {
        Box::new(Frozen { scene })
    }
}

struct Frozen {
    scene: Scene,
}

impl Frozen {
    /// A port at which an instance that is well would answer, be it with a refusal.
    fn port(&self, name: &str) -> u16 {
        let ready = self.scene.node(name).ok().and_then(|node| node.ready.as_ref());
        ready.and_then(|(probe, _)| probe.port()).unwrap_or(22)
    }
}

#[async_trait]
impl Fault for Frozen {
    async fn inject(&mut self) -> Result<(), FaultError> {
        for name in &self.scene.targets {
            expect_state(&self.scene, name, InstanceState::Running).await?;
            self.scene.fleet.act(name, InstanceAction::Freeze).await?;
        }
        Ok(())
    }

    async fn prove(&mut self) -> Result<String, FaultError> {
        for name in &self.scene.targets {
            expect_state(&self.scene, name, InstanceState::Frozen).await?;
            let port = self.port(name);
            match self.scene.fleet.dialer(name).dial(port, Instant::now() + SILENCE).await {
                Err(DialError::TimedOut | DialError::Unreachable) => {}
                Ok(_) | Err(DialError::Refused) => {
                    return Err(FaultError::Instance(format!("{name} answered at port {port} while frozen")));
                }
                Err(DialError::Fleet(reason)) => return Err(FaultError::Instance(reason)),
            }
        }
        Ok(format!("{} stood still and kept silent", self.scene.targets.join(", ")))
    }

    async fn heal(&mut self) -> Result<(), FaultError> {
        bring_back(&self.scene, InstanceState::Frozen, InstanceAction::Thaw).await
    }

    async fn verify_healed(&mut self) -> Result<String, FaultError> {
        for name in &self.scene.targets {
            expect_state(&self.scene, name, InstanceState::Running).await?;
        }
        Ok(format!("{} runs again", self.scene.targets.join(", ")))
    }

    async fn back(&mut self) -> Result<Back, FaultError> {
        ready(&self.scene, &self.scene.targets).await
    }
}
