//! Every fault that the provider does, done to real machines and without any effect: none may be taken for a fault.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ovenproof::chaos::faults::{BootIds, FaultSpec, Scene};
use ovenproof::diagnostic::parse_yaml;
use ovenproof::disk::{Cut, DiskCounters, DiskRules, Unflushed};
use ovenproof::fleet::{
    Capability, Fleet, FleetError, FleetPlan, InstanceAction, InstanceStatus, NodePlan, Timing,
};
use ovenproof::guest::{Dialer, Session};
use ovenproof::network::{Impairment, RuleCounters, RuleSet};
use ovenproof::seed::Seed;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::guest::SOON;

/// To look again and again for a proof, and to send what would make one.
const LOOKED: Duration = Duration::from_secs(5);

/// A real fleet in which whatever is done does nothing: rules go in that change no frame and no request, and
/// machines go on.
struct Powerless(Arc<dyn Fleet>);

#[async_trait]
impl Fleet for Powerless {
    fn plan(&self) -> &FleetPlan {
        self.0.plan()
    }

    fn restored(&self) -> bool {
        self.0.restored()
    }

    fn timings(&self) -> Vec<Timing> {
        self.0.timings()
    }

    async fn lost(&self) -> String {
        self.0.lost().await
    }

    async fn save(&self) -> Result<bool, FleetError> {
        self.0.save().await
    }

    async fn status(&self, node: &str) -> Result<InstanceStatus, FleetError> {
        self.0.status(node).await
    }

    async fn act(&self, _: &str, _: InstanceAction) -> Result<(), FleetError> {
        Ok(())
    }

    fn dialer(&self, node: &str) -> Arc<dyn Dialer> {
        self.0.dialer(node)
    }

    fn session(&self, node: &str) -> Arc<dyn Session> {
        self.0.session(node)
    }

    async fn impair(&self, mut rules: RuleSet) -> Result<(), FleetError> {
        for rule in &mut rules.rules {
            rule.impairment = Impairment::default();
        }
        self.0.impair(rules).await
    }

    async fn repair(&self, fault: &str) -> Result<RuleCounters, FleetError> {
        self.0.repair(fault).await
    }

    async fn counters(&self, fault: &str) -> Result<Option<RuleCounters>, FleetError> {
        self.0.counters(fault).await
    }

    async fn power_cut(&self, _: &str, _: Unflushed, _: Seed) -> Result<Cut, FleetError> {
        Ok(Cut { unflushed: 3, kept: 1, lost: 2, torn: 0 })
    }

    async fn impair_disks(&self, mut rules: DiskRules) -> Result<(), FleetError> {
        rules.trouble.chance = 0.0;
        self.0.impair_disks(rules).await
    }

    async fn repair_disks(&self, fault: &str) -> Result<DiskCounters, FleetError> {
        self.0.repair_disks(fault).await
    }

    async fn disk_counters(&self, fault: &str) -> Result<Option<DiskCounters>, FleetError> {
        self.0.disk_counters(fault).await
    }

    async fn console(&self, node: &str) -> Result<Vec<u8>, FleetError> {
        self.0.console(node).await
    }

    async fn wait_ready(&self, node: &NodePlan, deadline: Instant) -> Result<(), FleetError> {
        self.0.wait_ready(node, deadline).await
    }

    async fn destroy(&self) -> Result<(), FleetError> {
        self.0.destroy().await
    }
}

pub(super) async fn what_changes_nothing_is_not_proven(fleet: &Arc<dyn Fleet>) {
    let powerless: Arc<dyn Fleet> = Arc::new(Powerless(Arc::clone(fleet)));
    let (mut trying, mut tried) = (JoinSet::new(), Vec::new());
    for entry in FaultSpec::CATALOGUE {
        let spec = parse_yaml(Path::new(entry.name), &format!("{}\n", entry.about.example));
        let spec: FaultSpec = spec.unwrap_or_else(|error| panic!("{}: {error}", entry.name));
        match spec.kind().needs() {
            // What is done by a command in the guest takes effect here as anywhere.
            Capability::Session => {}
            _ if entry.name == "instance.panic" => {}
            Capability::Links | Capability::Disks => {
                trying.spawn(is_not_proven(spec, Arc::clone(&powerless)));
            }
            _ => tried.push(is_not_proven(spec, Arc::clone(&powerless)).await),
        }
    }
    tried.extend(trying.join_all().await);
    println!("without effect and without proof: {}", tried.join(", "));
    assert!(tried.len() > 20, "only {} faults", tried.len());
}

async fn is_not_proven(spec: FaultSpec, fleet: Arc<dyn Fleet>) -> String {
    let name = spec.name();
    let mut fault = spec.kind().arm(Scene {
        fault: format!("n-{name}"),
        fleet: Arc::clone(&fleet),
        targets: fleet.plan().nodes.iter().take(1).map(|node| node.name.clone()).collect(),
        lasts: Some(SOON),
        seed: Seed(7),
        boot_ids: BootIds::default(),
    });
    fault.inject().await.unwrap_or_else(|error| panic!("{name}: {error}"));
    let limit = Instant::now() + SOON;
    let mut met_frames = spec.kind().needs() != Capability::Links;
    loop {
        let proof = timeout(LOOKED, fault.prove()).await;
        assert!(!matches!(proof, Ok(Ok(_))), "{name} changes nothing, and is proven: {proof:?}");
        if met_frames {
            break;
        }
        assert!(Instant::now() < limit, "{name}: its rules meet no frame, so nothing is shown");
        // And then once more: now there is something that could be taken for a proof.
        let counters = fleet.counters(&format!("n-{name}")).await.expect("counters");
        met_frames = counters.expect("its rules are installed").seen > 0;
    }
    fault.heal().await.unwrap_or_else(|error| panic!("{name}: {error}"));
    name.to_owned()
}
