//! Expectations judged over journals written by hand.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::diagnostic::parse_yaml;
use crate::journal::event::ScheduledFault;
use crate::journal::{Event, OpOutcome, OpRecord, Phase};

const MS: u64 = 1_000;

/// A journal under construction; times in milliseconds.
#[derive(Default)]
struct Story(Vec<Entry>);

impl Story {
    /// A chaos phase from 0 to `chaos_ends`.
    fn new(chaos_ends: u64) -> Self {
        let mut story = Story::default();
        story.add(0, Event::PhaseStarted { phase: Phase::Chaos });
        story.add(chaos_ends, Event::PhaseStarted { phase: Phase::Recovery });
        story
    }

    fn add(&mut self, at_ms: u64, event: Event) {
        self.0.push(Entry { at_us: at_ms * MS, event });
        self.0.sort_by_key(|entry| entry.at_us);
    }

    fn fault(mut self, name: &str, injected: u64, healed: u64) -> Self {
        self.add(injected, Event::Injected { fault: name.to_owned(), targets: vec!["etcd-1".to_owned()] });
        let fault = name.to_owned();
        self.add(healed, Event::Healed { fault, verified: true, evidence: String::new() });
        self
    }

    #[expect(clippy::too_many_arguments, reason = "one line a record reads best")]
    fn op(
        mut self,
        process: u32,
        node: &str,
        f: &str,
        input: Value,
        output: Value,
        outcome: OpOutcome,
        from: u64,
        to: u64,
    ) -> Self {
        let record = OpRecord {
            workload: "register".to_owned(),
            process,
            node: node.to_owned(),
            key: "k".to_owned(),
            f: f.to_owned(),
            input,
            output,
            outcome,
            invoked_us: from * MS,
            completed_us: to * MS,
            detail: if outcome == OpOutcome::Fail { "no leader".to_owned() } else { String::new() },
        };
        self.add(to, Event::Op(record));
        self
    }

    fn write(self, process: u32, node: &str, value: i64, from: u64, to: u64) -> Self {
        self.op(process, node, "write", json!(value), Value::Null, OpOutcome::Ok, from, to)
    }

    fn read(self, process: u32, node: &str, value: Value, from: u64, to: u64) -> Self {
        self.op(process, node, "read", Value::Null, value, OpOutcome::Ok, from, to)
    }

    fn refused(self, from: u64, to: u64) -> Self {
        self.op(0, "etcd-1", "read", Value::Null, Value::Null, OpOutcome::Fail, from, to)
    }

    fn judge(&self, expectation: &str) -> Judged {
        let parsed: Vec<Expectation> = parse_yaml(Path::new("s.yaml"), expectation).unwrap();
        judge(&parsed, &self.0, Budget::default()).remove(0)
    }
}

#[test]
fn expectations_are_written_as_in_a_scenario() {
    let text = "
- no_acknowledged_write_lost
- linearizable
- availability: { at_least: 99%, longest_outage: 10s, p99: 500ms }
- availability: { probe: cluster answers, at_least: 99.9% }
- recovers_within: 15s
- rto: { fault: instance.kill, from: heal, at_most: 10s }
- rto: { from: injection, until: steady, at_most: 1m }
- rpo: 0
- rpo: 1
- rpo: { fault: instance.kill, at_most: 2 }
- rpo: { at_most: 0 }
";
    let parsed: Vec<Expectation> = parse_yaml(Path::new("s.yaml"), text).unwrap();
    let titles: Vec<String> = parsed.iter().map(Expectation::title).collect();
    assert_eq!(
        titles,
        [
            "no acknowledged write lost",
            "linearizable",
            "availability: at least 99%, longest outage 10s, p99 500ms",
            "availability of cluster answers: at least 99.9%",
            "recovers within 15s",
            "rto: instance.kill, from heal at most 10s",
            "rto: every fault, from injection to steady state at most 1m",
            "rpo: at most 0 acknowledged writes lost",
            "rpo: at most 1 acknowledged write lost",
            "rpo: instance.kill, at most 2 acknowledged writes lost",
            "rpo: every fault, at most 0 acknowledged writes lost",
        ]
    );
    let bad = |text: &str| parse_yaml::<Vec<Expectation>>(Path::new("s.yaml"), text).unwrap_err().to_string();
    insta::assert_snapshot!(bad("- linearisable\n"), @r#"
        s.yaml:1:3: unknown name `linearisable`
          |
        1 | - linearisable
          |   ^
          = did you mean `linearizable`?
          = expected one of `no_acknowledged_write_lost`, `linearizable`, `availability`, `recovers_within`, `rto`, `rpo`, `replicas_agree`, `files_intact`, `set`, `append`, `bank`, `counter`, `unique_ids`, `queue`, `custom`
        "#);
    insta::assert_snapshot!(bad("- availability: { at_most: 99% }\n"), @r#"
        s.yaml:1:19: unknown field `at_most`
          |
        1 | - availability: { at_most: 99% }
          |                   ^
          = expected one of `probe`, `workload`, `at_least`, `longest_outage`, `p50`, `p95`, `p99`
        "#);
}

#[test]
fn a_lost_write_is_named() {
    let story = Story::new(2_000)
        .fault("f1-instance.power_cut", 400, 900)
        .write(1, "etcd-1", 7, 100, 150)
        .write(2, "etcd-1", 9, 450, 500)
        .read(5, "etcd-2", json!(7), 3_000, 3_050);
    let judged = story.judge("- no_acknowledged_write_lost");
    assert_eq!(judged.verdict, Verdict::Fail);
    assert_eq!(judged.measured["lost_writes"], 1.0);
    insta::assert_snapshot!(format!("{}\n{}", judged.message, judged.detail), @r#"
        1 write of 2 acknowledged lost, on 1 register
        k: client 5 read 7 from etcd-2 at 3.050 s, but client 2 wrote 9 to etcd-1 (acknowledged at 0.500 s); acknowledged and gone: 1
        "#);
}

#[test]
fn the_recovery_point_says_how_much_may_be_lost() {
    let story = Story::new(2_000)
        .fault("f1-instance.power_cut", 400, 900)
        .write(1, "etcd-1", 7, 100, 150)
        .write(2, "etcd-1", 9, 450, 500)
        .read(5, "etcd-2", json!(7), 3_000, 3_050);
    assert_eq!(story.judge("- rpo: 0").verdict, Verdict::Fail);
    assert_eq!(story.judge("- rpo: 1").verdict, Verdict::Pass);
    assert_eq!(story.judge("- rpo: 1").measured["lost_writes"], 1.0);
    // Asked for with what finds the same, it refers to that.
    let both = [Expectation::NoAcknowledgedWriteLost, Expectation::Rpo(Rpo::Run(0))];
    let [lost, rpo] = judge(&both, &story.0, Budget::default()).try_into().unwrap();
    assert!(lost.detail.starts_with("k: client 5 read 7"), "{}", lost.detail);
    assert_eq!(rpo.detail, "what was found is told under `no acknowledged write lost`");
    assert_eq!(story.judge("- rpo: 0").detail, lost.detail);
    // No operation, no promise kept.
    assert_eq!(Story::new(2_000).fault("f1-x", 400, 900).judge("- rpo: 5").verdict, Verdict::Error);
}

#[test]
fn every_lost_write_counts_for_the_fault_that_it_met_or_else_for_the_next() {
    // Of seven writes to one register the first alone is found in the end.
    let story = Story::new(9_000)
        .fault("f1-network.partition", 1_000, 2_000)
        .fault("f2-instance.kill", 4_000, 5_000)
        .fault("f3-instance.kill", 4_500, 5_500)
        .write(1, "etcd-1", 1, 10, 20)
        .write(1, "etcd-1", 2, 100, 110)
        .write(1, "etcd-1", 3, 1_100, 1_110)
        .write(1, "etcd-1", 4, 3_000, 3_010)
        .write(1, "etcd-1", 5, 4_600, 4_610)
        .write(1, "etcd-1", 6, 5_100, 5_110)
        .write(1, "etcd-1", 7, 8_000, 8_010)
        .read(5, "etcd-2", json!(1), 9_500, 9_550);
    let all = story.judge("- no_acknowledged_write_lost").measured;
    let of = |fault: &str| all[&format!("rpo.{fault}")];
    // Before the first and during it.
    assert_eq!(of("f1-network.partition"), 2.0);
    // Between the faults, and while two were at work, which both may have lost it.
    assert_eq!(of("f2-instance.kill"), 2.0);
    // During both, during this one alone, and after everything.
    assert_eq!(of("f3-instance.kill"), 3.0);
    assert_eq!(all["lost_writes"], 6.0);

    let judged = |rpo: &str| story.judge(&format!("- rpo: {{ {rpo} }}"));
    assert_eq!(judged("at_most: 3").verdict, Verdict::Pass);
    assert_eq!(judged("fault: network.partition, at_most: 2").verdict, Verdict::Pass);
    let over = judged("fault: instance.kill, at_most: 1");
    assert_eq!(over.verdict, Verdict::Fail);
    assert_eq!(
        over.message,
        "f2-instance.kill: 2 acknowledged writes lost; f3-instance.kill: 3 acknowledged writes lost"
    );
    assert_eq!(over.measured["rpo.f3-instance.kill"], 3.0);
    // What did not happen teaches nothing.
    assert_eq!(judged("fault: instance.stop, at_most: 9").verdict, Verdict::Error);
}

#[test]
fn what_may_be_lost_says_nothing_of_what_nobody_could_read() {
    let mut story = Story::new(2_000)
        .fault("f1-instance.power_cut", 400, 900)
        .write(1, "etcd-1", 7, 100, 150)
        .write(2, "etcd-1", 9, 450, 500)
        .read(5, "etcd-2", json!(7), 3_000, 3_050);
    let record = OpRecord {
        workload: "register".to_owned(),
        process: 3,
        node: "etcd-1".to_owned(),
        key: "other".to_owned(),
        f: "write".to_owned(),
        input: json!(1),
        output: Value::Null,
        outcome: OpOutcome::Ok,
        invoked_us: 450 * MS,
        completed_us: 460 * MS,
        detail: String::new(),
    };
    story.add(460, Event::Op(record));
    for rpo in ["- rpo: 1", "- rpo: { at_most: 1 }"] {
        assert_eq!(story.judge(rpo).verdict, Verdict::Unknown, "{rpo}");
    }
    assert_eq!(story.judge("- rpo: 0").verdict, Verdict::Fail);
}

#[test]
fn what_sets_lists_and_queues_lose_counts_for_its_fault() {
    for (kind, put, get, found) in [
        ("set", "add", "read", json!([1])),
        ("append", "append", "read", json!([1])),
        ("queue", "enqueue", "dequeue", Value::Null),
    ] {
        let mut story = Story::new(9_000)
            .fault("f1-instance.kill", 1_000, 2_000)
            .fault("f2-instance.kill", 4_000, 5_000)
            .op(1, "a", put, json!(1), Value::Null, OpOutcome::Ok, 10, 20)
            .op(1, "a", put, json!(2), Value::Null, OpOutcome::Ok, 1_100, 1_110)
            .op(1, "a", put, json!(3), Value::Null, OpOutcome::Ok, 4_100, 4_110);
        if kind == "queue" {
            // One of the two may have been taken by a dequeue without an answer: the later one counts as lost.
            story = story.op(2, "a", get, Value::Null, json!(1), OpOutcome::Ok, 30, 40).op(
                3,
                "a",
                get,
                Value::Null,
                Value::Null,
                OpOutcome::Indeterminate,
                5_000,
                5_100,
            );
        }
        let mut story = story.op(5, "b", get, Value::Null, found, OpOutcome::Ok, 9_500, 9_550);
        story.add(
            0,
            Event::Workload { workload: "register".to_owned(), kind: kind.to_owned(), plan: Value::Null },
        );
        let measured = story.judge("- rpo: 0").measured;
        let lost = if kind == "queue" { [0.0, 1.0] } else { [1.0, 1.0] };
        assert_eq!([measured["rpo.f1-instance.kill"], measured["rpo.f2-instance.kill"]], lost, "{kind}");
    }
}

#[test]
fn the_recovery_time_counts_from_injection_or_from_heal_for_the_faults_that_are_meant() {
    let story = Story::new(9_000)
        .fault("f1-instance.kill", 1_000, 3_000)
        .read(1, "etcd-1", json!(null), 100, 200)
        .refused(1_100, 1_200)
        .refused(3_100, 3_200)
        .read(1, "etcd-1", json!(null), 3_900, 4_000);
    let verdict = |rto: &str| story.judge(&format!("- rto: {{ {rto} }}")).verdict;
    assert_eq!(verdict("from: injection, at_most: 3s"), Verdict::Pass);
    assert_eq!(verdict("from: injection, at_most: 2999ms"), Verdict::Fail);
    assert_eq!(verdict("from: heal, at_most: 1s"), Verdict::Pass);
    assert_eq!(verdict("from: heal, at_most: 999ms"), Verdict::Fail);
    assert_eq!(verdict("from: injection, until: steady, at_most: 3s"), Verdict::Pass);
    assert_eq!(verdict("fault: instance.kill, from: heal, until: steady, at_most: 1s"), Verdict::Pass);
    // A fault that did not happen teaches nothing.
    assert_eq!(verdict("fault: instance.stop, from: heal, at_most: 1s"), Verdict::Error);
    let late = story.judge("- rto: { from: heal, at_most: 10ms }");
    assert_eq!(late.message, "longer than 10ms: f1-instance.kill: 1s");
}

#[test]
fn what_may_have_happened_explains_what_is_found() {
    let story = || Story::new(2_000).fault("f", 400, 900).write(1, "etcd-1", 7, 100, 150);
    let lost = |value: Value, story: Story| {
        story.read(5, "etcd-2", value, 3_000, 3_050).judge("- no_acknowledged_write_lost").verdict
    };
    // A write that nobody saw ending may win, or not.
    let open = |story: Story| {
        story.op(2, "etcd-1", "write", json!(9), Value::Null, OpOutcome::Indeterminate, 450, 800)
    };
    assert_eq!(lost(json!(9), open(story())), Verdict::Pass);
    assert_eq!(lost(json!(7), open(story())), Verdict::Pass);
    assert_eq!(lost(Value::Null, open(story())), Verdict::Fail);
    // Of two at the same time, either.
    assert_eq!(lost(json!(7), story().write(2, "etcd-1", 9, 120, 500)), Verdict::Pass);
    assert_eq!(lost(json!(9), story().write(2, "etcd-1", 9, 120, 500)), Verdict::Pass);
    // A compare-and-set that found something else changes nothing.
    let no = story().op(2, "etcd-1", "cas", json!([3, 9]), json!(false), OpOutcome::Ok, 450, 500);
    assert_eq!(lost(json!(7), no), Verdict::Pass);
    // Never read at the end: nobody knows.
    let unread = story().write(1, "etcd-1", 9, 450, 500).judge("- no_acknowledged_write_lost");
    assert_eq!(unread.verdict, Verdict::Unknown);
}

#[test]
fn a_stale_read_is_explained_by_the_smallest_piece() {
    let mut story = Story::new(20_000).fault("f1-network.partition", 11_000, 13_000);
    for step in 0..50 {
        let value = 100 + step;
        let at = step as u64 * 200;
        story =
            story.write(4, "etcd-1", value, at, at + 40).read(6, "etcd-3", json!(value), at + 50, at + 90);
    }
    let story = story
        .write(1, "etcd-1", 7, 11_000, 11_040)
        .write(1, "etcd-1", 9, 11_200, 11_250)
        .read(3, "etcd-2", json!(7), 12_280, 12_301)
        .read(3, "etcd-2", json!(9), 12_400, 12_450);
    let judged = story.judge("- linearizable");
    assert_eq!(judged.verdict, Verdict::Fail);
    insta::assert_snapshot!(format!("{}\n{}", judged.message, judged.detail), @r#"
        1 of 1 register not linearizable
        Register k (workload register): no order explains these 3 of its 104 operations:
          11.000 s to 11.040 s: client 1 wrote 7 to etcd-1
          11.200 s to 11.250 s: client 1 wrote 9 to etcd-1
          12.280 s to 12.301 s: client 3 read 7 from etcd-2
        Client 3 read 7 from etcd-2 at 12.301 s, but before that began, client 1 wrote 9 to etcd-1 (acknowledged at 11.250 s), and nobody wrote 7 since.
        "#);
}

#[test]
fn values_out_of_nowhere_are_explained() {
    let base = || Story::new(20_000).fault("f", 0, 13_000).write(1, "a", 7, 100, 150);
    let why = |story: Story| story.judge("- linearizable").detail.lines().last().unwrap().to_owned();
    insta::assert_snapshot!(why(base().read(2, "b", json!("x"), 200, 250)), @r#"Client 2 read "x" from b at 0.250 s, but nobody ever wrote it."#);
    insta::assert_snapshot!(why(base().write(1, "a", 8, 500, 550).read(2, "b", json!(8), 200, 250)), @r#"Client 2 read 8 from b at 0.250 s, but it was written only later: 0.500 s to 0.550 s: client 1 wrote 8 to a."#);
    let refused = base().op(3, "a", "write", json!(8), Value::Null, OpOutcome::Fail, 160, 170);
    insta::assert_snapshot!(why(refused.read(2, "b", json!(8), 200, 250)), @r#"Client 2 read 8 from b at 0.250 s, but the only attempt to write it was refused: client 3 on a at 0.170 s, no leader."#);
    let cas = |story: Story, client, new, from| {
        story.op(client, "a", "cas", json!([7, new]), json!(true), OpOutcome::Ok, from, from + 100)
    };
    insta::assert_snapshot!(why(cas(cas(base(), 2, 8, 200), 3, 9, 210)), @r#"Client 3 replaced 7 by 9 on a at 0.310 s, but it was set only once and already replaced: client 2 replaced 7 by 8 on a (acknowledged at 0.300 s)."#);
    insta::assert_snapshot!(why(base().read(2, "b", Value::Null, 200, 250)), @r#"Client 2 read nothing from b at 0.250 s, but before that began, client 1 wrote 7 to a (acknowledged at 0.150 s)."#);
}

#[test]
fn availability_counts_shares_outages_and_latencies() {
    let mut story = Story::new(10_000).fault("f1", 4_000, 6_000);
    for at in (0..10_000).step_by(100) {
        story = match at {
            4_100..7_000 => story.refused(at, at + 10),
            _ => story.read(0, "a", Value::Null, at, at + 20),
        };
    }
    // After the phase: not counted.
    let story = story.refused(12_000, 12_010);
    let judged = story.judge("- availability: { at_least: 71%, longest_outage: 2920ms, p99: 20ms }");
    assert_eq!(
        (judged.verdict, judged.message.as_str()),
        (Verdict::Pass, "71 of 100 operations succeeded (71%), longest outage 2920ms, p99 20ms")
    );
    let measured = |name: &str| judged.measured[name];
    assert_eq!(
        (measured("availability"), measured("longest_outage_ms"), measured("p50_ms")),
        (0.71, 2_920.0, 20.0)
    );
    assert_eq!(measured("downtime_ms.f1"), 2_920.0);
    assert_eq!(measured("rto_from_injection_ms.f1"), 3_020.0);
    assert_eq!(measured("rto_from_heal_ms.f1"), 1_020.0);
    let judged = story.judge("- availability: { at_least: 72%, longest_outage: 2s, p99: 10ms }");
    assert_eq!(judged.verdict, Verdict::Fail);
    insta::assert_snapshot!(judged.message, @r#"availability is 71%, expected at least 72%; longest outage is 2920ms, expected at most 2s; p99 is 20ms, expected at most 10ms"#);
}

#[test]
fn recovery_counts_from_the_heal_and_needs_every_probe() {
    let base = || {
        Story::new(30_000)
            .fault("f1", 4_000, 6_000)
            .read(0, "a", Value::Null, 4_000, 4_010)
            .refused(6_500, 6_510)
    };
    let late = base().read(0, "a", Value::Null, 9_000, 9_100);
    assert_eq!(late.judge("- recovers_within: 3100ms").verdict, Verdict::Pass);
    let judged = late.judge("- recovers_within: 3s");
    assert_eq!(
        (judged.verdict, judged.message.as_str()),
        (Verdict::Fail, "1 recovery took longer than 3s: f1: back 3100ms after the heal")
    );
    let never = base().refused(20_000, 20_010);
    assert_eq!(never.judge("- recovers_within: 3s").verdict, Verdict::Fail);
    // Nobody tried long enough to know.
    assert_eq!(base().judge("- recovers_within: 3s").verdict, Verdict::Error);
    // One recovery was seen, and whether the second was in time nobody knows.
    let two = || base().read(0, "a", Value::Null, 6_600, 6_610).fault("f2", 10_000, 12_000);
    let two = || two().read(0, "a", Value::Null, 10_500, 10_510).refused(12_500, 12_510);
    assert_eq!(two().judge("- recovers_within: 3s").verdict, Verdict::Unknown);
    assert_eq!(two().judge("- rto: { from: heal, at_most: 3s }").verdict, Verdict::Unknown);
    assert_eq!(two().judge("- rto: { from: heal, at_most: 100ms }").verdict, Verdict::Fail);
    let mut probed = base().read(0, "a", Value::Null, 6_600, 6_610);
    for (at, ok) in [(6_200, false), (8_000, false), (11_000, true)] {
        let detail = String::new();
        probed.add(at, Event::Probe { probe: "p".to_owned(), node: None, ok, latency_us: 10 * MS, detail });
    }
    assert_eq!(probed.judge("- recovers_within: 4s").verdict, Verdict::Fail);
    assert_eq!(probed.judge("- recovers_within: 5s").verdict, Verdict::Pass);
}

#[test]
fn a_run_in_which_too_little_happened_is_an_error() {
    let all = "[no_acknowledged_write_lost, linearizable, { availability: {} }, { recovers_within: 1s }]";
    let verdicts = |story: Story| {
        let parsed: Vec<Expectation> = parse_yaml(Path::new("s.yaml"), all).unwrap();
        judge(&parsed, &story.0, Budget::default())
            .into_iter()
            .map(|judged| judged.verdict)
            .collect::<Vec<_>>()
    };
    let errors = vec![Verdict::Error; 4];
    assert_eq!(verdicts(Story::new(100)), errors);
    // Nothing succeeded.
    assert_eq!(verdicts(Story::new(10_000).fault("f", 1_000, 2_000).refused(1_500, 1_600)), errors);
    // Nothing met the fault.
    let before = Story::new(10_000).fault("f", 1_000, 2_000).write(1, "a", 1, 10, 20);
    assert_eq!(verdicts(before.read(1, "a", json!(1), 30, 40)), errors);
    // Planned and never injected.
    let mut planned = Story::new(10_000).write(1, "a", 1, 10, 20).read(1, "a", json!(1), 30, 40);
    planned.add(0, Event::Scheduled { steps: vec![moment("f")] });
    assert_eq!(verdicts(planned), errors);
}

/// A fault that has no duration.
fn moment(fault: &str) -> ScheduledFault {
    ScheduledFault {
        fault: fault.to_owned(),
        kind: "instance.reboot".to_owned(),
        inject_at_us: 0,
        heal_at_us: None,
        params: Value::Null,
        targets: Vec::new(),
    }
}

#[test]
fn what_comes_after_a_fault_of_a_moment_has_met_it() {
    let mut story = Story::new(10_000).write(1, "a", 1, 10, 20).fault("f", 1_000, 1_001);
    story.add(0, Event::Scheduled { steps: vec![moment("f")] });
    let story =
        story.refused(1_500, 1_600).write(1, "a", 2, 2_000, 2_010).read(1, "a", json!(2), 2_020, 2_030);
    for expectation in ["- linearizable", "- recovers_within: 2s", "- no_acknowledged_write_lost"] {
        assert_eq!(story.judge(expectation).verdict, Verdict::Pass, "{expectation}");
    }
}

#[test]
fn a_checker_without_time_says_unknown() {
    let mut story = Story::new(1_000_000).fault("f", 0, 1_000_000);
    for value in 0..2_000 {
        story = story.write(0, "a", value, 10, 900_000);
    }
    let none = Budget { time: Duration::ZERO, ..Budget::default() };
    let judged = judge(&[Expectation::Linearizable], &story.0, none).remove(0);
    assert_eq!(judged.verdict, Verdict::Unknown, "{}", judged.message);
}

/// A checker with a bug.
struct Crashing;

impl Expect for Crashing {
    fn title(&self) -> String {
        "crashing".to_owned()
    }

    fn check(&self, _: &Known<'_>) -> Result<(), Complaint> {
        Ok(())
    }

    fn judge(&self, _: &Facts<'_>, _: Budget) -> Finding {
        panic!("a bug")
    }
}

#[test]
fn a_checker_that_crashes_says_unknown_and_the_others_judge_on() {
    let story = Story::new(2_000).fault("f1-instance.kill", 400, 900).write(1, "etcd-1", 7, 450, 500).read(
        5,
        "etcd-2",
        json!(7),
        3_000,
        3_050,
    );
    let facts = Facts::of(&story.0);
    let all: [&dyn Expect; 3] = [&registers::Linearizable, &Crashing, &lost::NoAcknowledgedWriteLost];
    let judged = all.map(|expect| judge_one(expect, &facts, Budget::default()));
    assert_eq!(
        judged.each_ref().map(|judged| judged.verdict),
        [Verdict::Pass, Verdict::Unknown, Verdict::Pass]
    );
    assert_eq!(judged[1].message, "the checker crashed");
    // A run with such a checker does not pass.
    assert_eq!(Verdict::of_all(judged.iter().map(|judged| judged.verdict)), Verdict::Unknown);
}
