//! `instance.power_cut`: the machine vanishes, and with it what it had not flushed to its disks.
//!
//! Proof: the provider no longer has it and says what became of each write that was not flushed; after the
//! heal it is another boot, for the provider and for the guest.

use async_trait::async_trait;
use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::instance::{booted_anew, bring_back, expect_state, rebooted};
use super::{About, Back, Documented, Ec2, Fault, FaultError, FaultKind, Scene};
use crate::chaos::target::Target;
use crate::disk::{Cut, Unflushed};
use crate::fleet::{Capability, FleetError, InstanceAction, InstanceState, InstanceStatus};
use crate::seed::Seed;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PowerCut {
    pub target: Target,
    /// What is kept of the writes that were not flushed.
    #[serde(default)]
    pub unflushed: Unflushed,
}

impl Documented for PowerCut {
    const ABOUT: About = About {
        details: "Somebody pulls the plug. All that the guest has flushed is on its disks at the next boot, volumes \
                  included; of the rest a choice of the run's seed: `none`, `all`, those before a moment \
                  (`prefix`), any (`subset`), or any and some only in part of their sectors (`torn`). A file \
                  system and a database must come through each of them without losing what they promised. At \
                  most 32 MiB of a disk are held unflushed; older writes are kept early, as a real drive may do.",
        example: "instance.power_cut: { target: { one: web }, unflushed: torn }",
        local: "The hypervisor's process is killed, and the fleet's block server drops what its write cache \
                holds and the choice does not keep.",
        ec2: Ec2::Not("it has no disks of ours, and EBS keeps every write that it has acknowledged"),
        proof: "The provider no longer has the machine, and the block server says how many writes were not \
                flushed, how many of them it kept, and how many it lost; afterwards it is another boot with \
                another boot id.",
        undo: "The machine boots from what is left on its disk and must get ready. When the tool dies, the \
               fleet of a run goes with it.",
    };
}

impl FaultKind for PowerCut {
    fn target(&self) -> &Target {
        &self.target
    }

    fn needs(&self) -> Capability {
        Capability::PowerCut
    }

    fn arm(&self, scene: Scene) -> Box<dyn Fault> {
        Box::new(Dark { scene, unflushed: self.unflushed, before: Vec::new() })
    }
}

struct Dark {
    scene: Scene,
    unflushed: Unflushed,
    /// Each target with what the provider knew of it just before, and what the cut did.
    before: Vec<(String, InstanceStatus, Cut)>,
}

#[async_trait]
impl Fault for Dark {
    async fn inject(&mut self) -> Result<(), FaultError> {
        let mut statuses = Vec::new();
        for name in &self.scene.targets {
            statuses.push(expect_state(&self.scene, name, InstanceState::Running).await?);
        }
        // One plug for all.
        let mut cutting = JoinSet::new();
        for status in statuses {
            let (fleet, unflushed, name) = (self.scene.fleet.clone(), self.unflushed, status.node.clone());
            let label = format!("power cut {} {name}", self.scene.fault);
            let seed = Seed(self.scene.seed.stream(&label).next_u64());
            cutting.spawn(async move {
                let cut = fleet.power_cut(&name, unflushed, seed).await?;
                Ok::<_, FleetError>((name, status, cut))
            });
        }
        for cut in cutting.join_all().await {
            self.before.push(cut?);
        }
        self.before.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(())
    }

    async fn prove(&mut self) -> Result<String, FaultError> {
        let mut evidence = Vec::new();
        for (name, before, cut) in &self.before {
            expect_state(&self.scene, name, InstanceState::Stopped).await?;
            let Cut { unflushed, kept, lost, torn } = cut;
            evidence.push(format!(
                "{name} is gone ({}); of {unflushed} writes that it had not flushed {kept} were kept, {lost} \
                 lost, {torn} torn",
                before.incarnation
            ));
        }
        Ok(evidence.join("; "))
    }

    async fn heal(&mut self) -> Result<(), FaultError> {
        bring_back(&self.scene, InstanceState::Stopped, InstanceAction::Start).await
    }

    async fn verify_healed(&mut self) -> Result<String, FaultError> {
        let mut evidence = Vec::new();
        for (name, before, _) in &self.before {
            evidence.push(rebooted(&self.scene, name, before).await?);
        }
        Ok(evidence.join("; "))
    }

    async fn back(&mut self) -> Result<Back, FaultError> {
        booted_anew(&self.scene).await
    }
}
