//! A handle to a fleet of VMs: every question goes to its supervisor.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

use super::console;
use super::control::{Address, Connection, Reply, Request, gone};
use super::folder::{Folder, Setup};
use super::reach::{NodeDialer, SshEndpoint};
use super::snapshot::{self, Snapshot};
use super::supervisor::failed;
use super::volumes::Made;
use super::wake::WakeBy;
use crate::disk::{Cut, DiskCounters, DiskRules, Unflushed};
use crate::fleet::ledger::{FleetRecord, Ledger, remove_leftovers};
use crate::fleet::plan::{FleetPlan, NodePlan};
use crate::fleet::provider::{Fleet, FleetError, InstanceAction, InstanceState, InstanceStatus};
use crate::fleet::timing::Timing;
use crate::guest::probe::{Measurement, measure};
use crate::guest::ssh::Identity;
use crate::guest::{Dialer, Session, SshSession};
use crate::home::{Home, create_private_dir};
use crate::network::{RuleCounters, RuleSet};
use crate::seed::Seed;
use crate::store::Store;
use crate::store::snapshot::snapshot_limit;
use crate::units::Span;

/// Between two readiness probes, at first: a restored guest is ready at once, or nearly.
const PROBE_SOON: Duration = Duration::from_millis(20);
/// Later on: a guest that boots has better things to do than to answer.
const PROBE_EVERY: Duration = Duration::from_millis(400);
/// For a login to guests that stood still.
const WAKE_UP: Duration = Duration::from_secs(20);
/// For one readiness probe that is a login.
const LOGIN_TRY: Duration = Duration::from_secs(45);
/// For a supervisor to end all it owns.
const DESTROY: Duration = Duration::from_secs(60);

pub(crate) struct QemuFleet {
    home: Home,
    record: FleetRecord,
    plan: FleetPlan,
    store: Store,
    restored: bool,
    timings: Vec<Timing>,
    folder: Folder,
    address: Arc<Address>,
    identities: BTreeMap<String, Arc<Identity>>,
    proven: Mutex<BTreeSet<String>>,
    /// The connection on which faults are put: they end with it.
    leases: tokio::sync::Mutex<Option<Connection<UnixStream>>>,
    /// What only the creator holds.
    owner: Mutex<Option<Owner>>,
}

/// The creator's hold on a fleet. Dropping the lease ends a fleet made for one run.
pub(crate) struct Owner {
    pub lease: StdUnixStream,
    pub supervisor: Child,
}

impl QemuFleet {
    pub(crate) fn open(
        home: Home,
        store: Store,
        record: FleetRecord,
        owner: Option<Owner>,
    ) -> Result<Self, FleetError> {
        let folder = Folder::new(&record.folder);
        let unreadable = || failed("cannot read the fleet's folder");
        let Setup { plan, restored, .. } = folder.setup().map_err(unreadable())?;
        let restored = restored.is_some() && owner.is_some();
        let address = Arc::new(Address::of(folder.root()).map_err(unreadable())?);
        let private_key = folder.key().map_err(unreadable())?.private;
        let mut identities = BTreeMap::new();
        for node in &plan.nodes {
            let host_key = folder.host_key(&node.name).map_err(unreadable())?.wire;
            let identity = Identity { user: "root".to_owned(), private_key: private_key.clone(), host_key };
            identities.insert(node.name.clone(), Arc::new(identity));
        }
        let (leases, owner) = (tokio::sync::Mutex::new(None), Mutex::new(owner));
        let timings = Vec::new();
        Ok(QemuFleet {
            home,
            record,
            plan,
            store,
            restored,
            timings,
            folder,
            address,
            identities,
            proven: Mutex::default(),
            leases,
            owner,
        })
    }

    /// What its creator measured.
    pub(crate) fn with_timings(self, timings: Vec<Timing>) -> Self {
        QemuFleet { timings, ..self }
    }

    /// What [`super::wake::WakePort`] does, for guests that do not answer there.
    pub(crate) async fn wake_over_ssh(&self) -> Result<(), FleetError> {
        let mut guests = tokio::task::JoinSet::new();
        for node in &self.plan.nodes {
            let session = self.session(&node.name);
            guests.spawn(async move {
                let random = BASE64.encode(rand::random::<[u8; 32]>());
                // RNDRESEEDCRNG: what is written to the pool counts only from the next reseeding on.
                let command = format!(
                    "perl -e 'open(my $r, \">\", \"/dev/urandom\"); syswrite($r, \"{random}\"); ioctl($r, 0x5207, 0)' && \
                     date -s @{} >/dev/null",
                    jiff::Timestamp::now().as_duration().as_secs_f64()
                );
                session.exec(&command, Instant::now() + WAKE_UP).await
            });
        }
        while let Some(woken) = guests.join_next().await {
            let output = woken.map_err(|error| FleetError::Provider(error.to_string()))??;
            if !output.success() {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                return Err(FleetError::Provider(format!("a restored guest did not wake up: {said}")));
            }
        }
        Ok(())
    }

    /// Asks on a connection of its own, so that a slow answer holds nobody up.
    async fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, FleetError> {
        let mut connection = self.address.connect().await.map_err(|error| gone(&error.to_string()))?;
        connection.ask(request).await
    }

    /// Asks on the connection whose end undoes what was asked.
    async fn ask_leased<T: DeserializeOwned>(&self, request: &Request) -> Result<T, FleetError> {
        let mut leases = self.leases.lock().await;
        // Taken out while in use: if this call is dropped half-way, the connection ends with all it holds,
        // rather than give the next call the answer to this one.
        let mut connection = match leases.take() {
            Some(connection) => connection,
            None => self.address.connect().await.map_err(|error| gone(&error.to_string()))?,
        };
        let answer = connection.ask(request).await;
        *leases = Some(connection);
        answer
    }

    /// Where the node's SSH server is forwarded to on this machine right now.
    pub(crate) async fn ssh_port(&self, node: &str) -> Result<u16, FleetError> {
        self.ask(&Request::SshPort { node: node.to_owned() }).await
    }

    /// The nodes that have been ready since the fleet was made.
    fn proven(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.proven.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the snapshot that the fleet came from: all nodes were ready when it was saved.
    fn distrust(&self) -> Result<(), FleetError> {
        let Some(key) = snapshot::key(&self.plan) else { return Ok(()) };
        if self.store.snapshot(&key).is_some() {
            tracing::warn!(
                "a fleet from a snapshot did not become ready; the snapshot is dropped, and the next such fleet boots"
            );
            self.store.discard_snapshot(&key)?;
        }
        Ok(())
    }

    /// Asks again and again whether `node` is ready.
    async fn wait_for(&self, node: &NodePlan, deadline: Instant) -> Result<(), FleetError> {
        let (dialer, session) = (self.dialer(&node.name), self.session(&node.name));
        let started = Instant::now();
        let mut last = "it was not measured even once".to_owned();
        let mut pause = PROBE_SOON;
        while Instant::now() < deadline {
            let Ok(measured) = timeout_at(deadline, ready(node, &*dialer, &*session, deadline)).await else {
                break;
            };
            if measured.ok {
                return Ok(());
            }
            last = measured.detail;
            let state = self.status(&node.name).await?.state;
            if matches!(state, InstanceState::Stopped | InstanceState::Destroyed) {
                let reason = "the machine ended while it was waited for".to_owned();
                let console = self.console_tail(&node.name);
                return Err(FleetError::Start { node: node.name.clone(), reason, console });
            }
            tokio::time::sleep_until(deadline.min(Instant::now() + pause)).await;
            pause = PROBE_EVERY.min(pause * 2);
        }
        Err(FleetError::NotReady {
            node: node.name.clone(),
            within: Span(started.elapsed()),
            last,
            console: self.console_tail(&node.name),
        })
    }

    fn console_tail(&self, node: &str) -> String {
        console::tail(&self.folder.console(node), console::SHOWN_LINES)
    }

    /// Waits for a supervisor, which was told to end or is now, and does its work if it died before it could.
    fn clean_up(
        home: &Home,
        record: &FleetRecord,
        owner: Option<Owner>,
        told: bool,
    ) -> Result<(), FleetError> {
        let ledger = Ledger::of(home);
        let current = ledger.fleets()?.into_iter().find(|fleet| fleet.id == record.id);
        if current.is_none()
            && let Some(supervisor) = &record.supervisor
        {
            // It has done all of its work, and is about to end.
            supervisor.wait(DESTROY);
        }
        if let Some(current) = current {
            if let Some(supervisor) = current.supervisor.as_ref().filter(|_| !told) {
                // While it starts a fleet it answers nobody.
                supervisor.terminate();
            }
            if let Some(supervisor) = &current.supervisor
                && !supervisor.wait(DESTROY)
                && !supervisor.kill()
            {
                return Err(FleetError::Provider(format!("process {} cannot be killed", supervisor.pid)));
            }
            // Unless the supervisor has done it itself by now.
            if ledger.fleets()?.iter().any(|fleet| fleet.id == record.id) {
                remove_leftovers(&current, &mut Vec::new())
                    .map_err(failed("cannot remove the fleet's folder"))?;
                ledger.gone(&record.id)?;
            }
        }
        if let Some(Owner { lease, mut supervisor }) = owner {
            drop(lease);
            supervisor.wait().map_err(failed("cannot wait for the supervisor"))?;
        }
        Ok(())
    }
}

#[async_trait]
impl Fleet for QemuFleet {
    fn plan(&self) -> &FleetPlan {
        &self.plan
    }

    fn restored(&self) -> bool {
        self.restored
    }

    fn timings(&self) -> Vec<Timing> {
        self.timings.clone()
    }

    async fn lost(&self) -> String {
        // The supervisor says nothing that it was not asked, so a connection that ends means that it has.
        if let Ok(mut connection) = self.address.connect().await {
            // Whether it ended well or badly, it ended.
            let _ = connection.receive::<Reply>().await;
        }
        "the fleet's supervisor is gone".to_owned()
    }

    async fn save(&self) -> Result<bool, FleetError> {
        let setup = self.folder.setup().map_err(failed("cannot read the fleet's folder"))?;
        // Saved already, or with data that is not for others, or with disks whose state cannot be.
        if setup.restored.is_some()
            || setup.made == Made::Some
            || setup.boot.values().any(|boot| boot.initrd.is_none())
        {
            return Ok(false);
        }
        let Some(key) = snapshot::key(&self.plan) else { return Ok(false) };
        let limit = snapshot_limit()?;
        if limit.0 == 0 {
            return Ok(false);
        }
        let work = self.store.begin_snapshot(&key)?;
        if self.store.snapshot(&key).is_some() {
            return Ok(false);
        }
        let part = work.dir().join("snapshot");
        create_private_dir(&part).map_err(failed("cannot make a snapshot"))?;
        let wake: WakeBy = self.ask(&Request::Save { into: part.clone() }).await?;
        if wake == WakeBy::Ssh {
            self.wake_over_ssh().await?;
        }
        self.folder.save_identities(&self.plan, &part).map_err(failed("cannot save the keys"))?;
        let images = self.plan.nodes.iter().map(|node| node.image.clone()).collect();
        Snapshot::seal(&part, &key, images, &setup.identity, wake)
            .map_err(failed("cannot describe the snapshot"))?;
        let store = self.store.clone();
        // Waits for the disk.
        let published =
            tokio::task::spawn_blocking(move || store.publish_snapshot(&key, work, &part, limit)).await;
        published.map_err(|error| FleetError::Provider(error.to_string()))??;
        Ok(true)
    }

    async fn status(&self, node: &str) -> Result<InstanceStatus, FleetError> {
        self.ask(&Request::Status { node: node.to_owned() }).await
    }

    async fn act(&self, node: &str, action: InstanceAction) -> Result<(), FleetError> {
        let request = Request::Act { node: node.to_owned(), action };
        match action {
            InstanceAction::Freeze | InstanceAction::Thaw => self.ask_leased(&request).await,
            _ => self.ask(&request).await,
        }
    }

    fn dialer(&self, node: &str) -> Arc<dyn Dialer> {
        Arc::new(NodeDialer { address: self.address.clone(), node: node.to_owned() })
    }

    fn session(&self, node: &str) -> Arc<dyn Session> {
        let endpoint = Arc::new(SshEndpoint { address: self.address.clone(), node: node.to_owned() });
        // For a node that does not exist the endpoint says so before any identity is used.
        let nobody =
            || Arc::new(Identity { user: String::new(), private_key: String::new(), host_key: Vec::new() });
        let identity = self.identities.get(node).cloned().unwrap_or_else(nobody);
        Arc::new(SshSession::new(endpoint, identity))
    }

    async fn impair(&self, rules: RuleSet) -> Result<(), FleetError> {
        self.ask_leased(&Request::Impair { rules }).await
    }

    async fn repair(&self, fault: &str) -> Result<RuleCounters, FleetError> {
        self.ask_leased(&Request::Repair { fault: fault.to_owned() }).await
    }

    async fn counters(&self, fault: &str) -> Result<Option<RuleCounters>, FleetError> {
        self.ask(&Request::Counters { fault: fault.to_owned() }).await
    }

    async fn power_cut(&self, node: &str, unflushed: Unflushed, seed: Seed) -> Result<Cut, FleetError> {
        self.ask(&Request::PowerCut { node: node.to_owned(), unflushed, seed }).await
    }

    async fn impair_disks(&self, rules: DiskRules) -> Result<(), FleetError> {
        self.ask_leased(&Request::ImpairDisks { rules }).await
    }

    async fn repair_disks(&self, fault: &str) -> Result<DiskCounters, FleetError> {
        self.ask_leased(&Request::RepairDisks { fault: fault.to_owned() }).await
    }

    async fn disk_counters(&self, fault: &str) -> Result<Option<DiskCounters>, FleetError> {
        self.ask(&Request::DiskCounters { fault: fault.to_owned() }).await
    }

    async fn console(&self, node: &str) -> Result<Vec<u8>, FleetError> {
        if !self.identities.contains_key(node) {
            return Err(FleetError::NoSuchNode(node.to_owned()));
        }
        tokio::fs::read(self.folder.console(node)).await.map_err(failed("cannot read the console's log"))
    }

    async fn wait_ready(&self, node: &NodePlan, deadline: Instant) -> Result<(), FleetError> {
        let waited = self.wait_for(node, deadline).await;
        match &waited {
            Ok(()) => drop(self.proven().insert(node.name.clone())),
            // A machine that was killed meanwhile says nothing about what it came from.
            Err(FleetError::NotReady { .. }) if self.restored && !self.proven().contains(&node.name) => {
                self.distrust()?;
            }
            Err(_) => {}
        }
        waited
    }

    async fn destroy(&self) -> Result<(), FleetError> {
        let asked = tokio::time::timeout(DESTROY, self.ask::<()>(&Request::Destroy)).await;
        let owner = self.owner.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (home, record, told) = (self.home.clone(), self.record.clone(), matches!(asked, Ok(Ok(()))));
        let cleaned = tokio::task::spawn_blocking(move || Self::clean_up(&home, &record, owner, told)).await;
        cleaned.map_err(|error| FleetError::Provider(error.to_string()))??;
        match asked {
            // Gone all the same, but not all of it as it was asked for.
            Ok(Err(FleetError::Provider(reason))) if reason.contains("logs") => {
                Err(FleetError::Provider(reason))
            }
            _ => Ok(()),
        }
    }
}

async fn ready(
    node: &NodePlan,
    dialer: &dyn Dialer,
    session: &dyn Session,
    deadline: Instant,
) -> Measurement {
    match &node.ready {
        Some((probe, _)) => measure(probe, dialer, session).await,
        None => {
            let started = Instant::now();
            // One try at a time, so that a machine that ends meanwhile is noticed.
            let outcome = session.exec("true", deadline.min(started + LOGIN_TRY)).await;
            let detail = outcome.as_ref().err().map(ToString::to_string).unwrap_or_default();
            Measurement {
                ok: outcome.is_ok_and(|output| output.success()),
                latency: started.elapsed(),
                detail,
            }
        }
    }
}

#[cfg(test)]
mod tests;
