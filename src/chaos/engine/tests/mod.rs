//! Whole runs against a fleet in this process: what a person is promised of a verdict.

mod catalogue;
mod fake;

use std::path::Path;
use std::sync::atomic::Ordering;

use fake::{CRASHES, FakeProvider, Flaw};

use super::*;
use crate::chaos::faults::FaultSpec;
use crate::fleet::Fleet;
use crate::journal::Entry;

const HEAD: &str = r#"
name: registers survive
fleet:
  reg: { image: reg, count: 3 }
leader: { http: { port: 80, path: /leader } }
steady:
  - { name: well, every: 20ms, on: quorum, probe: { http: { port: 80, path: /health, timeout: 100ms } } }
workload:
  - kind: register
    client:
      http:
        port: 80
        read: { path: "/{{ key }}", absent_status: [404] }
        write: { path: "/{{ key }}", body: "{{ value }}" }
        fail_status: [503]
    rate: 300/s
    timeout: 100ms
settle: 300ms
recovery: 1s
"#;

const PARTITION: &str = "  - { at: 200ms, for: 300ms, inject: { network.partition: { shape: isolate, target: { leader: reg } } } }\n";
const KILL: &str = "  - { at: 200ms, for: 300ms, inject: { instance.kill: { target: { one: reg } } } }\n";

/// Every fault of the network, with its parameters.
const LINK_FAULTS: [(&str, &str); 12] = [
    ("network.partition", "shape: one_way"),
    ("network.delay", "delay: 1ms, jitter: 1ms, distribution: pareto"),
    ("network.jitter", "up_to: 2ms"),
    ("network.loss", "bursts: { enter: 1%, leave: 10% }"),
    ("network.duplicate", "share: 10%"),
    ("network.reorder", "share: 10%, delay: 2ms"),
    ("network.corrupt", "share: 1%"),
    ("network.rate", "rate: 1Mbit/s, queue: 64K"),
    ("network.flap", "down: 100ms, up: 100ms"),
    ("network.dns", "answer: nxdomain, names: [reg-2]"),
    ("network.port_block", "port: 80, peers: [reg-2, client], direction: in"),
    ("network.reset", "port: 80, share: 10%"),
];

fn all_link_faults() -> String {
    let step = |(name, params): &(&str, &str)| {
        format!(
            "  - {{ at: 100ms, for: 500ms, inject: {{ {name}: {{ target: {{ nodes: [reg-1] }}, {params} }} }} }}\n"
        )
    };
    LINK_FAULTS.iter().map(step).collect()
}

struct Ran {
    result: RunResult,
    entries: Vec<Entry>,
    provider: FakeProvider,
    dir: tempfile::TempDir,
}

impl Ran {
    fn position(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        let at = self.entries.iter().position(|entry| wanted(&entry.event));
        at.unwrap_or_else(|| panic!("not in the journal: {:#?}", self.said()))
    }

    /// The journal without operations and probes.
    fn said(&self) -> Vec<&Event> {
        let told = self.entries.iter().map(|entry| &entry.event);
        told.filter(|event| !matches!(event, Event::Op(_) | Event::Probe { .. })).collect()
    }

    fn judged(&self, title: &str) -> Verdict {
        let found = self.entries.iter().find_map(|entry| match &entry.event {
            Event::Judged(judged) if judged.expectation == title => Some(judged.verdict),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("not judged: {title}"))
    }
}

/// Runs a scenario with this timeline; `cancel_when` is asked of every event and ends the run early.
async fn run_with(flaw: Flaw, timeline: &str, cancel_when: impl Fn(&Event) -> bool + Send + 'static) -> Ran {
    let rest = "duration: 900ms\nexpect:\n  - no_acknowledged_write_lost\n  - linearizable\n";
    run_text(flaw, format!("{HEAD}timeline:\n{timeline}{rest}"), cancel_when).await
}

async fn run_text(flaw: Flaw, text: String, cancel_when: impl Fn(&Event) -> bool + Send + 'static) -> Ran {
    let scenario = Scenario::parse(Path::new("s.yaml"), text).unwrap_or_else(|bad| panic!("{bad}"));
    let dir = tempfile::tempdir().unwrap();
    let provider = FakeProvider::new(flaw);
    let journal = Journal::create(&dir.path().join("journal.jsonl")).unwrap();
    let cancel = CancellationToken::new();
    let (mut entries, watching) = (journal.subscribe(), cancel.clone());
    tokio::spawn(async move {
        while let Some(entry) = entries.recv().await {
            if cancel_when(&entry.event) {
                watching.cancel();
            }
        }
    });
    let seed = Seed(7);
    let options = Options {
        run: "r1".to_owned(),
        seed,
        schedule: scenario.schedule(seed).unwrap(),
        plan: fake::plan(3),
        dir: dir.path().to_owned(),
        journal: Arc::clone(&journal),
        cancel,
        budget: Budget::default(),
        warm: true,
        pcap: false,
    };
    let result = run(&scenario, &provider, options).await;
    let entries = journal.entries();
    assert!(matches!(entries.first().unwrap().event, Event::RunStarted(_)));
    assert!(matches!(entries.last().unwrap().event, Event::RunFinished { .. }));
    assert!(provider.fleet().destroyed.load(Ordering::Relaxed), "the fleet was left behind");
    Ran { result, entries, provider, dir }
}

async fn run_to_end(flaw: Flaw, timeline: &str) -> Ran {
    run_with(flaw, timeline, |_| false).await
}

#[tokio::test]
async fn a_good_service_passes_and_every_fault_is_proven_and_healed() {
    let ran = run_to_end(Flaw::None, &format!("{PARTITION}{KILL}")).await;
    assert_eq!(ran.result, RunResult { verdict: Verdict::Pass, reason: String::new() }, "{:#?}", ran.said());
    for fault in ["f1-network.partition", "f2-instance.kill"] {
        let injected = ran.position(|e| matches!(e, Event::Injected { fault: f, .. } if f == fault));
        let proven = ran.position(|e| matches!(e, Event::Proven { fault: f, .. } if f == fault));
        let healed =
            ran.position(|e| matches!(e, Event::Healed { fault: f, verified: true, .. } if f == fault));
        assert!(injected < proven && proven < healed, "{:#?}", ran.said());
    }
    ran.position(|e| matches!(e, Event::Instance { what, .. } if what.contains("boot id")));
}

#[tokio::test]
async fn a_service_that_forgets_acknowledged_writes_fails() {
    // Nothing is written after the kill: a later write would hide the loss of an earlier one.
    let kill_all = "  - { at: 600ms, for: 300ms, inject: { instance.kill: { target: { all: reg } } } }\n";
    let ran = run_to_end(Flaw::Forgetful, kill_all).await;
    assert_eq!(ran.result.verdict, Verdict::Fail, "{:#?}", ran.said());
    assert_eq!(ran.judged("no acknowledged write lost"), Verdict::Fail);
    assert_eq!(ran.judged("linearizable"), Verdict::Fail);
    assert_eq!(ran.judged(COMES_BACK), Verdict::Pass);
    assert!(ran.dir.path().join("logs/reg-1.journal.log").exists(), "service logs are kept of a failure");
}

#[tokio::test]
async fn a_client_that_crashes_is_an_error_of_the_run() {
    let broken =
        "  - { kind: set, client: { redis: { port: PORT } } }\nsettle:".replace("PORT", &CRASHES.to_string());
    let head = HEAD.replace("settle:", &broken);
    let rest = "duration: 900ms\nexpect:\n  - no_acknowledged_write_lost\n  - linearizable\n";
    let ran = run_text(Flaw::None, format!("{head}timeline:\n{PARTITION}{rest}"), |_| false).await;
    assert_eq!(ran.result.verdict, Verdict::Error, "{:#?}", ran.said());
    let why = "a client of the workload set crashed: a bug in the client";
    assert!(ran.result.reason.starts_with(why), "{}", ran.result.reason);
    assert_eq!(ran.result.reason.matches("crashed").count(), 1, "it crashed again at the last look");
    // What the other workload showed was judged all the same.
    assert_eq!(ran.judged("linearizable"), Verdict::Pass);
}

#[tokio::test]
async fn a_fault_without_effect_is_an_error() {
    let ran = run_to_end(Flaw::NoEffect, PARTITION).await;
    assert_eq!(ran.result.verdict, Verdict::Error);
    insta::assert_snapshot!(ran.result.reason, @"f1-network.partition was not proven: it left no proof until its end");
    ran.position(|e| matches!(e, Event::NotProven { .. }));
}

#[tokio::test]
async fn a_fault_of_a_moment_waits_for_an_instance_that_is_late() {
    let timeline = "  - { at: 100ms, for: 100ms, inject: { instance.kill: { target: { nodes: [reg-1] } } } }\n  \
                    - { at: 300ms, inject: { process.kill: { target: { nodes: [reg-1] }, which: { name: reg } } } }\n";
    let ran = run_to_end(Flaw::Slow, timeline).await;
    ran.position(|e| matches!(e, Event::Proven { fault, .. } if fault == "f2-process.kill"));
}

const POWER_CUT: &str =
    "  - { at: 200ms, for: 300ms, inject: { instance.power_cut: { target: { one: reg } } } }\n";
const DISK: &str = "  - { at: 200ms, for: 300ms, inject: { disk.io_error: { target: { one: reg } } } }\n";

#[tokio::test]
async fn a_power_cut_and_a_failing_disk_say_what_they_did() {
    let ran = run_to_end(Flaw::None, &format!("{POWER_CUT}{DISK}")).await;
    assert_eq!(ran.result.verdict, Verdict::Pass, "{:#?}", ran.said());
    let said = |words: &str| {
        ran.position(|e| matches!(e, Event::Proven { evidence, .. } if evidence.contains(words)));
    };
    said("of 3 writes that it had not flushed 1 were kept, 2 lost, 0 torn");
    said("the block server let 1 reads and 1 writes fail");
    ran.position(|e| matches!(e, Event::Healed { evidence, .. } if evidence.starts_with("its rule is gone")));
}

#[tokio::test]
async fn every_fault_of_the_network_is_proven_by_what_the_switch_counts() {
    let listed = FaultSpec::CATALOGUE.iter().filter(|entry| entry.name.starts_with("network."));
    assert_eq!(listed.count(), LINK_FAULTS.len(), "one is not tested here");
    let ran = run_to_end(Flaw::None, &all_link_faults()).await;
    for (index, (name, _)) in LINK_FAULTS.iter().enumerate() {
        let id = format!("f{}-{name}", index + 1);
        ran.position(|e| matches!(e, Event::Proven { fault, .. } if *fault == id));
        ran.position(|e| matches!(e, Event::Healed { fault, verified: true, .. } if *fault == id));
    }
}

#[tokio::test]
async fn every_fault_of_the_network_is_an_error_where_it_has_no_effect() {
    let ran = run_to_end(Flaw::NoEffect, &all_link_faults()).await;
    assert_eq!(ran.result.verdict, Verdict::Error);
    for (index, (name, _)) in LINK_FAULTS.iter().enumerate() {
        let id = format!("f{}-{name}", index + 1);
        ran.position(|e| matches!(e, Event::NotProven { fault, .. } if *fault == id));
    }
    assert!(!ran.said().iter().any(|event| matches!(event, Event::Proven { .. })));
}

#[tokio::test]
async fn a_fault_that_cannot_be_undone_is_an_error() {
    let ran = run_to_end(Flaw::Sticky, PARTITION).await;
    assert_eq!(ran.result.verdict, Verdict::Error);
    ran.position(|e| matches!(e, Event::Healed { verified: false, .. }));
}

#[tokio::test]
async fn no_steady_state_is_an_error_before_anything_is_broken() {
    let ran = run_to_end(Flaw::Broken, PARTITION).await;
    assert_eq!(ran.result.verdict, Verdict::Error);
    insta::assert_snapshot!(ran.result.reason, @"steady state does not hold before the first fault: well: 0 of 3 nodes well, 2 needed (reg-1: status 500, expected 200; reg-2: status 500, expected 200; reg-3: status 500, expected 200)");
    assert!(!ran.entries.iter().any(|entry| matches!(entry.event, Event::Injected { .. })));
}

#[tokio::test]
async fn a_probe_is_measured_when_its_mode_says() {
    let probes: String = ["before", "during", "after", "around"]
        .iter()
        .map(|mode| {
            let probe = "probe: { http: { port: 80, path: /health, timeout: 100ms } }";
            format!("  - {{ name: {mode}, mode: {mode}, every: 20ms, on: any, {probe} }}\n")
        })
        .collect();
    // Nobody answers with this, at any time: it need not hold.
    let never = "  - { name: never, mode: during, every: 20ms, probe: { http: { port: 80, path: /health, expect: { contains: nonsense } } } }\n";
    let head = HEAD.replace("workload:\n", &format!("{probes}{never}workload:\n"));
    let text = format!(
        "{head}timeline:\n{PARTITION}duration: 900ms\nexpect:\n  - recovers_within: 10s\n  - availability: {{ probe: during, at_least: 1% }}\n  - availability: {{ probe: never, at_least: 1% }}\n"
    );
    let ran = run_text(Flaw::None, text, |_| false).await;
    assert_eq!(ran.judged("recovers within 10s"), Verdict::Pass, "{:#?}", ran.said());
    assert_eq!(ran.judged("availability of during: at least 1%"), Verdict::Pass);
    assert_eq!(ran.judged("availability of never: at least 1%"), Verdict::Error);
    assert_eq!(ran.judged(COMES_BACK), Verdict::Pass);
    let phase = |wanted: Phase| {
        ran.position(|event| matches!(event, Event::PhaseStarted { phase } if *phase == wanted))
    };
    let (chaos, recovery) = (phase(Phase::Chaos), phase(Phase::Recovery));
    let measured = |name: &str| {
        let is_it = |entry: &&Entry| matches!(&entry.event, Event::Probe { probe, .. } if probe == name);
        let count = |entries: &[Entry]| entries.iter().filter(is_it).count();
        let (before, rest) = ran.entries.split_at(chaos);
        let (during, after) = rest.split_at(recovery - chaos);
        [count(before) > 0, count(during) > 0, count(after) > 0]
    };
    assert_eq!(measured("before"), [true, false, false]);
    assert_eq!(measured("during"), [false, true, false]);
    assert_eq!(measured("after"), [false, false, true]);
    assert_eq!(measured("around"), [true, false, true]);
    assert_eq!(measured("well"), [true, true, true]);
}

#[tokio::test]
async fn an_instance_that_never_comes_back_is_the_image_s_failure() {
    let ran = run_to_end(Flaw::NeverBack, KILL).await;
    assert_eq!(ran.result.verdict, Verdict::Fail);
    insta::assert_snapshot!(ran.result.reason, @"the fleet comes back: reg-2 was not ready within 1s: no answer");
}

#[tokio::test]
async fn what_the_provider_cannot_do_is_skipped_and_never_a_pass() {
    let ran = run_to_end(Flaw::NoLinks, &format!("{PARTITION}{KILL}")).await;
    assert_eq!(ran.result.verdict, Verdict::Unknown, "{:#?}", ran.said());
    ran.position(|e| matches!(e, Event::Skipped { fault, .. } if fault == "f1-network.partition"));
    let ran = run_to_end(Flaw::NoLinks, PARTITION).await;
    assert_eq!(ran.result.verdict, Verdict::Error);
    assert!(ran.result.reason.starts_with("no fault took place"), "{}", ran.result.reason);
}

#[tokio::test]
async fn a_cancelled_run_undoes_its_faults_and_destroys_its_fleet() {
    let ran = run_with(Flaw::None, PARTITION, |event| matches!(event, Event::Proven { .. })).await;
    assert_eq!(ran.result, RunResult { verdict: Verdict::Error, reason: "interrupted".to_owned() });
    ran.position(|e| matches!(e, Event::Healed { verified: true, .. }));
    assert!(ran.provider.fleet().repairs.load(Ordering::Relaxed) > 0);
}

#[tokio::test]
async fn a_frozen_instance_keeps_silent_and_runs_on() {
    let freeze = "  - { at: 100ms, for: 700ms, inject: { instance.freeze: { target: { one: reg } } } }\n";
    let ran = run_to_end(Flaw::None, freeze).await;
    assert_eq!(ran.result.verdict, Verdict::Pass, "{:#?}", ran.said());
}

#[tokio::test]
async fn an_instance_that_is_known_to_stand_still_is_not_asked_what_was_wrong_with_it() {
    let freeze =
        "  - { at: 100ms, for: 700ms, inject: { instance.freeze: { target: { nodes: [reg-1] } } } }\n";
    let ran = run_to_end(Flaw::Sticky, freeze).await;
    assert_eq!(ran.result.verdict, Verdict::Error, "{:#?}", ran.said());
    let calm = ran.said().iter().find_map(|event| match event {
        Event::Judged(judged) if judged.expectation == NO_TROUBLE => Some(judged.message.clone()),
        _ => None,
    });
    let calm = calm.expect("it was judged");
    assert!(calm.contains("reg-1 could not be asked: it is frozen"), "{calm}");
}

#[tokio::test]
async fn faults_of_one_instance_wait_for_one_another() {
    let reboots = "  - { at: 100ms, inject: { instance.reboot: { target: { nodes: [reg-1] } } } }\n  \
                   - { at: 101ms, inject: { instance.reboot: { target: { nodes: [reg-1] } } } }\n  \
                   - { at: 200ms, for: 200ms, inject: { network.delay: { target: { all: reg }, delay: 1ms } } }\n";
    let ran = run_to_end(Flaw::None, reboots).await;
    assert_eq!(ran.result.verdict, Verdict::Pass, "{:#?}", ran.said());
    assert_eq!(ran.provider.fleet().status("reg-1").await.unwrap().boots, 3);
}

#[tokio::test]
async fn trouble_on_a_console_or_in_a_log_fails_a_run_that_is_well_otherwise() {
    for (flaw, says) in [
        (Flaw::Panicking, "no console findings: kernel panic on reg-1, reg-2, reg-3"),
        (Flaw::Crashing, "no console findings: crashed process on reg-1, reg-2, reg-3"),
    ] {
        let ran = run_to_end(flaw, KILL).await;
        assert_eq!(ran.result, RunResult { verdict: Verdict::Fail, reason: says.to_owned() });
        assert_eq!(ran.judged(NO_TROUBLE), Verdict::Fail);
        assert_eq!(ran.judged(COMES_BACK), Verdict::Pass);
    }
}
