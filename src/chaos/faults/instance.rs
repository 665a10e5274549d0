//! What faults of whole instances share: what an instance was before, and whether it is back.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{Fault, FaultError, Scene, Undone};
use crate::fleet::{FleetError, InstanceAction, InstanceState, InstanceStatus, NodePlan};

/// For a question to a guest that is expected to be well.
const ASK: Duration = Duration::from_secs(15);
/// For an instance whose image does not say how long it may take to be ready.
const READY: Duration = Duration::from_secs(180);

/// An instance just before a fault.
#[derive(Debug, Clone)]
struct Before {
    status: InstanceStatus,
    /// `None`: the guest could not be asked, and the provider's word must do.
    boot_id: Option<String>,
}

/// The random id that a Linux guest makes at each boot.
async fn boot_id(scene: &Scene, node: &str) -> Option<String> {
    let session = scene.fleet.session(node);
    let output = session.exec("cat /proc/sys/kernel/random/boot_id", Instant::now() + ASK).await.ok()?;
    output.success().then(|| output.text()).filter(|id| !id.is_empty())
}

async fn look(scene: &Scene, node: &str) -> Result<Before, FaultError> {
    let status = scene.fleet.status(node).await?;
    if status.state != InstanceState::Running {
        return Err(FaultError::Instance(format!("{node} is not running but {:?}", status.state)));
    }
    Ok(Before { boot_id: boot_id(scene, node).await, status })
}

pub(super) fn ready_within(node: &NodePlan) -> Duration {
    node.ready.as_ref().map_or(READY, |(_, within)| within.0)
}

/// Waits until every target passes its readiness probe; they had their start at the same time.
pub(super) async fn back(scene: &Scene) -> Result<Result<(), String>, FaultError> {
    let started = Instant::now();
    for name in &scene.targets {
        let node = scene.node(name)?;
        match scene.fleet.wait_ready(node, started + ready_within(node)).await {
            Ok(()) => {}
            Err(error @ (FleetError::NotReady { .. } | FleetError::Session(_))) => {
                return Ok(Err(error.to_string()));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Ok(()))
}

/// The targets go down by `action` and are started again at the end, or come up by themselves.
pub(super) struct Down {
    scene: Scene,
    action: InstanceAction,
    before: Vec<(String, Before)>,
}

impl Down {
    pub(super) fn new(scene: Scene, action: InstanceAction) -> Box<Self> {
        Box::new(Down { scene, action, before: Vec::new() })
    }

    /// Says how the provider and the guest show that this is another boot.
    async fn rebooted(&self, name: &str, before: &Before) -> Result<String, FaultError> {
        let status = self.scene.fleet.status(name).await?;
        if status.state != InstanceState::Running {
            return Err(FaultError::Instance(format!("{name} is not running but {:?}", status.state)));
        }
        if status.boots <= before.status.boots && status.incarnation == before.status.incarnation {
            return Err(FaultError::Instance(format!("{name} runs as if nothing had happened to it")));
        }
        match (&before.boot_id, boot_id(&self.scene, name).await) {
            (Some(old), Some(new)) if *old == new => {
                Err(FaultError::Instance(format!("{name} still has the boot id {old}")))
            }
            (Some(old), Some(new)) => Ok(format!("{name} has boot id {} after {}", short(&new), short(old))),
            _ => Ok(format!("{name} is in its boot {} after {}", status.boots, before.status.boots)),
        }
    }
}

fn short(id: &str) -> String {
    id.chars().take(8).collect()
}

#[async_trait]
impl Fault for Down {
    async fn inject(&mut self) -> Result<(), FaultError> {
        for name in &self.scene.targets {
            self.before.push((name.clone(), look(&self.scene, name).await?));
        }
        for name in &self.scene.targets {
            self.scene.fleet.act(name, self.action).await?;
        }
        Ok(())
    }

    async fn prove(&mut self) -> Result<String, FaultError> {
        let mut evidence = Vec::new();
        for (name, before) in &self.before {
            if self.action == InstanceAction::Reboot {
                if let Err(reason) = back(&self.scene).await? {
                    return Err(FaultError::Instance(reason));
                }
                evidence.push(self.rebooted(name, before).await?);
                continue;
            }
            let status = self.scene.fleet.status(name).await?;
            if status.state != InstanceState::Stopped {
                return Err(FaultError::Instance(format!("{name} is not stopped but {:?}", status.state)));
            }
            evidence.push(format!("{name} ({}) is gone", before.status.incarnation));
        }
        Ok(evidence.join("; "))
    }

    async fn heal(&mut self) -> Result<(), FaultError> {
        let mut result = Ok(());
        for name in &self.scene.targets {
            let started = match self.scene.fleet.status(name).await {
                Ok(status) if status.state == InstanceState::Stopped => {
                    self.scene.fleet.act(name, InstanceAction::Start).await
                }
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            };
            // The others are started all the same.
            result = result.and(started.map_err(FaultError::from));
        }
        result
    }

    async fn verify_healed(&mut self) -> Result<Undone, FaultError> {
        if let Err(reason) = back(&self.scene).await? {
            return Ok(Undone::NotBack(reason));
        }
        let mut evidence = Vec::new();
        for (name, before) in &self.before {
            evidence.push(self.rebooted(name, before).await?);
        }
        Ok(Undone::Back(evidence.join("; ")))
    }
}
