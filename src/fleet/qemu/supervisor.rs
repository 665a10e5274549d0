//! The process that owns one fleet: its VMs, its switch, its folder.
//!
//! It is started by the command that creates the fleet and outlives it if it is told to. Everything runs on
//! its main thread, because VMs are told to die with the thread that started them. Its standard input is the
//! lease: when that ends, so does a fleet that was made for one run.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::control::{Connection, Refusal, Reply};
use super::folder::{CONTROL_SOCKET, Folder, NodeFolder, Setup};
use super::machine::Machine;
use super::service::Service;
use super::vm::{Vm, WAKE_UP};
use super::wake::WakeBy;
use crate::fleet::ledger::{Ledger, LedgerError};
use crate::fleet::process::ProcessId;
use crate::fleet::provider::{FleetError, Lifetime};
use crate::fleet::timing::{Stage, Timing};
use crate::home::Home;
use crate::hypervisor::accel::Accelerator;
use crate::network::{PortSpec, Switch, SwitchSpec};

/// The nodes' machines by name.
pub(crate) type Vms = Arc<BTreeMap<String, Arc<Vm>>>;
/// The connection that asked for the fleet's end and is told when it has come.
type Asker = Connection<UnixStream>;

/// Supervises the fleet whose folder is `folder` until it is gone.
pub fn supervise(folder: &Path) -> Result<(), FleetError> {
    std::env::set_current_dir(folder).map_err(failed("cannot enter the fleet's folder"))?;
    let folder = Folder::new(folder);
    let setup = folder.setup().map_err(failed("cannot read what to do"))?;
    let ledger = Ledger::of(&Home::at(&setup.home));
    let me = ProcessId::current().map_err(failed("cannot read /proc/self"))?;
    // From here on, healing knows whom to look for. If the fleet was given up before, nothing is created.
    if !ledger.supervised(&setup.id, me)? {
        return Err(FleetError::Provider("the fleet was given up before its supervisor started".to_owned()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(failed("cannot start"))?;
    let outcome = runtime.block_on(run(&setup));
    // All VMs are dead. Losing logs must not keep the rest from being removed.
    let kept = folder.keep_logs();
    folder.remove().map_err(failed("cannot remove the fleet's folder"))?;
    ledger.gone(&setup.id)?;
    if let Some(mut asker) = outcome? {
        let reply: Reply = kept.as_ref().map(|()| Value::Null).map_err(|error| {
            Refusal::Provider(format!("the fleet is gone, but its logs could not be kept: {error}"))
        });
        // They may have left.
        let _ = runtime.block_on(asker.send(&reply));
    }
    kept.map_err(failed("cannot keep the logs"))
}

async fn run(setup: &Setup) -> Result<Option<Asker>, FleetError> {
    let mut lease = lease().map_err(failed("cannot use the lease"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed("cannot listen to signals"))?;
    let vms = machines(setup)?;
    let ends_with_lease = setup.lifetime == Lifetime::Run;

    let started = tokio::select! {
        started = start(&vms, setup) => started,
        () = end_of(&mut lease), if ends_with_lease => Err(FleetError::Provider("the client left".to_owned())),
        _ = terminate.recv() => Err(FleetError::Provider("terminated".to_owned())),
    };
    let (listener, switch, timings) = match started {
        Ok(parts) => parts,
        Err(error) => {
            kill_all(&vms).await;
            tell(&mut lease, Err(error.into())).await;
            return Ok(None);
        }
    };
    tell(&mut lease, Ok(json!(timings))).await;

    let service = Arc::new(Service::new(vms.clone(), switch));
    let asker = tokio::select! {
        asker = serve(listener, service) => Some(asker),
        () = end_of(&mut lease), if ends_with_lease => None,
        _ = terminate.recv() => None,
    };
    kill_all(&vms).await;
    Ok(asker)
}

/// The connection that was left to us as standard input.
fn lease() -> io::Result<UnixStream> {
    let stream = std::os::unix::net::UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// Waits until the other end of the lease has closed.
async fn end_of(lease: &mut UnixStream) {
    let mut buffer = [0; 16];
    while lease.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
}

/// Tells the creator how the start went; it may have left.
async fn tell(lease: &mut UnixStream, reply: Reply) {
    let _ = Connection::new(lease).send(&reply).await;
}

fn machines(setup: &Setup) -> Result<Vms, FleetError> {
    let (accelerator, _) = Accelerator::detect();
    let mut vms = BTreeMap::new();
    for node in &setup.plan.nodes {
        let boot = setup.boot.get(&node.name).cloned();
        let boot = boot.ok_or_else(|| FleetError::NoSuchNode(node.name.clone()))?;
        let vm = Vm::new(
            &setup.plan.name,
            &setup.identity,
            node.clone(),
            boot,
            accelerator,
            setup.volumes.clone(),
        );
        vms.insert(node.name.clone(), Arc::new(vm));
    }
    Ok(Arc::new(vms))
}

/// Starts the switch and all machines. The switch comes first: nobody's first frame is to be lost. Restored
/// machines go on together, when the last of them is there, and nobody meets them before they are awake.
async fn start(vms: &Vms, setup: &Setup) -> Result<(UnixListener, Switch, Vec<Timing>), FleetError> {
    let restored = setup.restored;
    let ports = vms.values().map(|vm| {
        let files = NodeFolder::new(&vm.node.name);
        PortSpec {
            name: vm.node.name.clone(),
            mac: Machine::mac(&vm.node),
            address: vm.node.address,
            socket: files.switch_socket(),
        }
    });
    let switch = Switch::start(SwitchSpec { ports: ports.collect(), pcap: setup.pcap.clone() })
        .map_err(|error| FleetError::Provider(format!("the switch: {error}")))?;
    for_each(vms, move |vm| async move {
        vm.create_disk(restored.is_some())?;
        if restored.is_some() { vm.prepare().await } else { vm.start().await }
    })
    .await?;
    let mut timings = Vec::new();
    if let Some(wake) = restored {
        let begun = Instant::now();
        for_each(vms, |vm| async move { vm.restore().await }).await?;
        timings.push(Timing::new(Stage::Restore, None, begun.elapsed()));
        let begun = Instant::now();
        for_each(vms, |vm| async move { vm.resume().await }).await?;
        switch.inject(setup.frames.clone());
        if wake == WakeBy::Port {
            for_each(vms, |vm| async move { vm.wake(WAKE_UP).await }).await?;
        }
        timings.push(Timing::new(Stage::Clock, None, begun.elapsed()));
    }
    // Bound relative to the working directory: the path of a socket must be short.
    let listener = UnixListener::bind(CONTROL_SOCKET).map_err(failed("cannot listen"))?;
    Ok((listener, switch, timings))
}

async fn kill_all(vms: &Vms) {
    // Killing never fails in a way that anything could be done about here: see `Vm::kill`.
    let _ = for_each(vms, |vm| async move {
        vm.kill().await;
        Ok(())
    })
    .await;
}

/// Does `work` to all machines at once.
pub(crate) async fn for_each<W>(vms: &Vms, work: impl Fn(Arc<Vm>) -> W) -> Result<(), FleetError>
where
    W: Future<Output = Result<(), FleetError>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for vm in vms.values() {
        tasks.spawn(work(vm.clone()));
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(|error| FleetError::Provider(error.to_string()))??;
    }
    Ok(())
}

/// Answers every connection until one asks for the fleet's end.
async fn serve(listener: UnixListener, service: Arc<Service>) -> Asker {
    let mut conversations = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    conversations.spawn(service.clone().converse(Connection::new(stream)));
                }
                // Out of descriptors: conversations that end give some back.
                Err(_) => tokio::task::yield_now().await,
            },
            Some(ended) = conversations.join_next() => {
                if let Ok(Some(asker)) = ended {
                    return asker;
                }
            }
        }
    }
}

impl From<LedgerError> for FleetError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Exists(name) => FleetError::Exists(name),
            other => FleetError::Provider(other.to_string()),
        }
    }
}

pub(crate) fn failed(what: &str) -> impl FnOnce(io::Error) -> FleetError {
    let what = what.to_owned();
    move |source| FleetError::Io { what, source }
}
