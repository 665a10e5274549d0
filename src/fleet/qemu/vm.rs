//! One node's machine: the QEMU process of the moment, and what can be done to it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::io::FdFlags;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::console;
use super::disks::{Disks, NodeTroubles};
use super::folder::{BootFiles, NodeFolder};
use super::machine::{Machine, Sockets};
use super::running::{Running, count_resets, reap, socket_pair};
use super::snapshot::{self, SavedNode};
use super::volumes::{self, Volumes};
use super::wake::WakePort;
use crate::disk::{Cut, DiskCounters, DiskRules, Unflushed};
use crate::fleet::plan::NodePlan;
use crate::fleet::provider::{FleetError, InstanceAction, InstanceState, InstanceStatus};
use crate::hypervisor::HYPERVISOR;
use crate::hypervisor::accel::Accelerator;
use crate::hypervisor::qmp::{Qmp, QmpError, forwarded_port};
use crate::seed::Seed;

/// Until a new QEMU takes commands; it needs a fraction of a second unless the machine is overloaded.
const START: Duration = Duration::from_secs(60);
/// Until a guest has shut down: a service manager gives a stubborn service 90 s alone.
const SHUTDOWN: Duration = Duration::from_secs(150);
/// Until a reset or a killed process shows.
const PROMPT: Duration = Duration::from_secs(30);

/// Until a guest that is known to listen is awake; it needs milliseconds unless the machine is overloaded.
pub(crate) const WAKE_UP: Duration = Duration::from_secs(20);

/// A node of the fleet, running or not.
pub(crate) struct Vm {
    fleet: String,
    identity: String,
    pub(crate) node: NodePlan,
    boot: BootFiles,
    accelerator: Accelerator,
    volumes: Volumes,
    files: NodeFolder,
    /// There before the first start, and not between two machines of the node's name.
    disks: Mutex<Option<Arc<Disks>>>,
    troubles: NodeTroubles,
    /// Boots and resets since the creation.
    boots: watch::Sender<u32>,
    making: Mutex<Making>,
    running: Mutex<Option<Arc<Running>>>,
    /// One action at a time; asking for the state never waits for one.
    acting: tokio::sync::Mutex<()>,
}

/// Which machine this is of all that had the node's name.
#[derive(Debug, Clone, Copy)]
struct Making {
    /// From 1.
    number: u32,
    destroyed: bool,
}

impl Vm {
    pub(crate) fn new(
        fleet: &str,
        identity: &str,
        node: NodePlan,
        boot: BootFiles,
        accelerator: Accelerator,
        volumes: Volumes,
    ) -> Self {
        Vm {
            fleet: fleet.to_owned(),
            identity: identity.to_owned(),
            files: NodeFolder::new(&node.name),
            troubles: NodeTroubles::new(&node),
            node,
            boot,
            accelerator,
            volumes,
            disks: Mutex::new(None),
            boots: watch::Sender::new(0),
            making: Mutex::new(Making { number: 1, destroyed: false }),
            running: Mutex::new(None),
            acting: tokio::sync::Mutex::new(()),
        }
    }

    /// Makes the node's own disk: a layer over the image or over the saved layer, which stay as they are.
    pub(crate) fn create_disk(&self, restored: bool) -> Result<(), FleetError> {
        let volumes = self.node.volumes.iter();
        let volumes =
            volumes.map(|volume| (volume.name.clone(), self.volumes.disk(&self.node.name, volume))).collect();
        let (image, bytes, keeping) = (&self.boot.disk, self.node.disk.0, self.volumes.keeping());
        let disks = Disks::create(&self.files, image, bytes, restored, volumes, keeping, &self.troubles);
        let disks = disks.map_err(|error| self.failed(format!("cannot make its disk: {error}")))?;
        *self.disks.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(disks));
        Ok(())
    }

    fn disks(&self) -> Result<Arc<Disks>, FleetError> {
        let disks = self.disks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        disks.ok_or_else(|| self.failed("it has no disk".to_owned()))
    }

    /// Boots the machine from its disk.
    pub(crate) async fn start(&self) -> Result<(), FleetError> {
        let _acting = self.acting.lock().await;
        self.start_stopped().await
    }

    /// Starts a machine that waits to be restored.
    pub(crate) async fn prepare(&self) -> Result<(), FleetError> {
        let _acting = self.acting.lock().await;
        self.launch(true).await.map(drop)
    }

    /// Fills the waiting machine from its snapshot; it stands still until [`Vm::resume`].
    pub(crate) async fn restore(&self) -> Result<(), FleetError> {
        let _acting = self.acting.lock().await;
        let running = self.running().ok_or_else(|| self.provider("is stopped"))?;
        let from = format!("exec:cat {}", self.files.saved_state().display());
        self.without_memory(&running).await?;
        let mut events = running.qmp.events();
        self.ask(running.qmp.execute("migrate-incoming", json!({ "uri": from })).await)?;
        let restored = async {
            while self.run_state(&running).await? == "inmigrate" {
                // Closed when it has ended, which the next question finds out.
                let _ = events.recv().await;
            }
            Ok(())
        };
        timeout(PROMPT, restored).await.unwrap_or_else(|_| Err(self.provider("was not restored in time")))
    }

    /// Lets a machine that stands still go on.
    pub(crate) async fn resume(&self) -> Result<(), FleetError> {
        let running = self.running().ok_or_else(|| self.provider("is stopped"))?;
        self.set_frozen(&running, false).await
    }

    /// Tells a guest that stood still the time, and makes its random numbers its own.
    pub(crate) async fn wake(&self, limit: Duration) -> Result<(), FleetError> {
        let running = self.running().ok_or_else(|| self.provider("is stopped"))?;
        match timeout(limit, running.wake.wake()).await {
            Ok(woken) => woken.map_err(|error| self.provider(&format!("did not wake up: {error}"))),
            Err(_) => Err(self.provider("did not wake up in time")),
        }
    }

    /// Makes a running machine stand still, so that it can be saved.
    pub(crate) async fn pause(&self) -> Result<(), FleetError> {
        let running = self.running().ok_or_else(|| self.provider("is stopped"))?;
        match self.run_state(&running).await?.as_str() {
            "running" => self.set_frozen(&running, true).await,
            state => Err(self.provider(&format!("is {state}"))),
        }
    }

    /// Saves the machine, which must stand still, into `dir`.
    pub(crate) async fn save(&self, dir: &Path) -> Result<(), FleetError> {
        let _acting = self.acting.lock().await;
        let running = self.running().ok_or_else(|| self.provider("is stopped"))?;
        let saved = SavedNode::of(dir, &self.node.name);
        self.without_memory(&running).await?;
        let mut events = running.qmp.events();
        // The path of the snapshot is not for a shell; that of our own folder is plain.
        let state = self.files.saved_state();
        self.ask(
            running.qmp.execute("migrate", json!({ "uri": format!("exec:cat > {}", state.display()) })).await,
        )?;
        let done = async {
            loop {
                let progress = self.ask(running.qmp.execute("query-migrate", Value::Null).await)?;
                match progress.get("status").and_then(Value::as_str) {
                    Some("completed") => return Ok(()),
                    Some("failed" | "cancelled") => return Err(self.provider("could not be saved")),
                    _ => drop(events.recv().await),
                }
            }
        };
        timeout(PROMPT, done).await.unwrap_or_else(|_| Err(self.provider("was not saved in time")))?;
        let (pid, disks) = (running.pid, self.disks()?);
        let volumes = self.node.volumes.iter().map(|volume| {
            let name = volumes::full_name(&self.node.name, volume);
            (self.volumes.disk(&self.node.name, volume), SavedNode::volume(dir, &name))
        });
        let volumes: Vec<(PathBuf, PathBuf)> = volumes.collect();
        let copied = tokio::task::spawn_blocking(move || {
            std::fs::rename(&state, &saved.state)?;
            disks.save(&saved)?;
            for (from, to) in volumes {
                snapshot::copy_sparse(&File::open(from)?, &File::create_new(to)?)?;
            }
            snapshot::copy_memory(pid, &saved.ram)
        });
        let copied = copied.await.map_err(|error| self.provider(&error.to_string()))?;
        copied.map_err(|error| self.provider(&format!("could not be saved: {error}")))
    }

    pub(crate) async fn act(&self, action: InstanceAction) -> Result<(), FleetError> {
        let _acting = self.acting.lock().await;
        let running = self.running();
        match (action, running) {
            (InstanceAction::Start, None) if self.making().destroyed => self.make_anew().await,
            (InstanceAction::Start, None) => self.start_stopped().await,
            (InstanceAction::Stop | InstanceAction::Kill, None) => Ok(()),
            (InstanceAction::Destroy, None) => self.destroy_stopped(),
            (InstanceAction::Destroy, Some(running)) => {
                self.kill_running(&running).await?;
                self.destroy_stopped()
            }
            (_, None) => Err(self.provider("is stopped")),
            (InstanceAction::Start, Some(_)) => Ok(()),
            (InstanceAction::Stop, Some(running)) => self.stop(&running).await,
            (InstanceAction::Kill, Some(running)) => self.kill_running(&running).await,
            (InstanceAction::Freeze, Some(running)) => self.freeze(&running).await,
            (InstanceAction::Thaw, Some(running)) => self.set_frozen(&running, false).await,
            (InstanceAction::Reboot, Some(running)) => self.reset(&running).await,
        }
    }

    /// Ends the machine at once; its disks keep what it has flushed, and of the rest what `unflushed` says.
    pub(crate) async fn power_cut(&self, unflushed: Unflushed, seed: Seed) -> Result<Cut, FleetError> {
        let _acting = self.acting.lock().await;
        let running = self.running().ok_or_else(|| self.provider("is stopped"))?;
        self.kill_running(&running).await?;
        let disks = self.disks()?;
        let cut = tokio::task::spawn_blocking(move || disks.power_cut(unflushed, seed)).await;
        let cut = cut.map_err(io::Error::other).flatten();
        cut.map_err(|error| self.provider(&format!("lost its power, and its disk failed: {error}")))
    }

    pub(crate) fn impair_disks(&self, rules: &DiskRules) -> Result<(), FleetError> {
        if let Some(disk) = rules.disk.as_ref().filter(|disk| !self.troubles.has(disk)) {
            return Err(self.provider(&format!("has no disk `{disk}`")));
        }
        self.troubles.install(rules);
        Ok(())
    }

    pub(crate) fn repair_disks(&self, fault: &str) -> Option<DiskCounters> {
        self.troubles.remove(fault)
    }

    pub(crate) fn disk_counters(&self, fault: &str) -> Option<DiskCounters> {
        self.troubles.counters(fault)
    }

    pub(crate) async fn status(&self) -> Result<InstanceStatus, FleetError> {
        let making = self.making();
        let state = match self.running() {
            None if making.destroyed => InstanceState::Destroyed,
            None => InstanceState::Stopped,
            Some(running) => match self.is_frozen(&running).await {
                Ok(true) => InstanceState::Frozen,
                Ok(false) => InstanceState::Running,
                // It ended while being asked.
                Err(_) if running.has_ended() => InstanceState::Stopped,
                Err(error) => return Err(error),
            },
        };
        let boots = *self.boots.borrow();
        let process = self.running().map_or("none".to_owned(), |running| running.pid.to_string());
        let incarnation = format!("machine {}, boot {boots}, process {process}", making.number);
        Ok(InstanceStatus { node: self.node.name.clone(), state, boots, incarnation })
    }

    /// Where the guest's SSH server can be reached; says why not if the machine is not running.
    pub(crate) fn ssh_port(&self) -> Result<u16, FleetError> {
        self.running().map(|running| running.ssh_port).ok_or_else(|| self.provider("is stopped"))
    }

    /// Whether there is a machine at all, frozen or not.
    pub(crate) fn is_running(&self) -> bool {
        self.running().is_some()
    }

    /// Ends the machine as fast as possible, whatever it is doing.
    pub(crate) async fn kill(&self) {
        // Without the lock of actions: a fleet that goes away does not wait for a shutdown under way.
        if let Some(running) = self.running() {
            // The parent-death signal gets what this does not.
            let _ = self.kill_running(&running).await;
        }
        // What a guest was told is written belongs to its volumes; only a power cut takes it.
        if let Err(error) = self.on_disks(|disks| disks.end()).await {
            tracing::error!("{error}");
        }
    }

    /// Does something to its disks that may take as long as the host's disk takes.
    async fn on_disks(
        &self,
        work: impl FnOnce(&Disks) -> io::Result<()> + Send + 'static,
    ) -> Result<(), FleetError> {
        // Between two machines there are none.
        let Ok(disks) = self.disks() else { return Ok(()) };
        let done = tokio::task::spawn_blocking(move || work(&disks)).await;
        done.map_err(io::Error::other)
            .flatten()
            .map_err(|error| self.provider(&format!("has volumes that could not be written to: {error}")))
    }

    fn running(&self) -> Option<Arc<Running>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.as_ref().is_some_and(|running| running.has_ended()) {
            *running = None;
        }
        running.clone()
    }

    fn making(&self) -> Making {
        *self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes what a machine that has ended was, but for its volumes.
    fn destroy_stopped(&self) -> Result<(), FleetError> {
        let disks = self.disks.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(disks) = disks {
            disks.delete().map_err(|error| self.provider(&format!("keeps its disk: {error}")))?;
        }
        self.making.lock().unwrap_or_else(PoisonError::into_inner).destroyed = true;
        Ok(())
    }

    /// Another machine of the same name, from the image.
    async fn make_anew(&self) -> Result<(), FleetError> {
        self.create_disk(false)?;
        {
            let mut making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
            *making = Making { number: making.number + 1, destroyed: false };
        }
        self.boots.send_replace(0);
        self.start_stopped().await
    }

    async fn start_stopped(&self) -> Result<(), FleetError> {
        self.launch(false).await.map(drop)
    }

    /// Starts QEMU, to boot or to be filled from a snapshot.
    async fn launch(&self, restored: bool) -> Result<Arc<Running>, FleetError> {
        let boot = *self.boots.borrow() + 1;
        let what = if restored { "restored, as boot" } else { "boot" };
        console::mark(&self.files.console(), &format!("{what} {boot} of {}", self.node.name))
            .map_err(|error| self.failed(format!("cannot write the console log: {error}")))?;
        let pair = || socket_pair().map_err(|error| self.failed(error.to_string()));
        let ((qmp, qmp_in_qemu), (wake, wake_in_qemu)) = (pair()?, pair()?);
        let disks = self.disks()?;
        // Waits for the end of what the last machine had under way.
        let plugged = tokio::task::spawn_blocking(move || disks.plug()).await;
        let plugs = plugged
            .map_err(io::Error::other)
            .flatten()
            .map_err(|error| self.failed(format!("its disk: {error}")))?;
        let child = self
            .spawn([&qmp_in_qemu, &wake_in_qemu].into_iter().chain(&plugs), restored)
            .map_err(|error| self.failed(format!("{HYPERVISOR}: {error}")))?;
        drop((qmp_in_qemu, wake_in_qemu, plugs));
        let pid = child.id().unwrap_or_default();
        let (kill, killed) = mpsc::unbounded_channel();
        let (end, ended) = watch::channel(false);
        tokio::spawn(reap(child, killed, end));
        // Dropped on failure, `kill` ends the process.
        let qmp = Qmp::start(qmp, START).await.map_err(|error| self.failed(error.to_string()))?;
        let ssh_port = self.forwarded_port(&qmp).await?;
        self.boots.send_replace(boot);
        tokio::spawn(count_resets(
            qmp.events(),
            self.boots.clone(),
            self.files.clone(),
            self.node.name.clone(),
        ));
        let running = Arc::new(Running { pid, qmp, wake: WakePort::new(wake), ssh_port, kill, ended });
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running.clone());
        Ok(running)
    }

    /// Memory lies in a file of its own: only the devices go through QEMU's stream, which takes milliseconds.
    async fn without_memory(&self, running: &Running) -> Result<(), FleetError> {
        let capabilities =
            ["x-ignore-shared", "events"].map(|name| json!({ "capability": name, "state": true }));
        let arguments = json!({ "capabilities": capabilities });
        self.ask(running.qmp.execute("migrate-set-capabilities", arguments).await).map(drop)
    }

    /// Starts the process, with its ends of the control connection, the wake port, the root disk and the
    /// volumes.
    fn spawn<'a>(&self, sockets: impl Iterator<Item = &'a OwnedFd>, restored: bool) -> io::Result<Child> {
        let mut log = OpenOptions::new();
        let log = log.create(true).append(true).mode(0o600).open(self.files.log())?;
        let sockets: Vec<RawFd> = sockets.map(AsRawFd::as_raw_fd).collect();
        let [qmp, wake, root, ref volumes @ ..] = sockets[..] else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let identity = match self.making().number {
            1 => self.identity.clone(),
            number => format!("{} {number}", self.identity),
        };
        let machine = Machine {
            fleet: &self.fleet,
            identity: &identity,
            node: &self.node,
            boot: &self.boot,
            accelerator: self.accelerator,
            restored,
        };
        let mut command = Command::new(HYPERVISOR);
        command.args(machine.arguments(Sockets { qmp, wake, root, volumes }));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let supervisor = rustix::process::getpid();
        // SAFETY: only system calls are made between fork and exec; the descriptors are open until after
        // `spawn` returns.
        unsafe {
            command.pre_exec(move || {
                // The signal is sent when the *thread* that forked ends; this runs on the main thread.
                set_parent_process_death_signal(Some(Signal::KILL))?;
                if getppid() != Some(supervisor) {
                    return Err(io::Error::other("the supervisor has died"));
                }
                for socket in &sockets {
                    let socket = rustix::fd::BorrowedFd::borrow_raw(*socket);
                    rustix::io::fcntl_setfd(socket, FdFlags::empty())?;
                }
                Ok(())
            });
        }
        command.spawn()
    }

    /// The port on this machine that QEMU picked for the guest's SSH server.
    async fn forwarded_port(&self, qmp: &Qmp) -> Result<u16, FleetError> {
        let command = json!({ "command-line": "info usernet" });
        let answer = self.ask(qmp.execute("human-monitor-command", command).await)?;
        forwarded_port(answer.as_str().unwrap_or_default())
            .ok_or_else(|| self.failed(format!("QEMU names no forwarded port: {answer}")))
    }

    async fn stop(&self, running: &Running) -> Result<(), FleetError> {
        if self.is_frozen(running).await? {
            return Err(self.provider("is frozen and cannot shut down"));
        }
        self.ask(running.qmp.execute("system_powerdown", Value::Null).await)?;
        match running.wait_end(SHUTDOWN).await {
            true => Ok(()),
            false => Err(self.provider(&format!("did not shut down within {} s", SHUTDOWN.as_secs()))),
        }
    }

    async fn kill_running(&self, running: &Running) -> Result<(), FleetError> {
        // The other end only closes when the process has ended already.
        let _ = running.kill.send(());
        match running.wait_end(PROMPT).await {
            true => Ok(()),
            false => Err(self.provider("did not end when it was killed")),
        }
    }

    async fn set_frozen(&self, running: &Running, frozen: bool) -> Result<(), FleetError> {
        let command = if frozen { "stop" } else { "cont" };
        self.ask(running.qmp.execute(command, Value::Null).await)?;
        match self.is_frozen(running).await? == frozen {
            true => Ok(()),
            false => Err(self.provider(&format!("took no notice of `{command}`"))),
        }
    }

    /// Makes the machine stand still, with all that it has written in the files of its volumes: whoever asks
    /// for that may want to copy them.
    async fn freeze(&self, running: &Running) -> Result<(), FleetError> {
        self.set_frozen(running, true).await?;
        let settled = self.on_disks(|disks| disks.settle()).await;
        if settled.is_err() {
            self.set_frozen(running, false).await?;
        }
        settled
    }

    async fn is_frozen(&self, running: &Running) -> Result<bool, FleetError> {
        // After a machine was saved, QEMU has a name of its own for standing still.
        Ok(matches!(self.run_state(running).await?.as_str(), "paused" | "postmigrate"))
    }

    async fn run_state(&self, running: &Running) -> Result<String, FleetError> {
        let status = self.ask(running.qmp.execute("query-status", Value::Null).await)?;
        Ok(status.get("status").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    async fn reset(&self, running: &Running) -> Result<(), FleetError> {
        if self.is_frozen(running).await? {
            return Err(self.provider("is frozen and cannot be reset"));
        }
        let mut boots = self.boots.subscribe();
        let before = *boots.borrow_and_update();
        self.ask(running.qmp.execute("system_reset", Value::Null).await)?;
        match timeout(PROMPT, boots.wait_for(|boots| *boots > before)).await {
            Ok(Ok(_)) if !running.has_ended() => Ok(()),
            _ => Err(self.provider("was not reset")),
        }
    }

    fn ask(&self, answer: Result<Value, QmpError>) -> Result<Value, FleetError> {
        answer.map_err(|error| self.provider(&error.to_string()))
    }

    fn provider(&self, what: &str) -> FleetError {
        FleetError::Provider(format!("{} {what}", self.node.name))
    }

    fn failed(&self, reason: String) -> FleetError {
        let said = console::tail(&self.files.log(), 5);
        let reason = if said.is_empty() { reason } else { format!("{reason} ({said})") };
        let console = console::tail(&self.files.console(), console::SHOWN_LINES);
        FleetError::Start { node: self.node.name.clone(), reason, console }
    }
}
