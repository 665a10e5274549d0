//! One guest, as somebody sees it who knows nothing of faults.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ovenproof::chaos::faults::{BootIds, Fault, FaultSpec, Scene};
use ovenproof::fleet::Fleet;
use ovenproof::guest::Session;
use ovenproof::seed::Seed;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

/// For what takes seconds.
pub(super) const SOON: Duration = Duration::from_secs(120);
/// Hundredths of a second of idleness in a second.
pub(super) const IDLE: &str = "idle() { read -r cpu a b c idle rest < /proc/stat; echo $idle; }; \
                               i=$(idle); sleep 1; echo $(($(idle) - i))";

pub(super) struct Guest {
    pub(super) fleet: Arc<dyn Fleet>,
    pub(super) name: String,
    session: Arc<dyn Session>,
}

impl Guest {
    pub(super) fn of(fleet: &Arc<dyn Fleet>, name: &str) -> Self {
        Guest { fleet: Arc::clone(fleet), name: name.to_owned(), session: fleet.session(name) }
    }

    pub(super) async fn run(&self, command: &str) -> (bool, String) {
        let output = self.session.exec(command, Instant::now() + SOON).await.expect("an answer");
        (output.success(), output.text())
    }

    pub(super) async fn says(&self, command: &str) -> String {
        self.run(command).await.1
    }

    /// Runs what must succeed.
    pub(super) async fn does(&self, command: &str) {
        let (success, text) = self.run(&format!("exec 2>&1; {command}")).await;
        assert!(success, "{}: `{command}` says `{text}`", self.name);
    }

    pub(super) async fn number(&self, command: &str) -> i64 {
        let text = self.says(command).await;
        text.parse().unwrap_or_else(|_| panic!("{}: `{command}` says `{text}`", self.name))
    }

    /// Milliseconds by which its clock is ahead of ours.
    pub(super) async fn ahead(&self) -> i64 {
        let theirs = self.number("date +%s%3N").await;
        let ours = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time");
        theirs - i64::try_from(ours.as_millis()).expect("a time")
    }

    /// Whether the service answers its clients.
    pub(super) async fn answers(&self) -> bool {
        let (plan, ready) = (self.fleet.plan(), Duration::from_secs(3));
        let node = plan.nodes.iter().find(|node| node.name == self.name).expect("the node");
        let Some((probe, _)) = &node.ready else { panic!("the image has a readiness probe") };
        let (dialer, session) = (self.fleet.dialer(&self.name), self.fleet.session(&self.name));
        let measured = ovenproof::guest::probe::measure(probe, &*dialer, &*session);
        timeout(ready, measured).await.is_ok_and(|measured| measured.ok)
    }

    pub(super) fn arm(&self, name: &str, mut params: Value, lasts: Duration) -> Box<dyn Fault> {
        params["target"] = json!({ "nodes": [self.name] });
        let spec = FaultSpec::from_params(name, &params).expect("a fault");
        spec.kind().arm(Scene {
            fault: format!("t-{name}"),
            fleet: Arc::clone(&self.fleet),
            targets: vec![self.name.clone()],
            lasts: Some(lasts),
            seed: Seed(7),
            boot_ids: BootIds::default(),
        })
    }

    /// Injects a fault and waits for its proof.
    pub(super) async fn begin(&self, name: &str, params: Value) -> Box<dyn Fault> {
        let mut fault = self.arm(name, params, SOON);
        fault.inject().await.unwrap_or_else(|error| panic!("{name}: {error}"));
        match timeout(SOON, fault.prove()).await {
            Ok(proof) => println!("{name}: {}", proof.unwrap_or_else(|error| panic!("{name}: {error}"))),
            Err(_) => panic!("{name} left no proof: {}", fault.seen()),
        }
        fault
    }

    /// Heals it and has that verified.
    pub(super) async fn end(&self, mut fault: Box<dyn Fault>) {
        fault.heal().await.expect("healed");
        println!("  {}", fault.verify_healed().await.expect("verified"));
        fault.back().await.expect("back");
        assert_eq!(self.says("ls /run/ovenproof").await, "", "nothing of it is left in {}", self.name);
    }
}

pub(super) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let limit = Instant::now() + SOON;
    while !holds().await {
        assert!(Instant::now() < limit, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
