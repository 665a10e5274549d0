//! What faults of whole instances share: what an instance was before, and whether it is back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Back, Fault, FaultError, Scene};
use crate::fleet::{Fleet, FleetError, InstanceAction, InstanceState, InstanceStatus, NodePlan};
use crate::guest::Session;

/// For a question to a guest that is expected to be well.
const ASK: Duration = Duration::from_secs(15);
/// For an instance whose image does not say how long it may take to be ready.
const READY: Duration = Duration::from_secs(180);

/// The random ids that Linux guests made at their last boot, by instance. Read before they are needed: to
/// ask a guest takes a second or two on a slow machine, and a fault is due when it is due.
#[derive(Debug, Clone, Default)]
pub struct BootIds(Arc<Mutex<BTreeMap<String, String>>>);

impl BootIds {
    /// Asks every instance of the fleet at once. One that does not answer is left out: then the provider's
    /// word must do.
    pub async fn read_all(&self, fleet: &Arc<dyn Fleet>) {
        let mut asking = JoinSet::new();
        for node in &fleet.plan().nodes {
            let (session, name) = (fleet.session(&node.name), node.name.clone());
            asking.spawn(async move { (ask(session.as_ref()).await, name) });
        }
        for (id, name) in asking.join_all().await {
            if let Some(id) = id {
                self.replace(&name, id);
            }
        }
    }

    /// Remembers the newer id, and gives the older.
    fn replace(&self, name: &str, id: String) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), id)
    }
}

async fn ask(session: &dyn Session) -> Option<String> {
    let output = session.exec("cat /proc/sys/kernel/random/boot_id", Instant::now() + ASK).await.ok()?;
    output.success().then(|| output.text()).filter(|id| !id.is_empty())
}

fn ready_within(node: &NodePlan) -> Duration {
    node.ready.as_ref().map_or(READY, |(_, within)| within.0)
}

/// Waits until all of `names` pass their readiness probes; they had their start at the same time.
pub(super) async fn ready(scene: &Scene, names: &[String]) -> Result<Back, FaultError> {
    let started = Instant::now();
    let mut known = Vec::new();
    for name in names {
        let node = scene.node(name)?;
        match scene.fleet.wait_ready(node, started + ready_within(node)).await {
            Ok(()) => known.push((name.clone(), "ready again".to_owned())),
            Err(error @ (FleetError::NotReady { .. } | FleetError::Session(_))) => {
                return Ok(Back::NotReady(error.to_string()));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Back::Ready(known))
}

/// Waits until every target is ready in another boot, told by the guest itself.
pub(super) async fn booted_anew(scene: &Scene) -> Result<Back, FaultError> {
    let mut known = match ready(scene, &scene.targets).await? {
        Back::Ready(known) => known,
        not_ready @ Back::NotReady(_) => return Ok(not_ready),
    };
    for (name, words) in &mut known {
        let Some(id) = ask(scene.fleet.session(name).as_ref()).await else { continue };
        match scene.boot_ids.replace(name, id.clone()) {
            Some(old) if old == id => {
                return Err(FaultError::Instance(format!("{name} still has the boot id {old}")));
            }
            Some(old) => *words = format!("ready again, boot id {id} after {old}"),
            None => *words = format!("ready again, boot id {id}"),
        }
    }
    Ok(Back::Ready(known))
}

/// Says how the provider shows that the instance runs and that this is another boot.
pub(super) async fn rebooted(
    scene: &Scene,
    name: &str,
    before: &InstanceStatus,
) -> Result<String, FaultError> {
    let status = expect_state(scene, name, InstanceState::Running).await?;
    match status.boots > before.boots || status.incarnation != before.incarnation {
        true if status.boots > before.boots => {
            Ok(format!("{name} is in boot {} after {}", status.boots, before.boots))
        }
        // Another machine counts from the beginning.
        true => Ok(format!("{name} is {} after {}", status.incarnation, before.incarnation)),
        false => Err(FaultError::Instance(format!("{name} runs as if nothing had happened to it"))),
    }
}

/// Brings every target that is in `state` back by `action`; one that fails does not keep the others back.
pub(super) async fn bring_back(
    scene: &Scene,
    state: InstanceState,
    action: InstanceAction,
) -> Result<(), FaultError> {
    let mut result = Ok(());
    for name in &scene.targets {
        let done = match scene.fleet.status(name).await {
            Ok(status) if status.state == state => scene.fleet.act(name, action).await,
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        result = result.and(done.map_err(FaultError::from));
    }
    result
}

/// The state of an instance, if it is the one it should be in.
pub(super) async fn expect_state(
    scene: &Scene,
    name: &str,
    state: InstanceState,
) -> Result<InstanceStatus, FaultError> {
    let status = scene.fleet.status(name).await?;
    match status.state == state {
        true => Ok(status),
        false => Err(FaultError::Instance(format!("{name} is {:?}, not {state:?}", status.state))),
    }
}

/// The targets go down by `action` and are started again at the end, or come up by themselves.
pub(super) struct Down {
    scene: Scene,
    action: InstanceAction,
    /// Each target with what the provider knew of it just before.
    before: Vec<(String, InstanceStatus)>,
}

/// Makes a [`FaultKind`](super::FaultKind) of what has a field `target`: the targets go down by an action, for
/// which the provider needs a capability.
macro_rules! down_fault {
    ($name:ident, $capability:ident, $action:ident) => {
        impl super::FaultKind for $name {
            fn target(&self) -> &$crate::chaos::target::Target {
                &self.target
            }

            fn needs(&self) -> $crate::fleet::Capability {
                $crate::fleet::Capability::$capability
            }

            fn arm(&self, scene: super::Scene) -> Box<dyn super::Fault> {
                super::instance::Down::new(scene, $crate::fleet::InstanceAction::$action)
            }
        }
    };
}
pub(super) use down_fault;

impl Down {
    pub(super) fn new(scene: Scene, action: InstanceAction) -> Box<Self> {
        Box::new(Down { scene, action, before: Vec::new() })
    }

    /// What an instance is until it comes back.
    fn gone(&self) -> InstanceState {
        match self.action {
            InstanceAction::Destroy => InstanceState::Destroyed,
            _ => InstanceState::Stopped,
        }
    }
}

#[async_trait]
impl Fault for Down {
    async fn inject(&mut self) -> Result<(), FaultError> {
        for name in &self.scene.targets {
            let status = expect_state(&self.scene, name, InstanceState::Running).await?;
            self.before.push((name.clone(), status));
        }
        // All at once: an outage does not go from one to the next.
        let mut acting = JoinSet::new();
        for name in &self.scene.targets {
            let (fleet, name, action) = (self.scene.fleet.clone(), name.clone(), self.action);
            acting.spawn(async move { fleet.act(&name, action).await });
        }
        Ok(acting.join_all().await.into_iter().collect::<Result<(), FleetError>>()?)
    }

    async fn prove(&mut self) -> Result<String, FaultError> {
        let mut evidence = Vec::new();
        for (name, before) in &self.before {
            evidence.push(match self.action {
                InstanceAction::Reboot => rebooted(&self.scene, name, before).await?,
                _ => {
                    expect_state(&self.scene, name, self.gone()).await?;
                    format!("{name} is gone ({})", before.incarnation)
                }
            });
        }
        Ok(evidence.join("; "))
    }

    async fn heal(&mut self) -> Result<(), FaultError> {
        bring_back(&self.scene, self.gone(), InstanceAction::Start).await
    }

    async fn verify_healed(&mut self) -> Result<String, FaultError> {
        let mut evidence = Vec::new();
        for (name, before) in &self.before {
            evidence.push(rebooted(&self.scene, name, before).await?);
        }
        Ok(evidence.join("; "))
    }

    async fn back(&mut self) -> Result<Back, FaultError> {
        booted_anew(&self.scene).await
    }
}
