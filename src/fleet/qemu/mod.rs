//! Fleets of VMs on this machine.
//!
//! [`Qemu`] starts one supervisor process a fleet ([`supervisor`]) and talks to it over a Unix socket in the
//! fleet's folder. Nothing on the host is touched: no bridges, no TAP devices, no firewall rules, no root.
//!
//! | part | owns |
//! |---|---|
//! | `folder` | what lies where in the folder of a fleet |
//! | `credentials`, `machine` | the command line of a VM and what it is given at boot |
//! | `snapshot` | a fleet saved at one instant, and what it is restored from |
//! | `vm`, `running`, `wake`, `console` | one VM: its process, its control connections, its console log |
//! | `disks` | what a node's disks stand on, the conversations in which its machine uses them, what is wrong with them |
//! | [`gc`] | the room that snapshots and lost folders take |
//! | [`volumes`] | data disks that outlive instances and fleets |
//! | [`supervisor`], `service` | the process that owns them, and what it answers |
//! | `control`, `handle`, `reach` | the conversation with it, the [`Fleet`] that others hold, and its ways into nodes |

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::UnixStream;
use tokio::time::Instant;

use self::control::{Connection, Reply};
use self::folder::{BootFiles, Folder, Setup};
use self::handle::{Owner, QemuFleet};
use self::snapshot::Snapshot;
use self::supervisor::failed;
use self::volumes::{Made, Origin, VolumeError, VolumeSnapshots, Volumes};
use self::wake::WakeBy;
use super::ledger::{FleetRecord, Ledger, remove_leftovers};
use super::plan::FleetPlan;
use super::process::ProcessId;
use super::provider::{Capability, Fleet, FleetError, Launch, Lifetime, Provider};
use super::timing::{Stage, Timing};
use crate::home::Home;
use crate::store::{Store, StoreError};

mod console;
mod control;
mod credentials;
mod disks;
pub(crate) mod folder;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod gc;
mod handle;
mod machine;
mod reach;
mod running;
mod service;
mod snapshot;
pub mod supervisor;
mod vm;
pub mod volumes;
mod wake;

/// Until all VMs of a fleet are started (not booted).
const CREATE: Duration = Duration::from_secs(120);
/// The hidden command that [`Qemu`] runs this executable with.
pub const SUPERVISE: &str = "__supervise";

/// What reports call this provider.
pub const NAME: &str = "qemu";

/// `Ok` if fleets on this machine can do it, else why not; known without any fleet.
pub fn capable(capability: Capability) -> Result<(), String> {
    match capability {
        Capability::Stop
        | Capability::Replace
        | Capability::Kill
        | Capability::Freeze
        | Capability::Reboot
        | Capability::PowerCut
        | Capability::Links
        | Capability::Disks
        | Capability::Session => Ok(()),
    }
}

/// Fleets of VMs on this machine.
#[derive(Debug, Clone)]
pub struct Qemu {
    home: Home,
    store: Store,
}

impl Qemu {
    pub fn new(home: Home, store: Store) -> Self {
        Qemu { home, store }
    }

    /// The arguments with which the `ssh` command reaches a node right now.
    pub async fn ssh_arguments(&self, fleet: &str, node: &str) -> Result<Vec<OsString>, FleetError> {
        let handle = self.handle(fleet)?;
        let port = handle.ssh_port(node).await?;
        let config = Folder::of(&self.home, fleet).ssh_config();
        Ok(vec!["-F".into(), config.into(), "-p".into(), port.to_string().into(), node.into()])
    }

    fn handle(&self, fleet: &str) -> Result<QemuFleet, FleetError> {
        let record = Ledger::of(&self.home).fleets()?.into_iter().find(|record| record.name == fleet);
        let record = record.ok_or_else(|| FleetError::NoSuchFleet(fleet.to_owned()))?;
        QemuFleet::open(self.home.clone(), self.store.clone(), record, None)
    }

    fn setup(&self, launch: Launch, id: String) -> Result<Setup, FleetError> {
        let mut boot = BTreeMap::new();
        for node in &launch.plan.nodes {
            let image = self.store.image(&node.image)?;
            let files = BootFiles::of(&image);
            if files.initrd.is_none() && !node.volumes.is_empty() {
                return Err(FleetError::Provider(format!(
                    "the image {} of {} cannot have volumes: it has no initial RAM disk to mount them",
                    image.id().short(),
                    node.name
                )));
            }
            boot.insert(node.name.clone(), files);
        }
        let Launch { plan, lifetime, keep_logs, pcap, .. } = launch;
        let (home, identity) = (self.home.root().to_owned(), id.clone());
        let volumes = self.volumes(&plan, lifetime);
        let (restored, frames, made) = (None, Vec::new(), Made::Some);
        Ok(Setup {
            id,
            home,
            plan,
            lifetime,
            keep_logs,
            pcap,
            boot,
            identity,
            restored,
            frames,
            volumes,
            made,
        })
    }

    fn volumes(&self, plan: &FleetPlan, lifetime: Lifetime) -> Volumes {
        let folder = Folder::of(&self.home, &plan.name);
        Volumes::of(&self.home, &plan.name, lifetime, folder.root())
    }

    fn record(&self, setup: &Setup) -> Result<FleetRecord, FleetError> {
        Ok(FleetRecord {
            id: setup.id.clone(),
            name: setup.plan.name.clone(),
            folder: self.home.fleets().join(&setup.plan.name),
            lifetime: setup.lifetime,
            creator: ProcessId::current().map_err(failed("cannot read /proc/self"))?,
            supervisor: None,
            created_at: jiff::Timestamp::now().to_string(),
            images: setup.plan.nodes.iter().map(|node| node.image.clone()).collect(),
        })
    }
}

/// Starts the supervisor of a fleet whose folder is ready.
fn spawn_supervisor(folder: &Folder) -> Result<Owner, FleetError> {
    let (ours, theirs) = StdUnixStream::pair().map_err(failed("cannot make a lease"))?;
    let log = std::fs::File::create(folder.supervisor_log()).map_err(failed("cannot write a log"))?;
    // Also right when the file of this executable has been replaced meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command.arg(SUPERVISE).arg(folder.root()).current_dir(folder.root());
    command.stdin(std::os::fd::OwnedFd::from(theirs));
    command.stdout(log.try_clone().map_err(failed("cannot write a log"))?).stderr(log);
    // SAFETY: one system call between fork and exec. The supervisor gets a session of its own, so that
    // Ctrl-C reaches only us.
    unsafe {
        std::os::unix::process::CommandExt::pre_exec(&mut command, || {
            rustix::process::setsid()?;
            Ok(())
        });
    }
    let supervisor = command.spawn().map_err(failed("cannot start a supervisor"))?;
    Ok(Owner { lease: ours, supervisor })
}

/// Waits until the supervisor says how the start went, and how long its stages took.
async fn started(owner: &Owner, folder: &Folder) -> Result<Vec<Timing>, FleetError> {
    let lease = owner.lease.try_clone().map_err(failed("cannot use the lease"))?;
    lease.set_nonblocking(true).map_err(failed("cannot use the lease"))?;
    let lease = UnixStream::from_std(lease).map_err(failed("cannot use the lease"))?;
    let mut connection = Connection::new(lease);
    match tokio::time::timeout(CREATE, connection.receive::<Reply>()).await {
        Ok(Ok(Some(reply))) => serde_json::from_value(reply?)
            .map_err(|error| FleetError::Provider(format!("unexpected answer: {error}"))),
        Ok(_) => {
            let said = console::tail(&folder.supervisor_log(), console::SHOWN_LINES);
            Err(FleetError::Provider(format!("the supervisor ended at once: {said}")))
        }
        Err(_) => {
            Err(FleetError::Provider(format!("the fleet was not started within {} s", CREATE.as_secs())))
        }
    }
}

#[async_trait]
impl Provider for Qemu {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capable(&self, capability: Capability) -> Result<(), String> {
        capable(capability)
    }

    async fn create(&self, launch: Launch) -> Result<Arc<dyn Fleet>, FleetError> {
        // What was saved would lie over what is there: memory that knows nothing of it.
        let volumes = self.volumes(&launch.plan, launch.lifetime);
        let fresh = launch.volumes_from.is_none() && volumes.missing(&launch.plan) == Made::All;
        if launch.warm
            && fresh
            && let Some((key, snapshot)) = self.snapshot(&launch.plan)?
        {
            match self.create_from(launch.clone(), Some(&snapshot)).await {
                Err(FleetError::Exists(name)) => return Err(FleetError::Exists(name)),
                Err(error) => {
                    tracing::warn!(
                        "a snapshot could not be restored and is dropped; the fleet boots instead: {error}"
                    );
                    self.store.discard_snapshot(&key)?;
                }
                Ok(fleet) => return Ok(fleet),
            }
        }
        self.create_from(launch, None).await
    }

    async fn attach(&self, fleet: &str) -> Result<Arc<dyn Fleet>, FleetError> {
        Ok(Arc::new(self.handle(fleet)?))
    }

    async fn list(&self) -> Result<Vec<String>, FleetError> {
        Ok(Ledger::of(&self.home).fleets()?.into_iter().map(|record| record.name).collect())
    }
}

impl Qemu {
    /// The snapshot that fits the plan, if there is a whole one.
    fn snapshot(&self, plan: &FleetPlan) -> Result<Option<(String, Snapshot)>, FleetError> {
        let Some(key) = snapshot::key(plan) else { return Ok(None) };
        let Some(dir) = self.store.snapshot(&key) else { return Ok(None) };
        match Snapshot::open(&dir, &key) {
            Ok(snapshot) => Ok(Some((key, snapshot))),
            Err(why) => {
                tracing::warn!("a snapshot cannot be used and is dropped; the fleet boots instead: {why}");
                self.store.discard_snapshot(&key)?;
                Ok(None)
            }
        }
    }

    async fn create_from(
        &self,
        launch: Launch,
        snapshot: Option<&Snapshot>,
    ) -> Result<Arc<dyn Fleet>, FleetError> {
        let begun = Instant::now();
        let (volumes_from, saved) = (launch.volumes_from.clone(), VolumeSnapshots::of(&self.home));
        let mut setup = self.setup(launch, format!("{:016x}", rand::random::<u64>()))?;
        if let Some(snapshot) = snapshot {
            setup.identity.clone_from(&snapshot.identity);
            setup.restored = Some(snapshot.wake);
            setup.frames = snapshot.frames().map_err(failed("cannot read what was under way"))?;
        }
        let record = self.record(&setup)?;
        let ledger = Ledger::of(&self.home);
        ledger.begin(record.clone())?;
        let folder = Folder::new(&record.folder);
        let mut owner = None;
        let made = setup.volumes.missing(&setup.plan);
        // Data that came from elsewhere belongs in no snapshot of a new fleet.
        setup.made = if volumes_from.is_none() { made } else { Made::Some };
        let created = async {
            folder.create(&setup, snapshot).map_err(failed("cannot create the fleet's folder"))?;
            let origin = match (snapshot, &volumes_from) {
                (Some(snapshot), _) => Origin::FleetSnapshot(snapshot.dir()),
                (None, Some(name)) if setup.volumes.are_fresh() => Origin::VolumeSnapshot(&saved, name),
                (None, Some(_)) => return Err(VolumeError::HasVolumes(setup.plan.name.clone()).into()),
                (None, None) => Origin::Empty,
            };
            // Before there are volumes: whoever finds them later must know that no machine had them.
            folder.write_setup(&setup).map_err(failed("cannot write what the supervisor is to do"))?;
            setup.volumes.prepare(&setup.plan, &self.store, origin)?;
            let owner = owner.insert(spawn_supervisor(&folder)?);
            started(owner, &folder).await
        };
        let mut timings = match created.await {
            Ok(timings) => timings,
            Err(error) => {
                if let Some(Owner { mut supervisor, .. }) = owner {
                    // Its VMs die with it.
                    let _ = supervisor.kill();
                    let _ = supervisor.wait();
                }
                // Nobody has had them yet.
                if made == Made::All {
                    setup.volumes.remove()?;
                }
                let left = remove_leftovers(&record, &mut Vec::new());
                left.map_err(failed("cannot remove the fleet's folder"))?;
                ledger.gone(&record.id)?;
                return Err(error);
            }
        };
        let inside: Duration = timings.iter().map(Timing::took).sum();
        timings.insert(0, Timing::new(Stage::Start, None, begun.elapsed().saturating_sub(inside)));
        let fleet = QemuFleet::open(self.home.clone(), self.store.clone(), record, owner)?;
        if snapshot.is_some_and(|snapshot| snapshot.wake == WakeBy::Ssh) {
            let begun = Instant::now();
            if let Err(error) = fleet.wake_over_ssh().await {
                fleet.destroy().await?;
                return Err(error);
            }
            timings.push(Timing::new(Stage::Clock, None, begun.elapsed()));
        }
        Ok(Arc::new(fleet.with_timings(timings)))
    }
}

impl From<StoreError> for FleetError {
    fn from(error: StoreError) -> Self {
        FleetError::Provider(error.to_string())
    }
}
