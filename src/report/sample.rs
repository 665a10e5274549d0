//! Journals for the tests of this room: an etcd fleet of three under load, as a real run would write them.

use std::collections::BTreeMap;

use rand::RngExt;
use serde_json::{Value, json};

use crate::journal::event::{Judged, RunStarted, ScheduledFault, Symptom, SymptomKind, SymptomSource};
use crate::journal::{Entry, Event, OpOutcome, OpRecord, Phase, Verdict};
use crate::seed::Seed;

const SECOND: u64 = 1_000_000;
const NODES: [&str; 3] = ["etcd-1", "etcd-2", "etcd-3"];
const BASELINE: u64 = 38 * SECOND;
const CHAOS: u64 = 43 * SECOND;
const RECOVERY: u64 = CHAOS + 40 * SECOND;
const CHECK: u64 = RECOVERY + 6 * SECOND;
const END: u64 = CHECK + 2 * SECOND;

const PARTITION: (u64, u64) = (CHAOS + 5 * SECOND, CHAOS + 17 * SECOND);
const POWER_CUT: (u64, u64) = (CHAOS + 22 * SECOND, CHAOS + 30 * SECOND);
const DELAY: (u64, u64) = (CHAOS + 26 * SECOND, CHAOS + 35 * SECOND);
/// Without a leader nobody gets an answer.
const NO_LEADER: (u64, u64) = (POWER_CUT.0, POWER_CUT.0 + 3_100_000);

fn within(span: (u64, u64), at: u64) -> bool {
    (span.0..span.1).contains(&at)
}

/// Faults are survived and every expectation holds; one fault is skipped.
pub(crate) fn passing() -> Vec<Entry> {
    let mut entries = header();
    entries.extend(boot());
    entries.extend(probes(END - 2 * SECOND));
    entries.extend(faults());
    entries.extend(ops());
    let judge = |name: &str, message: &str, measured: &[(&str, f64)]| {
        (CHECK + SECOND, judged(name, Verdict::Pass, message, "", measured))
    };
    entries.extend([
        judge(
            "no acknowledged write lost",
            "all 313 acknowledged writes were read back",
            &[
                ("acknowledged_writes", 313.0),
                ("lost_writes", 0.0),
                ("rpo.f1-network.partition", 0.0),
                ("rpo.f2-instance.power_cut", 0.0),
            ],
        ),
        judge("linearizable", "8 keys, 699 operations: an order exists for every key", &[]),
        judge(
            "availability: at least 80%",
            "590 of 699 operations succeeded (84.4%), longest outage 3.53s",
            &[
                ("availability", 0.8441),
                ("longest_outage_ms", 3_530.0),
                ("downtime_ms.f2-instance.power_cut", 3_530.0),
            ],
        ),
        judge(
            "recovers within 15s",
            "back at most 323ms after each of 2 heals",
            &[("slowest_recovery_ms", 323.0)],
        ),
    ]);
    entries.push((END, Event::RunFinished { verdict: Verdict::Pass, reason: String::new() }));
    in_order(entries)
}

/// A stale read is found, and a process crashed.
pub(crate) fn failing() -> Vec<Entry> {
    let mut entries = replace_judged(
        "linearizable",
        Verdict::Fail,
        "key k3: a read returned a value that had been overwritten 412 ms before",
        "process 2  write k3 = 41   acknowledged  61.204 s   etcd-3\n\
         process 0  write k3 = 57   acknowledged  66.871 s   etcd-3\n\
         process 4  read  k3 = 41   answered      67.283 s   etcd-2\n\
         The write of 57 had been acknowledged before the read began, so the read had to see it.",
    );
    let symptom = Symptom {
        node: "etcd-3".into(),
        source: SymptomSource::Console,
        kind: SymptomKind::Segfault,
        line: "[   62.201] etcd[311]: segfault at 10 ip 000055 sp 00007f error 4".into(),
        seen_us: RECOVERY - 1,
    };
    let at = entries.partition_point(|entry| entry.at_us < RECOVERY);
    entries.insert(at, Entry { at_us: RECOVERY - 1, event: Event::Symptom(symptom) });
    entries
}

/// The checker ran out of budget.
pub(crate) fn unknown() -> Vec<Entry> {
    replace_judged("linearizable", Verdict::Unknown, "key k5: no answer within 30 s and 1 GiB", "")
}

/// The tool was killed in the middle of the chaos phase.
pub(crate) fn killed() -> Vec<Entry> {
    passing().into_iter().filter(|entry| entry.at_us < POWER_CUT.1).collect()
}

/// A fault left no proof.
pub(crate) fn not_proven() -> Vec<Entry> {
    let reason = "the switch dropped no frame between etcd-2 and the others".to_owned();
    let mut entries = passing();
    for entry in &mut entries {
        match &entry.event {
            Event::Proven { fault, .. } if fault.starts_with("f1") => {
                entry.event = Event::NotProven { fault: fault.clone(), reason: reason.clone() };
            }
            Event::RunFinished { .. } => {
                let reason = "f1-network.partition did not take effect".to_owned();
                entry.event = Event::RunFinished { verdict: Verdict::Error, reason };
            }
            _ => {}
        }
    }
    entries
}

/// The steady state did not hold before anything was broken.
pub(crate) fn baseline_broken() -> Vec<Entry> {
    let mut entries: Vec<_> = passing().into_iter().filter(|entry| entry.at_us < CHAOS).collect();
    let probe = |at_us, ok| Entry {
        at_us,
        event: Event::Probe {
            probe: "cluster answers".into(),
            node: Some("etcd-3".into()),
            ok,
            latency_us: 5_000_000,
            detail: "connection refused".into(),
        },
    };
    entries.push(probe(CHAOS - 2, false));
    let reason = "the steady state did not hold: `cluster answers` on etcd-3: connection refused".to_owned();
    entries.push(Entry { at_us: CHAOS, event: Event::RunFinished { verdict: Verdict::Error, reason } });
    entries
}

/// Every text field that a service, a scenario or a guest can fill holds `text`.
pub(crate) fn hostile(text: &str) -> Vec<Entry> {
    let mut entries = failing();
    for entry in &mut entries {
        let text = text.to_owned();
        match &mut entry.event {
            Event::RunStarted(header) => {
                header.run = text.clone();
                header.scenario = text.clone();
                header.scenario_file = text.clone();
                header.provider = text.clone();
                header.images = [(text.clone(), text.clone())].into();
                header.expectations = vec![text.clone(), "linearizable".into()];
            }
            Event::Instance { node, what } => (*node, *what) = (text.clone(), text),
            Event::Injected { targets, .. } => *targets = vec![text],
            Event::Scheduled { steps } => {
                for step in steps {
                    step.params = json!({ text.clone(): text.clone() });
                    step.kind = text.clone();
                }
            }
            Event::Proven { evidence, .. } | Event::Healed { evidence, .. } => *evidence = text,
            Event::Skipped { reason, .. } | Event::RunFinished { reason, .. } => *reason = text,
            Event::Probe { probe, node, detail, .. } => {
                (*probe, *node, *detail) = (text.clone(), Some(text.clone()), text)
            }
            Event::Symptom(symptom) => (symptom.node, symptom.line) = (text.clone(), text),
            Event::Op(op) => (op.workload, op.key, op.detail) = (text.clone(), text.clone(), text),
            Event::Judged(judged) => {
                (judged.message, judged.detail) = (text.clone(), text.clone());
                judged.measured.insert(text, 1.0);
            }
            _ => {}
        }
    }
    entries
}

fn replace_judged(name: &str, verdict: Verdict, message: &str, detail: &str) -> Vec<Entry> {
    let mut entries = passing();
    for entry in &mut entries {
        match &mut entry.event {
            Event::Judged(old) if old.expectation == name => {
                entry.event = judged(name, verdict, message, detail, &[]);
            }
            Event::RunFinished { .. } => {
                entry.event = Event::RunFinished { verdict, reason: format!("`{name}`: {message}") };
            }
            _ => {}
        }
    }
    entries
}

fn judged(name: &str, verdict: Verdict, message: &str, detail: &str, measured: &[(&str, f64)]) -> Event {
    Event::Judged(Judged {
        expectation: name.into(),
        verdict,
        message: message.into(),
        detail: detail.into(),
        measured: measured.iter().map(|(key, number)| ((*key).to_owned(), *number)).collect(),
    })
}

fn in_order(mut entries: Vec<(u64, Event)>) -> Vec<Entry> {
    entries.sort_by_key(|(at_us, _)| *at_us);
    entries.into_iter().map(|(at_us, event)| Entry { at_us, event }).collect()
}

fn header() -> Vec<(u64, Event)> {
    let started = RunStarted {
        run: "20261122-101500-7f3a".into(),
        tool_version: "0.1.0".into(),
        started_at: "2026-11-22T10:15:00Z".into(),
        scenario: "etcd survives a minority partition".into(),
        scenario_file: "scenarios/etcd-partition.yaml".into(),
        scenario_digest: "9c41e2f0b7a86d53".repeat(4),
        seed: 7,
        provider: "qemu".into(),
        images: BTreeMap::from([("etcd".into(), "4be1d07c92f35a68".repeat(4))]),
        expectations: vec![
            "no acknowledged write lost".into(),
            "linearizable".into(),
            "availability: at least 80%".into(),
            "recovers within 15s".into(),
        ],
    };
    let note = "guest timing is not deterministic: the same seed gives the same schedule, not the same \
                interleaving";
    let phases = [
        (1, Phase::Boot),
        (BASELINE, Phase::Baseline),
        (CHAOS, Phase::Chaos),
        (RECOVERY, Phase::Recovery),
        (CHECK, Phase::Check),
        (END - SECOND / 2, Phase::Teardown),
    ];
    let mut entries = vec![(0, Event::RunStarted(started)), (2, Event::Note { text: note.into() })];
    entries.extend(phases.map(|(at, phase)| (at, Event::PhaseStarted { phase })));
    entries
}

fn boot() -> Vec<(u64, Event)> {
    let mut entries = Vec::new();
    for (node, delay) in NODES.iter().zip([31, 33, 36]) {
        let change = |at, what: &str| (at, Event::Instance { node: (*node).into(), what: what.into() });
        entries.push(change(SECOND, "created"));
        entries.push(change(delay * SECOND, "ready"));
    }
    entries
}

fn faults() -> Vec<(u64, Event)> {
    let (f1, f2) = ("f1-network.partition", "f2-instance.power_cut");
    let (f3, f4) = ("f3-network.delay", "f4-clock_skew");
    let step = |fault: &str, span: (u64, u64), params: Value, targets: &[&str]| ScheduledFault {
        fault: fault.into(),
        kind: fault.split_once('-').unwrap().1.into(),
        inject_at_us: span.0 - CHAOS,
        heal_at_us: Some(span.1 - CHAOS),
        params,
        targets: targets.iter().map(|target| (*target).to_owned()).collect(),
    };
    let skew = (CHAOS + 37 * SECOND, CHAOS + 39 * SECOND);
    let steps = vec![
        step(f1, PARTITION, json!({"shape": "isolate", "target": {"one": "etcd"}}), &["etcd-2"]),
        step(f2, POWER_CUT, json!({"target": {"leader": "etcd"}, "unflushed": "subset"}), &[]),
        step(f3, DELAY, json!({"delay": "80ms", "jitter": "20ms", "target": {"all": "etcd"}}), &NODES),
        step(f4, skew, json!({"by": "5m", "target": {"one": "etcd"}}), &["etcd-3"]),
    ];
    let injected = |fault: &str, targets: &[&str]| Event::Injected {
        fault: fault.into(),
        targets: targets.iter().map(|target| (*target).to_owned()).collect(),
    };
    let proven =
        |fault: &str, evidence: &str| Event::Proven { fault: fault.into(), evidence: evidence.into() };
    let healed = |fault: &str, evidence: &str| Event::Healed {
        fault: fault.into(),
        verified: true,
        evidence: evidence.into(),
    };
    let instance = |node: &str, what: &str| Event::Instance { node: node.into(), what: what.into() };
    vec![
        (CHAOS + 1, Event::Scheduled { steps }),
        (PARTITION.0, injected(f1, &["etcd-2"])),
        (PARTITION.0 + 420_000, proven(f1, "the switch dropped 38 frames between etcd-2 and the others")),
        (PARTITION.1, healed(f1, "412 frames dropped in all; frames pass again")),
        (POWER_CUT.0, injected(f2, &["etcd-1"])),
        (POWER_CUT.0 + 35_000, proven(f2, "process 4711 is gone; 17 of 52 unflushed writes were kept")),
        (POWER_CUT.0 + 36_000, instance("etcd-1", "killed")),
        (POWER_CUT.1, instance("etcd-1", "started")),
        (POWER_CUT.1 + 500_000, healed(f2, "booted again: boot 2 instead of 1")),
        (DELAY.0, injected(f3, &NODES)),
        (DELAY.0 + 300_000, proven(f3, "the switch delayed 211 frames by 80.3 ms in the median")),
        (DELAY.1, healed(f3, "2,903 frames delayed in all; frames pass undelayed")),
        (skew.0, Event::Skipped { fault: f4.into(), reason: "this provider cannot set clocks".into() }),
    ]
}

fn probes(until: u64) -> Vec<(u64, Event)> {
    let mut rng = Seed(7).stream("sample probes");
    let mut entries = Vec::new();
    for at in (BASELINE..until).step_by(500_000) {
        let whole = Event::Probe {
            probe: "cluster answers".into(),
            node: None,
            ok: !within(NO_LEADER, at),
            latency_us: 14_000,
            detail: String::new(),
        };
        entries.push((at + 14_000, whole));
        for (index, node) in NODES.iter().enumerate() {
            let booting = (POWER_CUT.0, POWER_CUT.1 + 2_100_000);
            let (ok, detail) = match index {
                0 if within(booting, at) => (false, "host unreachable"),
                1 if within((PARTITION.0 + SECOND, PARTITION.1 + SECOND), at) => {
                    (false, "status 503, expected 200")
                }
                _ if within(NO_LEADER, at) => (false, "health is \"false\", expected \"true\""),
                _ => (true, ""),
            };
            let latency_us = 4_000 + rng.random_range(0..9_000);
            let probe = Event::Probe {
                probe: "cluster answers".into(),
                node: Some((*node).into()),
                ok,
                latency_us,
                detail: detail.into(),
            };
            entries.push((at + latency_us + index as u64, probe));
        }
    }
    entries
}

fn ops() -> Vec<(u64, Event)> {
    let mut rng = Seed(7).stream("sample operations");
    let mut entries = Vec::new();
    for process in 0..5_u32 {
        let mut at = CHAOS + u64::from(process) * 30_000;
        while at < RECOVERY + 2 * SECOND {
            let node = NODES[rng.random_range(0..3)];
            // A log-normal look without a distribution's crate: the product of uniform factors.
            let spread: f64 = (0..6).map(|_| rng.random_range(0.6..1.5_f64)).product();
            let mut took = (110_000.0 * spread) as u64;
            let cut_off = node == "etcd-2" && within(PARTITION, at);
            let down = node == "etcd-1" && within((POWER_CUT.0, POWER_CUT.1 + 2_100_000), at);
            if within(DELAY, at) {
                took += 160_000;
            }
            let (outcome, detail) = if cut_off || within(NO_LEADER, at) && !down {
                took = 1_000_000;
                (OpOutcome::Indeterminate, "no answer within 1s")
            } else if down {
                took = 3_000;
                (OpOutcome::Fail, "connection refused")
            } else {
                (OpOutcome::Ok, "")
            };
            let write = rng.random_bool(0.5);
            let value = json!(rng.random_range(0..100));
            let key = format!("k{}", rng.random_range(0..8));
            let record = OpRecord {
                workload: "registers".into(),
                process,
                node: node.into(),
                key,
                f: if write { "write" } else { "read" }.into(),
                input: if write { value.clone() } else { Value::Null },
                output: if !write && outcome == OpOutcome::Ok { value } else { Value::Null },
                outcome,
                invoked_us: at,
                completed_us: at + took,
                detail: detail.into(),
            };
            entries.push((at + took, Event::Op(record)));
            at += took.max(60_000) + rng.random_range(10_000..90_000);
        }
    }
    entries
}
