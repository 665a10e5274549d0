//! From a journal to the verdict about trouble.

use super::*;
use crate::journal::event::{RunStarted, SymptomSource};

fn entry(at_us: u64, event: Event) -> Entry {
    Entry { at_us, event }
}

/// A run that started on 2026-11-25, with these further entries.
fn run(more: Vec<Entry>) -> Vec<Entry> {
    let header = RunStarted {
        run: "r".to_owned(),
        tool_version: "0".to_owned(),
        started_at: "2026-11-25T03:00:00Z".to_owned(),
        scenario: "s".to_owned(),
        scenario_file: "s.yaml".to_owned(),
        scenario_digest: String::new(),
        seed: 7,
        provider: "qemu".to_owned(),
        images: BTreeMap::new(),
        expectations: Vec::new(),
    };
    [vec![entry(0, Event::RunStarted(header))], more].concat()
}

fn symptom(at_us: u64, node: &str, kind: SymptomKind, line: &str) -> Entry {
    let source = SymptomSource::Console;
    entry(
        at_us,
        Event::Symptom(Symptom {
            node: node.to_owned(),
            source,
            kind,
            line: line.to_owned(),
            seen_us: at_us,
        }),
    )
}

fn fault(name: &str, target: &str, from: u64, until: u64) -> Vec<Entry> {
    let fault = name.to_owned();
    vec![
        entry(from, Event::Injected { fault: fault.clone(), targets: vec![target.to_owned()] }),
        entry(until, Event::Healed { fault, verified: true, evidence: String::new() }),
    ]
}

fn exception(until: &str) -> Exception {
    Exception {
        pattern: "nginx".to_owned(),
        until: until.parse().unwrap(),
        reason: "mended next week".to_owned(),
    }
}

const SEGFAULT: &str = "nginx[411]: segfault at 10";

#[test]
fn silence_is_a_pass_and_trouble_is_not() {
    let judged = judge(&[], &[], &run(vec![]));
    assert_eq!(
        (judged.verdict, judged.message.as_str()),
        (Verdict::Pass, "no sign of trouble on any console or in any log")
    );

    let judged = judge(&[], &[], &run(vec![symptom(1_500_000, "web-1", SymptomKind::Segfault, SEGFAULT)]));
    assert_eq!((judged.verdict, judged.message.as_str()), (Verdict::Fail, "crashed process on web-1"));
    assert_eq!(judged.detail, "1.5 s, web-1, crashed process in the console: nginx[411]: segfault at 10");
    assert_eq!(judged.measured["findings"], 1.0);
}

#[test]
fn who_was_not_asked_is_not_known_to_be_well() {
    let unasked = vec!["web-1 could not be asked: cannot connect".to_owned()];
    let judged = judge(&[], &unasked, &run(vec![]));
    assert_eq!(
        (judged.verdict, judged.message.as_str()),
        (Verdict::Unknown, "nobody knows: web-1 could not be asked: cannot connect")
    );
    let judged = judge(&[], &unasked, &run(vec![symptom(1, "web-2", SymptomKind::HungTask, "INFO")]));
    assert_eq!(judged.verdict, Verdict::Fail);
}

#[test]
fn a_loaded_machine_is_not_the_images_fault() {
    let line = "rcu: INFO: rcu_preempt self-detected stall on CPU";
    let judged = judge(&[], &[], &run(vec![symptom(1, "web-1", SymptomKind::Environment, line)]));
    assert_eq!(judged.verdict, Verdict::Pass);
    assert!(judged.message.contains("(1 about the machine underneath)"), "{}", judged.message);
    assert!(judged.detail.contains(line));
}

#[test]
fn a_fault_explains_its_own_trouble_on_its_target_in_its_time_alone() {
    let panic = |at, node| symptom(at, node, SymptomKind::KernelPanic, "Kernel panic - not syncing");
    let verdict = |seen: Entry| {
        judge(
            &[],
            &[],
            &run([fault("f1-instance.panic", "web-1", 5_000_000, 9_000_000), vec![seen]].concat()),
        )
        .verdict
    };
    assert_eq!(verdict(panic(6_000_000, "web-1")), Verdict::Pass);
    assert_eq!(verdict(panic(9_000_000 + GRACE_US, "web-1")), Verdict::Pass);
    assert_eq!(verdict(panic(9_000_001 + GRACE_US, "web-1")), Verdict::Fail);
    assert_eq!(verdict(panic(4_000_000, "web-1")), Verdict::Fail);
    assert_eq!(verdict(panic(6_000_000, "web-2")), Verdict::Fail);
    assert_eq!(verdict(symptom(6_000_000, "web-1", SymptomKind::Segfault, SEGFAULT)), Verdict::Fail);
}

#[test]
fn an_exception_holds_until_its_day_and_not_longer() {
    let seen = run(vec![symptom(1, "web-1", SymptomKind::Segfault, SEGFAULT)]);
    let verdict = |until| judge(&[exception(until)], &[], &seen);
    assert_eq!(verdict("2026-11-25").verdict, Verdict::Pass);
    assert!(verdict("2026-11-25").detail.contains("allowed until 2026-11-25: mended next week"));
    assert_eq!(verdict("2026-11-24").verdict, Verdict::Fail);
    assert!(verdict("2026-11-24").detail.contains("was allowed until 2026-11-24"));
    // A journal that does not say when it was made excuses nothing.
    assert_eq!(judge(&[exception("2099-01-01")], &[], &seen[1..]).verdict, Verdict::Fail);
}
