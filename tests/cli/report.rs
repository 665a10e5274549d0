//! `ovenproof report` as a user runs it.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use ovenproof::journal::event::{Judged, RunStarted};
use ovenproof::journal::{Event, Journal, Phase, Verdict};

fn write_run(journal: &Path) {
    let journal = Journal::create(journal).unwrap();
    journal.record(Event::RunStarted(RunStarted {
        run: "20261122-101500-7f3a".into(),
        tool_version: "0.1.0".into(),
        started_at: "2026-11-22T10:15:00Z".into(),
        scenario: "survives a reboot".into(),
        scenario_file: "scenarios/reboot.yaml".into(),
        scenario_digest: "00".repeat(32),
        seed: 7,
        provider: "qemu".into(),
        images: [("web".to_owned(), "ab".repeat(32))].into(),
        expectations: vec!["files are intact".into()],
    }));
    journal.record(Event::PhaseStarted { phase: Phase::Chaos });
    journal.record(Event::Judged(Judged {
        expectation: "files are intact".into(),
        verdict: Verdict::Fail,
        message: "1 of 40 files differs".into(),
        detail: "/srv/data/7: 512 bytes of zeros at offset 4096".into(),
        measured: Default::default(),
    }));
    let reason = "`files are intact`: 1 of 40 files differs".to_owned();
    journal.record(Event::RunFinished { verdict: Verdict::Fail, reason });
    journal.close().unwrap();
}

fn report(home: &Path) -> Command {
    let mut command = Command::cargo_bin("ovenproof").unwrap();
    command.env("OVENPROOF_HOME", home).env_remove("NO_COLOR").current_dir(home).arg("report");
    command
}

#[test]
fn a_run_is_found_by_id_folder_and_journal_and_every_report_is_made() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("runs/20261122-101500-7f3a");
    write_run(&dir.join("journal.jsonl"));

    let output = report(home.path())
        .args(["20261122-101500-7f3a", "--html", "r.html", "--junit", "r.xml", "--markdown", "r.md"])
        .assert()
        .success();
    let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    assert!(text.starts_with("FAIL  survives a reboot\n"), "{text}");
    assert!(text.contains("/srv/data/7: 512 bytes of zeros"), "{text}");
    assert!(!text.contains('\x1b'), "no colour where no terminal is");

    let read = |name: &str| fs::read_to_string(home.path().join(name)).unwrap();
    assert!(read("r.html").contains("href=\"runs/20261122-101500-7f3a/journal.jsonl\""));
    assert!(read("r.xml").contains("failures=\"1\""));
    assert!(read("r.md").contains("1 of 40 files differs"));

    report(home.path()).arg(&dir).assert().success();
    report(home.path()).arg(dir.join("journal.jsonl")).assert().success();
}

#[test]
fn a_program_gets_one_json_document() {
    let home = tempfile::tempdir().unwrap();
    let journal = home.path().join("journal.jsonl");
    write_run(&journal);
    let output = report(home.path()).arg(&journal).arg("--json").assert().success();
    let json: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    assert_eq!(json["verdict"], "fail");
    assert_eq!(json["header"]["seed"], 7);
    assert_eq!(json["expectations"][0]["judged"]["message"], "1 of 40 files differs");
}

#[test]
fn what_cannot_be_read_is_named() {
    let home = tempfile::tempdir().unwrap();
    write_run(&home.path().join("runs/20261122-101500-7f3a/journal.jsonl"));
    let complaint = |run: &str| {
        let output = report(home.path()).arg(run).assert().code(2);
        String::from_utf8(output.get_output().stderr.clone()).unwrap()
    };
    insta::assert_snapshot!(complaint("20261122-101500-7f3b"), @r#"
    error: there is no run `20261122-101500-7f3b`
    hint: did you mean `20261122-101500-7f3a`?
    "#);
    insta::assert_snapshot!(complaint("yesterday"), @r#"
    error: there is no run `yesterday`
    hint: the newest run is `20261122-101500-7f3a`
    "#);
    fs::write(home.path().join("torn.jsonl"), "{\"at_us\":1}\n").unwrap();
    insta::assert_snapshot!(complaint("torn.jsonl"), @"error: torn.jsonl:1: not an entry of a journal: `event` is missing");
}
