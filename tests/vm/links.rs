//! Faults of the network as a guest sees them.

#![expect(clippy::print_stdout, reason = "a failure must say what the faults before it left as proof")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ovenproof::chaos::faults::{BootIds, FaultSpec, Scene};
use ovenproof::diagnostic::parse_yaml;
use ovenproof::fleet::qemu::Qemu;
use ovenproof::fleet::{Fleet, Provider};
use ovenproof::home::Home;
use ovenproof::seed::Seed;
use ovenproof::store::Store;
use tokio::time::Instant;

use crate::machines::{assert_nothing_runs, baked, home, run};

/// Far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What base-1 is asked to do, with base-2 at `$peer`; each prints what comes of it.
const DIAL: &str = "timeout 4 bash -c \"exec 3<>/dev/tcp/$peer/22\" 2>/dev/null && echo open || echo no";
const DIAL_TIME: &str =
    "begun=${EPOCHREALTIME/./}; exec 3<>/dev/tcp/$peer/22; echo $(( ${EPOCHREALTIME/./} - begun ))";
/// On a busy machine the end can come before the shell has opened the connection: then it is the shell that says so.
const READ: &str =
    "(exec 3<>/dev/tcp/$peer/22; timeout 30 cat <&3) 2>&1 >/dev/null | sed 's/.*: //' | head -1";
const LOOK_UP: &str = "resolvectl flush-caches; timeout 5 getent ahostsv4 base-2 | cut -d' ' -f1 | head -1";
/// More than one segment at once, to a port that reads what comes.
const SEND_STREAM: &str = "(head -c 12000 /dev/zero > /dev/tcp/$peer/22) 2>/dev/null; sleep 0.5";
/// Segments that came before others that were sent before them.
const EARLY: &str = "awk '/^TcpExt:/ { if (!n) { n = split($0, name) } else { split($0, value); \
                     for (i = 1; i <= n; i++) if (name[i] == \"TCPOFOQueue\") print value[i] } }' /proc/net/netstat";
/// How many of ten datagrams arrive, as the peer counts those for a port where nobody listens.
const SEND: &str = "for n in 1 2 3 4 5 6 7 8 9 10; do echo x > /dev/udp/$peer/9; done; sleep 0.3";
const ARRIVED: &str = "awk '/^Udp:/ && !/NoPorts/ { print $3 + $4 }' /proc/net/snmp";

/// What a failed test leaves running would fail those after it.
struct Down;

impl Drop for Down {
    fn drop(&mut self) {
        run(&["down", "links"]);
    }
}

struct Pair {
    fleet: Arc<dyn Fleet>,
}

impl Pair {
    async fn ask(&self, node: &str, script: &str) -> String {
        let peer = self.fleet.plan().nodes[1].address;
        let script = script.replace('\'', "'\\''");
        let command = format!("peer={peer} bash -c '{script}'");
        let output = self.fleet.session(node).exec(&command, Instant::now() + PATIENCE).await;
        output.expect("an answer").text()
    }

    /// Datagrams that reached the peer in good health, of ten.
    async fn arrived(&self) -> i64 {
        let count = async || self.ask("base-2", ARRIVED).await.parse::<i64>().expect("a number");
        let before = count().await;
        self.ask("base-1", SEND).await;
        count().await - before
    }

    /// Segments of a stream that reached the peer before others that were sent before them.
    async fn disorder(&self) -> i64 {
        let count = async || self.ask("base-2", EARLY).await.parse::<i64>().expect("a number");
        let before = count().await;
        for _ in 0..3 {
            self.ask("base-1", SEND_STREAM).await;
        }
        count().await - before
    }

    /// Injects a fault of the catalogue that hits base-1, sees it proven, runs `during`, and sees it undone.
    async fn with<T>(&self, fault: &str, during: impl AsyncFnOnce() -> T) -> T {
        let (name, params) = fault.split_once(": ").expect("a name and parameters");
        let yaml = format!("{name}: {{ target: {{ nodes: [base-1] }}, {params} }}\n");
        let spec: FaultSpec = parse_yaml(Path::new("fault"), &yaml).expect("a fault");
        let mut fault = spec.kind().arm(Scene {
            fault: format!("f-{name}"),
            fleet: Arc::clone(&self.fleet),
            targets: vec!["base-1".to_owned()],
            seed: Seed(7),
            lasts: Some(PATIENCE),
            boot_ids: BootIds::default(),
        });
        fault.inject().await.expect("injected");
        let proof = tokio::time::timeout(PATIENCE, fault.prove()).await;
        println!("{yaml}  {}", proof.expect("a proof in time").expect("a proof"));
        let result = during().await;
        fault.heal().await.expect("healed");
        println!("  {}", fault.verify_healed().await.expect("verified"));
        result
    }
}

#[test]
fn a_guest_sees_every_fault_of_the_network_and_sees_it_end() {
    baked(&["base"]);
    let down = Down;
    run(&["up", "base", "-n", "2", "--memory", "256M", "--name", "links"]).exits(0);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let place = Home::at(home());
        let provider = Qemu::new(place.clone(), Store::open(&place).expect("a store"));
        let fleet = provider.attach("links").await.expect("a handle");
        every_fault(&Pair { fleet }).await;
    });
    drop(down);
    assert_nothing_runs();
}

async fn every_fault(pair: &Pair) {
    let dial = async || pair.ask("base-1", DIAL).await;
    let micros = async || pair.ask("base-1", DIAL_TIME).await.parse::<u64>().expect("microseconds");
    let arrived = async || pair.arrived().await;
    let address = async || pair.ask("base-1", LOOK_UP).await;
    assert_eq!((dial().await.as_str(), arrived().await), ("open", 10));
    let several = async || {
        let mut times = Vec::new();
        for _ in 0..6 {
            times.push(micros().await);
        }
        times.iter().max().zip(times.iter().min()).map_or(0, |(most, least)| most - least)
    };

    assert_eq!(pair.with("network.partition: shape: isolate", dial).await, "no");
    assert_eq!(pair.with("network.port_block: port: 22, direction: out", dial).await, "no");
    let other = pair.with("network.port_block: port: 23, direction: out", dial).await;
    assert_eq!(other, "open");
    // There and back before a connection is open; jitter and rate are no more than late.
    assert!(pair.with("network.delay: delay: 250ms", micros).await >= 500_000);
    assert!(pair.with("network.rate: rate: 4Kbit/s", micros).await >= 100_000);
    let spread = pair.with("network.jitter: up_to: 300ms", several).await;
    assert!(spread >= 20_000, "{spread} microseconds between the quickest and the slowest connection");
    assert_eq!(pair.with("network.loss: loss: 100%", arrived).await, 0);
    let burst = "network.loss: bursts: { enter: 50%, leave: 1%, loss: 100% }";
    assert!(pair.with(burst, arrived).await < 10);
    assert_eq!(pair.with("network.duplicate: share: 100%", arrived).await, 20);
    let disorder = async || pair.disorder().await;
    assert_eq!(disorder().await, 0, "segments are out of order without a fault");
    assert!(pair.with("network.reorder: share: 50%, delay: 100ms", disorder).await > 0);
    assert!(pair.with("network.corrupt: share: 100%", arrived).await < 10);
    pair.with("network.flap: down: 1s, up: 1s", async || {
        let mut seen = Vec::new();
        // Both are seen, and how soon is a matter of luck.
        while !(seen.iter().any(|arrived| *arrived > 0) && seen.iter().any(|arrived| *arrived < 10)) {
            assert!(seen.len() < 30, "always the same: {seen:?}");
            seen.push(arrived().await);
        }
    })
    .await;
    assert_eq!(
        pair.with("network.reset: port: 22", async || pair.ask("base-1", READ).await).await,
        "Connection reset by peer"
    );

    let right = pair.fleet.plan().nodes[1].address.to_string();
    assert_eq!(address().await, right);
    assert_eq!(pair.with("network.dns: answer: nxdomain", address).await, "");
    assert_eq!(pair.with("network.dns: answer: servfail, names: [base-2]", address).await, "");
    assert_eq!(pair.with("network.dns: answer: timeout, names: [base-2]", address).await, "");
    assert_eq!(
        pair.with("network.dns: answer: { address: 10.77.0.99 }, names: [base-2]", address).await,
        "10.77.0.99"
    );
    assert_eq!(pair.with("network.dns: answer: nxdomain, names: [base-1]", address).await, right);

    assert_eq!((dial().await.as_str(), arrived().await, address().await), ("open", 10, right));
}
