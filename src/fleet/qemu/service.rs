//! What a supervisor answers.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::io::copy_bidirectional;
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::control::{Connection, Refusal, Reply, Request};
use super::snapshot::Snapshot;
use super::supervisor::{Vms, failed, for_each};
use super::vm::{Vm, WAKE_UP};
use super::wake::WakeBy;
use crate::disk::DiskCounters;
use crate::fleet::provider::{FleetError, InstanceAction};
use crate::guest::Stream;
use crate::network::Switch;

/// For a guest whose image has the service that answers on the wake port to do so.
const LISTENING: Duration = Duration::from_secs(5);

pub(crate) struct Service {
    vms: Vms,
    switch: Switch,
}

/// What one connection holds; undone when it ends, however it ends.
#[derive(Default)]
struct Leases {
    faults: BTreeSet<String>,
    disk_faults: BTreeSet<String>,
    frozen: BTreeSet<String>,
}

impl Service {
    pub(crate) fn new(vms: Vms, switch: Switch) -> Self {
        Service { vms, switch }
    }

    /// Answers one connection until it ends; gives it back if it asked for the fleet's end.
    pub(crate) async fn converse(
        self: Arc<Self>,
        mut connection: Connection<UnixStream>,
    ) -> Option<Connection<UnixStream>> {
        let mut leases = Leases::default();
        // A request that cannot be read ends the conversation like a closed connection.
        while let Ok(Some(request)) = connection.receive::<Request>().await {
            match request {
                Request::Destroy => return Some(connection),
                Request::Dial { node, port, within } => {
                    match self.dial(&node, port, Instant::now() + within).await {
                        Ok(stream) => {
                            relay(connection, stream).await;
                            return None;
                        }
                        Err(refusal) => {
                            let reply: Reply = Err(refusal);
                            connection.send(&reply).await.ok()?;
                        }
                    }
                }
                request => {
                    let reply = self.answer(request, &mut leases).await;
                    if connection.send(&reply).await.is_err() {
                        break;
                    }
                }
            }
        }
        self.release(leases).await;
        None
    }

    async fn answer(&self, request: Request, leases: &mut Leases) -> Reply {
        match request {
            Request::Status { node } => value(self.vm(&node)?.status().await?),
            Request::SshPort { node } => value(self.vm(&node)?.ssh_port()?),
            Request::Act { node, action } => {
                self.vm(&node)?.act(action).await?;
                match action {
                    InstanceAction::Freeze => leases.frozen.insert(node),
                    // Also a machine that ended or began anew is not frozen any more.
                    _ => leases.frozen.remove(&node),
                };
                Ok(Value::Null)
            }
            Request::Impair { rules } => {
                let fault = rules.fault.clone();
                self.switch.install(rules).map_err(|error| Refusal::Provider(error.to_string()))?;
                leases.faults.insert(fault);
                Ok(Value::Null)
            }
            Request::Repair { fault } => {
                leases.faults.remove(&fault);
                value(self.switch.remove(&fault).unwrap_or_default())
            }
            Request::PowerCut { node, unflushed, seed } => {
                let cut = self.vm(&node)?.power_cut(unflushed, seed).await?;
                leases.frozen.remove(&node);
                value(cut)
            }
            Request::ImpairDisks { rules } => {
                // All or none.
                let vms = rules.nodes.iter().map(|node| self.vm(node)).collect::<Result<Vec<_>, _>>()?;
                if self.disk_counters(&rules.fault).is_some() {
                    return Err(Refusal::Provider(format!(
                        "the fault `{}` is installed already",
                        rules.fault
                    )));
                }
                leases.disk_faults.insert(rules.fault.clone());
                vms.into_iter().try_for_each(|vm| vm.impair_disks(&rules))?;
                Ok(Value::Null)
            }
            Request::RepairDisks { fault } => {
                leases.disk_faults.remove(&fault);
                value(self.repair_disks(&fault).unwrap_or_default())
            }
            Request::DiskCounters { fault } => value(self.disk_counters(&fault)),
            Request::Save { into } => value(self.save(into).await?),
            Request::Counters { fault } => value(self.switch.counters(&fault)),
            Request::Dial { .. } | Request::Destroy => {
                Err(Refusal::Provider("this ends a conversation".to_owned()))
            }
        }
    }

    /// All machines stand still while each is saved, and go on whatever came of it. What is under way between
    /// them is kept back by the switch and saved with them.
    async fn save(&self, into: PathBuf) -> Result<WakeBy, FleetError> {
        let wake = match for_each(&self.vms, |vm| async move { vm.wake(LISTENING).await }).await {
            Ok(()) => WakeBy::Port,
            Err(_) => WakeBy::Ssh,
        };
        self.switch.hold();
        let paused = for_each(&self.vms, |vm| async move { vm.pause().await }).await;
        let (into, frames_into) = (Arc::new(into.clone()), into);
        let saved = match paused {
            Ok(()) => {
                for_each(&self.vms, move |vm| {
                    let into = into.clone();
                    async move { vm.save(&into).await }
                })
                .await
            }
            Err(error) => Err(error),
        };
        let frames = self.switch.release();
        let resumed = for_each(&self.vms, |vm| async move { vm.resume().await }).await;
        saved.and(resumed)?;
        Snapshot::save_frames(&frames_into, &frames).map_err(failed("cannot save what was under way"))?;
        if wake == WakeBy::Port {
            for_each(&self.vms, |vm| async move { vm.wake(WAKE_UP).await }).await?;
        }
        Ok(wake)
    }

    async fn dial(&self, node: &str, port: u16, deadline: Instant) -> Result<Box<dyn Stream>, Refusal> {
        let vm = self.vm(node)?;
        // The switch would ask in vain who has the address until the deadline; we know that nobody has.
        if !vm.is_running() {
            return Err(Refusal::Unreachable);
        }
        Ok(self.switch.dial(vm.node.address, port, deadline).await?)
    }

    async fn release(&self, leases: Leases) {
        for fault in leases.faults {
            self.switch.remove(&fault);
        }
        for fault in leases.disk_faults {
            self.repair_disks(&fault);
        }
        for node in leases.frozen {
            if let Ok(vm) = self.vm(&node) {
                // A machine that ended meanwhile needs no thawing.
                let _ = vm.act(InstanceAction::Thaw).await;
            }
        }
    }

    fn repair_disks(&self, fault: &str) -> Option<DiskCounters> {
        DiskCounters::sum(self.vms.values().filter_map(|vm| vm.repair_disks(fault)))
    }

    fn disk_counters(&self, fault: &str) -> Option<DiskCounters> {
        DiskCounters::sum(self.vms.values().filter_map(|vm| vm.disk_counters(fault)))
    }

    fn vm(&self, node: &str) -> Result<&Arc<Vm>, FleetError> {
        self.vms.get(node).ok_or_else(|| FleetError::NoSuchNode(node.to_owned()))
    }
}

fn value(value: impl Serialize) -> Reply {
    serde_json::to_value(value).map_err(|error| Refusal::Provider(error.to_string()))
}

/// Carries bytes until both sides have closed, or one has failed.
async fn relay(mut connection: Connection<UnixStream>, mut stream: Box<dyn Stream>) {
    let reply: Reply = Ok(Value::Null);
    if connection.send(&reply).await.is_ok() {
        // How a connection through the switch ends is seen by both its ends.
        let _ = copy_bidirectional(&mut connection.into_stream(), &mut stream).await;
    }
}
